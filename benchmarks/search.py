"""How long a search of the log takes, beside grep and jq on the same file in the same run.

    .venv/bin/python benchmarks/search.py [DIRECTORY]

Makes 1,000,000 sealed records in DIRECTORY (a temporary one when absent; 0.6 GB). All read from the page cache, so
only ratios mean something: `times grep` is our time as a share of grep's.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import uvloop

from autoheal import query
from autoheal.clock import SystemClock
from autoheal.journal import manifest
from autoheal.journal.files import FILE_NAME
from autoheal.journal.record import seal
from autoheal.journal.search import Ask, Page, Search
from autoheal.model import Draft, Head, Kind, Mode

RECORDS = 1_000_000
HISTORY = RECORDS // 2
ROUNDS = 7
BEGIN = 1_790_000_000.0
RARE = "DiskWillFillIn4Hours"
QUESTIONS = (
    (f"alertname={RARE}", f'.alertname == "{RARE}"', [f'"alertname":"{RARE}"']),
    (
        "kind=action_fail OR alertname=HighCPU",
        '.kind == "action_fail" or .alertname == "HighCPU"',
        ['"kind":"action_fail"', '"alertname":"HighCPU"'],
    ),
)
KINDS = ([Kind.ALERT_FIRING, Kind.ALERT_RESOLVED, Kind.DECISION, Kind.ACTION_OK, Kind.ACTION_FAIL], [30, 25, 40, 4, 1])
ALERTS = (["TcpEndpointDown", "PodCrashLooping", "HighLatency", "HighCPU"], [40, 30, 25, 5])


def draft(number: int, dice: random.Random) -> Draft:
    """A record as the gateway makes them; every 10,000th is about the rare alert."""
    alertname = RARE if number % 10_000 == 77 else dice.choices(*ALERTS)[0]
    target = f"web-{number % 97}"
    return Draft(
        kind=dice.choices(*KINDS)[0],
        alertname=alertname,
        fingerprint=f"{dice.getrandbits(64):016x}",
        episode=f"e{number}",
        rule="restart-web",
        target=target,
        mode=Mode.LIVE,
        reason="act",
        correlation_id=f"{dice.getrandbits(64):016x}",
        labels={"alertname": alertname, "instance": f"{target}:9100", "job": "node", "severity": "page"},
    )


def make(whole: Path, parts: Path) -> None:
    """The log as one file, and the same one with its first half as a compressed file with a manifest."""
    dice, head, tally = random.Random(7), Head(), manifest.Tally()
    with (
        (whole / FILE_NAME).open("wb") as log,
        gzip.open(parts / f"{FILE_NAME}-1.gz", "wb", compresslevel=1) as history,
        (parts / FILE_NAME).open("wb") as current,
    ):
        for number in range(1, RECORDS + 1):
            record = seal(draft(number, dice), head, BEGIN + number / 10)
            head = record.head
            log.write(record.line + b"\n")
            (history if number <= HISTORY else current).write(record.line + b"\n")
            if number <= HISTORY:
                tally.add(record)
    manifest.write(tally.manifest("0" * 16), parts / manifest.FOLDER_NAME)


def timed(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median of some runs, in seconds."""
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return median(seconds)


def newest(search: Search, text: str, since: float | None = None) -> Page:
    """The newest 200."""
    ask = Ask(limit=200, query=query.parse(text), since=since)
    return search.page(ask, SystemClock(), seconds=3600, max_bytes=1 << 30)


def shell(command: list[str]) -> list[bytes]:
    """The last 200 lines of what `command` prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}) as process:
        last = subprocess.run(["tail", "-n", "200"], stdin=process.stdout, capture_output=True, check=True)
    return last.stdout.splitlines()


def compare(folder: Path) -> None:
    """Each question, asked of us, of grep and of jq."""
    search, log = Search(folder), str(folder / FILE_NAME)
    print(f"newest 200 of {RECORDS:,} records, {(folder / FILE_NAME).stat().st_size >> 20} MiB, warm cache")
    for text, program, needles in QUESTIONS:
        grep = ["grep", "-F", *(part for needle in needles for part in ("-e", needle)), log]
        found = newest(search, text).lines
        assert found == shell(grep)[::-1], "grep finds other lines"
        ours, theirs = timed(partial(newest, search, text)), timed(partial(shell, grep))
        line = f"  {text:<38} {len(found):3} found {ours * 1000:8.1f} ms"
        line += f"   grep -F {theirs * 1000:7.1f} ms, {ours / theirs:.3f} times grep"
        if shutil.which("jq"):
            slow = timed(partial(shell, ["jq", "-c", f"select({program})", log]), 1)
            line += f"   jq {slow * 1000:8.0f} ms, {slow / ours:,.0f} times as fast as jq"
        print(line)
    print(f"  {'step>3 (no bytes to seek, 0 found)':<38}           {timed(lambda: newest(search, 'step>3'), 1):8.1f} s")


def history(folder: Path) -> None:
    """What compressed history costs, and what its manifest spares."""
    text = f"alertname={RARE}"
    since = BEGIN + (HISTORY + 1) / 10
    print(f"the same log with its first half gzip'd, {text}")
    print(f"  `since` excludes the history: {timed(lambda: newest(Search(folder), text, since)) * 1000:8.1f} ms")
    print(f"  no record of that kind in it: {timed(lambda: newest(Search(folder), 'kind=log_created')) * 1000:8.1f} ms")
    (manifest_file,) = manifest.paths(folder / manifest.FOLDER_NAME)
    manifest_file.unlink()
    print(f"  … `since`, without its manifest:{timed(lambda: newest(Search(folder), text, since)) * 1000:6.1f} ms")
    print(f"  all of it, unpacked anew:     {timed(lambda: newest(Search(folder), text)) * 1000:8.1f} ms")
    kept = Search(folder)
    newest(kept, text)
    print(f"  all of it, asked again:       {timed(lambda: newest(kept, text)) * 1000:8.1f} ms")
    page = Ask(limit=200, before=HISTORY)
    again = timed(lambda: kept.page(page, SystemClock(), seconds=3600, max_bytes=1 << 30))
    print(f"  the next page of it:          {again * 1000:8.1f} ms")


async def lag(work: Callable[[], object]) -> float:
    """How late an event loop's timers are while `work` runs in a thread: the 99th percentile, in seconds."""
    late: list[float] = []
    task = asyncio.ensure_future(asyncio.to_thread(work))
    while not task.done():
        begin = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - begin - 0.001)
    return sorted(late)[int(len(late) * 0.99)]


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as name:
        whole, parts = Path(name, "whole"), Path(name, "parts")
        whole.mkdir()
        parts.mkdir()
        make(whole, parts)
        compare(whole)
        search = Search(whole)
        for what, work in (
            ("at rest", partial(time.sleep, 1)),
            (f"alertname={RARE}", lambda: [newest(search, f"alertname={RARE}") for _ in range(5)]),
            ("step>3", lambda: newest(search, "step>3")),
        ):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                print(f"  event loop meanwhile, {what:<28}: p99 {runner.run(lag(work)) * 1000:.1f} ms late")
        history(parts)


if __name__ == "__main__":
    main()
