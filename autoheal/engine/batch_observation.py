"""How the targets of a storm's batch are just after people let it go: what changes before its turn voids their word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from autoheal.actions import Context, Observing
from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.engine.observation import observed
from autoheal.engine.world import World
from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind, Mode, Record
from autoheal.rules import Rule
from autoheal.rules.decide import Decision
from autoheal.rules.guards import hold_out
from autoheal.state import Episode

AT_ONCE = 16
"""How many targets are looked at together, and told of by one record, which always fits: 300 characters of each."""
LOOK_SECONDS = 60.0
"""After so long nothing more is looked at: it would be told of as what people saw, and be what it became since."""

_log = structlog.get_logger(__name__)


class BatchObservation:
    """Looks at what was let go and has not begun. `decide` says what would be decided now on an episode by a rule."""

    def __init__(
        self,
        ledger: Ledger,
        decide: Callable[[Episode, Rule], Decision],
        world: World,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._decide = decide
        self._world = world
        self._clock = clock

    async def record(self, released: Record, rule: Rule, batch: Sequence[str]) -> None:
        """Record how the targets of `batch` (fingerprints) are, once `released`, the record of its release, is durable.

        Not begun again in another life: what is not known is not compared.
        """
        # A rule that is off may have no step.
        if not any(isinstance(self._world.actions.get(step.action), Observing) for step in rule.steps[:1]):
            return
        try:
            await self._ledger.journal.wait(released.seq)
        except JournalUnavailable:
            return  # whoever let them go is told
        until = self._clock.monotonic() + LOOK_SECONDS
        for first in range(0, len(batch), AT_ONCE):
            if self._clock.monotonic() >= until:
                _log.warning("batch_observed_in_part", rule=rule.name, left_out=len(batch) - first)
                return
            await self._record_some(released, rule, batch[first : first + AT_ONCE])

    async def _record_some(self, released: Record, rule: Rule, some: Sequence[str]) -> None:
        # A task each: whatever becomes of one, its cancellation by a fault of its own included, the others go on.
        looks = (self._look(released, rule, fingerprint) for fingerprint in some)
        answers = await asyncio.gather(*looks, return_exceptions=True)
        texts: dict[str, str] = {}
        for fingerprint, told in zip(some, answers, strict=True):
            if isinstance(told, str):
                texts[fingerprint] = told
            elif told is not None:
                # Its text may quote a secret.
                error = type(told).__name__
                _log.error("batch_observation_failed", rule=rule.name, fingerprint=fingerprint, error=error)
        await self._ledger.insist(lambda: self._drafts(released, rule, texts))

    async def _look(self, released: Record, rule: Rule, fingerprint: str) -> str | None:
        episode = self._waiting(released, rule, fingerprint)
        # As deciding does: a reload may have given it to another rule, or made another plan of it.
        if episode is None or rule.digest not in [one.digest for one in self._world.rules().match(episode.labels)]:
            return None
        decision, release = self._decide(episode, rule), episode.released[rule.name]
        if decision.mode is not Mode.APPROVE or not hold_out(episode, rule).passed:
            return None  # it would not act, or by nobody's word
        if decision.plan is None or decision.plan_digest != release.plan_digest:
            return None
        return await observed(decision.plan["steps"][0], self._world.actions, self._context(released, fingerprint))

    def _waiting(self, released: Record, rule: Rule, fingerprint: str) -> Episode | None:
        """The episode, if it was let go by that very record and nothing was done on it since."""
        episode = self._ledger.state.episodes.get(fingerprint)
        release = None if episode is None else episode.released.get(rule.name)
        if episode is None or release is None or release.seq != released.seq:
            return None
        run = self._ledger.state.runs.get(episode.runs.get(rule.name, ""))
        # One that was decided on may be stopped yet, by somebody who goes on to change the target.
        begun = rule.name in episode.ran or (run is not None and not run.about_to_begin)
        return None if begun else episode

    def _context(self, released: Record, fingerprint: str) -> Context:
        about = f"release-{released.seq}-{fingerprint}"
        return Context(
            run=about,  # there is none yet
            step=0,
            idempotency_key=f"{self._ledger.journal.log_id}-{about}-observation",
            secrets=self._world.rules().secrets,
            lock_dir=self._world.lock_dir,
            clock=self._clock,
        )

    def _drafts(self, released: Record, rule: Rule, texts: Mapping[str, str]) -> Sequence[Draft]:
        known = {one: text for one, text in texts.items() if self._waiting(released, rule, one) is not None}
        if not known:
            return []
        detail = {"released": released.seq, "observed": known}
        correlation_id = released.correlation_id
        return [Draft(kind=Kind.STORM_OBSERVED, rule=rule.name, correlation_id=correlation_id, detail=detail)]
