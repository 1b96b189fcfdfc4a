"""Whether a log is whole, unaltered and signed: chain, manifests and checkpoints, held against each other."""

from autoheal.journal.verify.chain import Finding, Problem, Report
from autoheal.journal.verify.tail import verify_tail
from autoheal.journal.verify.walk import verify

__all__ = ["Finding", "Problem", "Report", "verify", "verify_tail"]
