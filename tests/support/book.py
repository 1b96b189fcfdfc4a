"""A log with the state folded from it, as the engine keeps them, on a disk and a clock that tests own."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from autoheal.engine.ledger import Ledger
from autoheal.errors import JournalUnavailable
from autoheal.journal import FileJournal, files
from autoheal.journal.checkpoint import Signer
from autoheal.journal.reading import replay
from autoheal.model import Draft, Kind, Record, rfc3339
from autoheal.state import State
from tests.support.clock import FakeClock
from tests.support.faults import FaultyDisk, until


class Book:
    """A log with the state folded from it, as the engine keeps them."""

    def __init__(self, data_dir: Path, **more: Any) -> None:
        data_dir.mkdir(exist_ok=True)
        self.dir = data_dir
        self.path = data_dir / "audit.jsonl"
        self.clock = FakeClock()
        self.disk = FaultyDisk()
        self.told: list[Record] = []
        self.folded: list[Record] = []
        self.errors: list[OSError] = []
        self.signer = Signer.load(data_dir.parent / "keys")
        state = State()

        def replayed(record: Record) -> None:
            self.folded.append(record)
            state.apply(record)

        self.journal = FileJournal.open(
            data_dir,
            self.clock,
            on_durable=self._durable,
            on_replay=replayed,
            on_snapshot=state.restore,
            on_error=self.errors.append,
            disk=self.disk,
            retry_after=0.002,
            **more,
        )
        self.ledger = Ledger(
            self.journal,
            state,
            self.clock,
            changed=lambda _: None,
            refolded=lambda: None,
            sign=self.signer.draft,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.journal.close()

    def _durable(self, records: Sequence[Record]) -> None:
        self.told += records

    async def put(self, *names: str) -> None:
        """Open an episode for each name, durably."""
        self.ledger.refresh()
        self.ledger.commit([firing(name) for name in names])
        await self.ledger.settle()

    async def end(self, name: str) -> None:
        """End the episode that `put` opened, durably."""
        self.ledger.refresh()
        end = Draft(kind=Kind.ALERT_RESOLVED, detail={"how": "webhook", "ends_at": rfc3339(1_790_000_001.0)})
        about = firing(name)
        self.ledger.commit([replace(end, alertname=name, fingerprint=about.fingerprint, episode=about.episode)])
        await self.ledger.settle()

    async def insist(self, name: str) -> None:
        """`put`, as often as the log refuses: what failed before may be noticed only now."""
        for _ in range(1000):
            try:
                await self.put(name)
            except JournalUnavailable:
                await until(lambda: self.journal.healthy)
            else:
                return
        raise AssertionError("the log never took it")

    def look(self) -> None:
        """As the tick does."""
        with contextlib.suppress(JournalUnavailable):
            self.ledger.refresh()

    async def turn(self) -> None:
        """Let a tick's work be done, and be durable."""
        self.ledger.refresh()
        await self.ledger.settle()

    async def mended(self, then: Any) -> None:
        """Tick until `then()` holds: the writer's thread has mended something meanwhile."""

        def look() -> bool:
            self.look()
            return bool(then())

        await until(look)
        await self.ledger.settle()

    def rename(self, number: int = 1) -> Path:
        """As logrotate does."""
        return self.path.rename(self.dir / f"audit.jsonl-20261121-{1763690000 + number}")

    def gzip(self, path: Path) -> None:
        """As logrotate does a day later."""
        (self.dir / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    def episodes(self) -> set[str]:
        return {episode.alertname for episode in self.ledger.state.episodes.values()}


def firing(name: str) -> Draft:
    return Draft(
        kind=Kind.ALERT_FIRING,
        alertname=name,
        fingerprint=hashlib.sha256(name.encode()).hexdigest()[:16],
        episode=f"e{name}",
        labels={"alertname": name},
        detail={"starts_at": rfc3339(1_790_000_000.0), "how": "webhook"},
    )


def everything(data_dir: Path) -> list[Record]:
    """All records in all files, in the order of the files; each file whole."""
    records: list[Record] = []
    for file in files.log_files(data_dir):
        with files.open_plain(file.path) as stream:
            found = list(replay(file.path, stream=stream))
        with files.open_plain(file.path) as stream:
            assert sum(len(record.line) + 1 for record in found) == len(stream.read()), file.path
        records += found
    return records


def assert_unbroken(records: Sequence[Record]) -> None:
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [record.prev for record in records[1:]] == [record.hash for record in records[:-1]]
