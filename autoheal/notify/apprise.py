"""Many further services, by the library Apprise (https://github.com/caronc/apprise): an extra, imported when used."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from autoheal.errors import ConfigError, Fault
from autoheal.notify.contract import NO_ACKNOWLEDGEMENTS, Notice, Severity, Undelivered, What, one_line

TIMEOUT_SECONDS = 30.0
"""For all addresses together. The library has timeouts of its own, and its thread cannot be ended from outside."""
SUMMARY_CHARACTERS = 200
VALUE_CHARACTERS = 300
LINES = 30
VARIABLE = "NOTIFY_APPRISE_URLS"

_TALKATIVE = ("apprise", "urllib3.connectionpool", "urllib3.util.retry")

# Its words for what a message is; some services show them as colours.
_TYPES: Mapping[Severity, str] = {
    Severity.CRITICAL: "failure",
    Severity.ERROR: "failure",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}


class Apprise:
    """Sends to all of `urls`, which hold credentials. Raises ConfigError when the library is missing or knows one not.

    A message counts as taken when all of them took it: an attempt that only some took comes again to all.
    """

    name = "apprise"
    hears = NO_ACKNOWLEDGEMENTS
    holds_incidents = False
    limit: int | None = None

    def __init__(self, urls: Sequence[str], *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        self._services = _services(urls)
        self._busy: asyncio.Task[bool] | None = None

    async def send(self, notice: Notice) -> None:
        """See Channel."""
        if self._busy is not None and not self._busy.done():
            raise Undelivered("the message before is still on its way")
        kind = "success" if notice.what is What.RESOLVE else _TYPES[notice.severity]
        self._busy = asyncio.create_task(
            asyncio.to_thread(self._services.notify, title=title(notice), body=text(notice), notify_type=kind)
        )
        try:
            taken = await asyncio.wait_for(asyncio.shield(self._busy), self._timeout)
        except TimeoutError:
            self._busy.add_done_callback(_forget)
            raise Undelivered(f"no answer within {self._timeout:g} s") from None
        except Exception as error:  # noqa: BLE001 whatever a service raises, its text may quote credentials
            raise Undelivered(f"raised {type(error).__name__}") from None
        if not taken:
            # Which one, and why, only the library could tell.
            raise Undelivered("not all of the services took it")


def title(notice: Notice) -> str:
    """The first line."""
    word = "resolved" if notice.what is What.RESOLVE else notice.severity.value
    return f"[{word}] {one_line(notice.summary, SUMMARY_CHARACTERS)}"


def text(notice: Notice) -> str:
    """The others."""
    lines = [one_line(line, VALUE_CHARACTERS) for line in notice.lines[:LINES]]
    lines += [f"{one_line(name, 40)}: {one_line(value, VALUE_CHARACTERS)}" for name, value in notice.context]
    if notice.link:
        lines.append(notice.link)
    return "\n".join(lines) or title(notice)


def _services(urls: Sequence[str]) -> Any:
    try:
        library = importlib.import_module("apprise")
    except ImportError:
        what = "needs the library Apprise: pip install 'autoheal[apprise]'"
        raise ConfigError([Fault(VARIABLE, what)]) from None
    for name in _TALKATIVE:
        # They log addresses, which hold credentials.
        logging.getLogger(name).disabled = True
    services = library.Apprise()
    unknown = [place for place, url in enumerate(urls, 1) if not services.add(url)]
    if unknown:
        places = ", ".join(map(str, unknown))
        raise ConfigError([Fault(VARIABLE, f"Apprise does not know what address {places} of {len(urls)} is")])
    return services


def _forget(task: asyncio.Task[bool]) -> None:
    """Nobody waits for it any more: what it raises is to trouble nobody."""
    if not task.cancelled():
        task.exception()
