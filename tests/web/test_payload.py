"""Webhook bodies: real ones are taken, hostile ones are named, and nothing else can happen."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.model import AlertStatus, parse_rfc3339
from autoheal.web.payload import MAX_ALERTS, MAX_BRACKETS, BadPayload, decode
from autoheal.wire import MAX_ALERT_BYTES, fingerprint

PAYLOADS = Path(__file__).parent.parent / "payloads"
REAL = sorted(PAYLOADS.glob("*.json"))
ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "Down", "job": "api"},
    "annotations": {"summary": "it is down"},
    "startsAt": "2026-11-21T05:18:39.152Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus/graph",
    "fingerprint": "df55e08d194b261e",
}


def body(*alerts: Any, **top: Any) -> bytes:
    return orjson.dumps({"version": "4", "alerts": list(alerts), **top})


def alert(**changes: Any) -> dict[str, Any]:
    return {**ALERT, **changes}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ALERT.items() if key != name}


def refused(raw: bytes) -> BadPayload:
    with pytest.raises(BadPayload) as caught:
        decode(raw)
    return caught.value


def test_there_are_real_bodies() -> None:
    """The bodies received from Alertmanager 0.25, 0.28 and 0.33 are here."""
    assert len(REAL) == 15


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_bodies_are_taken_whole(path: Path) -> None:
    """Every alert that a real Alertmanager sent is taken as it stands in the body, in its order."""
    raw = json.loads(path.read_bytes())
    notification = decode(path.read_bytes())
    assert notification.rejected == ()
    assert notification.truncated == raw["truncatedAlerts"]
    assert notification.receiver == "autoheal"
    assert notification.group_labels == raw["groupLabels"]
    assert notification.external_url == raw["externalURL"]
    assert [
        (one.status, one.fingerprint, one.labels, one.annotations, one.starts_at, one.generator_url)
        for one in notification.alerts
    ] == [
        (a["status"], a["fingerprint"], a["labels"], a["annotations"], parse_rfc3339(a["startsAt"]), a["generatorURL"])
        for a in raw["alerts"]
    ]
    for one, given_alert in zip(notification.alerts, raw["alerts"], strict=True):
        firing = given_alert["status"] == "firing"
        assert one.ends_at == (None if firing else parse_rfc3339(given_alert["endsAt"]))


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_computed_fingerprints_are_alertmanagers(path: Path) -> None:
    """A fingerprint that is not sent is computed as Alertmanager does, UTF-8 names included."""
    raw = json.loads(path.read_bytes())
    for one in raw["alerts"]:
        assert fingerprint(one["labels"]) == one["fingerprint"]
        del one["fingerprint"]
    assert decode(orjson.dumps(raw)).alerts == decode(path.read_bytes()).alerts


def test_what_may_be_missing() -> None:
    """Only status, labels and startsAt are needed; null means the same as missing, unknown fields are ignored."""
    bare = {name: ALERT[name] for name in ("status", "labels", "startsAt")}
    nulls = {**bare, "annotations": None, "endsAt": None, "generatorURL": None, "fingerprint": None, "new": [[{}]]}
    notification = decode(orjson.dumps({"alerts": [bare, nulls], "groupLabels": None, "new": 1}))
    first, second = notification.alerts
    assert first == second
    assert (first.annotations, first.ends_at, first.generator_url) == ({}, None, "")
    assert first.fingerprint == fingerprint(ALERT["labels"])
    assert (notification.truncated, notification.receiver, notification.group_labels) == (0, "", {})


def test_ends() -> None:
    """Go's zero time is no end, and a firing alert has none whatever is sent."""
    later = "2026-11-21T06:00:00Z"
    taken = decode(
        body(
            alert(status="resolved", endsAt=later),
            alert(status="resolved", endsAt="0001-01-01T00:00:00Z"),
            alert(status="resolved", endsAt=None),
            alert(endsAt=later),
        )
    ).alerts
    assert [one.ends_at for one in taken] == [parse_rfc3339(later), None, None, None]


def test_nanoseconds_and_offsets() -> None:
    """A start may have Go's nine digits and any offset."""
    taken = decode(
        body(alert(startsAt="2026-11-21T05:18:39.152345678Z"), alert(startsAt="2026-11-21T07:18:39.1523456+02:00"))
    ).alerts
    assert {one.starts_at for one in taken} == {parse_rfc3339("2026-11-21T05:18:39.152345Z")}


def test_repeats_in_one_body_are_kept_in_order() -> None:
    """The same fingerprint twice in a body is two alerts; what that means is not decided here."""
    taken = decode(body(alert(), alert(status="resolved", endsAt="2026-11-21T06:00:00Z"))).alerts
    assert [one.status for one in taken] == [AlertStatus.FIRING, AlertStatus.RESOLVED]


def test_odd_text_is_kept_as_it_is() -> None:
    """NUL, newlines, shell and markup in labels are legal and arrive unchanged."""
    labels = {"alertname": "a\x00b", "x": "$(reboot)\n`id`; '\"<script>", "\u2028": "\U0001f525"}
    assert decode(body(alert(labels=labels))).alerts[0].labels == labels


def test_an_empty_notification_is_one() -> None:
    """A body with no alerts in its list changes nothing."""
    assert decode(body()).alerts == ()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (5, "alerts[0]: must be an object, not 5"),
        (None, "alerts[0]: must be an object, not null"),
        (without("status"), 'alerts[0].status: is missing: "firing" or "resolved"'),
        (alert(status="FIRING"), 'alerts[0].status: is "FIRING", not "firing" or "resolved"'),
        (alert(status=["firing"]), 'alerts[0].status: is an array, not "firing" or "resolved"'),
        (without("labels"), "alerts[0].labels: is missing"),
        (alert(labels={}), "alerts[0].labels: must hold at least one label"),
        (alert(labels=["a"]), "alerts[0].labels: must be an object, not an array"),
        (alert(labels={"foo": 5}), "alerts[0].labels.foo: must be a string, not a number"),
        (alert(labels={"foo": True}), "alerts[0].labels.foo: must be a string, not a boolean"),
        (alert(labels={"foo": None}), "alerts[0].labels.foo: must be a string, not null"),
        (alert(labels={"a b\n": {}}), 'alerts[0].labels."a b\\n": must be a string, not an object'),
        (alert(annotations={"foo": 1.5}), "alerts[0].annotations.foo: must be a string, not a number"),
        (alert(annotations="x"), 'alerts[0].annotations: must be an object, not "x"'),
        (without("startsAt"), "alerts[0].startsAt: is missing"),
        (alert(startsAt=1700000000), "alerts[0].startsAt: must be an RFC 3339 time, not 1700000000"),
        (alert(startsAt="today"), 'alerts[0].startsAt: must be an RFC 3339 time, not "today"'),
        (alert(startsAt="2026-11-21T05:18:39"), "alerts[0].startsAt: must be an RFC 3339 time"),
        (alert(startsAt="2026-13-41T05:18:39Z"), "alerts[0].startsAt: must be an RFC 3339 time"),
        (alert(startsAt="0001-01-01T00:00:00Z"), "alerts[0].startsAt: must be set"),
        (alert(startsAt="0001-01-01T00:00:00+23:59"), "alerts[0].startsAt: must be an RFC 3339 time"),
        (alert(startsAt="9999-12-31T23:59:59-23:59"), "alerts[0].startsAt: must be an RFC 3339 time"),
        (alert(endsAt="soon"), 'alerts[0].endsAt: must be an RFC 3339 time, not "soon"'),
        (alert(endsAt=0), "alerts[0].endsAt: must be an RFC 3339 time, not 0"),
        (alert(fingerprint="DF55E08D194B261E"), "alerts[0].fingerprint: must be 16 lowercase hexadecimal digits"),
        (alert(fingerprint=""), 'alerts[0].fingerprint: must be 16 lowercase hexadecimal digits, not ""'),
        (alert(fingerprint="df55e08d194b261e\n"), "alerts[0].fingerprint: must be 16"),
        (alert(generatorURL={}), "alerts[0].generatorURL: must be a string, not an object"),
    ],
)
def test_a_bad_alert_is_named(bad: Any, says: str) -> None:
    """A bad field is named by its path; alone it fails the body, among good alerts only its own."""
    error = refused(body(bad))
    assert len(error.faults) == 1
    assert error.faults[0].startswith(says)
    notification = decode(body(alert(), bad, alert()))
    assert len(notification.alerts) == 2
    (rejected,) = notification.rejected
    assert rejected.index == 1
    assert rejected.faults == (error.faults[0].replace("alerts[0]", "alerts[1]"),)


def test_rejected_alerts_say_what_they_seem_to_be() -> None:
    """Name and fingerprint of a rejected alert are kept when they can be read; a name too long to be one is not."""
    long = {"alertname": "x" * 60_000}
    rejected = decode(body(alert(), alert(startsAt=""), alert(labels=long, fingerprint=7), 3)).rejected
    assert [(one.alertname, one.fingerprint) for one in rejected] == [
        ("Down", "df55e08d194b261e"),
        (None, None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"alerts":[{"status":"fir\xffing"}]}', "not JSON"),
        (b'{"alerts":["\\ud800"]}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"alerts":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON"),
        (b'{"alerts":[],"x":1e999}', "not JSON"),
        (b"[]", "the body must be an object, not an array"),
        (b"null", "the body must be an object, not null"),
        (b"{}", "alerts: is missing; is this Alertmanager's own webhook body?"),
        (b'{"text":"Down is firing"}', "`payload:` in its webhook_config"),
        (b'{"alerts":{}}', "alerts: must be an array, not an object"),
        (b'{"alerts":null}', "alerts: is missing"),
        (body(alert(), version="3"), 'version: must be "4", not "3"'),
        (body(alert(), version=4), 'version: must be "4", not 4'),
        (body(alert(), truncatedAlerts="1"), 'truncatedAlerts: must be a whole number, not "1"'),
        (body(alert(), truncatedAlerts=-1), "truncatedAlerts: must be a whole number, not -1"),
        (body(alert(), truncatedAlerts=True), "truncatedAlerts: must be a whole number, not true"),
        (body(alert(), receiver=[]), "receiver: must be a string, not an array"),
        (body(alert(), groupLabels={"a": 1}), "groupLabels.a: must be a string, not a number"),
        (body(alert(), externalURL=7), "externalURL: must be a string, not 7"),
    ],
)
def test_a_body_that_is_no_webhook(raw: bytes, says: str) -> None:
    """Foreign, broken and hostile bodies are refused with what is wrong with them."""
    assert says in str(refused(raw))


def test_every_bad_field_is_named() -> None:
    """A refused body names its own bad fields and those of its alerts together."""
    raw = body(alert(), alert(status="x", labels={"a": 1}), version="5", receiver=1)
    assert [fault.partition(":")[0] for fault in refused(raw).faults] == [
        "version",
        "receiver",
        "alerts[1].status",
        "alerts[1].labels.a",
    ]


def test_answers_stay_small() -> None:
    """Twenty faults are named and the rest counted, and no value is quoted at length: Alertmanager logs the answer."""
    error = refused(body(*[{}] * 10_000))
    assert len(error.faults) == 21
    assert error.faults[-1] == "and 29,980 more"
    hostile = refused(
        body(alert(labels={"\x00" * 5000 + str(i): ["x" * 5000] for i in range(50)}, startsAt="z" * 9999))
    )
    assert len(hostile.faults) == 21
    assert len(str(hostile)) < 20 * 700
    assert "z" * 81 not in str(refused(body(alert(startsAt="z" * 9999))))


def test_an_alert_that_no_record_could_hold_is_rejected_not_cut() -> None:
    """48 KiB of labels, annotations and URL are taken, one byte more is not; the name counts twice."""

    def sized(extra: int) -> bytes:
        fixed = len(orjson.dumps([{"alertname": "Down"}, {"a": ""}, "Down", ""]))
        filler = "x" * (MAX_ALERT_BYTES - fixed + extra)
        return body(alert(labels={"alertname": "Down"}, annotations={"a": filler}, generatorURL=""))

    assert len(decode(sized(0)).alerts) == 1
    assert str(refused(sized(1))) == (
        "alerts[0]: too large: 49,153 bytes of labels, annotations and URL, at most 49,152"
    )
    assert "too large" in str(refused(body(alert(labels={"alertname": "x" * 30_000}))))
    assert str(refused(body(alert(labels={"alertname": "x" * 1023})))) == (
        "alerts[0].labels.alertname: too long: 1,025 bytes, at most 1,024"
    )
    assert len(decode(body(alert(labels={"alertname": "x" * 1022}))).alerts) == 1
    assert "too large" in str(refused(body(alert(labels={"a": "\x00" * 9000}))))
    assert "too large" in str(refused(body(alert(generatorURL="x" * 50_000))))


def test_a_storm_in_one_body_costs_what_its_alerts_do() -> None:
    """Ten times the alerts take ten times the steps, also when each fingerprint must be computed."""
    for stated in ({}, {"fingerprint": None}):
        storm = [alert(labels={**ALERT["labels"], "instance": f"10.0.0.1:{i}"}, **stated) for i in range(10_000)]
        few, many = (steps(partial(decode, body(*storm[:count]))) for count in (1_000, 10_000))
        assert 9 * few < many < 11 * few


def steps(work: Callable[[], object]) -> int:
    """How many calls `work` makes: a measure that a busy machine does not change."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_more_alerts_than_a_real_body_could_hold_are_refused() -> None:
    """As many as 8 MiB of the shortest could be, and some."""
    error = refused(b'{"alerts":[' + b"{}," * MAX_ALERTS + b"{}]}")
    assert error.faults == (f"alerts: holds 50,001 alerts, at most {MAX_ALERTS:,}",)


@pytest.mark.parametrize("item", [b"{},", b"[],", b'{"a":{}},', b"[" * 50 + b"]" * 50 + b","])
def test_a_body_of_nothing_but_brackets_is_not_read(item: bytes) -> None:
    """Each is 60 bytes and more once it is read, so that 8 MiB would be some hundreds."""
    count = (MAX_BRACKETS - 2) // (item.count(b"{") + item.count(b"["))
    kept = b'{"alerts":[' + item * count + b"1]}"
    assert any(fault.startswith("alerts") for fault in refused(kept).faults)
    more = kept.replace(b"1]}", item * 2 + b"1]}")
    tracemalloc.start()
    try:
        error = refused(more)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert error.faults == (f"the body has more than {MAX_BRACKETS:,} objects and arrays",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from([*ALERT, "version", "alerts", "truncatedAlerts", "receiver", "groupLabels", "externalURL"])


@given(st.one_of(st.binary(max_size=200), JSON.map(orjson.dumps), st.dictionaries(FIELDS, JSON).map(orjson.dumps)))
def test_any_bytes_are_a_notification_or_a_bad_payload(raw: bytes) -> None:
    """Nothing but BadPayload is raised, whatever is sent."""
    try:
        decode(raw)
    except BadPayload as error:
        assert error.faults  # noqa: PT017 most inputs fail, some do not


@given(st.data())
def test_damage_to_a_real_body_is_found_or_harmless(data: st.DataObject) -> None:
    """A real body with any value replaced by any JSON is taken or refused; what is taken can be recorded."""
    target = json.loads(data.draw(st.sampled_from(REAL)).read_bytes())
    inside = data.draw(st.booleans())
    place = data.draw(st.sampled_from(target["alerts"])) if inside else target
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    try:
        notification = decode(orjson.dumps(target))
    except BadPayload:
        return
    assert len(notification.alerts) + len(notification.rejected) == len(target["alerts"])
    for one in notification.alerts:
        orjson.dumps([one.labels, one.annotations])
