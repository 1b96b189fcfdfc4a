"""How many records a second the journal makes durable, beside a bare loop of write and fdatasync.

    .venv/bin/python benchmarks/journal.py [DIRECTORY]

DIRECTORY is where the files are written (a temporary directory when absent): the figures are those of its disk, so
only the ratios of one run mean something. Each writer appends one record and waits until it is durable; the bare loop
writes as many lines at once as there are writers. `plain` is the least that any journal of asynchronous callers costs:
a thread that writes and syncs the same line for each of them, sealed, chained, checked and recovered by nobody. Beside
it the event loop's lag: how much later than asked a timer
of 1 ms rings.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from threading import Thread

import uvloop

from autoheal.clock import SystemClock
from autoheal.journal import FileJournal, seal
from autoheal.model import Draft, Head, Kind

WRITERS = (1, 10, 100, 1000)
SECONDS = 1.5
ROUNDS = 5
REACH = {1: 0.8, 1000: 0.3}
DRAFT = Draft(
    kind=Kind.ALERT_FIRING,
    alertname="KubePodCrashLooping",
    fingerprint="b5b7a8a5b5b7a8a5",
    episode="e1234567",
    actor="alertmanager",
    correlation_id="0123456789abcdef",
    labels={
        "alertname": "KubePodCrashLooping",
        "cluster": "eu-west-1",
        "container": "payments-api",
        "instance": "10.42.7.131:8080",
        "job": "kube-state-metrics",
        "namespace": "payments",
        "pod": "payments-api-5d9c7b6f4d-x2x7k",
        "severity": "critical",
        "uid": "4b1c4f4e-6c5b-4f0e-9d0f-3f3e6f0a5a51",
    },
    annotations={
        "summary": "Pod payments/payments-api-5d9c7b6f4d-x2x7k is crash looping.",
        "description": "Pod payments/payments-api-5d9c7b6f4d-x2x7k is in waiting state (CrashLoopBackOff).",
        "runbook_url": "https://runbooks.prometheus-operator.dev/runbooks/kubernetes/kubepodcrashlooping",
    },
    detail={
        "how": "webhook",
        "starts_at": "2026-11-21T11:47:29.123456Z",
        "generator_url": "http://prometheus.monitoring.svc:9090/graph?g0.expr=max_over_time%28kube_pod_container_status_waiting_reason%5B5m%5D%29+%3E%3D+1&g0.tab=1",
    },
)
"""A firing alert as kube-prometheus sends it: the record that a storm writes by the thousand."""


def bare(path: Path, lines: int) -> float:
    """Lines a second with one write and one fdatasync for each `lines` of them."""
    data = (seal(DRAFT, Head(), time.time()).line + b"\n") * lines
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        os.write(fd, data)
        os.fdatasync(fd)
        count += lines
    seconds = time.perf_counter() - begin
    os.close(fd)
    return count / seconds


async def plain(path: Path, writers: int) -> float:
    """Lines a second through a thread that writes together what has come together."""
    line = seal(DRAFT, Head(), time.time()).line + b"\n"
    loop = asyncio.get_running_loop()
    queue: list[asyncio.Future[None]] = []
    bell: SimpleQueue[str] = SimpleQueue()

    def tell(waiters: list[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            waiter.set_result(None)

    def write() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        while bell.get():
            waiters = queue[:]
            del queue[: len(waiters)]
            if waiters:
                os.write(fd, line * len(waiters))
                os.fdatasync(fd)
                loop.call_soon_threadsafe(tell, waiters)
        os.close(fd)

    thread = Thread(target=write)
    thread.start()
    begin = time.perf_counter()

    async def writer() -> int:
        count = 0
        while time.perf_counter() - begin < SECONDS:
            waiter: asyncio.Future[None] = loop.create_future()
            queue.append(waiter)
            bell.put("write")
            await waiter
            count += 1
        return count

    count = sum(await asyncio.gather(*(writer() for _ in range(writers))))
    seconds = time.perf_counter() - begin
    bell.put("")
    thread.join()
    return count / seconds


async def grouped(data_dir: Path, writers: int) -> tuple[float, list[float], list[float]]:
    """Records a second; the seconds from hand-over to durable of each; the event loop's lags in seconds."""
    latencies: list[float] = []
    lags: list[float] = []
    journal = FileJournal.open(data_dir, SystemClock(), on_durable=lambda _: None, observe=latencies.append)
    begin = time.perf_counter()

    async def writer() -> int:
        count = 0
        while time.perf_counter() - begin < SECONDS:
            (record,) = journal.append([DRAFT], journal.head)
            await journal.wait(record.seq)
            count += 1
        return count

    async def watch() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - asked - 0.001)

    watching = asyncio.get_running_loop().create_task(watch())
    # As the service does: what is there at start is not looked at by every collection.
    gc.freeze()
    count = sum(await asyncio.gather(*(writer() for _ in range(writers))))
    seconds = time.perf_counter() - begin
    watching.cancel()
    await journal.close()
    return count / seconds, latencies, lags


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


def share(values: list[float], part: float) -> float:
    """The value below which `part` of `values` lie, in milliseconds."""
    return sorted(values)[int(len(values) * part)] * 1000


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as name:
        folder = Path(name)
        print("writers   bare lines/s   plain   journal records/s   ratio   durable after p50, p99   loop lag p50, p99")
        for writers in WRITERS:
            bases, threads, rates, latencies, lags = [], [], [], [], []
            for _ in range(ROUNDS):
                bases.append(bare(folder / "bare", writers))
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    threads.append(runner.run(plain(folder / "plain", writers)))
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    rate, found, late = runner.run(grouped(folder / str(writers), writers))
                rates.append(rate)
                latencies += found
                lags += late
            ratio, thread = (
                median(rate / base for rate, base in zip(each, bases, strict=True)) for each in (rates, threads)
            )
            reach = f" (to reach: {REACH[writers]})" if writers in REACH else ""
            print(
                f"{writers:7}   {median(bases):12,.0f}   {thread:5.2f}   {median(rates):17,.0f}   {ratio:5.2f}"
                f"   {share(latencies, 0.5):7.2f} ms, {share(latencies, 0.99):6.2f} ms"
                f"   {share(lags, 0.5):5.2f} ms, {share(lags, 0.99):5.2f} ms{reach}"
            )
        count, each = replay(folder / "100")
        print(f"start-up: {count:,} records read, checked and parsed, {each:.1f} µs each")


if __name__ == "__main__":
    main()
