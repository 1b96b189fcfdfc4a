"""A program for tests: a log with its state, written to at full speed until standard input ends.

    rotating_writer.py DATA_DIR CLIENTS

Prints `seq hash` of each record once it is durable, and at the end `state SEQ SHA256`: of the state in memory.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import uvloop

from autoheal.clock import SystemClock
from autoheal.engine.ledger import Ledger
from autoheal.engine.upkeep import Upkeep
from autoheal.errors import JournalUnavailable
from autoheal.journal import FileJournal
from autoheal.journal.checkpoint import Signer
from autoheal.model import Draft, Kind, Record, rfc3339
from autoheal.state import State
from tests.support.states import digest


def drafts(client: int, turn: int) -> list[Draft]:
    """One alert fires, the one before it resolves: the state changes all the time and stays small."""
    about = {"alertname": f"Alert{client}", "labels": {"alertname": f"Alert{client}", "job": "x" * (turn % 50)}}
    times = {"starts_at": rfc3339(1.79e9 + turn), "ends_at": rfc3339(1.79e9 + turn), "how": "webhook"}
    fingerprints = [f"{client:08x}{number % 4:08x}" for number in (turn, turn - 1)]
    return [
        Draft(kind=Kind.ALERT_FIRING, fingerprint=fingerprints[0], episode=f"e{client}.{turn}", detail=times, **about),  # type: ignore[arg-type]
        Draft(kind=Kind.ALERT_RESOLVED, fingerprint=fingerprints[1], detail=times, **about),  # type: ignore[arg-type]
    ]


class Program:
    """The writer."""

    def __init__(self, data_dir: Path) -> None:
        clock, state = SystemClock(), State()
        self.journal = FileJournal.open(data_dir, clock, on_durable=self.say, on_replay=state.apply)
        self.clock = clock
        self.ledger = Ledger(
            self.journal,
            state,
            clock,
            changed=lambda _: None,
            refolded=lambda: None,
            sign=Signer.load(data_dir.parent / "keys").draft,
        )
        self.out: list[str] = []
        self.stopping = False

    def say(self, records: Sequence[Record]) -> None:
        text = "".join(f"{record.seq} {record.hash}\n" for record in records).encode()
        while text:
            text = text[os.write(1, text) :]

    async def client(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            try:
                self.ledger.refresh()
                self.ledger.commit(drafts(number, turn))
                await self.ledger.settle()
                turn += 1
            except JournalUnavailable:
                await asyncio.sleep(0.01)

    async def run(self, clients: int) -> None:
        loop = asyncio.get_running_loop()
        keep_up = loop.create_task(Upkeep(self.ledger, self.clock, min_free=0, look=lambda: None).run())
        work = [loop.create_task(self.client(number)) for number in range(clients)]
        await asyncio.to_thread(sys.stdin.read)
        self.stopping = True
        await asyncio.gather(*work)
        keep_up.cancel()
        await self.journal.close()
        head = self.ledger.state.head
        print(f"state {head.seq} {digest(self.ledger.state)}", flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def main() -> None:
            await Program(Path(sys.argv[1])).run(int(sys.argv[2]))

        runner.run(main())
