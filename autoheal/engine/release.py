"""People's word on storms: let all go that one holds, as a batch that somebody has looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoheal.engine.ledger import Ledger
from autoheal.errors import NoRule, OtherBatch, OwnRun, WrongTurn
from autoheal.model import RESERVED_ACTORS, By, Draft, Kind, Mode, Record, plan_digest
from autoheal.rules import Rule, RuleSet
from autoheal.rules.decide import demoted_to
from autoheal.state import Episode


def batch_digest(rule: Rule, batch: Sequence[Episode]) -> str:
    """What a release is bound to: the rule as written, and each alert of `batch` (`State.batch`) with its plan."""
    alerts = {episode.fingerprint: [episode.id, episode.decisions[rule.name].plan_digest] for episode in batch}
    return plan_digest({"rule": rule.name, "rule_digest": rule.digest, "alerts": alerts})


class Releases:
    """Records that people let go. `expect_running` raises JournalUnavailable when the engine does not run.

    `observe` begins to look, beside, at the targets of those (by fingerprint) that may act by people's word alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Callable[[], RuleSet],
        expect_running: Callable[[], None],
        observe: Callable[[Record, Rule, Sequence[str]], None],
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._expect_running = expect_running
        self._observe = observe

    async def release(self, name: str, digest: str, comment: str, by: By) -> int:
        """Let go what a storm of the rule `name` holds, guards willing; how many alerts. Durable on return.

        Raises NoRule, WrongTurn when it holds nothing, OtherBatch when that is not what has `digest`, OwnRun for
        whoever has sent an alert of it, and JournalUnavailable.
        """
        self._expect_running()
        self._ledger.refresh()
        rule = next((rule for rule in self._rules().rules if rule.name == name), None)
        if rule is None:
            raise NoRule(f"no rule {name!r} is in force")
        batch = self._ledger.state.batch(name)
        found = batch_digest(rule, batch)
        # What stands in the way may be a moment old, and no answer leaves before what it tells is durable.
        if not batch:
            await self._ledger.settle()
            raise WrongTurn(f"no storm of the rule {name!r} holds an alert that could be let go")
        if digest != found:
            await self._ledger.settle()
            raise OtherBatch(name, found)
        causes = {cause for episode in batch for cause in (episode.caused_by, episode.asked_by.get(name))}
        if by.actor in causes - RESERVED_ACTORS:
            raise OwnRun(
                f"an alert of this storm is one that {by.actor} has sent, or asked a run for: somebody else must let"
                " them go"
            )
        detail = {"batch_digest": found, "rule_digest": rule.digest, "alerts": len(batch)}
        if comment:
            detail["comment"] = comment
        about = Draft(
            kind=Kind.STORM_RELEASED, rule=name, actor=by.actor, correlation_id=by.correlation_id, detail=detail
        )
        (record,) = self._ledger.commit([about])
        # A live plan is made in the moment before it acts: there is nothing to compare. What the rule may be now
        # counts, not what it was when its alerts were last decided on.
        if Mode.APPROVE in (rule.mode, demoted_to(rule)):
            self._observe(record, rule, [one.fingerprint for one in batch])
        await self._ledger.journal.wait(record.seq)
        return len(batch)
