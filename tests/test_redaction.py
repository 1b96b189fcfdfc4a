"""What is hidden, and what stands in its place."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.errors import AutohealError
from autoheal.redaction import DEFAULT_NAMES, HiddenNames, Redaction, load_key, without_userinfo

REDACTION = Redaction(HiddenNames(DEFAULT_NAMES), b"a key of this installation")


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD_OLD", "x-token", "client_secret", "Authorization", "api_key", "MyApiKey", "access_token"],
)
def test_sensitive_names_are_hidden(name: str) -> None:
    """By default whatever is called a password, token, secret, authorization or key, in any case."""
    assert name in HiddenNames(DEFAULT_NAMES)


@pytest.mark.parametrize("name", ["alertname", "instance", "keyspace", "proxy-authorization", "job", "", "key"])
def test_other_names_are_not(name: str) -> None:
    """A pattern matches the whole name: what the default does not name stays readable."""
    assert name not in HiddenNames(DEFAULT_NAMES)


def test_only_the_star_is_special() -> None:
    """A pattern is no regular expression; no pattern hides nothing; a newline in a name is no way around one."""
    assert "a.b" in HiddenNames(["a.b"])
    assert "axb" not in HiddenNames(["a.b"])
    assert "a\nsecret\nb" in HiddenNames(["*secret*"])
    assert "x" not in HiddenNames([])
    assert 7 not in HiddenNames(["*"])


@given(st.text(), st.text())
def test_equal_values_have_equal_tokens(first: str, second: str) -> None:
    """Tokens correlate: the same for the same value, another one for another value, and idempotent."""
    one, other = REDACTION.of("password", first), REDACTION.of("password", second)
    assert (one == other) == (first == second)
    assert re.fullmatch(r"\[redacted:[0-9a-f]{16}\]", one)
    assert REDACTION.of("password", one) == one


def test_another_key_gives_other_tokens() -> None:
    """Without the installation's key a guess cannot be tried."""
    assert REDACTION.of("token", "x") != Redaction(HiddenNames(DEFAULT_NAMES), b"another").of("token", "x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pa55@host/x", "http://*@host/x"),
        ("postgresql+asyncpg://u:p@ss@db:5432/a?b=c@d", "postgresql+asyncpg://*@db:5432/a?b=c@d"),
        ("see https://u@h, then ftp://a:b@c.", "see https://*@h, then ftp://*@c."),
        ("http://host/user@example.com", "http://host/user@example.com"),
        ("http://@host", "http://@host"),
        ("https://u:pa'ss@h/", "https://*@h/"),
        ("https://@u:p@h/x", "https://*@h/x"),
        ("mail me@example.com", "mail me@example.com"),
        ("postgres://u:p#ss/w?d@db:5432/x", "postgres://*@db:5432/x"),
        ("redis://:p/w@db/0", "redis://*@db/0"),
        ("http://host:9090/graph?x=a@b", "http://host:9090/graph?x=a@b"),
        ("http://[::1]:9090/a@b", "http://[::1]:9090/a@b"),
    ],
)
def test_credentials_in_urls_are_cut(text: str, shown: str) -> None:
    """The user and password of every URL, up to the last @ before the path; addresses and paths stay."""
    assert without_userinfo(text) == shown


@given(st.text(alphabet='a:/@ ?#"', max_size=200))
def test_cutting_never_lengthens_and_leaves_nothing(text: str) -> None:
    """No text grows, and a second look finds nothing more to cut."""
    cut = without_userinfo(text)
    assert len(cut) <= len(text)
    assert without_userinfo(cut) == cut


def test_hostile_texts_take_linear_time() -> None:
    """A label of 48 KiB made to look like the beginning of many URLs is no quadratic search (half a minute, then)."""
    for text in ("a://" * 12_000 + "@", "a" * 48_000 + "://@", "x://" + "a@" * 24_000, "x://" + "a" * 48_000):
        begun = time.process_time()
        assert len(without_userinfo(text)) <= len(text)
        assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("name", "received"),
    [("db_password", "hunter2"), ("url", "see http://ann:hunter2@db/"), ("instance", "[redacted:0123456789abcdef]")],
)
def test_what_was_hidden_does_not_pass_for_the_value(name: str, received: str) -> None:
    """Neither under a name that is hidden, nor a token that was made when another list was set, nor a cut URL."""
    assert not REDACTION.shows(name, REDACTION.of(name, received))


def test_alerts_about_autoheal_keep_their_names() -> None:
    """By these it knows what it must not act on, also where the names of all others are hidden."""
    redaction = Redaction(HiddenNames(["alert*"]), b"a key")
    assert redaction.of("alertname", "AutohealFailed") == "AutohealFailed"
    assert redaction.of("alertname", "Down").startswith("[redacted:")
    assert redaction.of("alerted", "AutohealFailed").startswith("[redacted:")


@pytest.mark.parametrize("value", ["", "api-1:9100", "http://db/?to=a@b", "a*@b", "[redacted:?]"])
def test_what_was_not_hidden_does(value: str) -> None:
    """Everything else is recorded as it was received."""
    assert REDACTION.of("instance", value) == value
    assert REDACTION.shows("instance", value)


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """The first start makes a key that only its owner can read; later ones use it."""
    path = tmp_path / "keys" / "redact.key"
    key = load_key(path)
    assert len(key) == 32
    assert load_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["redact.key"]


def test_a_start_that_was_cut_short_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """A half-written key of a start that died is no key, and is replaced."""
    (tmp_path / "redact.part").write_text("12")
    assert len(load_key(tmp_path / "redact.key")) == 32


def test_a_key_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    """Readable by others, or no key: told with its path, and what to do. Its content is in no message."""
    path = tmp_path / "redact.key"
    load_key(path)
    path.chmod(0o640)
    with pytest.raises(AutohealError, match="chmod 600"):
        load_key(path)
    path.chmod(0o600)
    path.write_text("hunter2")
    with pytest.raises(AutohealError, match="no redaction key") as caught:
        load_key(path)
    assert "hunter2" not in str(caught.value)
    path.write_bytes(b"\xff")
    with pytest.raises(AutohealError, match="cannot be read"):
        load_key(path)
    with pytest.raises(AutohealError, match="cannot be read or made"):
        load_key(tmp_path / "redact.key" / "below")
