"""What the sensitive pages answer of a log whose rotated files are encrypted, with the key and without."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import orjson
import pytest

from autoheal.model import Kind
from tests.support.gateway import Gateway, decision, firing, gateway, of_run
from tests.support.secrecy import OTHER_PRIVATE, PRIVATE, encryption, two_files
from tests.support.sse import Reader

ENCRYPTED = {
    "first": 1,
    "last": 4,
    "why": "encrypted: give the private key: AUTOHEAL_AUDIT_IDENTITY, or --identity FILE",
}
STREAM = {"Accept": "application/x-ndjson"}


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A log of which seq 1 to 4 are encrypted and 5 to 8 are not."""
    await two_files(tmp_path / "data")
    encryption(tmp_path / "data").look()
    return tmp_path


def opened(folder: Path, key: str = "") -> AbstractAsyncContextManager[Gateway]:
    return gateway(folder, {"AUTOHEAL_AUDIT_IDENTITY": key})


async def test_with_the_key_nothing_is_different(folder: Path) -> None:
    """Pages and streams reach back to the first record."""
    async with opened(folder, PRIVATE) as gate:
        body = (await gate.client.get("/audit")).json()
        assert [record["seq"] for record in body["records"]] == [8, 7, 6, 5, 4, 3, 2, 1]
        assert (body["next"], body["partial"], "unread" in body) == (None, False, False)
        answer = await gate.client.get("/audit", headers=STREAM)
        assert [orjson.loads(line)["seq"] for line in answer.iter_lines()] == [8, 7, 6, 5, 4, 3, 2, 1]
        assert "autoheal-unread" not in answer.headers


async def test_without_it_a_page_has_what_can_be_read_and_says_what_it_has_not(folder: Path) -> None:
    """`partial`, and in `unread` which seqs and why; a page that did not come to them is whole."""
    async with opened(folder) as gate:
        body = (await gate.client.get("/audit")).json()
        assert [record["seq"] for record in body["records"]] == [8, 7, 6, 5]
        assert (body["next"], body["partial"], body["unread"]) == (None, True, [ENCRYPTED])
        body = (await gate.client.get("/audit?before=5")).json()
        assert (body["records"], body["partial"], body["unread"]) == ([], True, [ENCRYPTED])
        body = (await gate.client.get("/audit?n=2")).json()
        assert (body["next"], body["partial"], "unread" in body) == (7, False, False)
        body = (await gate.client.get("/audit?q=kind=escalated")).json()
        assert (body["partial"], "unread" in body) == (False, False)
    async with opened(folder, OTHER_PRIVATE) as gate:
        (unread,) = (await gate.client.get("/audit")).json()["unread"]
        assert unread["why"] == "encrypted: the private key that was given is none of those that open it"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stream_says_it_in_a_header(folder: Path, method: str) -> None:
    """There is no other place among records."""
    async with opened(folder) as gate:
        answer = await gate.client.request(method, "/audit", headers=STREAM)
        assert answer.headers["autoheal-unread"] == "1-4"
        if method == "GET":
            assert [orjson.loads(line)["seq"] for line in answer.iter_lines()] == [8, 7, 6, 5]
        assert "autoheal-unread" not in (await gate.client.get("/audit?q=kind=escalated", headers=STREAM)).headers


async def test_events_that_cannot_be_replayed_are_a_reset(folder: Path) -> None:
    """As after an id that the log does not know: the stream goes on with what comes."""
    async with opened(folder) as gate:
        async with gate.client.stream("GET", "/events?after=2") as response:
            reader = Reader(response)
            (reset,) = await reader.take(1)
            assert (reset.name, orjson.loads(reset.data)) == ("reset", {"first": 1, "head": 8})
            await gate.log(firing(9))
            (event,) = await reader.take(1)
            assert event.record["seq"] == 9
        async with gate.client.stream("GET", "/events?after=4") as response:
            assert [event.record["seq"] for event in await Reader(response).take(2)] == [5, 6]


async def test_a_run_whose_beginning_is_encrypted(tmp_path: Path) -> None:
    """Its later records are shown, and that they are not all."""
    async with gateway(tmp_path) as gate:
        await gate.log(firing(1), decision(3))
        started = of_run(Kind.ACTION_STARTED, "r3", action="command", started_at="2026-05-01T12:00:01.000000Z")
        await gate.log(started)
        assert [each["seq"] for each in (await gate.client.get("/runs/r3")).json()["records"]] == [3, 4]
        (tmp_path / "data/audit.jsonl").rename(tmp_path / "data/audit.jsonl-1")
        records = gate.journal.turn(gate.engine.state.snapshot, gate.journal.head)
        for record in records:
            gate.engine.state.apply(record)
        await gate.journal.wait(records[-1].seq)
        (ended,) = await gate.log(of_run(Kind.ESCALATED, "r3"))
        await asyncio.to_thread(encryption(tmp_path / "data").look)
        body = (await gate.client.get("/runs/r3")).json()
        assert [each["seq"] for each in body["records"]] == [ended.seq]
        assert body["partial"] is True
