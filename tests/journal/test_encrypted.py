"""Encrypted files in a log: searched and verified as plain ones are, and what is said where no key opens them."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.age import Identities, Recipients
from autoheal.clock import SystemClock
from autoheal.errors import JournalDamaged, JournalEncrypted
from autoheal.journal import encrypted as formats
from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.files import FILE_NAME, Storage, log_files, open_plain
from autoheal.journal.record import parse as parse_record
from autoheal.journal.search import Ask, Search
from autoheal.journal.verify import Finding, Report, verify
from autoheal.model import Draft, Kind, Record
from autoheal.query import parse
from tests.journal.test_search import DRAFTS
from tests.support.audit_trail import Trail
from tests.support.logs import START, chain, describe, text
from tests.support.secrecy import IDENTITIES, OTHER_PUBLIC, OTHERS, RECIPIENTS, encrypted_file

RECORDS = chain([Draft(kind=Kind.DECISION, rule="r" if number % 3 else "s") for number in range(40)])
HOW = st.sampled_from(["plain", "gzip", "encrypted", "packed"])


def stored(records: Sequence[Record], how: str, part_bytes: int = 700) -> bytes:
    """A file with those records, in one of the four ways that it can lie on disk."""
    if how in ("encrypted", "packed"):
        return encrypted_file(records, part_bytes=part_bytes, packed=how == "packed")
    return text(records) if how == "plain" else gzip.compress(text(records), 1)


def spread(folder: Path, records: Sequence[Record], cuts: Sequence[int], how: Sequence[str], part: int = 700) -> None:
    bounds = sorted({0, *(cut for cut in cuts if 0 < cut < len(records)), len(records)})
    for number, (low, high) in enumerate(itertools.pairwise(bounds)):
        name = FILE_NAME if high == len(records) else f"{FILE_NAME}-{number}"
        storage = "plain" if high == len(records) else how[number % len(how)]
        (folder / name).write_bytes(stored(records[low:high], storage, part))
        describe(folder, records[low:high])


def newest(search: Search, ask: Ask) -> list[bytes]:
    return [line for _, line in search.newest_first(ask) if line is not None]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(DRAFTS, min_size=2, max_size=25),
    st.lists(st.integers(1, 24), max_size=3),
    st.lists(HOW, min_size=1, max_size=3),
    st.integers(100, 3000),
    st.sampled_from([None, "kind=decision", "rule!=a", "seq>4"]),
    st.integers(0, 25),
)
def test_however_files_lie_on_disk_they_say_the_same(
    drafts: list[Draft], cuts: list[int], how: list[str], part: int, query: str | None, since: int
) -> None:
    """Plain, gzip'd, encrypted or encrypted and then gzip'd, in parts of any length: a search finds the same lines in
    the same order, backward, forward and by pages.
    """
    records = chain(drafts)
    ask = Ask(query=None if query is None else parse(query), since=START + since)
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        spread(Path(one), records, cuts, ["plain"])
        spread(Path(other), records, cuts, how, part)
        plain, secret = Search(Path(one)), Search(Path(other), identities=IDENTITIES)
        assert newest(secret, ask) == newest(plain, ask)
        assert list(secret.oldest_first(ask)) == list(plain.oldest_first(ask))
        found, before = [], None
        while True:
            page = secret.page(Ask(3, ask.query, ask.since, None, before), SystemClock(), seconds=60, max_bytes=1 << 20)
            found += page.lines
            assert (page.partial, page.unread) == (False, [])
            if page.next is None:
                break
            before = page.next
        assert found == newest(plain, ask)


def trail_of(folder: Path, stretches: Sequence[int]) -> Trail:
    made = Trail(folder)
    for count in stretches:
        made.work(count)
        made.rotate()
    made.work(2)
    return made


def store(trail: Trail, how: Sequence[str], part: int = 700) -> None:
    """Store the rotated files of a trail anew."""
    for number, path in enumerate(sorted(trail.folder.glob("audit.jsonl-*"))):
        records = [parse_record(line) for line in path.read_bytes().splitlines()]
        path.write_bytes(stored(records, how[number % len(how)], part))


def checked(trail: Trail, identities: Identities | None = IDENTITIES, kept: bytes | None = None) -> Report:
    keys = load_public_keys(trail.folder / "keys/checkpoint.pub.pem")
    return verify(trail.folder, keys, None if kept is None else kept.splitlines(), identities=identities)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4), st.lists(HOW, min_size=1, max_size=4), st.integers(100, 3000)
)
def test_verify_finds_the_same_however_files_lie_on_disk(stretches: list[int], how: list[str], part: int) -> None:
    """The whole report is that of the plain files."""
    with TemporaryDirectory() as name:
        trail = trail_of(Path(name), stretches)
        plain = checked(trail)
        store(trail, how, part)
        assert plain.problems == []
        assert checked(trail) == plain


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    """Three files, of which the first two are encrypted; in the first one is a checkpoint that was kept."""
    made = Trail(tmp_path / "data")
    made.checkpoint()
    made.work(3)
    made.rotate()
    made.work(3)
    made.rotate()
    made.work(3)
    store(made, ["encrypted"])
    return made


def rotated(trail: Trail) -> list[Path]:
    return sorted(trail.folder.glob("audit.jsonl-*"))


def test_what_cannot_be_read_is_named_and_the_rest_is_checked(trail: Trail) -> None:
    """Without the key each encrypted file is a problem that names its seqs; what follows is checked behind it, and so
    are checkpoints that were kept elsewhere, except those inside.
    """
    kept = b"".join(record.line + b"\n" for record in trail.checkpoints)
    report = checked(trail, None, kept)
    assert [(problem.finding, problem.seq) for problem in report.problems] == [
        (Finding.ENCRYPTED, 1),
        (Finding.ENCRYPTED, 7),
    ]
    first = str(report.first)
    assert "seq 1 to 6 could not be checked: give the private key: AUTOHEAL_AUDIT_IDENTITY, or --identity FILE" in first
    assert (report.first_seq, report.last_seq, report.last_hash) == (1, trail.head.seq, trail.head.hash)
    assert (report.files, report.kept, report.log) == (3, 1, trail.log)
    trail.current.write_bytes(trail.current.read_bytes().replace(b"system", b"sistem", 1))
    assert Finding.CHANGED in {problem.finding for problem in checked(trail, None).problems}


def test_the_wrong_key(trail: Trail) -> None:
    """It is told from none at all."""
    report = checked(trail, OTHERS)
    assert [problem.finding for problem in report.problems] == [Finding.ENCRYPTED, Finding.ENCRYPTED]
    assert "the private key that was given is none of those that open it" in str(report.first)


def test_files_around_one_that_cannot_be_read_must_fit(trail: Trail) -> None:
    """By what it says in the clear: a file between that is gone, and one that stands there twice."""
    one, two = rotated(trail)
    data = two.read_bytes()
    two.unlink()
    assert (Finding.MISSING, 7) in {(problem.finding, problem.seq) for problem in checked(trail, None).problems}
    two.write_bytes(data)
    two.with_name("audit.jsonl.copy").write_bytes(data)
    assert (Finding.DOUBLED, 7) in {(problem.finding, problem.seq) for problem in checked(trail, None).problems}
    two.with_name("audit.jsonl.copy").unlink()
    two.unlink()
    one.unlink()
    assert checked(trail, None).problems == []
    # What is said of its last hash has to be what the next record follows.
    two.write_bytes(data)
    told = log_files(trail.folder)[0].header
    assert told is not None
    two.write_bytes(replace(told, hash="0" * 64).line + data[len(told.line) :])
    assert (Finding.TORN_APART, 13) in {(problem.finding, problem.seq) for problem in checked(trail, None).problems}


def test_every_changed_byte_is_found(trail: Trail) -> None:
    """One bit of each byte of an encrypted file flipped: verify tells, names the file, and never breaks down."""
    path = rotated(trail)[0]
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        report = checked(trail)
        assert report.problems, at
        assert any(path.name in str(problem) for problem in report.problems), (at, report.problems)
    path.write_bytes(data)
    assert checked(trail).problems == []


def parts_of(data: bytes) -> tuple[bytes, list[bytes]]:
    """The header and the parts of an encrypted file."""
    at = data.index(b"\n") + 1
    header, parts = data[:at], []
    while at < len(data):
        end = at + 9 + int(data[at : at + 8])
        parts.append(data[at:end])
        at = end
    return header, parts


def test_parts_that_are_moved_dropped_or_added_are_found(trail: Trail) -> None:
    """Each part is whole by itself; that all are there, in their order, the header and the chain tell."""
    path = rotated(trail)[0]
    header, parts = parts_of(path.read_bytes())
    assert len(parts) >= 3
    for changed in (
        parts[:-1],
        parts[1:],
        [*parts, parts[-1]],
        [parts[1], parts[0], *parts[2:]],
        [*parts[:-1], parts[-1][:-3]],
        [*parts, b"x"],
        [parts[0], b"99999999\n" + parts[1][9:], *parts[2:]],
        [],
    ):
        path.write_bytes(b"".join([header, *changed]))
        report = checked(trail)
        assert any(path.name in str(problem) for problem in report.problems), changed


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"version":1', b'"version":2', "is encrypted in version 2 of the format; this autoheal knows 1"),
        (b'"first":1', b'"first":9', "first line does not say"),
        (b'"first":1', b'"first":-1', "first line does not say"),
        (b'"first":1', b'"first":"1"', "first line does not say"),
        (b'"first":1,', b'"first": 1,', "first line does not say"),
        (b'"first":1,', b"", "first line does not say"),
        (b'"hash":"', b'"hash":"x', "first line does not say"),
        (b'"part_bytes":700', b'"part_bytes":999999999999', "first line does not say"),
        (b"}\n", b"}", "first line does not say"),
    ],
)
def test_a_first_line_that_is_none(trail: Trail, old: bytes, new: bytes, says: str) -> None:
    """What stands in the clear is exactly as autoheal writes it, or the file is refused by name."""
    path = rotated(trail)[0]
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(JournalDamaged, match=says) as caught:
        log_files(trail.folder)
    assert path.name in str(caught.value)


def test_a_part_that_unpacks_to_more_than_it_should(trail: Trail) -> None:
    """A part of fifty megabytes that was packed into fifty kilobytes is refused without unpacking it."""
    path = rotated(trail)[0]
    header, parts = parts_of(path.read_bytes())
    path.write_bytes(b"".join([header, formats.encrypted(bytes(50_000_000), RECIPIENTS), *parts[1:]]))
    tracemalloc.start()
    with open_plain(path, IDENTITIES) as lines, pytest.raises(JournalDamaged, match="does not hold 700 bytes of lines"):
        lines.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_part_that_names_other_keys_is_damage_where_the_first_one_opens(trail: Trail) -> None:
    """A changed part is not taken for a file that is none of the reader's business."""
    path = rotated(trail)[0]
    header, (first, *parts) = parts_of(path.read_bytes())
    foreign = formats.encrypted(b"x" * 700, Recipients.parse(OTHER_PUBLIC))
    path.write_bytes(b"".join([header, first, foreign, *parts[1:]]))
    with pytest.raises(JournalDamaged, match="encrypted part 2 of 3: it is not what was encrypted"):
        newest(Search(trail.folder, identities=IDENTITIES), Ask(before=7))


def test_a_search_without_the_key_leaves_out_and_tells(tmp_path: Path) -> None:
    """What can be read is found; each file that cannot is told of once, and a page is partial. Who does not ask to be
    told gets the error.
    """
    spread(tmp_path, RECORDS, [10, 20, 30], ["plain", "encrypted", "packed"])
    readable = [*RECORDS[:10], *RECORDS[30:]]
    for identities in (None, OTHERS):
        search = Search(tmp_path, identities=identities)
        told: list[JournalEncrypted] = []
        assert list(search.oldest_first(Ask(), skipped=told.append)) == [(each.seq, each.line) for each in readable]
        assert [(error.first, error.last) for error in told] == [(11, 20), (21, 30)]
        page = search.page(Ask(), SystemClock(), seconds=60, max_bytes=1 << 20)
        assert (page.lines, page.next, page.partial) == ([each.line for each in reversed(readable)], None, True)
        assert [(error.first, error.last) for error in page.unread] == [(21, 30), (11, 20)]
        assert [error.first for error in search.unreadable(Ask())] == [21, 11]
        with pytest.raises(JournalEncrypted, match=r"audit\.jsonl-2: seq 21 to 30 are encrypted"):
            newest(search, Ask())
        with pytest.raises(JournalEncrypted, match="seq 11 to 20"):
            list(search.oldest_first(Ask()))


def test_who_follows_the_log_is_told_once(tmp_path: Path) -> None:
    """Not again at every look for what has come."""
    spread(tmp_path, RECORDS, [20], ["encrypted"])
    told: list[JournalEncrypted] = []
    more = Search(tmp_path).follow(Ask(), 0, told.append)
    assert [[seq for seq, _ in more()] for _ in range(3)] == [list(range(21, 41)), [], []]
    assert len(told) == 1


def test_what_was_not_asked_for_needs_no_key(tmp_path: Path) -> None:
    """Seqs in the clear and manifests spare a file: then nothing was left out."""
    spread(tmp_path, RECORDS, [10, 20], ["encrypted"])
    search = Search(tmp_path)
    for ask, count in (
        (Ask(since=START + 20), 20),
        (Ask(limit=20), 20),
        (Ask(query=parse("kind=escalated")), 0),
        (Ask(before=1), 0),
    ):
        page = search.page(ask, SystemClock(), seconds=60, max_bytes=1 << 20)
        assert (len(page.lines), page.partial, page.unread) == (count, False, [])
    assert search.unreadable(Ask(since=START + 20)) == []
    assert search.unreadable(Ask(before=1)) == []
    assert [error.first for error in search.unreadable(Ask(since=START + 15))] == [11]


def test_the_end_of_a_file_is_read_without_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many parts a search for the newest record decrypts the last ones, which hold that line."""
    records = chain([Draft(kind=Kind.DECISION, detail={"x": "x" * 20_000}) for _ in range(400)])
    spread(tmp_path, records, [399], ["encrypted"], 1 << 17)
    count = 0
    real = Identities.decrypt

    def counted(self: Identities, data: bytes) -> bytes:
        nonlocal count
        count += 1
        return real(self, data)

    monkeypatch.setattr(Identities, "decrypt", counted)
    page = Search(tmp_path, identities=IDENTITIES).page(
        Ask(limit=1, before=400), SystemClock(), seconds=60, max_bytes=9
    )
    assert page.lines == [records[398].line]
    # Where seq 399 ends is found by halves.
    assert count < 15 < len(parts_of((tmp_path / "audit.jsonl-0").read_bytes())[1]) / 4


@pytest.mark.parametrize("how", ["encrypted", "packed"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, how: str) -> None:
    """Twenty megabytes are searched, in both directions, with the parts of a few."""
    records = chain([Draft(kind=Kind.DECISION, detail={"x": f"{number:060000}"}) for number in range(340)])
    (tmp_path / "audit.jsonl-1").write_bytes(encrypted_file(records, part_bytes=1 << 20, packed=how == "packed"))
    search = Search(tmp_path, identities=IDENTITIES)
    tracemalloc.start()
    assert sum(line is not None for _, line in search.newest_first(Ask(query=parse("seq>0")))) == 340
    assert sum(1 for _ in search.oldest_first(Ask())) == 340
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


def test_how_files_are_listed(tmp_path: Path) -> None:
    """Content decides; a gzip'd copy that is made of an encrypted file counts only once that one is gone."""
    whole = encrypted_file(RECORDS[:20], packed=True)
    (tmp_path / "audit.jsonl-1").write_bytes(encrypted_file(RECORDS[:20]))
    for length in (0, 5, 30, 300, len(whole)):
        (tmp_path / "audit.jsonl-1.gz").write_bytes(whole[:length])
        assert [(file.path.name, file.storage) for file in log_files(tmp_path)] == [
            ("audit.jsonl-1", Storage.ENCRYPTED)
        ]
    (tmp_path / "audit.jsonl-1").unlink()
    (file,) = log_files(tmp_path)
    assert (file.path.name, file.storage, file.packed, file.first) == ("audit.jsonl-1.gz", Storage.ENCRYPTED, True, 1)
    with open_plain(file.path, IDENTITIES) as lines:
        assert lines.read() == text(RECORDS[:20])
    with pytest.raises(JournalEncrypted, match="AUTOHEAL_AUDIT_IDENTITY"):
        open_plain(file.path)
