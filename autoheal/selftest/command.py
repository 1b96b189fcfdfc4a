"""`autoheal selftest`: one line a check for people, or JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import structlog

from autoheal.clock import SystemClock
from autoheal.config import Settings, is_loopback, load
from autoheal.errors import ConfigError
from autoheal.journal.files import FILE_NAME
from autoheal.oidc import provider_client
from autoheal.selftest.checks import Subject, run_checks
from autoheal.selftest.results import Result, passed


def run(arguments: argparse.Namespace) -> int:
    """Make the checks, say what they came to, and return the exit code."""
    try:
        settings = load(os.environ)
    except ConfigError as error:
        for fault in error.faults:
            print(f"autoheal: {fault}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the results tell
    url = arguments.url or f"http://{settings.nearest}"
    results = asyncio.run(_results(url, settings, arguments.token_file or settings.selftest_token_file))
    if arguments.json:
        print(json.dumps(_plain(url, results), ensure_ascii=False))
    else:
        for line in _lines(results):
            print(line)
    return 0 if passed(results) else 1


async def _results(url: str, settings: Settings, token_file: Path | None) -> list[Result]:
    tls = ssl.create_default_context()
    async with httpx.AsyncClient(trust_env=False, verify=tls) as http, provider_client(tls) as provider:
        return await run_checks(
            Subject(
                url=url,
                settings=settings,
                token_file=token_file,
                local=is_here(url, settings),
                http=http,
                provider=provider,
                clock=SystemClock(),
            )
        )


def is_here(url: str, settings: Settings) -> bool:
    """Whether the gateway at `url` seems to be on this machine, and its log where `settings` say."""
    host = httpx.URL(url).host
    if not is_loopback(host) and host != settings.host:
        return False
    try:
        return (settings.data_dir / FILE_NAME).exists()
    except PermissionError:
        return True  # and the check of the log says whose it is


def _lines(results: Sequence[Result]) -> list[str]:
    lines = []
    for result in results:
        line = f"{result.word:8}{result.check.value:13}{result.text}"
        lines.append(f"{line} ({result.ms:.0f} ms)" if result.ok else line)
        if result.remedy:
            lines.append(f"{'':21}-> {result.remedy}")
    failed, skipped = (sum(result.ok is ok for result in results) for ok in (False, None))
    lines.append(f"{len(results) - failed - skipped} ok, {failed} failed, {skipped} skipped")
    return lines


def _plain(url: str, results: Sequence[Result]) -> dict[str, object]:
    checks = [
        {
            "check": result.check.value,
            "ok": result.ok,
            "ms": round(result.ms, 1),
            "text": result.text,
            **({"remedy": result.remedy} if result.remedy else {}),
        }
        for result in results
    ]
    return {"url": url, "ok": passed(results), "checks": checks}
