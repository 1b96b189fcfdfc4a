"""Signals, from the first moment of the process to its last."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType


class Stopped(Exception):
    """A stop was asked for while the service was still starting."""


class Signals:
    """What SIGTERM, SIGINT and SIGHUP have asked for since the process began.

    There is one handler for the whole life: between handlers that take turns, a signal could fall and be lost, or
    find the default in force and kill.
    """

    def __init__(self) -> None:
        self.reload = asyncio.Event()
        self._stop: int | None = None
        self._on_stop: Callable[[int], object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._came)

    def go_on(self) -> None:
        """Raise Stopped when a stop was asked for. Between the steps of a start, each of which leaves things whole."""
        if self._stop is not None:
            raise Stopped

    def attach(self, on_stop: Callable[[int], object]) -> None:
        """From now on a stop calls `on_stop`, and a reload wakes whoever waits on the running loop. Or Stopped."""
        self._loop = asyncio.get_running_loop()
        self._on_stop = on_stop
        self.go_on()

    def _came(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            if self._loop is None:
                self.reload.set()
            elif not self._loop.is_closed():
                # The loop may be asleep, and its tasks are not to be touched from here.
                self._loop.call_soon_threadsafe(self.reload.set)
            return
        self._stop = number
        if self._on_stop is not None:
            self._on_stop(number)
