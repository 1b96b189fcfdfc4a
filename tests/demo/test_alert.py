"""The demo plays Alertmanager: what it posts is what a real one would."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from autoheal.demo.alert import fingerprint, notification

PAYLOADS = sorted((Path(__file__).parents[1] / "payloads").glob("*.json"))
STARTS_AT = 1_790_000_000.0


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda path: path.stem)
def test_fingerprints_are_alertmanagers(payload: Path) -> None:
    """Each alert that a real Alertmanager sent has the fingerprint that the demo would give it."""
    for alert in orjson.loads(payload.read_bytes())["alerts"]:
        assert fingerprint(alert["labels"]) == alert["fingerprint"]


@pytest.mark.parametrize(
    ("payload", "ends_at"), [("01_firing_single", None), ("03_resolved_group_of_3", STARTS_AT + 5)]
)
def test_a_notification_has_the_shape_of_a_real_one(payload: str, ends_at: float | None) -> None:
    """The same keys with values of the same types, down to the alert, and the same words for the status."""
    path = next(path for path in PAYLOADS if path.stem == payload)
    real = orjson.loads(path.read_bytes())
    labels = real["alerts"][0]["labels"]
    made = notification(labels, "it is down", starts_at=STARTS_AT, ends_at=ends_at)
    for theirs, ours in ((real, made), (real["alerts"][0], made["alerts"][0])):
        assert {key: type(value) for key, value in ours.items()} == {key: type(theirs[key]) for key in theirs}
        assert (ours["status"], ours.get("version")) == (theirs["status"], theirs.get("version"))
    if ends_at is None:
        assert made["alerts"][0]["endsAt"] == real["alerts"][0]["endsAt"]
    else:
        assert made["alerts"][0]["endsAt"] == "2026-09-21T14:13:25.000000Z"
