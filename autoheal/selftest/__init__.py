"""The self-test: a made-up alert through the whole pipe, who is let in, the log, and what autoheal depends on.

`autoheal selftest` runs it from outside, the service runs the same against its own address every few minutes.
"""

from autoheal.selftest.checks import Subject, run_checks
from autoheal.selftest.results import Result, report
from autoheal.selftest.service import SelfTesting

__all__ = ["Result", "SelfTesting", "Subject", "report", "run_checks"]
