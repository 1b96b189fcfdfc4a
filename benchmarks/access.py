"""What asking who somebody is costs a request, and what a flood of made-up tokens costs those with good ones.

    .venv/bin/python benchmarks/access.py

A gateway with an identity provider in memory serves over a real socket; the client is a process of its own. The same
endpoint stands behind a role and, for this measurement, in the open: their requests take turns. Then one client goes
on alone, and beside a thousand tokens a second with a kid that nobody has.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import orjson
import structlog

from autoheal.clock import SystemClock
from autoheal.web.rules import rules
from autoheal.web.security import PUBLIC, Door
from tests.support.gateway import gateway
from tests.support.identity import claims, encoded, packed, token
from tests.support.logins import OIDC, LoginProvider

TURNS = 4000
FLOOD_SECONDS = 10.0
FLOOD_RATE = 1000
CONNECTIONS = 10
REACH = {"route": 1.10, "flood": 2.0}


async def serve() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    clock = SystemClock()
    provider = LoginProvider(clock)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        async with gateway(Path(folder), OIDC, http=provider.http, clock=clock) as gate:
            gate.app.router.routes.append(Door("GET", "/open", PUBLIC, partial(rules, engine=gate.engine)))
            good = token(clock, roles=["view"])  # type: ignore[arg-type]
            told = packed(claims(clock, roles=["view"]))  # type: ignore[arg-type]
            flood = [
                f"{packed({'alg': 'RS256', 'typ': 'at+jwt', 'kid': f'kid-{number}'})}.{told}.{encoded(bytes(256))}"
                for number in range(int(FLOOD_RATE * FLOOD_SECONDS))
            ]
            client = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "client", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            provider.asked.clear()
            work = orjson.dumps({"port": gate.port, "good": good, "flood": flood})
            output, _ = await client.communicate(work)
            found = orjson.loads(output)
            print(
                f"route: open {found['open']:.0f} µs, behind a role {found['guarded']:.0f} µs, "
                f"{found['guarded'] / found['open']:.2f} times (to reach: {REACH['route']})"
            )
            asked = sum(each.endswith("/keys") for each in provider.asked)
            print(
                f"flood: p99 of good requests {found['quiet']:.2f} ms alone, {found['flooded']:.2f} ms beside "
                f"{len(flood):,} unknown kids in {found['seconds']:.1f} s, {found['flooded'] / found['quiet']:.2f} "
                f"times (to reach: {REACH['flood']}); the keys were asked for {asked} times"
            )


class Caller:
    """One connection on which requests follow one another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str, bearer: str | None) -> int:
        """The status."""
        authorization = f"Authorization: Bearer {bearer}\r\n" if bearer else ""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self._reader.readexactly(int(length.partition(b":")[2]))
        return int(head[9:12])

    async def timed(self, path: str, bearer: str | None, expected: int = 200) -> float:
        """Seconds until the answer was read."""
        begin = time.perf_counter()
        status = await self.get(path, bearer)
        seconds = time.perf_counter() - begin
        if status != expected:
            raise AssertionError(f"{path} answered {status}")
        return seconds


async def client() -> None:
    """The other process: asks, and writes what it took."""
    work = orjson.loads(sys.stdin.buffer.read())
    good = work["good"]

    async def caller() -> Caller:
        return Caller(*await asyncio.open_connection("127.0.0.1", work["port"]))

    one = await caller()
    times: dict[str, list[float]] = {"open": [], "guarded": []}
    for turn in range(TURNS):
        # Both carry the header: reading it costs the server's parser the same.
        times["open"].append(await one.timed("/open", good))
        times["guarded"].append(await one.timed("/rules", good))
        if turn == TURNS // 10:
            times = {"open": [], "guarded": []}

    async def paced() -> list[float]:
        found, end = [], time.perf_counter() + FLOOD_SECONDS
        while time.perf_counter() < end:
            found.append(await one.timed("/rules", good))
            await asyncio.sleep(0.005)
        return sorted(found)

    async def flood(offset: int, begin: float) -> None:
        line = await caller()
        for number in range(offset, len(work["flood"]), CONNECTIONS):
            await asyncio.sleep(max(0.0, begin + number / FLOOD_RATE - time.perf_counter()))
            await line.timed("/rules", work["flood"][number], 401)

    quiet = await paced()
    begin = time.perf_counter()
    strangers = asyncio.gather(*(flood(offset, begin) for offset in range(CONNECTIONS)))
    flooded = await paced()
    await strangers
    sys.stdout.buffer.write(
        orjson.dumps(
            {
                **{name: median(found) * 1e6 for name, found in times.items()},
                "quiet": quiet[int(len(quiet) * 0.99)] * 1000,
                "flooded": flooded[int(len(flooded) * 0.99)] * 1000,
                "seconds": time.perf_counter() - begin,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(client() if sys.argv[1:] == ["client"] else serve())
