"""A storm: a rule's alerts named more distinct targets in a short time than one cause for each would explain."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Storm:
    """One rule's. `began_at` is in epoch seconds; `held` are the targets by the fingerprints of their alerts.

    While it is not `over`, every alert of the rule is held. Those stay held, also beyond its end, until they resolve or
    somebody lets them go. `escalated_at` is when people were called, where they were, and `told` the kind of the last
    record that tells whether Alertmanager has taken that.
    """

    began_at: float
    over: bool = False
    held: dict[str, str] = field(default_factory=dict)
    escalated_at: float | None = None
    told: str | None = None

    def holds(self, fingerprint: str) -> bool:
        """Whether the rule must leave that alert alone."""
        return not self.over or fingerprint in self.held


@dataclass(frozen=True, slots=True)
class Release:
    """Somebody's word at `ts` (epoch seconds) that one alert of a storm need not be held any more.

    It was given on the plan and the rule of these digests: what they are is approved, another plan or rule is not.
    `seq` is that of its record. `observed` is how that was just after it which the plan's first step would change,
    where that is known. Once `void` it approves nothing any more, because that has changed.
    """

    plan_digest: str
    rule_digest: str
    ts: float
    by: str
    seq: int = 0
    observed: str | None = None
    void: bool = False
