"""Alertmanager's webhook body, version 4, decoded.

What Alertmanager 0.25 to 0.34 send is taken; unknown fields are ignored, because new versions add some
(`notification_reason` in 0.33).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from autoheal.errors import AutohealError
from autoheal.model import Alert, Notification, Rejected
from autoheal.slices import Slices, at_once, every
from autoheal.wire import Faults, excerpt, read_alert, read_fingerprint, read_texts

MAX_ALERTS = 50_000
"""More than 8 MiB of real alerts can hold (Alertmanager writes each in over 160 bytes); a hostile body that repeats
`{},` could hold millions.
"""
MAX_BRACKETS = 10 * MAX_ALERTS
"""Opening ones, for objects and arrays; an alert has three, and texts may hold some. What is parsed is parsed at once
and whole: 8 MiB of `{"a":{}},` would be a third of a gigabyte, and hold up everything for most of a second.
"""
AT_ONCE = 100
"""Alerts read before others on the event loop get their turn."""
_MAX_NAME_BYTES = 1024
_FOREIGN = "is this Alertmanager's own webhook body? `payload:` in its webhook_config must not be set"


class BadPayload(AutohealError):
    """A body that is not what its route takes: no webhook notification, or none of whose alerts can be taken.

    `faults` names the bad fields (`alerts[3].labels.foo: must be a string, not 5`), at most 20 of them and then how
    many more there are.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


def decode(body: bytes) -> Notification:
    """The notification that `body` is. One bad alert among good ones is in `rejected`, the others are taken.

    Raises BadPayload, and nothing else.
    """
    return at_once(decoding(body))


def decoding(body: bytes) -> Slices[Notification]:
    """As `decode`, in slices."""
    if body.count(b"{") + body.count(b"[") > MAX_BRACKETS:
        raise BadPayload([f"the body has more than {MAX_BRACKETS:,} objects and arrays"])
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Alertmanager logs our answer: what the parser says of the body, never the body.
        raise BadPayload([f"the body is not JSON: {error}"]) from None
    if not isinstance(raw, dict):
        raise BadPayload([f"the body must be an object, not {excerpt(raw)}; {_FOREIGN}"])
    faults = Faults()
    truncated, receiver, group_labels, external_url = _envelope(raw, faults)
    alerts, rejected = yield from _alerts(raw.get("alerts"), faults)
    if faults.total:
        raise BadPayload(faults.texts())
    return Notification(
        alerts=alerts,
        rejected=rejected,
        truncated=truncated,
        receiver=receiver,
        group_labels=group_labels,
        external_url=external_url,
    )


def _envelope(raw: dict[str, Any], faults: Faults) -> tuple[int, str, dict[str, str], str]:
    version = raw.get("version")
    if version is not None and version != "4":
        faults.add(f'must be "4", not {excerpt(version)}', "version")
    truncated = raw.get("truncatedAlerts")
    if truncated is None:
        truncated = 0
    elif type(truncated) is not int or truncated < 0:
        faults.add(f"must be a whole number, not {excerpt(truncated)}", "truncatedAlerts")
    group_labels = raw.get("groupLabels")
    read = read_texts({} if group_labels is None else group_labels, ("groupLabels",), faults)
    return truncated, _text(raw, "receiver", faults), read or {}, _text(raw, "externalURL", faults)


def _text(raw: dict[str, Any], name: str, faults: Faults) -> str:
    value = raw.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        faults.add(f"must be a string, not {excerpt(value)}", name)
    return str(value)


def _alerts(raw: object, faults: Faults) -> Slices[tuple[tuple[Alert, ...], tuple[Rejected, ...]]]:
    """The alerts that can be taken and those that cannot; in a body that is refused, their faults are the body's."""
    if not isinstance(raw, list):
        what = "is missing" if raw is None else f"must be an array, not {excerpt(raw)}"
        faults.add(f"{what}; {_FOREIGN}", "alerts")
        return (), ()
    if len(raw) > MAX_ALERTS:
        faults.add(f"holds {len(raw):,} alerts, at most {MAX_ALERTS:,}", "alerts")
        return (), ()
    taken: list[Alert] = []
    rejected: list[Rejected] = []
    found = Faults()
    for index, (pause, item) in enumerate(every(AT_ONCE, raw)):
        if pause:
            yield
        own = Faults()
        alert = read_alert(item, f"alerts[{index}]", own)
        if alert is not None:
            taken.append(alert)
        else:
            found.merge(own)
            rejected.append(_rejected(index, item, own))
    if not taken or faults.total:
        faults.merge(found)
    return tuple(taken), tuple(rejected)


def _rejected(index: int, item: object, faults: Faults) -> Rejected:
    fields: dict[str, Any] = item if isinstance(item, dict) else {}
    labels = fields.get("labels")
    name = labels.get("alertname") if isinstance(labels, dict) else None
    # A name too long to be one would not fit the record that tells of the rejection; cut, it would be another's.
    readable = isinstance(name, str) and len(orjson.dumps(name)) <= _MAX_NAME_BYTES
    return Rejected(index, faults.texts(), name if readable else None, read_fingerprint(fields.get("fingerprint")))
