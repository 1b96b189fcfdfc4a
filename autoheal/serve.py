"""One gateway process: opens the log, folds it, and serves until a signal says stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import httpx
import structlog
import uvicorn
import uvloop

from autoheal.actions import ACTIONS
from autoheal.alertmanager import Alertmanager
from autoheal.app import build
from autoheal.clock import Clock, SystemClock
from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.errors import ConfigError, Fault, JournalUnavailable
from autoheal.feed import Feed
from autoheal.journal import FileJournal
from autoheal.metrics import Metrics
from autoheal.model import Record
from autoheal.redaction import Redaction, load_key
from autoheal.rules import RuleSet, load
from autoheal.state import State
from autoheal.web.health import warnings

OPEN_STREAMS_SECONDS = 5
"""How long uvicorn waits at stop for answers under way."""
SEND_BUFFER_BYTES = 64 * 1024
"""Of each connection: the default lets a reader that stalled absorb megabytes before anyone notices."""
STALLED_MILLISECONDS = 30_000
"""After this the kernel gives up a reader that takes nothing: closing alone would wait for it."""

_log = structlog.get_logger("autoheal")


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads the rules.

    Raises ConfigError for rules that cannot be used, and JournalError for a log that cannot be opened.
    """
    _configure_logging()
    load_rules(settings)  # all faults, and the address, before the log is touched
    with _listen(settings) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener, SystemClock()))


def load_rules(settings: Settings) -> RuleSet:
    """The rules that `settings` name, as the engine loads them at start and at each reload. Raises ConfigError."""
    params = {name: action.Params for name, action in ACTIONS.items()}
    return load(settings.rules, actions=params, redact=settings.redact)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ConfigError([Fault("AUTOHEAL_HOST, AUTOHEAL_PORT", f"cannot listen on {where}: {error}")]) from None
    # The connections inherit these.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MILLISECONDS)
    return listener


async def _serve(settings: Settings, listener: socket.socket, clock: Clock) -> None:
    metrics = Metrics()
    state = State()
    feed: Feed | None = None

    def durable(records: Sequence[Record]) -> None:
        metrics.count(records)
        if feed is not None:
            feed.publish(records)

    journal = FileJournal.open(
        settings.data_dir,
        clock,
        on_durable=durable,
        on_replay=state.apply,
        observe=metrics.journal_append.observe,
        on_error=lambda error: _journal_error(metrics, error),
    )
    try:
        feed = Feed(journal.durable.seq, lambda after, limit: asyncio.to_thread(journal.read, after, limit), clock)
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            engine = Engine(
                settings=settings,
                journal=journal,
                state=state,
                load_rules=lambda: load_rules(settings),
                actions=ACTIONS,
                alertmanager=Alertmanager(settings.alertmanager_urls, client, clock=clock)
                if settings.alertmanager_urls
                else None,
                redaction=Redaction(settings.redact, load_key(settings.keys / "redact.key")),
                clock=clock,
            )
            _log.info(
                "serving",
                address="{}:{}".format(*listener.getsockname()[:2]),
                rules=len(engine.rules.rules),
                enabled=settings.enabled,
                dry_run=settings.dry_run,
                log=journal.log_id,
                seq=journal.head.seq,
            )
            for warning in warnings(settings, engine.rules):
                _log.warning("danger", warning=warning)
            app = build(settings, engine, journal, feed, metrics)
            config = uvicorn.Config(
                app,
                http="httptools",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=OPEN_STREAMS_SECONDS,
            )
            await _until_stopped(_Server(config, engine), listener, engine, feed)
    finally:
        await journal.close()


class _Server(uvicorn.Server):
    """Tells the engine at the signal itself: uvicorn waits for open requests before the lifespan ends."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._engine.wind_down()
        super().handle_exit(sig, frame)


async def _until_stopped(server: uvicorn.Server, listener: socket.socket, engine: Engine, feed: Feed) -> None:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(_reload(engine))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    # uvicorn raises the signal that ended it again when it is done: a stop that was asked for is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    # What lives as long as the process need not be looked at by every collection: a shorter tail of latencies.
    gc.freeze()
    await server.serve(sockets=[listener])
    feed.close()
    if not server.started:
        raise JournalUnavailable("the service could not start: its log says why")


async def _reload(engine: Engine) -> None:
    try:
        await engine.reload()
    except ConfigError as error:
        _log.error("reload_rejected", faults=[str(fault) for fault in error.faults])
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
