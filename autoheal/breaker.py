"""A rule's breaker: what is remembered of runs that did not help, as plain data that a state folds.

It is *open* from `breaker_opened` to `breaker_closed`. How many failures in a row open it is the rule's to say, so the
engine writes those records; `failures` is counted here in any case.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """Times are epoch seconds.

    A failure is a live run that acted, was judged `heal_failed` or `heal_inconclusive` and left to people. `failures`
    counts those in a row; `opens` how often it has opened since it was last closed, and `trial_failed` says that it is
    to open again. `digest` is that of the rule by which it opened; `demoted` says that it must not act by itself.
    """

    failures: int = 0
    failed_at: float = 0.0
    opened_at: float | None = None
    opens: int = 0
    trial_failed: bool = False
    digest: str = ""
    demoted: bool = False

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to remember."""
        return self.failures == 0 and self.opened_at is None

    def fail(self, begun: float, ts: float) -> None:
        """A run that was decided on at `begun` has failed at `ts`."""
        self.failures += 1
        self.failed_at = ts
        # Runs that were under way when it opened are no trials: a crowd of them must not count as many openings.
        if self.opened_at is not None and begun > self.opened_at:
            self.trial_failed = True

    def heal(self) -> None:
        """A run has healed."""
        self.failures, self.trial_failed = 0, False

    def open(self, digest: str, ts: float) -> None:
        """It opens, or opens again after a trial."""
        self.opened_at, self.digest, self.trial_failed = ts, digest, False
        self.opens += 1

    def blocks(self, failures: int) -> bool:
        """Whether it is open, or about to be, for a rule whose breaker opens after so many `failures`."""
        return self.opened_at is not None or self.failures >= failures

    def until(self, reset: float) -> float:
        """When a trial may be made, `reset` seconds after the last failure or opening."""
        return max(self.failed_at, self.opened_at or 0.0) + reset
