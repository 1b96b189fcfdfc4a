"""People's word on single runs: approve, deny, cancel, ask again.

The first word on a run wins: it is folded before anybody else's is looked at, and whoever comes later is told so once
that is durable. What a word does is the run's own business, which looks at the folded state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from autoheal.clock import Clock
from autoheal.engine.deciding import run_draft
from autoheal.engine.ledger import Ledger
from autoheal.errors import ApprovalExpired, AutohealError, NoRun, OwnRun, WrongTurn
from autoheal.model import RESERVED_ACTORS, By, Draft, Kind, rfc3339
from autoheal.rules import RuleSet
from autoheal.state import CANCELLED_BY_PEOPLE, Run, RunState

_NOT_BEGUN = (RunState.AWAITING_APPROVAL, RunState.PLANNED)


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says on a run. `plan_digest` is that of the plan which they have looked at, where they say so."""

    by: By
    comment: str = ""
    plan_digest: str | None = None


class Control:
    """Records people's words. `expect_running` raises JournalUnavailable when the engine does not run.

    Each answers with the run once its record is durable, and raises NoRun, WrongTurn when the run is over, decided on
    or another than what was looked at, and JournalUnavailable.
    """

    def __init__(
        self, ledger: Ledger, clock: Clock, rules: Callable[[], RuleSet], expect_running: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._expect_running = expect_running

    async def approve(self, run_id: str, word: Word) -> Run:
        """Let the run act, guards willing. Raises ApprovalExpired, and OwnRun for whoever caused it."""
        run = await self._awaiting(run_id, word)
        actor = word.by.actor
        if actor in (run.caused_by, run.asked_by) and actor not in RESERVED_ACTORS:
            how = "is one that {} has asked for" if actor == run.asked_by else "follows from what {} has sent"
            raise OwnRun(f"the run {run.id} {how.format(actor)}: somebody else must approve it")
        return await self._record(run, Kind.APPROVAL_GRANTED, word)

    async def deny(self, run_id: str, word: Word) -> Run:
        """End the run before it acts. Raises ApprovalExpired."""
        return await self._record(await self._awaiting(run_id, word), Kind.APPROVAL_DENIED, word, reason="denied")

    async def cancel(self, run_id: str, word: Word) -> Run:
        """End the run: at once when no step has begun or one is yet to begin, else as soon as what it does is ended."""
        run = self._known(run_id, word)
        if run.ended or run.state is RunState.ESCALATING:
            await self._refuse(WrongTurn(f"the run {run.id} is over: {_standing(run)}"))
        if run.state is RunState.CANCELLING:
            await self._ledger.settle()
            return run
        kind = Kind.ACTION_CANCELLED if run.state in _NOT_BEGUN else Kind.CANCEL_REQUESTED
        return await self._record(run, kind, word, reason=CANCELLED_BY_PEOPLE)

    async def rerun(self, run_id: str, word: Word) -> Run:
        """Let the rule of a run that is over try once more on the same episode, guards willing."""
        run = self._known(run_id, word)
        if not run.ended:
            await self._refuse(WrongTurn(f"the run {run.id} goes on: {_standing(run)}"))
        episode = self._ledger.state.episodes.get(run.fingerprint)
        if episode is None or episode.id != run.episode:
            await self._refuse(WrongTurn(f"the alert that the run {run.id} was about has ended"))
        elif run.rule not in episode.ran:
            other = episode.runs.get(run.rule)
            why = "nothing has to be asked for" if other is None else f"its run {other} goes on"
            await self._refuse(WrongTurn(f"the rule {run.rule!r} may act on this alert already: {why}"))
        elif all(rule.name != run.rule for rule in self._rules().match(episode.labels)):
            await self._refuse(WrongTurn(f"no rule {run.rule!r} that is for this alert is in force"))
        return await self._record(run, Kind.RERUN_REQUESTED, word)

    async def end_resolved(self, run_id: str) -> None:
        """The alert has ended, and the rule says that what the run does is to end with it."""

        def drafts() -> Sequence[Draft]:
            run = self._ledger.state.runs.get(run_id)
            if run is None or run.state is not RunState.ACTING or run.resolved is None:
                return []
            return [run_draft(Kind.CANCEL_REQUESTED, run, reason="resolved", resolved=run.resolved)]

        await self._ledger.insist(drafts)

    def _known(self, run_id: str, word: Word) -> Run:
        self._expect_running()
        self._ledger.refresh()
        run = self._ledger.state.runs.get(run_id)
        if run is None:
            raise NoRun("no such run, or it ended so long ago that only /audit knows it (q=run=ID)")
        if word.plan_digest not in (None, run.plan_digest):
            raise WrongTurn(f"the plan of the run {run.id} is another: its digest is {run.plan_digest}")
        return run

    async def _awaiting(self, run_id: str, word: Word) -> Run:
        run = self._known(run_id, word)
        if run.state is RunState.EXPIRED:
            await self._refuse(_too_late(run))
        if run.state is not RunState.AWAITING_APPROVAL or run.approval is None:
            await self._refuse(WrongTurn(f"the run {run.id} waits for no approval: {_standing(run)}"))
        elif self._clock.now() >= run.approval.expires_at:
            self._ledger.commit([run_draft(Kind.APPROVAL_EXPIRED, run, reason="expired")])
            await self._refuse(_too_late(run))
        return run

    async def _refuse(self, error: AutohealError) -> NoReturn:
        # What stands in the way may be a moment old, and no answer leaves before what it tells is durable.
        await self._ledger.settle()
        raise error

    async def _record(self, run: Run, kind: Kind, word: Word, reason: str | None = None) -> Run:
        told: dict[str, Any] = {"comment": word.comment} if word.comment else {}
        if kind in (Kind.APPROVAL_GRANTED, Kind.APPROVAL_DENIED):
            told["plan_digest"] = run.plan_digest
        by, request = word.by.actor, word.by.correlation_id
        (record,) = self._ledger.commit([run_draft(kind, run, reason=reason, actor=by, request_id=request, **told)])
        await self._ledger.journal.wait(record.seq)
        return self._ledger.state.runs[run.id]


def _standing(run: Run) -> str:
    """Where it stands, in words for whoever came too late."""
    if run.approval is not None and run.approval.by is not None and not run.ended:
        return f"approved by {run.approval.by}"
    why = f" ({run.reason})" if run.reason not in (None, run.state.value) else ""
    return f"{run.state.value}{why}{f' by {run.ended_by}' if run.ended_by is not None else ''}"


def _too_late(run: Run) -> ApprovalExpired:
    until = "" if run.approval is None else f" at {rfc3339(run.approval.expires_at)}"
    return ApprovalExpired(f"the time to approve the run {run.id} was over{until}")
