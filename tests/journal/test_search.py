"""Searching the log: every line that is asked for, once, in order, whatever the files look like."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.clock import SystemClock
from autoheal.errors import JournalDamaged
from autoheal.journal import backward, files, walk
from autoheal.journal.files import FILE_NAME
from autoheal.journal.needles import needles
from autoheal.journal.search import Ask, Page, Search
from autoheal.model import Draft, Kind, Record
from autoheal.query import And, Field, Node, Not, Operator, Or, Query, Term, parse
from tests.support.clock import FakeClock
from tests.support.logs import START, chain, describe, spread, text

PLAIN = chain([Draft(kind=Kind.DECISION, rule="r" if number % 3 else "s") for number in range(60)])
MANY = chain([Draft(kind=Kind.DECISION, rule="r" * 500) for number in range(1000)])


def page(search: Search, ask: Ask, clock: Any = None, max_bytes: int = 1 << 30) -> Page:
    return search.page(ask, clock or SystemClock(), seconds=2.0 if clock else 3600.0, max_bytes=max_bytes)


def newest(search: Search, ask: Ask) -> list[bytes]:
    return [line for _, line in search.newest_first(ask) if line is not None]


def lines(records: Sequence[Record]) -> list[bytes]:
    return [record.line for record in reversed(records)]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that hold few lines, so that short logs have many."""
    monkeypatch.setattr(walk, "BLOCK_BYTES", 1500)
    monkeypatch.setattr(backward, "FIRST_BLOCK_BYTES", 1000)
    monkeypatch.setattr(files, "BLOCK_BYTES", 1500)


# Few values, so that they meet: what JSON escapes, what reads as a number, what is the beginning of another.
WORDS = st.sampled_from(
    ["a", "ab", 'a"b', "a\\", 'a\\"', "é", "\u2028", "\n", "1", "1.0", "-1e5", "true", "false", "", "\x7f"]
)
NAMES = st.sampled_from(["job", 'j"ob', "rule", "kind", "a.b", "é"])
LABELS = st.dictionaries(NAMES, WORDS, max_size=3)
DETAIL: st.SearchStrategy[Any] = st.recursive(
    st.one_of(WORDS, st.sampled_from([1, 1.0, -100000, True, False, None, 2**53])),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)
DRAFTS = st.builds(
    Draft,
    kind=st.sampled_from([Kind.DECISION, Kind.ACTION_FAIL, Kind.ESCALATED]),
    alertname=st.none() | WORDS,
    rule=st.none() | WORDS,
    step=st.none() | st.integers(0, 2),
    labels=st.none() | LABELS,
    annotations=st.none() | LABELS,
    detail=st.dictionaries(NAMES, DETAIL, max_size=3),
)
FIELDS = st.one_of(
    st.sampled_from([Field((name,)) for name in ("kind", "alertname", "rule", "step", "seq")]),
    st.builds(lambda root, name: Field((root, name)), st.sampled_from(["labels", "annotations"]), NAMES),
    st.builds(lambda names: Field(("detail", *names)), st.lists(NAMES, min_size=1, max_size=2)),
)
VALUES = WORDS | st.sampled_from(["decision", "action_fail", "2", "a*"])
TERMS: st.SearchStrategy[Node] = st.one_of(
    st.builds(
        lambda place, operator, value: Term(place, operator, (value,)),
        FIELDS,
        st.sampled_from([Operator.EQ, Operator.EQ, Operator.EQ, Operator.NE, Operator.GLOB, Operator.GE]),
        VALUES,
    ),
    st.builds(lambda place, values: Term(place, Operator.IN, tuple(values)), FIELDS, st.lists(VALUES, min_size=1)),
)


def joined(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    pairs = st.lists(nodes, min_size=2, max_size=3).map(tuple)
    return st.one_of(nodes.map(Not), pairs.map(And), pairs.map(Or))


QUERIES = st.recursive(TERMS, joined, max_leaves=4).map(Query)
STORAGE = st.lists(st.sampled_from(["plain", "gzip", "known"]), min_size=1, max_size=3)


@settings(deadline=None, max_examples=150)
@given(st.lists(DRAFTS, min_size=1, max_size=25), QUERIES, st.lists(st.integers(1, 24), max_size=3), STORAGE)
def test_filter_needles_and_search_agree(
    drafts: list[Draft], query: Query, cuts: list[int], storage: list[Literal["plain", "gzip", "known"]]
) -> None:
    """For any records and filter: a match holds a needle, and both directions give exactly the filter's matches."""
    records = chain(drafts)
    matching = [record for record in records if query.matches(orjson.loads(record.line))]
    if sought := needles(query.root):
        assert all(any(needle in record.line for needle in sought) for record in matching)
    with TemporaryDirectory() as name:
        folder = Path(name)
        spread(folder, records, [cut for cut in cuts if cut < len(records)], storage)
        search = Search(folder)
        assert newest(search, Ask(query=query)) == lines(matching)
        assert list(search.oldest_first(Ask(query=query))) == [(record.seq, record.line) for record in matching]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 59), max_size=4),
    STORAGE,
    st.integers(1, 70),
    st.sampled_from([None, "rule=s", "rule!=s", "seq<20"]),
    st.integers(0, 40),
    st.integers(30, 61),
)
def test_pages_join_over_any_files(
    cuts: list[int],
    storage: list[Literal["plain", "gzip", "known"]],
    limit: int,
    query: str | None,
    since: int,
    until: int,
) -> None:
    """Following `next` over any split into files gives the whole list, newest first, within `since` and `until`."""
    asked = None if query is None else parse(query)
    expected = [
        record
        for record in PLAIN[since:until]
        if START + since <= record.ts and (asked is None or asked.matches(orjson.loads(record.line)))
    ]
    with TemporaryDirectory() as name:
        spread(Path(name), PLAIN, cuts, storage)
        search = Search(Path(name))
        found: list[bytes] = []
        before: int | None = None
        while True:
            ask = Ask(limit=limit, query=asked, since=START + since, until=START + until, before=before)
            one = page(search, ask)
            assert len(one.lines) <= limit
            assert not one.partial
            found += one.lines
            before = one.next
            if before is None:
                break
        assert found == lines(expected)
        ask = Ask(query=asked, since=START + since, until=START + until)
        assert [line for _, line in search.oldest_first(ask)] == found[::-1]


def test_a_cursor_holds_while_the_log_grows_and_rotates(tmp_path: Path) -> None:
    """Between two pages the file is renamed, compressed, and a new one begun: no record comes twice or is left out."""
    path = tmp_path / FILE_NAME
    path.write_bytes(text(PLAIN[:20]))
    search = Search(tmp_path)
    first = page(search, Ask(limit=5))
    path.rename(tmp_path / "audit.jsonl-1")
    path.write_bytes(text(PLAIN[20:40]))
    second = page(search, Ask(limit=5, before=first.next))
    (tmp_path / "audit.jsonl-1.gz").write_bytes(gzip.compress(text(PLAIN[:20])))
    (tmp_path / "audit.jsonl-1").unlink()
    third = page(search, Ask(limit=99, before=second.next))
    assert first.lines + second.lines + third.lines == lines(PLAIN[:20])


def test_rotation_under_a_running_search(tmp_path: Path, small_blocks: None) -> None:
    """A search that has listed the files finds those that are renamed and compressed before it comes to them."""
    spread(tmp_path, PLAIN, [20, 40], ["plain"])
    steps = Search(tmp_path).newest_first(Ask())
    found = [line for _, line in itertools.islice(steps, 3) if line]
    (tmp_path / FILE_NAME).rename(tmp_path / "audit.jsonl-9")
    (tmp_path / "audit.jsonl-0.gz").write_bytes(gzip.compress((tmp_path / "audit.jsonl-0").read_bytes()))
    (tmp_path / "audit.jsonl-0").unlink()
    (tmp_path / "audit.jsonl-1").rename(tmp_path / "audit.jsonl-0")
    assert found + [line for _, line in steps if line] == lines(PLAIN)


@pytest.mark.parametrize(("backward", "regrown"), [(True, False), (True, True), (False, False)])
def test_copytruncate_under_a_running_search(tmp_path: Path, small_blocks: None, backward: bool, regrown: bool) -> None:
    """A file that is cut short while it is read goes on in its copy, without a gap or a repeat.

    Backward also when it is longer than before by the time of the next block.
    """
    path = tmp_path / FILE_NAME
    path.write_bytes(text(MANY[:400]))
    search = Search(tmp_path)
    steps: Iterator[tuple[int, bytes | None]] = search.newest_first(Ask()) if backward else search.oldest_first(Ask())
    found = [line for _, line in itertools.islice(steps, 4) if line]
    (tmp_path / "audit.jsonl-1").write_bytes(path.read_bytes())
    path.write_bytes(text(MANY[400:]) if regrown else b"")
    found += [line for _, line in steps if line]
    assert found == (lines(MANY[:400]) if backward else lines(MANY[:400])[::-1])


def test_a_file_that_retention_takes_away_is_passed_over(tmp_path: Path, small_blocks: None) -> None:
    """Pruned between the listing and its turn: the search ends with what is left."""
    spread(tmp_path, PLAIN, [20, 40], ["plain"])
    search = Search(tmp_path)
    steps, forward = search.newest_first(Ask()), search.oldest_first(Ask())
    first, oldest = next(steps)[1], next(forward)[1]
    (tmp_path / "audit.jsonl-1").unlink()
    left = PLAIN[:20] + PLAIN[40:]
    assert [first, *(line for _, line in steps if line)] == lines(left)
    assert [oldest, *(line for _, line in forward)] == lines(left)[::-1]


@pytest.mark.parametrize("torn", [b'{"seq":61', PLAIN[0].line, b"\xff" * 300_000])
def test_what_was_not_acknowledged_is_not_shown(tmp_path: Path, torn: bytes) -> None:
    """Of the file that is written to, only records up to the durable one; without a service, only whole lines."""
    (tmp_path / FILE_NAME).write_bytes(text(PLAIN) + torn)
    durable = Search(tmp_path, lambda: 42)
    assert newest(durable, Ask()) == lines(PLAIN[:42])
    assert [seq for seq, _ in durable.oldest_first(Ask())] == list(range(1, 43))
    assert newest(Search(tmp_path), Ask()) == lines(PLAIN)
    assert page(durable, Ask(before=11, limit=3)).lines == lines(PLAIN[7:10])


@pytest.mark.parametrize("seq", [1, 2, 59, 60])
def test_the_durable_end_is_found_among_any_bytes(tmp_path: Path, small_blocks: None, seq: int) -> None:
    """What follows the durable line may be anything at this moment: it is never looked at."""
    (tmp_path / FILE_NAME).write_bytes(text(PLAIN[:seq]) + b"\0" * 5000 + b'\n\n{}\n{"seq":99,')
    assert newest(Search(tmp_path, lambda: seq), Ask()) == lines(PLAIN[:seq])


def test_the_durable_end_is_found_wherever_blocks_begin(tmp_path: Path, small_blocks: None) -> None:
    """Also when its first bytes lie across two blocks; inside of a line the same bytes are none (checkpoints)."""
    for length in range(1050, 1250):
        tail = b'{"detail":' * (1 + length % 7) + b'{"seq":9,' + b"x" * length + b"\n"
        (tmp_path / FILE_NAME).write_bytes(text(PLAIN[:9]) + tail)
        assert newest(Search(tmp_path, lambda: 9), Ask()) == lines(PLAIN[:9])


def test_files_beyond_the_durable_record_are_not_opened(tmp_path: Path) -> None:
    """A fresh file whose first record is being written shows nothing, and does not hide what came before."""
    spread(tmp_path, PLAIN, [40], ["plain"])
    assert newest(Search(tmp_path, lambda: 40), Ask()) == lines(PLAIN[:40])


def test_what_is_left_is_shown_when_the_durable_record_is_lost(tmp_path: Path) -> None:
    """The last records can be lost (copytruncate): until the writer goes on, that is no reason to show nothing."""
    spread(tmp_path, PLAIN[:40], [20], ["plain"])
    assert newest(Search(tmp_path, lambda: 60), Ask()) == lines(PLAIN[:40])


def test_a_file_that_is_cut_short_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says so, instead of a search without an end."""
    (tmp_path / FILE_NAME).write_bytes(text(PLAIN))

    class Short(walk.OnDisk):
        def read(self, view: memoryview, at: int) -> int:
            return 0

    monkeypatch.setattr(walk, "OnDisk", Short)
    with pytest.raises(OSError, match="cut short faster"):
        newest(Search(tmp_path), Ask())


@pytest.mark.parametrize(
    "content", [text([*PLAIN[:30], *PLAIN[29:]]), text([*PLAIN[:20], *PLAIN[30:40], *PLAIN[20:30], *PLAIN[40:]])]
)
def test_lines_out_of_their_order_are_damage(tmp_path: Path, small_blocks: None, content: bytes) -> None:
    """Doubled or swapped lines are not shown twice, nor in another order: the place is named."""
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"audit\.jsonl, byte \d+: seq \d+ stands before seq \d+"):
        newest(Search(tmp_path), Ask())


@pytest.mark.parametrize("storage", ["plain", "gzip"])
def test_a_damaged_line_is_named(tmp_path: Path, storage: Literal["plain", "gzip"]) -> None:
    """A line that is asked for and is not what was sealed is an error with its file and its place in the content."""
    spoilt = text(PLAIN[:9]) + PLAIN[9].line.replace(b'"rule":"s"', b'"rule":"S"') + b"\n" + text(PLAIN[10:20])
    name = "audit.jsonl-0" + (".gz" if storage == "gzip" else "")
    (tmp_path / name).write_bytes(spoilt if storage == "plain" else gzip.compress(spoilt))
    (tmp_path / FILE_NAME).write_bytes(text(PLAIN[20:]))
    place = rf"{name}, byte {len(text(PLAIN[:9]))}: its hash is not that of its bytes"
    search = Search(tmp_path)
    with pytest.raises(JournalDamaged, match=place):
        newest(search, Ask())
    with pytest.raises(JournalDamaged, match=place):
        list(search.oldest_first(Ask(query=parse("rule=S"))))
    assert page(search, Ask(limit=45)).lines == lines(PLAIN[15:])


@pytest.mark.parametrize(
    ("content", "query", "says"),
    [
        (b"x" * 70_000, None, "longer than"),
        (b"x" * 400_000, "rule=s", "longer than"),
        (b'{"rule":"s"', "rule=s", "unexpected|JSON|does not begin"),
    ],
)
def test_what_is_no_line_is_named(tmp_path: Path, content: bytes, query: str | None, says: str) -> None:
    """Text that no record can be is an error that names the file, in both directions."""
    (tmp_path / FILE_NAME).write_bytes(text(PLAIN[:3]) + content + b"\n")
    ask = Ask(query=None if query is None else parse(query))
    for found in (lambda: newest(Search(tmp_path), ask), lambda: list(Search(tmp_path).oldest_first(ask))):
        with pytest.raises(JournalDamaged, match=says) as caught:
            found()
        assert str(tmp_path / FILE_NAME) in str(caught.value)


def test_a_compressed_line_without_an_end_is_named(tmp_path: Path) -> None:
    """Also where lines are read forward without looking for their places first."""
    (tmp_path / "audit.jsonl-1.gz").write_bytes(gzip.compress(text(PLAIN[:3]) + b"x" * 70_000 + b"\n"))
    with pytest.raises(JournalDamaged, match=r"gz, byte \d+: a line is longer than 65536 bytes"):
        list(Search(tmp_path).oldest_first(Ask()))


def test_a_place_is_not_sought_in_what_is_no_line(tmp_path: Path) -> None:
    """Bisecting meets a line that does not end, or one without a seq: an error that names the place."""
    for middle, says in ((b"x" * 600_000, "longer than"), (b'{"s":1}\n' * 9000, "does not begin with its seq")):
        (tmp_path / FILE_NAME).write_bytes(text(PLAIN[:3]) + middle + b"\n" + text(PLAIN[3:]))
        with pytest.raises(JournalDamaged, match=says):
            newest(Search(tmp_path), Ask(before=3))


def test_a_damaged_compressed_file_stays_damaged(tmp_path: Path) -> None:
    """Asked again, the same search meets the same damage; a file that was put right is read."""
    content = gzip.compress(text(MANY[:900]))
    path = tmp_path / "audit.jsonl-1.gz"
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    search = Search(tmp_path)
    for _ in range(2):
        with pytest.raises(JournalDamaged, match="not a whole gzip file"):
            newest(search, Ask())
    path.write_bytes(content)
    assert newest(search, Ask()) == lines(MANY[:900])


@pytest.mark.parametrize(
    ("ask", "reads"),
    [
        (Ask(since=START + 20), False),
        (Ask(since=START + 19), True),
        (Ask(until=START), False),
        (Ask(query=parse("kind=action_fail")), False),
        (Ask(query=parse("kind=action_fail OR rule=x")), True),
        (Ask(query=parse("kind=decision")), True),
    ],
)
def test_manifests_spare_whole_files(tmp_path: Path, ask: Ask, reads: bool) -> None:
    """A compressed file whose manifest rules it out is not even opened, so that its damage does not show."""
    spread(tmp_path, PLAIN, [20], ["gzip"])
    describe(tmp_path, PLAIN[:20])
    path = tmp_path / "audit.jsonl-0.gz"
    path.write_bytes(path.read_bytes()[:-9])
    search = Search(tmp_path)
    for found in (lambda: newest(search, ask), lambda: list(search.oldest_first(ask))):
        if reads:
            with pytest.raises(JournalDamaged, match="not a whole gzip file"):
                found()
        else:
            found()


def test_older_files_are_spared_without_a_manifest(tmp_path: Path) -> None:
    """Time never runs backward in the log: before a file that is in part too old, nothing is opened."""
    spread(tmp_path, PLAIN, [20], ["gzip"])
    path = tmp_path / "audit.jsonl-0.gz"
    path.write_bytes(path.read_bytes()[:-9])
    search = Search(tmp_path)
    assert newest(search, Ask(since=START + 21)) == lines(PLAIN[21:])
    assert len(list(search.oldest_first(Ask(), after=20))) == 40


def test_a_manifest_that_does_not_fit_is_not_believed(tmp_path: Path) -> None:
    """One that cannot be read, or describes fewer bytes than there are, hides nothing."""
    spread(tmp_path, PLAIN, [20], ["plain"])
    written = describe(tmp_path, PLAIN[:10])
    ask = Ask(since=START + 15, until=START + 20)
    assert newest(Search(tmp_path), ask) == lines(PLAIN[15:20])
    (tmp_path / "manifests" / written.name).write_bytes(b"{}")
    assert newest(Search(tmp_path), ask) == lines(PLAIN[15:20])


class BusyClock(FakeClock):
    """Half a second passes with every look at it."""

    def monotonic(self) -> float:
        self._monotonic += 0.5
        return self._monotonic


def test_out_of_time_the_page_says_where_to_go_on(tmp_path: Path, small_blocks: None) -> None:
    """Two seconds: then what was found, `partial`, and a `next` that misses nothing; the last page has none."""
    spread(tmp_path, PLAIN, [30], ["plain"])
    search, found, before, partial = Search(tmp_path), [], None, 0
    while True:
        one = page(search, Ask(limit=1000, query=parse("rule=s"), before=before), BusyClock())
        found += one.lines
        partial += one.partial
        if one.next is None:
            break
        assert before is None or one.next < before
        before = one.next
    assert found == lines([record for record in PLAIN if record.rule == "s"])
    assert partial > 3


def test_a_file_that_takes_longer_to_unpack_than_a_request_has(tmp_path: Path) -> None:
    """Each request goes on unpacking where the last one stopped: pages stay empty for a while, then all is there."""
    many = chain([Draft(kind=Kind.DECISION, rule="r", detail={"text": "x" * 20_000}) for _ in range(400)])
    spread(tmp_path, many, [399], ["gzip"])
    search = Search(tmp_path, lambda: 400)
    found, before, empty = [], None, 0
    for _ in range(1000):
        one = page(search, Ask(limit=1000, before=before), BusyClock())
        found += one.lines
        before, empty = one.next, empty + (not one.lines)
        if before is None:
            break
    assert found == lines(many)
    assert empty > 3


def test_a_page_is_bounded_in_bytes(tmp_path: Path) -> None:
    """Beyond `max_bytes` a page ends, `partial`, and goes on after its last record."""
    (tmp_path / FILE_NAME).write_bytes(text(PLAIN))
    one = page(Search(tmp_path), Ask(limit=1000), max_bytes=1000)
    assert (one.partial, one.next) == (True, 61 - len(one.lines))
    assert 1 < len(one.lines) < 10


def test_a_page_that_ends_with_the_log_has_no_next(tmp_path: Path) -> None:
    """Seq 1 is the last there can be: nobody need ask again."""
    (tmp_path / FILE_NAME).write_bytes(text(PLAIN))
    assert page(Search(tmp_path), Ask(limit=60)).next is None
    assert page(Search(tmp_path), Ask(limit=59)).next == 2


def test_an_empty_log_has_nothing(tmp_path: Path) -> None:
    """A directory without records is an empty page, not an error."""
    assert page(Search(tmp_path), Ask()) == Page()
    (tmp_path / FILE_NAME).write_bytes(b'{"seq":1,"ts":"2026')
    assert newest(Search(tmp_path), Ask()) == []
    assert list(Search(tmp_path).oldest_first(Ask())) == []


def test_reading_on_after_a_seq(tmp_path: Path) -> None:
    """`after` is exclusive, in every file and between files."""
    spread(tmp_path, PLAIN, [20, 40], ["plain", "gzip"])
    for after in (0, 1, 19, 20, 21, 40, 59, 60, 61):
        assert [seq for seq, _ in Search(tmp_path).oldest_first(Ask(), after)] == list(range(after + 1, 61))
