"""Manifests: what they say of a file, and that nobody edits one unseen."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from autoheal.errors import JournalDamaged
from autoheal.journal import manifest as manifests
from autoheal.journal.manifest import Tally
from autoheal.journal.record import seal_all
from autoheal.model import ZERO_HASH, Draft, Head, Kind, Record
from tests.support.faults import FaultyDisk

LOG_ID = "0123456789abcdef"


def records(names: list[str | None], head: Head | None = None) -> tuple[Record, ...]:
    drafts = [Draft(kind=Kind.DECISION, alertname=name) for name in names]
    return seal_all([*drafts, Draft(kind=Kind.ESCALATED)], head or Head(), 1_800_000_000.25)


def tally(of: tuple[Record, ...]) -> Tally:
    counted = Tally()
    for record in of:
        counted.add(record)
    return counted


def test_a_manifest_says_what_the_file_holds() -> None:
    """Every field as the format names it, in its order, on one line with a newline."""
    written = records(["b", "a", None, "b"])
    data = b"".join(record.line + b"\n" for record in written)
    last = written[-1]
    assert tally(written).manifest(LOG_ID).data.decode() == (
        '{"version":1,"log":"0123456789abcdef","first":{"seq":1,"ts":"2027-01-15T08:00:00.250000Z"},'
        f'"last":{{"seq":5,"ts":"2027-01-15T08:00:00.250000Z","hash":"{last.hash}"}},"bytes":{len(data)},'
        f'"sha256":"{hashlib.sha256(data).hexdigest()}","previous":"{ZERO_HASH}",'
        '"kinds":{"decision":4,"escalated":1},"alertnames":["a","b"]}\n'
    )


def test_manifests_are_chained_by_their_bytes() -> None:
    """`previous` is the SHA-256 of the exact bytes before, and the name says the seqs."""
    first = tally(records(["a"])).manifest(LOG_ID)
    second = tally(records(["b"], Head(2, "e" * 64, 1.0))).manifest(LOG_ID, first.digest)
    assert second.previous == hashlib.sha256(first.data).hexdigest()
    assert (first.name, second.name) == ("000000000000001-000000000000002.json", "000000000000003-000000000000004.json")


def test_too_many_alertnames_are_none() -> None:
    """1,000 names are listed; one more, and the manifest says that it does not know."""
    names: list[str | None] = [f"alert-{number}" for number in range(1000)]
    assert len(tally(records(names)).manifest(LOG_ID).alertnames or ()) == 1000
    assert tally(records([*names, "one-more", "alert-1"])).manifest(LOG_ID).alertnames is None


def test_a_copy_goes_its_own_way() -> None:
    """What is added to a copy is not in the original."""
    first, *rest = records(["a", "b"])
    original = tally((first,))
    before = original.manifest(LOG_ID)
    copy = original.copy()
    for record in rest:
        copy.add(record)
    assert original.manifest(LOG_ID) == before
    assert copy.manifest(LOG_ID) == tally((first, *rest)).manifest(LOG_ID)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A manifest survives the disk whole; the folder is made, and nothing else is left in it."""
    folder = tmp_path / "manifests"
    first = tally(records(["ä", 'q"'])).manifest(LOG_ID)
    second = tally(records([], first.last)).manifest(LOG_ID, first.digest)
    for manifest in (second, first, first):
        manifests.write(manifest, folder)
    assert manifests.read_all(folder) == [first, second]
    assert sorted(path.name for path in folder.iterdir()) == [first.name, second.name]
    assert manifests.read_all(tmp_path / "none") == []


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A disk that fills up, or cannot sync, leaves no manifest behind; the next try succeeds."""
    disk = FaultyDisk()
    manifest = tally(records(["a"])).manifest(LOG_ID)
    disk.free = 10
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        manifests.write(manifest, tmp_path, disk)
    disk.free, disk.bad_syncs = None, 1
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        manifests.write(manifest, tmp_path, disk)
    assert manifests.read_all(tmp_path) == []
    manifests.write(manifest, tmp_path, disk)
    assert manifests.read_all(tmp_path) == [manifest]


def test_a_manifest_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut there is no manifest whose bytes were never written."""
    disk = FaultyDisk()
    synced: list[int] = []
    replace = Path.replace

    def renamed(path: Path, target: Path) -> Path:
        synced.append(len(disk.sync_log))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", renamed)
    manifests.write(tally(records(["a"])).manifest(LOG_ID), tmp_path, disk)
    assert synced == [1]


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.replace(b'"bytes":', b'"bytes": '),
        lambda data: data.rstrip(b"\n"),
        lambda data: data.replace(b'"version":1', b'"version":2'),
        lambda data: data.replace(b'"version":1', b'"version":1.0'),
        lambda data: data.replace(b'{"seq":1', b'{"seq":2'),
        lambda data: data.replace(b'{"seq":1', b'{"seq":0'),
        lambda data: data.replace(b'{"seq":1', b'{"seq":true'),
        lambda data: data.replace(b'"alertnames":["a"]', b'"alertnames":[1]'),
        lambda data: data.replace(b'"alertnames":["a"]', b'"alertnames":7'),
        lambda data: data.replace(b'"kinds":{', b'"kinds":["'),
        lambda data: data.replace(b'"kinds":{"decision":1', b'"kinds":{"decision":"1"'),
        lambda data: data.replace(b'"sha256":"', b'"sha256":"A'),
        lambda data: data.replace(b'"previous":"0', b'"previous":"'),
        lambda data: data.replace(b'"log":"0', b'"log":"G'),
        lambda data: data.replace(b".250000Z", b".250Z"),
        lambda data: data.replace(b"2027-01-15", b"2027-13-15"),
        lambda data: data + b"{}\n",
        lambda data: data[: len(data) // 2],
        lambda data: b"[]",
        lambda data: b"\xff",
        lambda data: b"",
    ],
)
def test_an_edited_manifest_is_none(tmp_path: Path, edit: object) -> None:
    """Anything but the bytes that autoheal writes is refused, with the file's name."""
    manifest = tally(records(["a"])).manifest(LOG_ID)
    manifests.write(manifest, tmp_path)
    assert callable(edit)
    edited = edit(manifest.data)
    assert edited != manifest.data
    (tmp_path / manifest.name).write_bytes(edited)
    with pytest.raises(JournalDamaged, match=manifest.name):
        manifests.read_all(tmp_path)


def test_a_manifest_does_not_go_by_anothers_name(tmp_path: Path) -> None:
    """One that was renamed to cover other seqs is refused."""
    manifest = tally(records(["a"])).manifest(LOG_ID)
    manifests.write(manifest, tmp_path)
    (tmp_path / manifest.name).rename(tmp_path / manifest.name.replace("1-", "2-"))
    with pytest.raises(JournalDamaged, match=r"is the manifest 000000000000001-"):
        manifests.read_all(tmp_path)


def test_times_keep_their_microseconds() -> None:
    """A record's `ts` stands in the manifest as it stands in the record."""
    for micros in range(0, 1_000_000, 7919):
        (record,) = seal_all([Draft(kind=Kind.ESCALATED)], Head(), 1_800_000_000 + micros / 1_000_000)
        manifest = json.loads(tally((record,)).manifest(LOG_ID).data)
        assert manifest["first"]["ts"] == manifest["last"]["ts"] == json.loads(record.line)["ts"]
