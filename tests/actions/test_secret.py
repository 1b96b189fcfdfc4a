"""Secrets: read from files, hidden everywhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.actions.excerpt import Excerpt
from autoheal.actions.secret import Secrets, SecretUnreadable


def secrets(folder: Path, *values: str) -> Secrets:
    files = {}
    for number, value in enumerate(values):
        files[f"s{number}"] = folder / f"s{number}"
        files[f"s{number}"].write_text(value, newline="")
    return Secrets(files)


@pytest.mark.parametrize(("content", "value"), [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s3 x", " s3 x")])
def test_the_last_lines_end_is_no_part_of_a_secret(tmp_path: Path, content: str, value: str) -> None:
    """Editors add it; other white space may be meant."""
    assert secrets(tmp_path, content)["s0"] == value


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"abc\n", "is shorter than 4 characters"),
        (b"\xff" * 8, "is not UTF-8"),
        (b"x" * 70_000, "is longer than 65536 bytes"),
    ],
)
def test_a_file_that_holds_no_usable_secret(tmp_path: Path, content: bytes, fault: str) -> None:
    """The error names the secret and what is wrong, never what is in it."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SecretUnreadable, match=f"^secret 'key': {fault}$"):
        Secrets({"key": tmp_path / "file"})["key"]


def test_a_fifo_does_not_hang_the_service(tmp_path: Path) -> None:
    """Only regular files are secrets; so a folder is none either."""
    os.mkfifo(tmp_path / "fifo")
    found = Secrets({"fifo": tmp_path / "fifo", "folder": tmp_path})
    for name in ("fifo", "folder"):
        with pytest.raises(SecretUnreadable, match=r"is not a regular file|Is a directory"):
            found[name]
    assert list(found) == []
    assert len(found) == 0


@pytest.mark.parametrize(
    "shown",
    [
        'p"ss w/ö\\rd+',
        quote('p"ss w/ö\\rd+'),
        quote('p"ss w/ö\\rd+', safe=""),
        "p%22ss+w%2F%C3%B6%5Crd%2B",
        'p\\"ss w/ö\\\\rd+',
        'p\\"ss w/\\u00f6\\\\rd+',
    ],
)
def test_a_secret_is_hidden_in_every_notation(tmp_path: Path, shown: str) -> None:
    """As it is, percent-encoded, as a form's field and inside JSON."""
    assert secrets(tmp_path, 'p"ss w/ö\\rd+').hidden(f"<{shown}>") == "<[redacted]>"


def test_lines_of_a_secret_are_hidden_one_by_one(tmp_path: Path) -> None:
    """A program may indent a key that it prints; lines too short to tell anything stay."""
    found = secrets(tmp_path, "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n}\n-----END KEY-----\n")
    assert found.hidden("  -----BEGIN KEY-----\n  MIIEvQIBADANBgkq\n  }") == "  [redacted]\n  [redacted]\n  }"


def test_secrets_that_overlap_are_both_hidden_whole(tmp_path: Path) -> None:
    """Hiding one must not leave the rest of the other."""
    assert secrets(tmp_path, "abcdef", "defghi", "cdef").hidden("<abcdefghi>") == "<[redacted]>"


def test_bytes_that_look_like_the_mask_are_not_taken_for_secrets(tmp_path: Path) -> None:
    """Only secrets become `[redacted]`."""
    kept = Excerpt(secrets(tmp_path, "hidden"), head=100, tail=100)
    kept.feed(b"\xff\xff \xfe hidden\xff")
    assert kept.text() == "\ufffd\ufffd \ufffd [redacted]\ufffd"


SECRET = "s3cr3tPASSW0RD"
PIECE = st.one_of(st.just(SECRET), st.text("s3xé\n", max_size=40), st.just("filler " * 5))


@given(pieces=st.lists(PIECE, max_size=30), chunk=st.integers(1, 70), head=st.integers(0, 60), tail=st.integers(0, 60))
def test_no_part_of_a_secret_survives_a_cut(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], chunk: int, head: int, tail: int
) -> None:
    """However the output arrives and wherever it is cut, five characters of a secret in a row are never kept."""
    folder = tmp_path_factory.getbasetemp() / "excerpt"
    folder.mkdir(exist_ok=True)
    raw = "".join(pieces).encode()
    kept = Excerpt(secrets(folder, SECRET), head=head, tail=tail)
    for start in range(0, len(raw), chunk):
        kept.feed(raw[start : start + chunk])
    text = kept.text()
    assert kept.total == len(raw)
    assert not any(SECRET[start : start + 5] in text for start in range(len(SECRET) - 4))
    assert kept.cut == max(0, len(raw) - head - tail)
    if kept.cut == 0:
        assert text == re.sub(f"(?:{SECRET})+", "[redacted]", "".join(pieces))
    elif SECRET not in "".join(pieces):
        first, last = raw[:head].decode(errors="replace"), raw[len(raw) - tail :].decode(errors="replace")
        assert text == f"{first}\n[… {kept.cut} bytes cut …]\n{last}"
        assert kept.beginning() == first
