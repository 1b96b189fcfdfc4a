"""How many records a second the journal makes durable, beside a bare loop of write and fdatasync.

    .venv/bin/python benchmarks/journal.py [DIRECTORY]

DIRECTORY is where the file is written (a temporary directory when absent): the figures are those of its disk, so
only the ratios of one run mean something. Each client appends one record and waits until it is durable.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import uvloop

from autoheal.clock import SystemClock
from autoheal.journal import FileJournal, seal
from autoheal.model import Draft, Head, Kind, Mode

SECONDS = 1.5
ROUNDS = 3
DRAFT = Draft(
    kind=Kind.DECISION,
    alertname="HighCPU",
    fingerprint="b5b7a8a5b5b7a8a5",
    episode="e123",
    rule="restart-web",
    target="web-1",
    run="r124",
    step=1,
    mode=Mode.LIVE,
    reason="act",
    correlation_id="0123456789abcdef",
    labels={"alertname": "HighCPU", "instance": "web-1:9100", "job": "node", "severity": "page"},
    detail={"plan_digest": "f" * 64},
)


def bare(path: Path, line: bytes) -> float:
    """Lines a second with one write and one fdatasync each."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        os.write(fd, line)
        os.fdatasync(fd)
        count += 1
    seconds = time.perf_counter() - begin
    os.close(fd)
    return count / seconds


async def grouped(data_dir: Path, clients: int) -> tuple[float, list[float]]:
    """Records a second, and the seconds from hand-over to durable of each."""
    latencies: list[float] = []
    journal = FileJournal.open(data_dir, SystemClock(), on_durable=lambda _: None, observe=latencies.append)
    begin = time.perf_counter()

    async def client() -> int:
        count = 0
        while time.perf_counter() - begin < SECONDS:
            (record,) = journal.append([DRAFT], journal.head)
            await journal.wait(record.seq)
            count += 1
        return count

    count = sum(await asyncio.gather(*(client() for _ in range(clients))))
    seconds = time.perf_counter() - begin
    await journal.close()
    return count / seconds, latencies


def replay(data_dir: Path) -> tuple[int, float]:
    """How many records a start reads and checks, and the microseconds for each."""
    count = 0

    def fold(_: object) -> None:
        nonlocal count
        count += 1

    async def start() -> float:
        begin = time.perf_counter()
        journal = FileJournal.open(data_dir, SystemClock(), on_durable=lambda _: None, on_replay=fold)
        seconds = time.perf_counter() - begin
        await journal.close()
        return seconds

    seconds = asyncio.run(start())
    return count, seconds / count * 1e6


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as name:
        folder = Path(name)
        loops: list[float] = []
        rates: dict[int, list[float]] = {1: [], 16: [], 64: []}
        waits: dict[int, list[float]] = {1: [], 16: [], 64: []}
        for _ in range(ROUNDS):
            loops.append(bare(folder / "bare", seal(DRAFT, Head(), time.time()).line + b"\n"))
            for clients, measured in rates.items():
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    rate, latencies = runner.run(grouped(folder / str(clients), clients))
                measured.append(rate)
                waits[clients] += latencies
        base = median(loops)
        print(f"bare write + fdatasync      {base:9,.0f} lines/s   1.00   (median of {ROUNDS} rounds)")
        for clients, measured in rates.items():
            ordered = sorted(waits[clients])
            p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
            rate = median(measured)
            print(
                f"journal, {clients:3} clients        {rate:9,.0f} records/s {rate / base:5.2f}"
                f"   durable after p50 {p50:.2f} ms, p99 {p99:.2f} ms"
            )
        count, each = replay(folder / "64")
        print(f"start-up: {count:,} records read, checked and parsed, {each:.1f} µs each")


if __name__ == "__main__":
    main()
