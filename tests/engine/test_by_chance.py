"""The engine by chance: whatever happens in whichever order, it does nothing that it must not, and ends what it began.

Random sequences of what monitoring, people, actions, the disk and the clock may do are played to the real engine, and a
model made from the documentation alone (`tests/support/games/watchman.py`) watches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase

from autoheal.engine import Word, intake, runs, verification
from autoheal.engine.control import Control
from autoheal.engine.crew import Crew
from autoheal.engine.decider import Decider
from autoheal.engine.disputes import Disputes
from autoheal.engine.pauses import Pauses
from autoheal.engine.poster import Poster
from autoheal.engine.runs import Runner
from autoheal.engine.silences import Silences
from autoheal.engine.watchdog import Watchdog
from autoheal.model import Kind, Reason, Record
from autoheal.rules import Rule, decide, guards
from autoheal.rules.guards import Facts, Verdict
from autoheal.state import Episode, Run, State, whole
from autoheal.storm import Release
from tests.support.games.doubles import SlowJournal
from tests.support.games.game import play, seen

SAMPLE, WHOLE = 150, 3000
STEPS = 40
EXPECTED = frozenset(
    (
        *(f"decision {reason}" for reason in Reason if reason not in ("disabled", "no_rule", "bad_target")),
        *("action_ok", "action_fail", "action_interrupted gateway_died", "action_interrupted shutdown"),
        *("action_cancelled resolved", "action_cancelled cancelled", "action_cancelled paused"),
        *("approval_granted", "approval_denied denied", "approval_expired expired", "action_dry_run dry_run"),
        *("heal_confirmed resolved", "heal_failed not_resolved", "heal_failed action_failed"),
        *("escalated steps_exhausted", "escalated paused", "escalated storm", "storm_ended"),
        *("breaker_opened", "breaker_closed healed", "cancel_requested cancelled", "cancel_requested resolved"),
        *(
            "alert_suspect",
            "storm_observed",
            "alert_disputed",
            "alert_undisputed",
            "snapshot",
            "silence_created",
            "paused",
            "resumed",
        ),
        *("space_low", "space_ok", "config_rejected", "watchdog_missing", "watchdog_back"),
        *("silence_expired resolved", "silence_expired withdrawn", "silence_extended", "silence_failed"),
        *("action_dry_run hold_out", "storm_released", "rerun_requested", "breaker_closed operator"),
        *("action_cancelled human_present", "notified steps_exhausted", "notify_failed steps_exhausted"),
    )
)
"""Kinds of records, with their reasons where they have one."""
SELDOM = frozenset(("rule_demoted", "heal_inconclusive silenced", "heal_inconclusive disputed"))
"""More of them, for which a few games are not enough."""


@pytest.mark.timeout(600)
def test_games() -> None:
    """The same games each time, in which everything that the engine can decide and do comes to pass."""
    seen.clear()
    play(SAMPLE, STEPS, derandomize=True, phases=[Phase.generate])
    missing = {kind for kind in EXPECTED if not seen[kind]}
    assert not missing


@pytest.mark.hammer
@pytest.mark.timeout(3600)
def test_many_games() -> None:
    """Other games each time, and longer ones."""
    seen.clear()
    play(WHOLE, 2 * STEPS)
    missing = {kind for kind in EXPECTED | SELDOM if not seen[kind]}
    assert not missing
    print(f"{WHOLE:,} games: {sum(seen.values()):,} records of {len(seen)} sorts")


def waives(*reasons: Reason) -> Callable[..., Iterator[Verdict]]:
    """The guards, less these."""
    ask = decide._waits

    def waits(*about: Any) -> Iterator[Verdict]:
        return (replace(one, passed=one.passed or one.reason in reasons) for one in ask(*about))

    return waits


def lingers(reason: Reason) -> Callable[..., Iterator[Verdict]]:
    """The guards, of which one goes on to refuse for some time."""
    ask = decide._waits

    def waits(*about: Any) -> Iterator[Verdict]:
        *known, now, run, facts = about
        for one, before in zip(ask(*about), ask(*known, now - 100.0, run, facts), strict=True):
            late = one.reason is reason and one.passed and not before.passed
            yield replace(one, passed=False, ask_again=now + 100.0) if late else one

    return waits


def passes(*_: object) -> Verdict:
    return Verdict(Reason.PAUSED, passed=True)


_share, _treated = guards.hold_out, guards.fleet_guard
_let_go, _asked = whole.CHANGES[Kind.STORM_RELEASED], whole.CHANGES[Kind.RERUN_REQUESTED]


def in_share(episode: Episode, rule: Rule) -> Verdict:
    return replace(_share(episode, rule), passed=True)


def small_enough(*about: Any) -> Verdict:
    """Prometheus does not answer, so nothing is known against it."""
    verdict = _treated(*about)
    return replace(verdict, passed=verdict.passed or verdict.saw["population"] is None)


def gone_when_unknown(state: State, episode: Episode, rule: Rule, facts: Facts, now: float) -> Verdict:
    """Who minded the alert is gone as soon as nobody can tell."""
    there = facts.standing is not None and any(one not in state.silences for one in facts.standing.silenced_by)
    return Verdict(Reason.HUMAN_PRESENT, not there, {}, now + guards.ASK_OTHERS_SECONDS)


def may_always_run_again(self: Runner) -> bool:
    """However often it was cut short."""
    said = any(rule.name == self.run.rule and rule.rerun_interrupted for rule in self._world.rules().rules)
    return said and self.run.reason in ("gateway_died", "shutdown")


def all_may_run_again(state: State, record: Record) -> None:
    _asked(state, record)
    state.episodes[str(record.fingerprint)].ran.clear()


def stays_let_go(state: State, record: Record) -> None:
    episode = state.episodes[str(record.fingerprint)]
    released = dict(episode.released)
    _asked(state, record)
    episode.released |= released


def nobody_asked(state: State, record: Record) -> None:
    _asked(state, record)
    state.episodes[str(record.fingerprint)].asked_by.clear()


def lets_all_go(state: State, record: Record) -> None:
    """What fires and was not held goes with the batch."""
    _let_go(state, record)
    for episode in state.episodes.values():
        episode.released.setdefault(str(record.rule), Release("", "", record.ts, record.actor))


async def nobody_contradicts(*_: object) -> dict[str, float]:
    return {}


async def nothing_settles(*_: object) -> frozenset[str]:
    return frozenset()


async def all_helped(*_: object) -> verification.Verdict:
    """Nobody looks whether the alert has gone."""
    return verification.Verdict(verification.Outcome.CONFIRMED, "resolved")


async def says_nothing(self: Poster) -> None:
    """People are not called."""


async def nobody_looks(self: Runner) -> None:
    """How a target was when people gave their word is not compared."""


async def acts_again(self: Runner) -> None:
    """An action that the life before began is begun again."""
    step = self.run.steps[self.run.step - 1]
    outcome = await self._act(self._world.actions[step["action"]], step["params"])
    await self._tell(Kind.ACTION_OK, step["action"], {} if outcome is None else outcome.detail)


async def at_once(self: SlowJournal, seq: int) -> None:
    """The intent counts as written before it is."""


async def anybody(self: Control, run_id: str, word: Word) -> Run:
    """The last word counts, not the first."""
    return self._known(run_id, word)


MUTANTS: dict[str, tuple[object, str, object]] = {
    "for is not waited for": (decide, "_waits", waives(Reason.NOT_YET)),
    "a rule tries again on an episode": (decide, "_waits", waives(Reason.RUN_ENDED)),
    "targets are not locked": (decide, "_waits", waives(Reason.IN_PROGRESS)),
    "acknowledgements do not count": (decide, "_waits", waives(Reason.ACKED)),
    "freezes do not count": (decide, "_waits", waives(Reason.FROZEN)),
    "other alerts do not count": (decide, "_waits", waives(Reason.UNLESS)),
    "cooldowns do not count": (decide, "_waits", waives(Reason.COOLDOWN)),
    "budgets do not count": (decide, "_waits", waives(Reason.BUDGET)),
    "breakers do not count": (decide, "_waits", waives(Reason.BREAKER_OPEN)),
    "storms do not count": (decide, "_waits", waives(Reason.STORM)),
    "concurrency does not count": (decide, "_waits", waives(Reason.CONCURRENCY)),
    "a full disk does not count": (decide, "_waits", waives(Reason.LOW_SPACE)),
    "disputes do not count": (decide, "_waits", waives(Reason.DISPUTED)),
    "an end is an end, whoever tells it": (Disputes, "contradicted", nobody_contradicts),
    "whoever lists an alert is right": (Disputes, "standing", lambda self, about, poll, _: poll.verdict(about)),
    "nobody asks again about what is disputed": (Disputes, "settle", nothing_settles),
    "people in Alertmanager do not count": (decide, "_waits", waives(Reason.HUMAN_PRESENT)),
    "people are gone when nobody can tell": (guards, "human_present", gone_when_unknown),
    "fleets do not count": (decide, "_waits", waives(Reason.FLEET_GUARD)),
    "a fleet that nobody counts is large": (guards, "fleet_guard", small_enough),
    "what is held out is acted on": (guards, "hold_out", in_share),
    "demotion does not count": (decide, "_demotion", lambda *_: {}),
    "who let a storm go has approved the next run too": (
        *(whole, "CHANGES"),
        {**whole.CHANGES, Kind.RERUN_REQUESTED: stays_let_go},
    ),
    "a storm is let go with all that fires": (whole, "CHANGES", {**whole.CHANGES, Kind.STORM_RELEASED: lets_all_go}),
    "one rule that is asked again is all of them": (
        *(whole, "CHANGES"),
        {**whole.CHANGES, Kind.RERUN_REQUESTED: all_may_run_again},
    ),
    "whatever was done has helped": (runs, "verify", all_helped),
    "what was interrupted is done again and again": (Runner, "_may_run_again", may_always_run_again),
    "people do not hear of what is left to them": (Poster, "_look", says_nothing),
    "nobody minds that alerts stay away": (Watchdog, "_miss", lambda self: None),
    "acknowledgements outlive their silences": (Silences, "_record_end", lambda *_, **__: None),
    "whoever asked for a run may approve it": (
        *(whole, "CHANGES"),
        {**whole.CHANGES, Kind.RERUN_REQUESTED: nobody_asked},
    ),
    **{
        f"{reason} stays for a while after its end": (decide, "_waits", lingers(reason))
        for reason in (Reason.NOT_YET, Reason.ACKED, Reason.COOLDOWN)
    },
    "pauses do not count": (guards, "paused", passes),
    "protection does not count": (decide, "protected", passes),
    "what people have approved may change": (Runner, "_observed_now", nobody_looks),
    "approval is not needed": (guards, "approved", passes),
    "nobody looks again once the intent is written": (runs, "overtaken", lambda world, run: None),
    "nobody looks again before the step": (runs, "obstacle", lambda world, run, number=None, now=None: None),
    "what was interrupted is done again": (Runner, "_close_interrupted", acts_again),
    "it acts before the intent is durable": (SlowJournal, "wait", at_once),
    "anybody's word counts at any time": (Control, "_awaiting", anybody),
    "the other one of a pair tells of another firing": (intake, "_same_firing", lambda *_: False),
    "nothing is taken up at start": (Crew, "take_up", lambda self: None),
    "nobody asks again when a wait ends": (Decider, "_wait", lambda self, episode, decision: None),
    "the file is not looked at": (Pauses, "look_at_file", lambda self: None),
    "snapshots lack the charges": (whole, "_SNAPSHOT_FIELDS", [n for n in whole._SNAPSHOT_FIELDS if n != "charges"]),
}
"""Engines that are not to be trusted: what is put in the place of what."""


@pytest.mark.hammer
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_game_tells(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine in which one thing is broken does not come through the games of the sample."""
    owner, attribute, instead = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, instead)
    with pytest.raises((AssertionError, ExceptionGroup)):
        play(6 * SAMPLE, STEPS, derandomize=True, phases=[Phase.generate])
