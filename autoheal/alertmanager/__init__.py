"""Alertmanager's API v2, of all that were named: which alerts fire now, silences, and alerts of our own."""

from autoheal.alertmanager.client import Alertmanager
from autoheal.alertmanager.poll import SETTLED_SECONDS, Poll, Seen, matcher_filters
from autoheal.alertmanager.post import Post
from autoheal.alertmanager.silences import Silenced, Wanted

__all__ = ["SETTLED_SECONDS", "Alertmanager", "Poll", "Post", "Seen", "Silenced", "Wanted", "matcher_filters"]
