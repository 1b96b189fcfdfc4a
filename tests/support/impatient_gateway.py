"""`autoheal serve` whose silences and own alerts lapse after seconds instead of minutes: `impatient_gateway.py`."""

from __future__ import annotations

import sys

from autoheal.cli import main
from autoheal.engine import acknowledge, own_alerts, poster, silences

LEASE_SECONDS = 4.0

if __name__ == "__main__":
    own_alerts.ACTIVE_SECONDS = LEASE_SECONDS
    poster.REPEAT_SECONDS = 1.5
    silences.SILENCE_SECONDS = acknowledge.SILENCE_SECONDS = LEASE_SECONDS
    silences.LOOK_SECONDS, silences.MARGIN_SECONDS = 0.5, 3.0
    sys.exit(main(["serve"]))
