"""Keys as people give them, and the library that may be missing."""

from __future__ import annotations

import sys

import pytest

from autoheal.age import Identities, NotWhole, Recipients, WrongKey
from tests.support.secrecy import IDENTITIES, OTHER_PRIVATE, OTHER_PUBLIC, OTHERS, PRIVATE, PUBLIC, RECIPIENTS


def test_each_of_several_keys_opens() -> None:
    """What is encrypted to two public keys either private one reads, also beside one that does not."""
    data = Recipients.parse(f" {PUBLIC}, {OTHER_PUBLIC},").encrypt(b"text")
    assert {keys.decrypt(data) for keys in (IDENTITIES, OTHERS)} == {b"text"}
    only = RECIPIENTS.encrypt(b"text")
    assert Identities.parse(f"{OTHER_PRIVATE}\n{PRIVATE}").decrypt(only) == b"text"


def test_a_wrong_key_is_told_from_damage() -> None:
    """One is the reader's fault, the other the file's."""
    data = RECIPIENTS.encrypt(b"text")
    with pytest.raises(WrongKey):
        OTHERS.decrypt(data)
    for damaged in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), data[:40], b"", b"no age file"):
        with pytest.raises(NotWhole):
            IDENTITIES.decrypt(damaged)


def test_a_file_of_age_keygen_is_read() -> None:
    """Comments and blank lines count for nothing."""
    assert Identities.parse(f"# created: 2026-11-21\r\n# public key: {PUBLIC}\r\n{PRIVATE}\r\n\r\n") == IDENTITIES


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age1nothing", "key 1 of 1 is no age public key (age1…)"),
        (f"{PUBLIC},ssh-ed25519 AAAA", "key 2 of 2 is no age public key"),
        (PRIVATE, "key 1 of 1 is a private key"),
        (f"{PUBLIC},{PRIVATE.lower()}", "key 2 of 2 is a private key"),
    ],
)
def test_bad_public_keys(text: str, says: str) -> None:
    """A fault names the key by its place, and repeats none: a private one may have got there."""
    with pytest.raises(ValueError, match=r"key \d") as caught:
        Recipients.parse(text)
    assert says in str(caught.value)
    assert not any(word in str(caught.value) for word in (PRIVATE, PRIVATE.lower()))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PUBLIC, "line 1 is no age private key"),
        (f"# mine\n{PRIVATE[:-1]}", "line 2 is no age private key"),
        ("# nothing else\n", "there is no age private key"),
    ],
)
def test_bad_private_keys(text: str, says: str) -> None:
    """A fault names the line, and repeats nothing of it."""
    with pytest.raises(ValueError, match="age private key") as caught:
        Identities.parse(text)
    assert says in str(caught.value)
    assert PRIVATE[20:40] not in str(caught.value)
    assert PRIVATE not in repr(Identities.parse(PRIVATE))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional: whoever encrypts nothing does without."""
    monkeypatch.setitem(sys.modules, "pyrage", None)
    for parse, text in ((Recipients.parse, PUBLIC), (Identities.parse, PRIVATE)):
        with pytest.raises(ValueError, match=r"pip install 'autoheal\[encryption\]'"):
            parse(text)
