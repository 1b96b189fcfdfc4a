"""`autoheal serve` whose alerts of its own lapse after seconds instead of minutes: `impatient_gateway.py`."""

from __future__ import annotations

import sys

from autoheal.cli import main
from autoheal.engine import own_alerts, poster

HOLD_SECONDS = 4.0

if __name__ == "__main__":
    own_alerts.ACTIVE_SECONDS = HOLD_SECONDS
    poster.REPEAT_SECONDS = 1.5
    sys.exit(main(["serve"]))
