"""Alertmanager's API v2, of every Alertmanager that was named: which alerts fire now, and silences."""

from autoheal.alertmanager.client import Alertmanager
from autoheal.alertmanager.poll import SETTLED_SECONDS, Poll, Seen, matcher_filters
from autoheal.alertmanager.silences import Silenced, Wanted

__all__ = ["SETTLED_SECONDS", "Alertmanager", "Poll", "Seen", "Silenced", "Wanted", "matcher_filters"]
