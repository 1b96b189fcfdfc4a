"""What records of guards change: space, breakers, storms, pauses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from autoheal.breaker import Breaker
from autoheal.model import Kind, Record, parse_rfc3339
from autoheal.state.entities import Pause
from autoheal.state.keeping import CLOCK_SET_BACK, given
from autoheal.storm import Release, Storm

if TYPE_CHECKING:
    from autoheal.state.whole import State


def _space(*, low: bool) -> Callable[[State, Record], None]:
    def change(state: State, _: Record) -> None:
        state.space_low = low

    return change


def _breaker_opened(state: State, record: Record) -> None:
    state.breakers.setdefault(given(record.rule), Breaker()).open(record.detail["rule_digest"], record.ts)


def _rule_demoted(state: State, record: Record) -> None:
    state.breakers[given(record.rule)].demoted = True


def _breaker_closed(state: State, record: Record) -> None:
    state.breakers.pop(given(record.rule), None)


def _storm_began(state: State, record: Record) -> None:
    rule = given(record.rule)
    known = state.storms.get(rule)
    storm = state.storms[rule] = Storm(record.ts, held={} if known is None else known.held)
    for episode in state.episodes.values():
        decision = episode.decisions.get(rule)
        if decision is not None and decision.target is not None and rule not in episode.released:
            storm.held[episode.fingerprint] = decision.target


def _storm_released(state: State, record: Record) -> None:
    rule, digest = given(record.rule), record.detail["rule_digest"]
    storm = state.storms[rule]
    # Not listed in the record, which could not hold ten thousand: it was made from this very state.
    for episode in state.batch(rule):
        plan = given(episode.decisions[rule].plan_digest)
        episode.released[rule] = Release(plan, digest, record.ts, record.actor, record.seq)
        del storm.held[episode.fingerprint]
    if storm.over and not storm.held:
        del state.storms[rule]


def _storm_observed(state: State, record: Record) -> None:
    rule, observed = given(record.rule), record.detail["observed"]
    for fingerprint, text in observed.items():
        episode = state.episodes.get(fingerprint)
        release = None if episode is None else episode.released.get(rule)
        # Another firing of that alert may have been let go since.
        if episode is not None and release is not None and release.seq == record.detail["released"]:
            episode.released[rule] = replace(release, observed=text)
            run = state.runs.get(episode.runs.get(rule, ""))
            if run is not None and run.about_to_begin and run.approval is not None:
                run.approval.observed = text


def _storm_ended(state: State, record: Record) -> None:
    storm = state.storms[given(record.rule)]
    storm.over = True
    if not storm.held:
        del state.storms[given(record.rule)]


def _paused(state: State, record: Record) -> None:
    _resumed(state, record)
    detail = record.detail
    until = parse_rfc3339(detail["until"]) if "until" in detail else None
    state.pauses = [pause for pause in state.pauses if pause.lasts(record.ts - CLOCK_SET_BACK)]
    state.pauses.append(Pause(record.rule, detail["how"], record.actor, detail["reason"], record.ts, until))


def _resumed(state: State, record: Record) -> None:
    which = record.rule, record.detail["how"]
    state.pauses = [pause for pause in state.pauses if (pause.rule, pause.how) != which]


GUARDS: Mapping[Kind, Callable[[State, Record], None]] = {
    Kind.SPACE_LOW: _space(low=True),
    Kind.SPACE_OK: _space(low=False),
    Kind.BREAKER_OPENED: _breaker_opened,
    Kind.BREAKER_CLOSED: _breaker_closed,
    Kind.RULE_DEMOTED: _rule_demoted,
    Kind.STORM_BEGAN: _storm_began,
    Kind.STORM_RELEASED: _storm_released,
    Kind.STORM_OBSERVED: _storm_observed,
    Kind.STORM_ENDED: _storm_ended,
    Kind.PAUSED: _paused,
    Kind.RESUMED: _resumed,
}
