"""The fold: whatever the log tells, state is a function of it alone."""

from __future__ import annotations

import base64
import copy
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autoheal import snapshot
from autoheal.errors import JournalDamaged
from autoheal.journal.record import parse, seal, seal_all
from autoheal.model import Draft, Kind, Mode, Reason, Record, rfc3339
from autoheal.rules.units import MAX_DURATION
from autoheal.state import CHARGES_KEPT, CLOCK_SET_BACK, ENDED_RUNS_KEPT, ENDS_KEPT, RunState, State, fold

NOW = 1_790_000_000.0
ADAPTER = TypeAdapter(State)
PLAN: dict[str, Any] = {"steps": [{"action": "command"}, {"action": "command"}]}


def legal(state: State) -> list[Draft]:
    """Every record that the engine could write next, in a small world."""
    drafts: list[Draft] = []
    seq = state.head.seq + 1
    for fingerprint in ("f1", "f2", "f3"):
        episode = state.episodes.get(fingerprint)
        base: dict[str, Any] = {"fingerprint": fingerprint, "alertname": "Down", "labels": {"alertname": "Down"}}
        times = {"starts_at": rfc3339(NOW), "ends_at": rfc3339(NOW + seq), "how": "webhook"}
        if episode is None:
            drafts.append(Draft(kind=Kind.ALERT_FIRING, episode=f"e{seq}", detail=times, **base))
            drafts.append(Draft(kind=Kind.ALERT_SUSPECT, detail=times, **base))
            drafts.append(Draft(kind=Kind.ALERT_RESOLVED, detail=times, **base))
            continue
        base |= {"episode": episode.id}
        drafts.append(Draft(kind=Kind.ALERT_RESOLVED, detail=times, **base))
        drafts.append(Draft(kind=Kind.ALERT_DISPUTED, detail=times | {"heard_at": times["starts_at"]}, **base))
        drafts.append(Draft(kind=Kind.ALERT_UNDISPUTED, detail={"heard_at": times["ends_at"]}, **base))
        about = base | {"rule": "r", "target": "t1", "detail": {"plan_digest": "d"}}
        drafts.append(Draft(kind=Kind.DECISION, reason=Reason.COOLDOWN, **about))
        for rule, target in (("r", "t1"), ("q", "t1"), ("q", "t2")):
            detail = {"plan": {**PLAN, "target": target}, "plan_digest": "d"}
            begun = base | {"rule": rule, "target": target, "run": f"r{seq}", "detail": detail}
            if rule not in episode.runs and rule not in episode.ran and target not in state.locks:
                drafts.append(Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.LIVE, **begun))
                drafts.append(Draft(kind=Kind.DECISION, reason=Reason.AWAITING_APPROVAL, mode=Mode.APPROVE, **begun))
                if rule in episode.released:
                    drafts.append(Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.APPROVE, **begun))
    drafts += legal_silences(state) + legal_pauses(state) + legal_breakers(state) + legal_storms(state)
    drafts += legal_notices(state)
    drafts += legal_selftests(state)
    drafts.append(Draft(kind=Kind.WATCHDOG_BACK if state.watchdog_missing else Kind.WATCHDOG_MISSING))
    return drafts + legal_runs(state)


def legal_selftests(state: State) -> list[Draft]:
    """The alert of a self-test, its dry run, and how the test went."""
    seq = state.head.seq + 1
    about: dict[str, Any] = {"fingerprint": "own", "alertname": "AutohealSelfTest"}
    times = {"starts_at": rfc3339(NOW), "ends_at": rfc3339(NOW + seq), "how": "abandoned"}
    checks = {"alert": {"ok": bool(seq % 2)}, "disk": {"ok": None}}
    drafts = [Draft(kind=Kind.SELFTEST_OK if seq % 2 else Kind.SELFTEST_FAIL, detail={"checks": checks})]
    episode = state.episodes.get("own")
    if episode is None:
        return [*drafts, Draft(kind=Kind.ALERT_FIRING, episode=f"e{seq}", labels=about, detail=times, **about)]
    about |= {"episode": episode.id, "rule": "autoheal/selftest", "target": "self-test", "mode": Mode.DRY_RUN}
    run = next((run.id for run in state.runs.values() if run.alertname == "AutohealSelfTest"), None)
    if run is None:
        detail = {"plan": PLAN, "plan_digest": "d"}
        drafts.append(Draft(kind=Kind.DECISION, reason=Reason.DRY_RUN, run=f"r{seq}", detail=detail, **about))
    else:
        drafts.append(Draft(kind=Kind.ACTION_DRY_RUN, reason=Reason.DRY_RUN, run=run, **about))
    return [*drafts, Draft(kind=Kind.ALERT_RESOLVED, fingerprint="own", episode=episode.id, detail=times)]


def legal_runs(state: State) -> list[Draft]:
    """What may become of the runs."""
    drafts: list[Draft] = []
    seq = state.head.seq + 1
    for run in state.runs.values():
        about: dict[str, Any] = {
            "fingerprint": run.fingerprint,
            "episode": run.episode,
            "rule": run.rule,
            "target": run.target,
            "run": run.id,
            "reason": "because",
        }
        episode = state.episodes.get(run.fingerprint)
        if run.ended and episode is not None and episode.id == run.episode and run.rule in episode.ran:
            drafts.append(Draft(kind=Kind.RERUN_REQUESTED, actor="ann", **about))
        if run.state is RunState.AWAITING_APPROVAL:
            asked = {"rule_digest": "d", "expires_at": rfc3339(NOW + seq)}
            drafts.append(Draft(kind=Kind.APPROVAL_REQUESTED, detail=asked, **about))
            drafts.append(Draft(kind=Kind.ACTION_CANCELLED, **about))
            if run.approval is not None:
                words = (Kind.APPROVAL_GRANTED, Kind.APPROVAL_DENIED, Kind.APPROVAL_EXPIRED)
                drafts += [Draft(kind=kind, actor="ann", **about) for kind in words]
        if run.state in (RunState.ACTING, RunState.VERIFYING):
            drafts.append(Draft(kind=Kind.CANCEL_REQUESTED, actor="ann", **about))
        if run.state is RunState.CANCELLING:
            drafts.append(Draft(kind=Kind.ACTION_CANCELLED, actor="ann", **about))
            if run.acted_at is None:
                drafts.append(Draft(kind=Kind.ACTION_OK, **about))
        if run.state is RunState.PLANNED:
            drafts.append(Draft(kind=Kind.ACTION_CANCELLED, **about))
            if run.approval is not None:
                changed = {"reason": "human_present", "detail": {"approved": "at 1", "observed": "at 2"}}
                drafts.append(Draft(kind=Kind.ACTION_CANCELLED, **about | changed))
            if run.step < 2:
                drafts.append(Draft(kind=Kind.ACTION_STARTED, step=run.step + 1, **about))
            else:
                drafts.append(Draft(kind=Kind.ESCALATED, **about))
        about["step"] = run.step or None
        if run.state is RunState.ACTING:
            drafts += [
                Draft(kind=kind, **about) for kind in (Kind.ACTION_OK, Kind.ACTION_FAIL, Kind.ACTION_INTERRUPTED)
            ]
        if run.state is RunState.VERIFYING:
            drafts += [
                Draft(kind=kind, **about) for kind in (Kind.HEAL_CONFIRMED, Kind.HEAL_FAILED, Kind.HEAL_INCONCLUSIVE)
            ]
            if run.action_ok is None and not run.again:
                drafts.append(Draft(kind=Kind.ACTION_STARTED, **about))
        if run.state is RunState.ESCALATING:
            drafts.append(Draft(kind=Kind.ESCALATED, **about))
    return drafts


def legal_breakers(state: State) -> list[Draft]:
    """Openings, demotions and closings."""
    drafts = [
        Draft(kind=Kind.BREAKER_OPENED, rule=rule, detail={"rule_digest": "d"})
        for rule, breaker in state.breakers.items()
        if breaker.trial_failed or breaker.opened_at is None
    ]
    for rule, breaker in state.breakers.items():
        drafts.append(Draft(kind=Kind.BREAKER_CLOSED, rule=rule))
        if breaker.opened_at is not None:
            drafts.append(Draft(kind=Kind.RULE_DEMOTED, rule=rule))
    # Seldom possible: who draws one by chance is to meet them all.
    return drafts * 5


def legal_storms(state: State) -> list[Draft]:
    """A begin where there is none, an end where there is one."""
    lasting = {rule for rule, storm in state.storms.items() if not storm.over}
    drafts = [Draft(kind=Kind.STORM_BEGAN, rule=rule) for rule in ("r", "q") if rule not in lasting]
    drafts += [Draft(kind=Kind.ESCALATED, rule=rule, reason="storm") for rule in lasting]
    about: dict[str, Any] = {"actor": "ann", "detail": {"rule_digest": "d"}}
    drafts += [Draft(kind=Kind.STORM_RELEASED, rule=rule, **about) for rule in state.storms if state.batch(rule)]
    drafts += legal_observations(state)
    return drafts + [Draft(kind=Kind.STORM_ENDED, rule=rule) for rule in lasting]


def legal_observations(state: State) -> list[Draft]:
    """Of what was let go, of what was let go before that, and of what has ended."""
    words = {release.seq for episode in state.episodes.values() for release in episode.released.values()}
    observed = dict.fromkeys(("f1", "f2", "f9"), f"at {state.head.seq}")
    return [
        Draft(kind=Kind.STORM_OBSERVED, rule=rule, detail={"released": seq, "observed": observed})
        for rule in ("r", "q")
        for seq in words
    ]


def legal_notices(state: State) -> list[Draft]:
    """What Alertmanager took or did not take of what stands, and of what has just ended."""
    active = {"detail": {"alert": "AutohealActive"}}
    failed = {"detail": {"alert": "AutohealFailed"}}
    drafts = [
        Draft(kind=kind, run=run, rule="r", fingerprint="f1", **what)
        for kind in (Kind.NOTIFIED, Kind.NOTIFY_FAILED)
        for run, what in (("gone", active), ("gone", failed), (None, failed))
    ]
    for run in state.runs.values():
        about: dict[str, Any] = {"run": run.id, "rule": run.rule, "fingerprint": run.fingerprint}
        drafts += [Draft(kind=Kind.NOTIFIED, **about, **what) for what in (active, failed)]
    return drafts + legal_words(state)


def legal_words(state: State) -> list[Draft]:
    """What people are to be told of, and what a channel has or has not taken of that: seldom, as there is much else."""
    if state.head.seq % 4:
        return []
    incident, what = (None, "trigger") if state.head.seq % 5 == 0 else ("keys", "trigger")
    if "keys" in state.incidents and state.head.seq % 8:
        what = "resolve" if state.incidents["keys"].acknowledged else "acknowledge"
    to = {"to": ["slack"], "unsaid": ["webhook"]} if state.head.seq % 3 == 0 else {"to": ["slack", "webhook"]}
    tell = [{"incident": incident, "what": what, "severity": "error", **to}]
    drafts = [Draft(kind=Kind.KEYS_FAILED, actor="ann", detail={"error": "x", "tell": tell})]
    for owed in list(state.owed.values())[:1]:
        detail: dict[str, Any] = {"channel": owed.to[0], "of": [owed.id], "unsaid": state.head.seq % 8}
        drafts.append(Draft(kind=Kind.NOTIFIED if state.head.seq % 8 else Kind.NOTIFY_FAILED, detail=detail))
        drafts.append(Draft(kind=Kind.NOTIFY_FAILED, detail={**detail, "again": True}))
    return drafts


def legal_silences(state: State) -> list[Draft]:
    """Requests for silences, their outcomes, and ends before their time."""
    asked = {"matchers": 'alertname="Down"', "ends_at": rfc3339(NOW + state.head.seq * 600)}
    drafts = [Draft(kind=Kind.SILENCE_REQUESTED, actor="local", detail=asked)]
    for request in state.silence_requests:
        drafts.append(Draft(kind=Kind.SILENCE_FAILED, detail={"request": request}))
        made = {**asked, "request": request, "silence_id": f"s{request}", "covers": request % 2}
        drafts.append(Draft(kind=Kind.SILENCE_CREATED, actor="local", detail=made))
        drafts += [
            Draft(kind=Kind.SILENCE_CREATED, actor="local", detail={**made, "replaces": old}) for old in state.silences
        ]
    drafts += [Draft(kind=Kind.SILENCE_EXPIRED, detail={"silence_id": old}) for old in state.silences]
    drafts += [Draft(kind=Kind.ACK_OLD, detail={"silence_id": old}) for old in (*state.silences, "gone")]
    renamed = {"silence_id": f"x{state.head.seq}"}
    return drafts + [
        Draft(kind=Kind.SILENCE_EXTENDED, detail={**renamed, "replaces": old}) for old in (*state.silences, "gone")
    ]


def legal_pauses(state: State) -> list[Draft]:
    """Pauses of all and of a rule, by people and by the file, with and without an end; and what takes them back."""
    until = rfc3339(NOW + state.head.seq * 600)
    drafts = [
        Draft(kind=Kind.PAUSED, actor="ann", rule=rule, detail={"how": "api", "reason": "x", **end})
        for rule in (None, "r")
        for end in ({}, {"until": until})
    ]
    drafts.append(Draft(kind=Kind.PAUSED, detail={"how": "file", "reason": "PAUSE is there"}))
    return drafts + [Draft(kind=Kind.RESUMED, rule=each.rule, detail={"how": each.how}) for each in state.pauses]


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    state, records, now = State(), [], NOW
    for _ in range(draw(st.integers(0, 60))):
        now += draw(st.sampled_from([0.0, 1.0, 3600.0, 86_400.0]))
        draft = draw(st.sampled_from(legal(state)))
        record = seal(draft, state.head, now)
        state.apply(record)
        records.append(record)
    return records


@given(logs(), st.integers(0, 60))
def test_folding_in_two_parts_is_folding_at_once(records: list[Record], cut: int) -> None:
    """fold(a + b) = fold(fold(a), b), also when fold(a) was written out as JSON and read back in between."""
    whole = fold(records)
    first = ADAPTER.validate_json(ADAPTER.dump_json(fold(records[:cut])))
    assert fold(records[cut:], first) == whole


@given(logs())
def test_a_replayed_line_folds_like_the_live_record(records: list[Record]) -> None:
    """The state after a restart, read from the bytes, is the state that ran."""
    assert fold(parse(record.line) for record in records) == fold(records)


@given(logs())
def test_invariants_hold_after_any_log(records: list[Record]) -> None:
    """One unfinished run per target; locks, waiting runs and episodes agree with the runs; charges are in order."""
    state = fold(records)
    # A dry run holds nothing.
    live = {run.id: run for run in state.runs.values() if not run.ended and run.mode is not Mode.DRY_RUN}
    assert state.locks == {run.target: run.id for run in live.values()}
    assert len(state.locks) == len(live)
    assert set(state.waiting) == {run.id for run in live.values() if run.step == 0}
    for episode in state.episodes.values():
        assert episode.runs == {run.rule: run.id for run in live.values() if run.episode == episode.id}
    firings = {record.episode: len(record.line) for record in records if record.kind is Kind.ALERT_FIRING}
    sizes = [firings[episode.id] for episode in state.episodes.values()]
    assert state.open_bytes == sum(sizes) + sum(suspect.size for suspect in state.suspects.values())
    assert all(suspect.size > 0 for suspect in state.suspects.values())
    times = [charge.ts for charge in state.charges]
    assert times == sorted(times)
    for key, spent in state.spent.items():
        of = [charge for charge in state.charges if key in ("", charge.rule, f"{charge.rule}\0{charge.target}")]
        assert spent.times == [charge.ts for charge in of]
        assert spent.waiting == sum(
            key in ("", charge.rule, f"{charge.rule}\0{charge.target}") for charge in state.waiting.values()
        )
    assert ("" in state.spent) == bool(state.charges or state.waiting)
    assert state.failures.keys() <= state.episodes.keys()
    for fingerprint, failures in state.failures.items():
        assert failures
        for rule, failure in failures.items():
            assert (failure.fingerprint, failure.rule) == (fingerprint, rule)
            assert failure.episode == state.episodes[fingerprint].id
            assert rule not in state.episodes[fingerprint].runs
    for episode in state.episodes.values():
        assert len(set(episode.ran)) == len(episode.ran)
        assert not set(episode.ran) & episode.runs.keys()
    for rule, storm in state.storms.items():
        assert storm.held.keys() <= state.episodes.keys()
        assert not any(rule in state.episodes[fingerprint].released for fingerprint in storm.held)
        assert storm.held or not storm.over
    for rule, targets in state.targets.items():
        decided = [record for record in records if record.kind is Kind.DECISION and record.rule == rule]
        assert targets.keys() <= {record.target for record in decided}
    for run in state.runs.values():
        # Nothing acts that waits for people.
        assert run.mode is not Mode.APPROVE or run.step == 0 or (run.approval is not None and run.approval.by)
    ways = [(pause.rule, pause.how) for pause in state.pauses]
    assert len(set(ways)) == len(ways)
    answered = {record.detail.get("request") for record in records}
    asked = [record.seq for record in records if record.kind is Kind.SILENCE_REQUESTED]
    assert state.silence_requests == [seq for seq in asked if seq not in answered]


def test_failures_in_a_row_are_counted_by_rule() -> None:
    """A run that acted and was left to people is one more, one that healed makes it none; what was stopped before its
    action, or by a fault of ours, is neither.
    """
    state = State()

    def run(*ends: Draft) -> int:
        seal_into(state, legal(state)[0])
        episode = next(iter(state.episodes.values()))
        about: dict[str, Any] = {"fingerprint": "f1", "episode": episode.id, "rule": "r", "target": "t"}
        about["run"] = f"r{state.head.seq + 1}"
        detail = {"plan": {**PLAN, "target": "t"}, "plan_digest": "d"}
        seal_into(state, Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.LIVE, detail=detail, **about))
        for end in ends:
            seal_into(state, replace(end, **about, step=1))
        ends_at = {"how": "webhook", "ends_at": rfc3339(NOW)}
        seal_into(state, Draft(kind=Kind.ALERT_RESOLVED, fingerprint="f1", episode=episode.id, detail=ends_at))
        return state.breakers["r"].failures if state.breakers else 0

    started, ok, fail = (Draft(kind=kind) for kind in (Kind.ACTION_STARTED, Kind.ACTION_OK, Kind.ACTION_FAIL))
    left = Draft(kind=Kind.ESCALATED)
    assert run(started, fail, Draft(kind=Kind.HEAL_FAILED), left) == 1
    assert run(started, ok, Draft(kind=Kind.HEAL_INCONCLUSIVE), left) == 2
    assert run(Draft(kind=Kind.ACTION_CANCELLED)) == 2
    assert run(started, Draft(kind=Kind.ACTION_INTERRUPTED), left) == 2
    assert run(left) == 2
    seal_into(state, Draft(kind=Kind.BREAKER_OPENED, rule="r", detail={"rule_digest": "d"}))
    assert run(started, ok, Draft(kind=Kind.HEAL_CONFIRMED)) == 0
    assert state.breakers["r"].opened_at is not None
    seal_into(state, Draft(kind=Kind.BREAKER_CLOSED, rule="r"))
    assert run(started, fail, Draft(kind=Kind.HEAL_FAILED), left) == 1
    assert run(started, ok, Draft(kind=Kind.HEAL_CONFIRMED)) == 0
    assert not state.breakers


def seal_into(state: State, draft: Draft) -> None:
    state.apply(seal(draft, state.head, NOW))


def test_ended_runs_are_bounded() -> None:
    """Only the last 1,000 ended runs are kept; unfinished ones always."""
    state = State()
    for number in range(ENDED_RUNS_KEPT + 5):
        state.apply(seal(legal(state)[0], state.head, NOW))
        episode = next(iter(state.episodes.values()))
        about: dict[str, Any] = {"fingerprint": "f1", "episode": episode.id, "rule": "r", "target": "t"}
        run = f"r{state.head.seq + 1}"
        detail = {"plan": {**PLAN, "target": "t"}, "plan_digest": "d"}
        for draft in (
            Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.LIVE, run=run, detail=detail, **about),
            Draft(kind=Kind.ACTION_CANCELLED, run=run, reason="resolved", **about),
            Draft(
                kind=Kind.ALERT_RESOLVED,
                fingerprint="f1",
                episode=episode.id,
                detail={"how": "webhook", "ends_at": rfc3339(NOW)},
            ),
        ):
            state.apply(seal(draft, state.head, NOW + number))
    assert len(state.runs) == ENDED_RUNS_KEPT


def healed(state: State, target: str, now: float) -> None:
    """An alert whose run on `target` is over at once, and which is resolved."""
    state.apply(seal(legal(state)[0], state.head, now))
    episode = next(iter(state.episodes.values()))
    about: dict[str, Any] = {"fingerprint": "f1", "episode": episode.id, "rule": "r", "target": target}
    run = f"r{state.head.seq + 1}"
    detail = {"plan": {**PLAN, "target": target}, "plan_digest": "d"}
    for draft in (
        Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.LIVE, run=run, detail=detail, **about),
        Draft(kind=Kind.ACTION_STARTED, run=run, step=1, **about),
        Draft(kind=Kind.ACTION_OK, run=run, step=1, **about),
        Draft(kind=Kind.HEAL_CONFIRMED, run=run, step=1, **about),
        Draft(
            kind=Kind.ALERT_RESOLVED,
            fingerprint="f1",
            episode=episode.id,
            detail={"how": "webhook", "ends_at": rfc3339(now)},
        ),
    ):
        state.apply(seal(draft, state.head, now))


def test_last_actions_are_kept_for_the_longest_cooldown() -> None:
    """Of 365 days, also where the clock was set back by a day; then they leave no trace."""
    state = State()
    longest = MAX_DURATION + CLOCK_SET_BACK
    for target, now in (("t1", NOW), ("t2", NOW + 1), ("t3", NOW + longest)):
        healed(state, target, now)
    assert state.last_action == {"r": {"t1": NOW, "t2": NOW + 1, "t3": NOW + longest}}
    healed(state, "t2", NOW + longest + 0.5)
    assert list(state.last_action["r"]) == ["t3", "t2"]


def test_old_charges_are_forgotten() -> None:
    """Charges older than the longest budget window leave no trace, so memory is bounded by use."""
    state, now = State(), NOW
    for _ in range(3):
        healed(state, "t", now)
        now += CHARGES_KEPT + 1
    assert len(state.charges) == 1
    assert len(state.spent_on("r").times) == 1
    assert len(state.spent_on("r", "t").times) == 1


def test_ends_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept, however many alerts somebody makes up; those that are a day old are forgotten as well."""
    monkeypatch.setattr("autoheal.state.alerts.REMEMBERED", 3)
    told = State()

    def end(number: int, now: float) -> None:
        detail = {"how": "webhook", "ends_at": rfc3339(now)}
        told.apply(seal(Draft(kind=Kind.ALERT_RESOLVED, fingerprint=f"f{number}", detail=detail), told.head, now))

    for number in range(5):
        end(number, NOW + number)
    assert list(told.ends) == ["f2", "f3", "f4"]
    end(9, NOW + ENDS_KEPT + 3.5)
    assert list(told.ends) == ["f4", "f9"]


def test_suspects_of_yesterday_take_no_room() -> None:
    """What was never settled is forgotten after a day, and no longer counts among what is open."""
    told = State()
    detail = {"starts_at": rfc3339(NOW)}
    for number, now in ((1, NOW), (2, NOW + ENDS_KEPT + 1)):
        about = Draft(kind=Kind.ALERT_SUSPECT, fingerprint=f"f{number}", labels={"alertname": "Down"}, detail=detail)
        told.apply(last := seal(about, told.head, now))
    assert list(told.suspects) == ["f2"]
    assert told.open_bytes == len(last.line)


def opened(state: State) -> list[Record]:
    """What a fresh file begins with after a rotation."""
    return list(seal_all([Draft(kind=Kind.LOG_OPENED), *state.snapshot()], state.head, NOW))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "PART_BYTES", 60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs(), st.integers(0, 60), st.integers(0, 60))
def test_a_snapshot_stands_for_all_that_came_before(
    small_parts: None, records: list[Record], turn: int, cut: int
) -> None:
    """Folding a file that begins with a snapshot gives the state of the whole log, at any point to which both are
    folded, in one go or in two with the state written out in between; the running state does not change by it.
    """
    running = fold(records[:turn])
    if not running.founded:
        return
    fresh = opened(running)
    before = copy.deepcopy(running)
    assert replace(fold(fresh, running), head=before.head) == before
    rest = list(seal_all([Draft(**_drafted(record)) for record in records[turn:]], fresh[-1].head, records[-1].ts))
    whole = fold([*records[:turn], *fresh, *rest])
    assert fold([*fresh, *rest]) == whole
    first = ADAPTER.validate_json(ADAPTER.dump_json(fold([*fresh, *rest][:cut])))
    assert fold([*fresh, *rest][cut:], first) == whole
    # With records before it, as in a file that was truncated under the writer.
    assert fold([*records[max(1, turn - 3) : turn], *fresh, *rest]) == whole


def _drafted(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Draft.__dataclass_fields__}


def test_nothing_is_known_before_the_snapshot_is_whole(small_parts: None) -> None:
    """Records that follow an unknown past change nothing, and neither does a snapshot with a part missing, out of
    place or of another version.
    """
    state = State()
    state.apply(seal(legal(state)[0], state.head, NOW))
    log, *parts = opened(state)
    assert len(parts) > 2

    def parts_with(number: int, **changes: Any) -> list[Record]:
        changed = replace(parts[number], detail={**parts[number].detail, **changes})
        return [*parts[:number], changed, *parts[number + 1 :]]

    for broken in (parts[:-1], parts[1:], [*parts[:1], *parts[2:]], parts_with(1, version=2), parts_with(0, version=2)):
        found = fold([log, *broken])
        assert not found.founded
        assert found.head == broken[-1].head
        assert not found.episodes
        # A whole one may still come, after a part that was left over.
        again = fold(parts, found)
        assert again.episodes == state.episodes
        assert again.founded
        assert not again.snapshot_parts


@pytest.mark.parametrize("data", ["*", "AAAA", base64.b64encode(zlib.compress(b"[]")).decode()])
def test_a_snapshot_that_is_none_is_damage(data: str) -> None:
    """A snapshot of a known version that cannot be read is an error for people, never half a state."""
    state = State()
    state.apply(seal(legal(state)[0], state.head, NOW))
    detail = {"version": snapshot.VERSION, "part": 1, "parts": 1, "data": data}
    record = seal(Draft(kind=Kind.SNAPSHOT, detail=detail), state.head, NOW)
    with pytest.raises(JournalDamaged, match="snapshot"):
        State().apply(record)
    state.apply(record)
    assert state.episodes


def told(*drafts: Draft) -> State:
    """The state after these, a minute apart."""
    state = State()
    for number, draft in enumerate((Draft(kind=Kind.LOG_CREATED), *drafts)):
        state.apply(seal(draft, state.head, NOW + 60 * number))
    return state


def entry(what: str, *to: str, incident: str | None = "keys", **more: object) -> Draft:
    """A record that people are to be told of."""
    tell = [{"incident": incident, "what": what, "severity": "error", "to": list(to), **more}]
    return Draft(kind=Kind.KEYS_FAILED, detail={"error": what, "tell": tell})


def test_what_is_owed_is_owed_until_each_channel_has_settled_it() -> None:
    """Also by giving it up; an attempt that is made again settles nothing."""
    first = entry("trigger", "slack", "webhook")
    of = {"of": ["2-0"]}
    again = Draft(kind=Kind.NOTIFY_FAILED, detail={"channel": "slack", "again": True, **of})
    slack = Draft(kind=Kind.NOTIFY_FAILED, detail={"channel": "slack", **of})
    webhook = Draft(kind=Kind.NOTIFIED, detail={"channel": "webhook", **of})
    assert told(first, again).owed["2-0"].to == ["slack", "webhook"]
    assert told(first, again, slack).owed["2-0"].to == ["webhook"]
    assert told(first, again, slack, webhook).owed == {}


def test_an_incident_stands_from_its_first_trigger_to_its_end() -> None:
    """What follows has its key; its end tells what it was about."""
    state = told(entry("trigger", "slack"), entry("trigger", "webhook"), entry("acknowledge", "webhook"))
    incident = state.incidents["keys"]
    assert (incident.seq, incident.to, incident.acknowledged) == (2, ["slack", "webhook"], True)
    assert {owed.key for owed in state.owed.values()} == {2}
    state.apply(seal(entry("resolve", "slack"), state.head, NOW + 600))
    assert state.incidents == {}
    assert state.owed["5-0"].facts == {"error": "trigger"}


def test_what_has_no_end_stands_nowhere() -> None:
    """It is owed all the same."""
    state = told(entry("trigger", "slack", incident=None))
    assert state.incidents == {}
    assert state.owed["2-0"].key == 2


def test_the_messages_of_an_hour_are_remembered() -> None:
    """By them a limit is kept, whatever happens to the process."""
    sent = [Draft(kind=Kind.NOTIFIED, detail={"channel": "slack", "of": []}) for _ in range(70)]
    assert len(told(*sent).sent["slack"]) == 60


def test_what_is_left_out_is_counted_until_it_is_told() -> None:
    """By channel."""
    full = entry("trigger", unsaid=["slack"])
    assert told(full, full).unsaid == {"slack": 2}
    assert told(full, full).incidents == {}
    digest = Draft(kind=Kind.NOTIFIED, detail={"channel": "slack", "of": [], "unsaid": 2})
    assert told(full, full, digest).unsaid == {}
