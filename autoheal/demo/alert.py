"""What Alertmanager would post: a webhook notification, version 4, with one alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoheal.model import rfc3339

USER_AGENT = "Alertmanager/0.25.0"
"""The version whose notifications this one looks like."""
RECEIVER = "autoheal"


def notification(
    labels: Mapping[str, str], summary: str, *, starts_at: float, ends_at: float | None = None
) -> dict[str, Any]:
    """The body that tells of one alert: firing, or resolved when `ends_at` (epoch seconds) is given."""
    status = "firing" if ends_at is None else "resolved"
    annotations = {"summary": summary}
    alertname = labels["alertname"]
    return {
        "receiver": RECEIVER,
        "status": status,
        "alerts": [
            {
                "status": status,
                "labels": dict(labels),
                "annotations": annotations,
                "startsAt": rfc3339(starts_at),
                "endsAt": "0001-01-01T00:00:00Z" if ends_at is None else rfc3339(ends_at),
                "generatorURL": "",
                "fingerprint": fingerprint(labels),
            }
        ],
        "groupLabels": {"alertname": alertname},
        "commonLabels": dict(labels),
        "commonAnnotations": annotations,
        "externalURL": "",
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{alertname}"}}',
        "truncatedAlerts": 0,
    }


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's id of a label set: 64-bit FNV-1a over sorted names and values, each followed by 0xFF, in hex."""
    value = 0xCBF29CE484222325
    for name in sorted(labels):
        for text in (name, labels[name]):
            for byte in (*text.encode(), 0xFF):
                value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"
