"""How connections are accepted, and what goes on beside them while the service serves."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import structlog
import uvicorn
from starlette.applications import Starlette

from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.errors import ConfigError, Fault
from autoheal.serve.signals import Signals
from autoheal.web.connection import Connection

OPEN_STREAMS_SECONDS = 5
"""How long uvicorn waits at stop for answers under way."""
SEND_BUFFER_BYTES = 64 * 1024
"""Of each connection: the default lets a reader that stalled absorb megabytes before anyone notices."""
STALLED_MILLISECONDS = 30_000
"""After this the kernel gives up a reader that takes nothing: closing alone would wait for it."""

_log = structlog.get_logger("autoheal")


def listen(settings: Settings) -> socket.socket:
    """A socket that listens where `settings` say. Raises ConfigError when that place cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Whoever says `::` means every address of the machine, those of IPv4 as well.
    both = settings.host == "::" and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=2048, dualstack_ipv6=both
        )
    except OSError as error:
        raise ConfigError(
            [Fault("AUTOHEAL_HOST, AUTOHEAL_PORT", f"cannot listen on {settings.address}: {error}")]
        ) from None
    # The connections inherit these.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MILLISECONDS)
    return listener


def web_server(app: Starlette) -> uvicorn.Config:
    """How uvicorn is to serve `app`: the peer's own address counts, whatever a header says, and heads are bounded."""
    return uvicorn.Config(
        app,
        http=Connection,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=OPEN_STREAMS_SECONDS,
    )


class Server(uvicorn.Server):
    """uvicorn's, but signals are `signals`' alone; while it serves, it reloads when asked, and watches the engine."""

    def __init__(self, config: uvicorn.Config, engine: Engine, signals: Signals) -> None:
        super().__init__(config)
        self._engine = engine
        self._signals = signals
        self.exit_code = 0

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Leave the handlers alone."""
        return contextlib.nullcontext()

    def stop(self, number: int) -> None:
        """End in good order; the engine is told first, as uvicorn waits for open requests before the lifespan ends."""
        self._engine.wind_down()
        self.handle_exit(number, None)

    async def main_loop(self) -> None:
        """Serve; reload the rules whenever that is asked for, or was during the start; end when the engine fails."""
        beside = (
            asyncio.create_task(_reload_when_asked(self._engine, self._signals.reload)),
            asyncio.create_task(self._end_with_the_engine()),
        )
        try:
            await super().main_loop()
        finally:
            for task in beside:
                task.cancel()

    async def _end_with_the_engine(self) -> None:
        """A gateway that decides nothing any more would answer 503 for ever: let a supervisor start another."""
        await self._engine.failed.wait()
        _log.critical("engine_failed", remedy="the service ends with exit code 1: start it again")
        self.exit_code = 1
        self._engine.wind_down()
        self.should_exit = True


async def _reload_when_asked(engine: Engine, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await _reload(engine)


async def _reload(engine: Engine) -> None:
    try:
        await engine.reload()
    except ConfigError as error:
        _log.error("reload_rejected", faults=[str(fault) for fault in error.faults])
    except Exception as error:  # noqa: BLE001 the rules in force stay so, and the next reload may succeed
        _log.error("reload_failed", exc_info=error)
    else:
        _log.info("reloaded", rules=len(engine.rules.rules), digest=engine.rules.digest)
