"""One gateway process: opens the log, folds it, and serves until a signal says stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import httpx
import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette

from autoheal.actions import ACTIONS
from autoheal.alertmanager import Alertmanager
from autoheal.app import build
from autoheal.clock import Clock, SystemClock
from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.errors import ConfigError, Fault, JournalUnavailable
from autoheal.feed import Feed
from autoheal.journal import FileJournal
from autoheal.journal.checkpoint import Signer
from autoheal.metrics import Metrics
from autoheal.model import Record
from autoheal.redaction import HiddenNames, Redaction, load_key
from autoheal.rules import RuleSet, load
from autoheal.state import State
from autoheal.web.connection import Connection
from autoheal.web.health import warnings
from autoheal.witness import Witness

OPEN_STREAMS_SECONDS = 5
"""How long uvicorn waits at stop for answers under way."""
SEND_BUFFER_BYTES = 64 * 1024
"""Of each connection: the default lets a reader that stalled absorb megabytes before anyone notices."""
STALLED_MILLISECONDS = 30_000
"""After this the kernel gives up a reader that takes nothing: closing alone would wait for it."""
_STDOUT = 1
LAST_WORD_SECONDS = 5.0
"""How long the last checkpoint may take to leave the host at stop."""

_log = structlog.get_logger("autoheal")


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads the rules. All three are minded during the start as well.

    The exit code is 0 after a stop that was asked for, and 1 when the engine failed: a new start folds the log anew.
    Raises ConfigError for rules that cannot be used, and JournalError for a log that cannot be opened.
    """
    signals = _Signals()
    _configure_logging()
    try:
        load_rules(settings.rules, settings.redact)  # all faults, and the address, before the log is touched
        signals.go_on()
        with _listen(settings) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, listener, SystemClock(), signals))
    except _Stopped:
        _log.info("stopped_before_serving")
        return 0


def load_rules(path: Path, redact: HiddenNames) -> RuleSet:
    """The rules at `path`, as the engine loads them at start and at each reload. Raises ConfigError."""
    return load(path, actions={name: action.Params for name, action in ACTIONS.items()}, redact=redact)


def _listen(settings: Settings) -> socket.socket:
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


async def _serve(settings: Settings, listener: socket.socket, clock: Clock, signals: _Signals) -> int:
    metrics = Metrics()
    state = State()
    feed: Feed | None = None
    witness: Witness | None = None

    def replayed(record: Record) -> None:
        signals.go_on()
        state.apply(record)

    def durable(records: Sequence[Record]) -> None:
        metrics.count(records)
        if feed is not None:
            feed.publish(records)
        if witness is not None:
            witness.tell(records)

    journal = FileJournal.open(
        settings.data_dir,
        clock,
        on_durable=durable,
        on_replay=replayed,
        observe=metrics.journal_append.observe,
        on_error=lambda error: _journal_error(metrics, error),
    )
    try:
        signals.go_on()
        feed = Feed(journal.durable.seq, lambda after, limit: asyncio.to_thread(journal.read, after, limit), clock)
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            witness = Witness(_print, settings.checkpoint_url, client, clock)
            engine = _engine(settings, journal, state, client, clock)
            _log.info(
                "serving",
                address=settings.address,
                rules=len(engine.rules.rules),
                enabled=settings.enabled,
                dry_run=settings.dry_run,
                log=journal.log_id,
                seq=journal.head.seq,
            )
            for warning in warnings(settings, engine.rules):
                _log.warning("danger", warning=warning)
            app = build(settings, engine, journal, feed, metrics, clock=clock)
            server = _Server(web_server(app), engine, signals)
            telling = asyncio.create_task(witness.run())
            try:
                return await _until_stopped(server, signals, listener, feed)
            finally:
                # The last checkpoint is durable by now, and may still be on its way.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(witness.told(), LAST_WORD_SECONDS)
                telling.cancel()
    finally:
        await journal.close()


def _engine(settings: Settings, journal: FileJournal, state: State, client: httpx.AsyncClient, clock: Clock) -> Engine:
    signer = Signer.load(settings.keys)
    return Engine(
        settings=settings,
        journal=journal,
        state=state,
        load_rules=lambda: load_rules(settings.rules, settings.redact),
        actions=ACTIONS,
        alertmanager=Alertmanager(settings.alertmanager_urls, client, clock=clock)
        if settings.alertmanager_urls
        else None,
        redaction=Redaction(settings.redact, load_key(settings.keys / "redact.key")),
        sign=lambda head: signer.draft(journal.log_id, head),
        clock=clock,
    )


def _print(line: bytes) -> None:
    """Write to standard output, unless nobody reads there: waiting for a reader would hold up everything."""
    if not select.select([], [_STDOUT], [], 0)[1]:
        raise BlockingIOError(errno.EAGAIN, "nobody reads what stands there already")
    os.write(_STDOUT, line)


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


class _Stopped(Exception):
    """A stop was asked for while the service was still starting."""


class _Signals:
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
        """Raise _Stopped when a stop was asked for. Between the steps of a start, each of which leaves things whole."""
        if self._stop is not None:
            raise _Stopped

    def attach(self, on_stop: Callable[[int], object]) -> None:
        """From now on a stop calls `on_stop`, and a reload wakes whoever waits on the running loop. Or _Stopped."""
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


class _Server(uvicorn.Server):
    """uvicorn's, but signals are `signals`' alone; while it serves, it reloads when asked, and watches the engine."""

    def __init__(self, config: uvicorn.Config, engine: Engine, signals: _Signals) -> None:
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


async def _until_stopped(server: _Server, signals: _Signals, listener: socket.socket, feed: Feed) -> int:
    signals.attach(server.stop)
    # What lives as long as the process need not be looked at by every collection: a shorter tail of latencies.
    gc.freeze()
    try:
        await server.serve(sockets=[listener])
    except SystemExit:
        # How uvicorn gives up when the application does not start.
        raise JournalUnavailable("the service could not start: its log says why") from None
    feed.close()
    return server.exit_code


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


def _journal_error(metrics: Metrics, error: OSError) -> None:
    metrics.journal_errors.inc()
    _log.error("journal_error", error=str(error))


def _configure_logging() -> None:
    """The service's own log: one JSON object a line on stderr, with the correlation id of the request."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # uvicorn says why it could not bind; the library's own logger keeps quiet below that.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    with contextlib.suppress(AttributeError):
        sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
