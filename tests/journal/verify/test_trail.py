"""Rotated files, manifests, keys and time: what a verifier tells of a whole trail."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from autoheal.journal.checkpoint import Signer, TrustedKey, load_public_keys, public_file
from autoheal.journal.verify import Finding, verify
from autoheal.model import Draft, Head, Kind
from tests.journal.test_rotation import Book
from tests.journal.verify.conftest import both, put, said
from tests.support.audit_trail import BEGUN, Trail, opened, rechain


def files(trail: Trail) -> list[Path]:
    """The rotated files, oldest first."""
    return sorted(trail.folder.glob("audit.jsonl-*"))


def manifests(trail: Trail) -> list[Path]:
    return sorted((trail.folder / "manifests").iterdir())


def test_what_retention_pruned_is_told_from_what_is_missing(rotated: Trail) -> None:
    """The oldest files gone and their manifests there: pruned. A file between two others gone: missing."""
    oldest, second, third = files(rotated)
    kept = second.read_bytes()
    second.unlink()
    report = both(rotated.folder)
    assert said(report) == [(Finding.MISSING, 7)]
    assert "somebody took this one" in str(report.first)
    assert "000000000000007-000000000000013.json" in str(report.first)
    second.write_bytes(kept)
    oldest.unlink()
    report = both(rotated.folder)
    assert (report.problems, report.pruned, report.first_seq) == ([], 6, 7)
    second.unlink()
    third.unlink()
    report = both(rotated.folder)
    assert (report.problems, report.pruned, report.first_seq) == ([], 20, 21)


def test_a_beginning_without_manifests_is_missing(rotated: Trail) -> None:
    """Files and manifests gone together is no pruning: what is left does not reach back to seq 1."""
    oldest, second, _ = files(rotated)
    oldest.unlink()
    second.unlink()
    first, _, _ = manifests(rotated)
    first.unlink()
    report = both(rotated.folder)
    assert (Finding.MANIFEST, 7) in said(report)
    for path in manifests(rotated):
        path.unlink()
    report = both(rotated.folder)
    assert said(report)[0] == (Finding.MISSING, 1)
    assert "no manifest tells" in str(report.problems[0])


def test_the_current_file_gone(rotated: Trail) -> None:
    """The newest manifest says that a fresh file had begun; while the service runs it may be just about to."""
    rotated.current.unlink()
    report = verify(rotated.folder, load_public_keys(rotated.folder / "keys/checkpoint.pub.pem"))
    assert said(report) == [(Finding.CUT, 21)]
    with locked(rotated.folder):
        assert not verify(rotated.folder, load_public_keys(rotated.folder / "keys/checkpoint.pub.pem")).problems


def test_the_newest_files_gone(rotated: Trail) -> None:
    """The manifests tell how far the log had reached; those gone too, a kept checkpoint does."""
    rotated.current.unlink()
    files(rotated)[-1].unlink()
    assert (Finding.CUT, 14) in said(both(rotated.folder))


def test_everything_gone(rotated: Trail, tmp_path: Path) -> None:
    """No file is left, but manifests: the log is gone. Not even those: there is no log."""
    for path in [rotated.current, *files(rotated)]:
        path.unlink()
    assert said(both(rotated.folder)) == [(Finding.CUT, 1)]
    for path in manifests(rotated):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no audit log"):
        verify(rotated.folder, ())


@pytest.mark.parametrize("which", range(3))
def test_a_manifest_removed(rotated: Trail, which: int) -> None:
    """The next one's `previous`, or the `log_opened` that names it, tells."""
    manifests(rotated)[which].unlink()
    report = both(rotated.folder)
    assert {problem.finding for problem in report.problems} == {Finding.MANIFEST}


def test_manifests_swapped_or_added(rotated: Trail) -> None:
    """One under another's name, a copy under a name of its own, and one that was made up."""
    first, second, _ = manifests(rotated)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert both(rotated.folder).problems
    first.write_bytes(one)
    second.write_bytes(two)
    added = first.with_name("000000000000021-000000000000023.json")
    for content in (one, one.replace(b'"seq":1,', b'"seq":21,').replace(b'"seq":6,', b'"seq":23,')):
        added.write_bytes(content)
        assert both(rotated.folder).problems
    added.unlink()
    assert not both(rotated.folder).problems


def test_a_rotated_file_cut_or_replaced(rotated: Trail, tmp_path: Path) -> None:
    """Lines gone from its end, a torn end, another log's file in its place, a compressed one changed."""
    oldest, second, _ = files(rotated)
    whole = second.read_bytes()
    lines = whole.splitlines(keepends=True)
    second.write_bytes(b"".join(lines[:-2]))
    assert said(both(rotated.folder))[0] == (Finding.CUT, 12)
    second.write_bytes(whole[:-40])
    assert said(both(rotated.folder))[0] == (Finding.TORN, 13)
    second.write_bytes(b"".join(rechain(lines, Head(6, "ab" * 32))))
    assert said(both(rotated.folder))[0] == (Finding.TORN_APART, 7)
    second.write_bytes(b"".join([*lines, lines[-1]]))
    assert (Finding.DOUBLED, 13) in said(both(rotated.folder))
    second.write_bytes(whole)
    content = gzip.decompress(oldest.read_bytes())
    oldest.write_bytes(gzip.compress(content.replace(b"system", b"sistem")))
    assert said(both(rotated.folder)) == [(Finding.CHANGED, 1)]


def test_a_copy_left_beside_its_file(rotated: Trail) -> None:
    """An old copy under a name of the log doubles its records: told once, not once a line."""
    second = files(rotated)[1]
    second.with_name(f"{second.name}.bak").write_bytes(second.read_bytes())
    report = both(rotated.folder)
    assert said(report) == [(Finding.DOUBLED, 7)]
    assert report.problems[0].lines == 7


def test_whole_files_swapped_or_joined(rotated: Trail) -> None:
    """Names do not count, content does: renamed files are no fault, joined ones are not what was described."""
    _, second, third = files(rotated)
    one, two = second.read_bytes(), third.read_bytes()
    second.write_bytes(two)
    third.write_bytes(one)
    assert not both(rotated.folder).problems
    second.write_bytes(one + two)
    third.unlink()
    assert both(rotated.folder).problems


def test_a_file_that_is_no_log(rotated: Trail) -> None:
    """A foreign file under a name of the log, and one that was cut to a few bytes: each is named."""
    other = rotated.folder / "audit.jsonl-notes"
    other.write_text("remember the milk, and everything else that does not belong here\n")
    assert "audit.jsonl-notes" in str(both(rotated.folder).first)
    other.unlink()
    oldest, *_ = files(rotated)
    oldest.write_bytes(b'{"seq":')
    assert oldest.name in str(both(rotated.folder).first)


@pytest.mark.parametrize("torn", [0, 30])
def test_what_copytruncate_loses_is_told(trail: Trail, torn: int) -> None:
    """Written between the copy and the cut: the lost seqs are named, with what the writer saw; a copy that ends in
    the middle of a line belongs to it.
    """
    trail.copytruncate(17, torn=torn)
    trail.work(3)
    report = both(trail.folder)
    assert said(report) == [(Finding.LOST, 18)]
    assert "seqs 18 to 20 are missing" in str(report.first)
    assert "bytes were expected, 0 found" in str(report.first)


def test_copytruncate_that_lost_nothing_is_no_fault(trail: Trail) -> None:
    """The chain goes on; a note tells what happened."""
    trail.copytruncate(20)
    report = both(trail.folder)
    assert "no record is missing" in report.notes[0]


def test_what_was_lost_long_ago_is_a_note(trail: Trail) -> None:
    """Once the file that tells of the loss is pruned, nothing that is left is at fault."""
    trail.copytruncate(17).unlink()
    trail.work(2)
    rotated = trail.rotate()
    trail.work(2)
    assert said(both(trail.folder)) == [(Finding.LOST, 1)]
    rotated.unlink()
    report = both(trail.folder)
    assert report.pruned == 25
    assert report.notes == ["seqs 1 to 20 are missing: lost before what is kept began"]


class locked:  # noqa: N801 reads as a word in `with locked(folder)`
    """As a running service holds its data directory."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def test_a_live_log_may_end_in_the_middle_of_a_line(trail: Trail) -> None:
    """Half a line is a note while somebody holds the directory, and a fault otherwise."""
    keys = load_public_keys(trail.folder / "keys/checkpoint.pub.pem")
    with trail.current.open("ab") as file:
        file.write(b'{"seq":21,"ts":')
    with locked(trail.folder):
        report = verify(trail.folder, keys)
        assert report.problems == []
        assert "the service is writing it" in report.notes[0]
    assert said(verify(trail.folder, keys)) == [(Finding.TORN, 21)]


def test_a_log_that_is_rotated_while_it_is_read(trail: Trail) -> None:
    """What is written behind the reader's back, into the renamed file and a fresh one, is read too."""
    keys = load_public_keys(trail.folder / "keys/checkpoint.pub.pem")
    steps: list[Callable[[], object]] = [
        lambda: (trail.work(2), trail.rotate(), trail.work(2)),
        lambda: (trail.work(2), trail.rotate(compress=True), trail.work(2)),
    ]

    def progress(_done: int, _total: int) -> None:
        if steps:
            steps.pop()()

    report = verify(trail.folder, keys, progress=progress)
    assert [str(problem) for problem in report.problems] == []
    assert (report.last_seq, report.files) == (trail.head.seq, 3)
    assert not both(trail.folder).problems


def test_a_file_pruned_while_the_log_is_read(rotated: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest file goes between the listing and the opening: it counts as pruned."""
    from autoheal.journal.verify import walk

    real = walk.open_again

    def late(data_dir: Path, file: walk.LogFile, identities: object) -> object:
        if file.first == 1:
            file.path.unlink()
        return real(data_dir, file)

    monkeypatch.setattr(walk, "open_again", late)
    report = verify(rotated.folder, load_public_keys(rotated.folder / "keys/checkpoint.pub.pem"))
    assert (report.problems, report.pruned) == ([], 6)


# ---- keys ----


def second_key(trail: Trail, *, ends: bool) -> None:
    """The first key is lost, and a new one made; `ends`: the first one's last seq is on record."""
    private, public = trail.folder / "keys/checkpoint.pem", trail.folder / "keys/checkpoint.pub.pem"
    private.unlink()
    if ends:
        (old,) = load_public_keys(public)
        public.write_bytes(public_file((TrustedKey(old.key, trail.head.seq),)))
    trail.signer = Signer.load(trail.folder / "keys")


@pytest.mark.parametrize("ends", [True, False])
def test_a_key_may_follow_another(trail: Trail, ends: bool) -> None:
    """Both keys' checkpoints verify, each in its time."""
    second_key(trail, ends=ends)
    trail.work(3)
    trail.checkpoint()
    assert both(trail.folder).checkpoints == 3


def test_a_later_key_does_not_sign_the_past(trail: Trail) -> None:
    """Who holds the new key rewrites what the old one had signed, every hash and signature right: told by the seq
    that ends the old key's time.
    """
    lines = trail.current.read_bytes().splitlines(keepends=True)
    second_key(trail, ends=True)
    trail.work(3)
    trail.checkpoint()
    forger, end = trail.signer, trail.head.seq
    trail.current.unlink()
    trail.head, trail.checkpoints, trail.now = Head(), [], BEGUN
    put(trail, rechain([line.replace(b'"web-', b'"dmz-') for line in lines[:10]]))
    last = verify(trail.folder, load_public_keys(trail.folder / "keys/checkpoint.pub.pem"))
    trail.head, trail.now, trail.log = Head(last.last_seq, last.last_hash, BEGUN + 9), BEGUN + 10, last.log
    assert trail.signer is forger
    trail.checkpoint()
    trail.work(end - 12)
    trail.checkpoint()
    report = both(trail.folder)
    assert said(report) == [(Finding.SIGNATURE, 11)]
    assert "not signed by the key of its time" in str(report.first)


def test_an_old_key_does_not_sign_beyond_its_time(trail: Trail) -> None:
    """A key whose last seq is on record vouches for nothing later; nor does an older key behind a newer one's sign."""
    first = trail.signer
    second_key(trail, ends=True)
    trail.signer = first
    trail.work(1)
    trail.checkpoint()
    assert said(both(trail.folder)) == [(Finding.SIGNATURE, 22)]


def test_keys_do_not_take_turns(trail: Trail) -> None:
    """Without a last seq the order of the keys still counts."""
    first = trail.signer
    second_key(trail, ends=False)
    trail.checkpoint()
    trail.signer = first
    trail.checkpoint()
    report = verify(trail.folder, load_public_keys(trail.folder / "keys/checkpoint.pub.pem"))
    assert said(report) == [(Finding.SIGNATURE, 22)]
    assert "an older key" in str(report.first)


@pytest.mark.parametrize(
    "edit",
    [
        lambda detail: detail | {"seq": detail["seq"] - 1},
        lambda detail: detail | {"seq": str(detail["seq"])},
        lambda detail: detail | {"hash": "0" * 64},
        lambda detail: detail | {"key": "0" * 16},
        lambda detail: detail | {"signature": detail["signature"] + "=="},
        lambda detail: detail | {"signature": detail["signature"].swapcase()},
        lambda detail: detail | {"more": 1},
        lambda detail: {"seq": detail["seq"]},
        lambda detail: {},
    ],
)
def test_a_checkpoint_that_vouches_for_something_else(
    trail: Trail, edit: Callable[[object], dict[str, object]]
) -> None:
    """Another seq, hash, key or signature than those of the record before it; too much, or nothing at all."""
    assert trail.signer is not None
    draft = trail.signer.draft(trail.log, trail.head)
    trail.add(Draft(kind=Kind.CHECKPOINT, detail=edit(draft.detail)))
    report = verify(trail.folder, load_public_keys(trail.folder / "keys/checkpoint.pub.pem"))
    assert said(report) == [(Finding.SIGNATURE, 21)]


def test_no_key_at_all(trail: Trail) -> None:
    """A signed log without a key to check it by is not accepted; one that is not signed yet needs none."""
    assert {finding for finding, _ in said(verify(trail.folder, ()))} == {Finding.SIGNATURE}
    made = Trail(trail.folder.parent / "unsigned", signed=False)
    made.work(3)
    assert not verify(made.folder, ()).problems


# ---- checkpoints kept elsewhere ----


def test_kept_checkpoints_are_checked_themselves(trail: Trail, tmp_path: Path) -> None:
    """A line that is no record, no checkpoint, or not signed by a trusted key accuses the kept file."""
    lines = trail.kept(tmp_path / "kept").read_bytes().splitlines()
    other = trail.current.read_bytes().splitlines()[4]
    keys = load_public_keys(trail.folder / "keys/checkpoint.pub.pem")
    for bad, says in ((b"hello", "no record"), (other, "no checkpoint but"), (lines[0][:-5], "no record")):
        report = verify(trail.folder, keys, [lines[0], b"", bad])
        assert report.kept == 1
        assert str(report.first).endswith(str(report.first).split(": ", 2)[2])
        assert says in str(report.first)
        assert "line 3" in str(report.first)
    stranger = TrustedKey(Ed25519PrivateKey.generate().public_key())
    assert len(verify(trail.folder, (stranger,), lines).problems) == 4


def test_kept_checkpoints_of_a_forked_log(trail: Trail, tmp_path: Path) -> None:
    """The same seq signed with two hashes: at least one of the logs is not what was written."""
    before = trail.current.read_bytes()
    trail.work(1)
    trail.checkpoint()
    first = trail.checkpoints.pop()
    trail.current.write_bytes(before)
    trail.head = trail.checkpoints[-1].head
    trail.work(1, reason="another")
    trail.checkpoint()
    report = verify(
        trail.folder,
        load_public_keys(trail.folder / "keys/checkpoint.pub.pem"),
        [first.line, trail.checkpoints[-1].line],
    )
    assert {problem.finding for problem in report.problems} == {Finding.REWRITTEN}


def test_kept_checkpoints_of_the_pruned_past(rotated: Trail, tmp_path: Path) -> None:
    """They verify, and where a manifest ends at their seq it must say the same hash."""
    rotated.checkpoint()
    rotated.rotate()
    kept = rotated.kept(tmp_path / "kept")
    for path in files(rotated):
        path.unlink()
    report = both(rotated.folder, kept)
    assert (report.kept, report.kept_pruned) == (1, 4)


# ---- lines that only a forger writes ----


def forged(trail: Trail, body: bytes) -> bytes:
    """A line that follows the last one and whose hash is right, whatever stands in it."""
    body = body.replace(b"PREV", trail.head.hash.encode())
    return b'%b,"hash":"%b"}\n' % (body, hashlib.sha256(body).hexdigest().encode())


GOOD = b'{"seq":21,"ts":"2027-01-15T08:00:20.000000Z","kind":"escalated","actor":"system","prev":"PREV"'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (GOOD, ""),
        (GOOD.replace(b'"seq":21', b'"seq":20'), "doubled"),
        (GOOD.replace(b'"seq":21', b'"seq": 21'), "does not begin with its seq"),
        (GOOD.replace(b'"seq":21', b'"seq":"21"'), "wrong type"),
        (GOOD.replace(b'"seq":21', b'"seq":true'), "wrong type"),
        (GOOD.replace(b'"seq":21', b'"seq":1,"seq":21'), "twice"),
        (GOOD.replace(b'"seq":21', b'"seq":21.0'), "wrong type"),
        (GOOD.replace(b'"actor":"system"', b'"actor":"mallory","actor":"system"'), "twice"),
        (GOOD.replace(b',"prev"', b',"detail":{"a":1,"a":2},"prev"'), "twice"),
        (GOOD.replace(b',"prev"', b',"detail":{"a":' + b"[" * 1010 + b"]" * 1010 + b' },"prev"'), "as JSON again"),
        (GOOD.replace(b',"prev"', b',"detail":{"a":' + b"9" * 5000 + b'},"prev"'), "not JSON"),
        (GOOD.replace(b',"prev"', b',"detail":{"a":' + b"9" * 30 + b'},"prev"'), ""),
        (GOOD.replace(b',"prev"', b',"detail":{"a":1e2},"prev"'), ""),
        (GOOD.replace(b'"actor":"system",', b""), "fields are missing: actor"),
        (GOOD.replace(b'"kind":"escalated","actor":"system"', b'"actor":"system","kind":"escalated"'), "their order"),
        (GOOD.replace(b"escalated", b"exploded"), "the kind 'exploded' is unknown"),
        (GOOD.replace(b'"actor"', b'"color":"red","actor"'), "the field 'color' is unknown"),
        (GOOD.replace(b"2027-01-15T08:00:20.000000Z", b"2027-01-15T07:59:59.000000Z"), "time goes back"),
        (GOOD.replace(b"2027-01-15T08:00:20.000000Z", b"2027-13-15T08:00:20.000000Z"), "not a time"),
        (GOOD.replace(b"2027-01-15T08:00:20.000000Z", b"2027-01-15T08:00:20Z"), "not a time"),
        (GOOD.replace(b'"PREV"', b'"%b"' % (b"0" * 64)), "torn apart"),
        (GOOD.replace(b',"prev"', b',"detail":{"a":"%b"},"prev"' % (b"a" * 65536)), "longer than"),
        (GOOD[1:], "not JSON"),
        (GOOD.replace(b"system", b"syst\xffm"), "not JSON"),
    ],
)
def test_a_line_whose_hash_is_right(trail: Trail, body: bytes, says: str) -> None:
    """A forger can make every hash right; a line that autoheal does not write is found all the same."""
    with trail.current.open("ab") as file:
        file.write(forged(trail, body))
    report = verify(trail.folder, load_public_keys(trail.folder / "keys/checkpoint.pub.pem"))
    assert len(report.problems) == bool(says)
    if says:
        assert says in str(report.first)
        assert report.first is not None
        assert report.first.line == 21


# ---- log_opened ----


@pytest.mark.parametrize(
    "edit",
    [
        lambda detail: detail | {"log": "f" * 16},
        lambda detail: detail | {"head": {"seq": 1, "hash": "0" * 64}},
        lambda detail: detail | {"manifest": detail["manifest"] | {"sha256": "0" * 64}},
        lambda detail: detail | {"manifest": detail["manifest"] | {"file": "other"}},
        lambda detail: detail | {"manifest": None},
        lambda detail: {},
    ],
)
def test_a_log_opened_that_names_something_else(
    trail: Trail, edit: Callable[[dict[str, object]], dict[str, object]]
) -> None:
    """Another log, head or manifest than those before it."""
    from autoheal.journal import manifest

    described = trail._tally.manifest(trail.log)
    manifest.write(described, trail.folder / "manifests")
    trail.current.rename(trail.folder / "audit.jsonl-1")
    draft = opened(trail.log, trail.head, described)
    trail.add(Draft(kind=Kind.LOG_OPENED, detail=edit(dict(draft.detail))))
    report = verify(trail.folder, load_public_keys(trail.folder / "keys/checkpoint.pub.pem"))
    assert report.problems
    assert report.problems[0].seq in (1, 21)


# ---- what the journal itself writes ----


async def test_the_journals_own_trail(tmp_path: Path) -> None:
    """Rotated, gzip'd, pruned, copied and truncated, deleted, damaged and accepted: told for what it is."""
    key = tmp_path / "keys" / "checkpoint.pub.pem"
    data = tmp_path / "data"
    async with Book(data) as book:
        await book.put("a", "b")
        old = book.rename(1)
        await book.put("c")
        assert not both(data, key=key).problems
        book.gzip(old)
        book.rename(2)
        await book.put("d")
        book.path.unlink()
        await book.mended(lambda: book.path.exists() and b"file deleted" in book.path.read_bytes())
        assert "file deleted" in both(data, key=key).notes[0]
    (data / f"{old.name}.gz").unlink()
    assert both(data, key=key).pruned == 3
    content = book.path.read_bytes()
    book.path.write_bytes(content.replace(b'"alertname":"d"', b'"alertname":"x"', 1))
    assert [finding for finding, _ in said(both(data, key=key))] == [Finding.CHANGED]
    async with Book(data, accept_damage="the disk lied") as book:
        await book.put("e")
        book.rename(3)
        await book.put("f")
    report = both(data, key=key)
    assert "damage accepted ('the disk lied')" in report.notes[0]
    async with Book(data) as book:
        await book.put("g")
        book.path.with_name("audit.jsonl-4").write_bytes(book.path.read_bytes())
        await book.put("lost")
        os.truncate(book.path, 0)
        await book.mended(lambda: book.path.stat().st_size)
        await book.put("h")
    assert [finding for finding, _ in said(both(data, key=key))] == [Finding.LOST]
