"""POST /ack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.engine import Ack
from autoheal.errors import CannotSilence, NoEpisode, NotRecordedYet, UpstreamError
from autoheal.redaction import HiddenNames
from autoheal.rules import Matcher
from autoheal.web.ack import DEFAULT_COMMENT, MAX_MATCHERS_CHARACTERS, decode
from autoheal.web.fields import MAX_WORDS_CHARACTERS
from autoheal.web.payload import BadPayload
from tests.support.gateway import Gateway, gateway, unavailable
from tests.support.said import capture_logs

FINGERPRINT = "df55e08d194b261e"
HIDDEN = HiddenNames(["*secret*"])
DAY = 86_400.0


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


def read(longest: float = DAY, **fields: Any) -> Ack:
    return decode(orjson.dumps(fields), HIDDEN, longest)


def faults(raw: bytes | None = None, longest: float = DAY, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(BadPayload) as caught:
        decode(orjson.dumps(fields) if raw is None else raw, HIDDEN, longest)
    return caught.value.faults


async def test_an_acknowledgement_is_handed_on_and_answered(gate: Gateway) -> None:
    """201 with the silence and its end; the engine is told who asked, and under which id."""
    body = {"fingerprint": FINGERPRINT, "duration": "1h", "comment": "on it"}
    answer = await gate.client.post("/ack", json=body)
    assert answer.status_code == 201
    assert answer.json() == {"silence_id": "5d1a", "until": "2026-09-21T14:28:20.500000Z"}
    assert gate.engine.acknowledged == [
        (Ack(FINGERPRINT, (), 3600.0, "on it"), "local", answer.headers["x-correlation-id"])
    ]


def test_without_a_word_it_is_for_fifteen_minutes() -> None:
    """Or for as long as is allowed, where that is less; the silence says where it comes from."""
    assert read(fingerprint=FINGERPRINT) == Ack(FINGERPRINT, (), 900.0, DEFAULT_COMMENT)
    assert read(fingerprint=FINGERPRINT, comment=" \n").comment == DEFAULT_COMMENT
    assert read(60.0, fingerprint=FINGERPRINT).duration == 60.0


def test_the_limits_themselves_are_allowed() -> None:
    """One second and AUTOHEAL_ACK_MAX, a comment and matchers of the greatest length."""
    assert read(fingerprint=FINGERPRINT, duration="24h").duration == DAY
    assert read(fingerprint=FINGERPRINT, duration="1s").duration == 1.0
    assert len(read(fingerprint=FINGERPRINT, comment="x" * MAX_WORDS_CHARACTERS).comment) == MAX_WORDS_CHARACTERS
    longest = "a=" + "x" * (MAX_MATCHERS_CHARACTERS - 2)
    assert read(matchers=longest).matchers[0].value == longest[2:]


@pytest.mark.parametrize("given", ['alertname="Down", job=~"api|web"', ['alertname="Down"', 'job=~"api|web"']])
def test_matchers_are_a_text_or_a_list_of_texts(given: str | list[str]) -> None:
    """In Alertmanager's notation, as in rules: all must hold."""
    assert read(matchers=given).matchers == [Matcher("alertname", "=", "Down"), Matcher("job", "=~", "api|web")]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "one of fingerprint and matchers must say what to silence"),
        ({"fingerprint": FINGERPRINT, "matchers": "a=b"}, "and not both"),
        ({"fingerprint": FINGERPRINT, "until": "now"}, '"until" is not known here; known: fingerprint, matchers,'),
        ({"fingerprint": "DF55E08D194B261E"}, "fingerprint: must be 16 lowercase hexadecimal digits, not "),
        ({"fingerprint": None}, "fingerprint: must be 16 lowercase hexadecimal digits, not null"),
        ({"fingerprint": FINGERPRINT, "duration": 900}, "duration: must be a string such as 15m, not 900"),
        ({"fingerprint": FINGERPRINT, "duration": "soon"}, "duration: 'soon' is not a duration"),
        ({"fingerprint": FINGERPRINT, "duration": "999ms"}, "duration: must be from 1s to 86400s (AUTOHEAL_ACK_MAX)"),
        ({"fingerprint": FINGERPRINT, "duration": "24h1ms"}, "duration: must be from 1s to 86400s"),
        ({"fingerprint": FINGERPRINT, "comment": ["x"]}, "comment: must be a string, not an array"),
        ({"fingerprint": FINGERPRINT, "comment": "x" * 1001}, "comment: too long: 1,001 characters, at most 1,000"),
        ({"matchers": {"alertname": "Down"}}, "matchers: must be a string or an array of strings, not an object"),
        ({"matchers": ["a=b", 5]}, "matchers: must be a string or an array of strings, not an array"),
        ({"matchers": "a=" + "x" * 4095}, "matchers: too long: 4,097 characters, at most 4,096"),
        ({"matchers": ""}, "matchers: column 1: no matcher"),
        ({"matchers": "a=b,,"}, "matchers: column 5: expected a label name"),
        ({"matchers": ["a=b", 'c=~"("']}, "matchers[1]: column 4: '(' is not an RE2 regular expression"),
        ({"matchers": []}, "matchers: would silence every alert"),
        ({"matchers": 'a=~".*"'}, "matchers: would silence every alert"),
        ({"matchers": 'a!="b", c=""'}, "matchers: would silence every alert"),
        ({"matchers": 'alertname=~".+"'}, "matchers: would silence every alert"),
        ({"matchers": 'alertname!=""'}, "matchers: would silence every alert"),
        ({"matchers": 'alertname=~".+", alertname!="Watchdog", a!="b"'}, "matchers: would silence every alert"),
        ({"matchers": "my_secret=x"}, 'matchers: the label "my_secret" is hidden here (AUTOHEAL_REDACT)'),
    ],
)
def test_each_bad_field_is_named(fields: dict[str, Any], says: str) -> None:
    """With what is allowed instead."""
    (fault,) = faults(**fields)
    assert fault.startswith(says) or (fault.endswith(says) and says.startswith("and"))


def test_all_faults_come_at_once() -> None:
    """A body that is wrong in five places needs one try, not five."""
    assert len(faults(fingerprint=5, matchers=5, duration=5, comment=5)) == 5
    assert len(faults(**{f"x{number}": 1 for number in range(100)})) == 21


@pytest.mark.parametrize(("raw", "says"), [(b"{", "not JSON"), (b"[]", "an object, not an array"), (b"5", "not 5")])
def test_a_body_that_is_no_object_is_refused(raw: bytes, says: str) -> None:
    """With what it is."""
    assert says in faults(raw)[0]


def test_credentials_do_not_get_in() -> None:
    """Matchers and comments are recorded, and shown in Alertmanager: no password may come in by them."""
    (fault,) = faults(matchers='url="http://ann:hunter2@db/"')
    assert fault == 'matchers: the value of "url" holds the credentials of a URL: leave it out'
    assert read(fingerprint=FINGERPRINT, comment="see http://ann:hunter2@db/").comment == "see http://*@db/"


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
fields = st.sampled_from(["fingerprint", "matchers", "duration", "comment", "x"])


@given(
    st.dictionaries(fields, json | st.sampled_from([FINGERPRINT, "15m", "a=b", ["a=~b"]])), st.sampled_from([1.0, DAY])
)
def test_any_body_is_read_or_refused(raw: dict[str, Any], longest: float) -> None:
    """And what is read is within its bounds."""
    try:
        ack = decode(orjson.dumps(raw), HIDDEN, longest)
    except BadPayload:
        return
    assert (ack.fingerprint is None) == bool(ack.matchers)
    assert 1 <= ack.duration <= longest
    assert 0 < len(ack.comment) <= MAX_WORDS_CHARACTERS
    assert not ack.matchers or not all(matcher.matches({}) for matcher in ack.matchers)


async def test_a_bad_body_is_400_with_every_fault(gate: Gateway) -> None:
    """As that of a webhook; AUTOHEAL_REDACT counts, and nothing was done."""
    answer = await gate.client.post("/ack", json={"matchers": "api_token=x", "duration": "48h"})
    assert answer.status_code == 400
    assert [fault.split(":")[0] for fault in answer.json()["errors"]] == ["matchers", "duration"]
    assert gate.engine.acknowledged == []


async def test_the_longest_time_can_be_set(tmp_path: Path) -> None:
    """AUTOHEAL_ACK_MAX."""
    async with gateway(tmp_path, {"AUTOHEAL_ACK_MAX": "30m"}) as gate:
        assert (await gate.client.post("/ack", json={"matchers": "a=b", "duration": "30m"})).status_code == 201
        answer = await gate.client.post("/ack", json={"matchers": "a=b", "duration": "31m"})
        assert answer.status_code == 400
        assert "1800s (AUTOHEAL_ACK_MAX)" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (NoEpisode("no alert with the fingerprint x fires here"), 404, "No alert with the fingerprint x fires here."),
        (CannotSilence("too wide"), 400, "Too wide."),
        (UpstreamError("no Alertmanager is there"), 502, "No Alertmanager is there."),
        (unavailable(), 503, "The audit log takes no records now, so nothing was accepted. Try again."),
        (
            NotRecordedYet("it stands"),
            503,
            "It stands. It will be recorded as soon as that goes; to ask again is safe.",
        ),
    ],
)
async def test_what_goes_wrong_behind_it(gate: Gateway, error: Exception, status: int, detail: str) -> None:
    """Each has its own status and says what to do; none of them is a fault of ours with a traceback in the log."""
    gate.engine.error = error
    with capture_logs() as logs:
        answer = await gate.client.post("/ack", json={"fingerprint": FINGERPRINT})
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert [log.get("exc_info") for log in logs] == ([None] if status >= 500 else [])


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}, {"Via": "1.1 x"}],
)
async def test_only_people_on_this_machine_may(gate: Gateway, headers: dict[str, str]) -> None:
    """Without identities a page of another site, a rebound name and a proxy are all refused."""
    answer = await gate.client.post("/ack", json={"fingerprint": FINGERPRINT}, headers=headers)
    assert answer.status_code == 403
    assert gate.engine.acknowledged == []


async def test_parameters_and_other_methods_are_refused(gate: Gateway) -> None:
    """What to silence stands in the body, and a link can silence nothing."""
    assert (await gate.client.post("/ack?duration=1h", json={"fingerprint": FINGERPRINT})).status_code == 400
    assert (await gate.client.get("/ack")).status_code == 405
    assert gate.engine.acknowledged == []
