"""Alertmanager's JSON, read into the domain's words: what its webhook and its API v2 have in common.

Written by hand and not with a schema library because whoever may POST chooses how much is wrong: the work and the
memory spent on naming bad fields must not grow with a hostile body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from autoheal.model import Alert, AlertStatus, parse_rfc3339

MAX_ALERT_BYTES = 48 * 1024
"""What an alert's own text may take as JSON, so that every record that tells of it fits into 64 KiB."""
MAX_ALERTNAME_BYTES = 1024
"""What its name may take as JSON: every record of an episode repeats it, beside plans and outputs."""
FAULTS_NAMED = 20
EXCERPT_CHARACTERS = 80

_EARLIEST = -62_135_596_800.0
"""0001-01-01T00:00:00Z: Go's zero time, which stands for "not set", and the first that a record can tell."""
_LATEST = 253_402_300_799.0
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_STATUSES: Mapping[str, AlertStatus] = {status.value: status for status in AlertStatus}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")


class Faults:
    """Bad fields: all are counted, the first `FAULTS_NAMED` are named."""

    def __init__(self) -> None:
        self.total = 0
        self._named: list[str] = []

    def add(self, what: str, *where: str) -> None:
        """`where` is the path to the field, outermost first."""
        self.total += 1
        if len(self._named) < FAULTS_NAMED:
            self._named.append(f"{'.'.join(where)}: {what}" if where else what)

    def merge(self, other: Faults) -> None:
        """Take over what `other` has found."""
        self.total += other.total
        self._named.extend(other._named[: FAULTS_NAMED - len(self._named)])

    def texts(self) -> tuple[str, ...]:
        """One text for each named field, and one that counts the rest."""
        rest = self.total - len(self._named)
        return (*self._named, f"and {rest:,} more") if rest else tuple(self._named)


def read_alert(raw: object, where: str, faults: Faults, status: AlertStatus | None = None) -> Alert | None:
    """An alert of a webhook, or of the API when `status` is given; None when a fault was added.

    A firing alert has no end: the API's `endsAt` of one is only when Alertmanager gives up waiting for a repeat.
    """
    if not isinstance(raw, dict):
        faults.add(f"must be an object, not {excerpt(raw)}", where)
        return None
    before = faults.total
    status = status or _status(raw.get("status"), where, faults)
    labels = read_texts(raw.get("labels"), (where, "labels"), faults)
    if labels is not None and not labels:
        faults.add("must hold at least one label", where, "labels")
    annotations = read_texts(_object(raw.get("annotations")), (where, "annotations"), faults)
    starts_at = _time(raw.get("startsAt"), where, "startsAt", faults)
    ends_at = _time(raw["endsAt"], where, "endsAt", faults) if raw.get("endsAt") is not None else None
    if starts_at == _EARLIEST:
        faults.add("must be set", where, "startsAt")
    given = raw.get("fingerprint")
    if given is not None and read_fingerprint(given) is None:
        faults.add(f"must be 16 lowercase hexadecimal digits, not {excerpt(given)}", where, "fingerprint")
    url = "" if raw.get("generatorURL") is None else raw["generatorURL"]
    if not isinstance(url, str):
        faults.add(f"must be a string, not {excerpt(url)}", where, "generatorURL")
    if faults.total > before or status is None or labels is None or annotations is None or starts_at is None:
        return None
    if (size := alert_size(labels, annotations, url)) > MAX_ALERT_BYTES:
        faults.add(f"too large: {size:,} bytes of labels, annotations and URL, at most {MAX_ALERT_BYTES:,}", where)
        return None
    if (size := len(orjson.dumps(labels.get("alertname", "")))) > MAX_ALERTNAME_BYTES:
        faults.add(f"too long: {size:,} bytes, at most {MAX_ALERTNAME_BYTES:,}", where, "labels", "alertname")
        return None
    return Alert(
        status=status,
        fingerprint=given or fingerprint(labels),
        labels=labels,
        annotations=annotations,
        starts_at=starts_at,
        ends_at=None if status is AlertStatus.FIRING or ends_at == _EARLIEST else ends_at,
        generator_url=url,
    )


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's identity of a label set: FNV-1a (64 bits) over each name and value, sorted by name, each ended
    by 0xff, as `model.LabelSet.Fingerprint` of prometheus/common computes it.
    """
    hashed = 0xCBF29CE484222325
    # Go sorts by UTF-8 bytes, and so does Python by code points: the two orders are the same.
    for name in sorted(labels):
        for byte in b"%b\xff%b\xff" % (name.encode(), labels[name].encode()):
            hashed = ((hashed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{hashed:016x}"


def read_fingerprint(value: object) -> str | None:
    """`value` when it is a fingerprint."""
    return value if isinstance(value, str) and _FINGERPRINT.fullmatch(value) else None


def read_texts(value: object, where: tuple[str, ...], faults: Faults) -> dict[str, str] | None:
    """An object whose values are all strings; None when a fault was added."""
    if not isinstance(value, dict):
        faults.add("is missing" if value is None else f"must be an object, not {excerpt(value)}", *where)
        return None
    before = faults.total
    for name, text in value.items():
        if not isinstance(text, str):
            # A label may be one that AUTOHEAL_REDACT names: faults are answered and recorded, its value is not.
            faults.add(f"must be a string, not {_sort(text)}", *where, _name(name))
    return value if faults.total == before else None


def _sort(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case _:
            return excerpt(value)


def excerpt(value: object) -> str:
    """`value` for an error text: short, on one line, and never as deep as what was sent."""
    match value:
        case None:
            return "null"
        case dict():
            return "an object"
        case list():
            return "an array"
        case str() if len(value) > EXCERPT_CHARACTERS:
            value = f"{value[:EXCERPT_CHARACTERS]}…"
    return orjson.dumps(value).decode()


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else excerpt(name)


def _object(value: object) -> object:
    # Go writes a nil map as null: it means the same as leaving it out.
    return {} if value is None else value


def _status(value: object, where: str, faults: Faults) -> AlertStatus | None:
    status = _STATUSES.get(value) if isinstance(value, str) else None
    if status is None:
        given = "is missing:" if value is None else f"is {excerpt(value)}, not"
        faults.add(f'{given} "firing" or "resolved"', where, "status")
    return status


def read_time(value: object) -> float | None:
    """Seconds since the epoch of `value` when it is an RFC 3339 time that a record can tell."""
    if isinstance(value, str):
        try:
            read = parse_rfc3339(value)
        except (ValueError, OverflowError):
            return None
        # An offset can carry a time out of the years 1 to 9999, which are all that a record can tell.
        if _EARLIEST <= read <= _LATEST:
            return read
    return None


def _time(value: object, where: str, name: str, faults: Faults) -> float | None:
    read = read_time(value)
    if read is None:
        faults.add("is missing" if value is None else f"must be an RFC 3339 time, not {excerpt(value)}", where, name)
    return read


def alert_size(labels: Mapping[str, str], annotations: Mapping[str, str], url: str) -> int:
    """What an alert's own text takes as JSON in a record, bytes; its name stands there twice."""
    return len(orjson.dumps([labels, annotations, labels.get("alertname"), url]))
