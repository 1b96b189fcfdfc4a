"""A program that runs one command action and waits to be killed: `dying_gateway.py LOOP LOCK_DIR GRACE ARGV…`."""

from __future__ import annotations

import sys
from pathlib import Path

from autoheal.actions import Command, Context
from autoheal.clock import SystemClock
from tests.support.looping import run_on

if __name__ == "__main__":
    loop, lock_dir, grace, *argv = sys.argv[1:]
    context = Context(
        run="run-1", step=1, idempotency_key="k", secrets={}, lock_dir=Path(lock_dir), clock=SystemClock()
    )
    run_on(loop, Command(grace=float(grace)).run({"argv": argv, "timeout": 600.0}, context))
