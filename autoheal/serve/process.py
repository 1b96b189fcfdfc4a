"""The wiring of one process, from its settings to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import structlog
import uvloop

from autoheal import notify
from autoheal.actions import Action, available
from autoheal.alertmanager import Alertmanager
from autoheal.app import build
from autoheal.clock import Clock, SystemClock
from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.errors import JournalUnavailable
from autoheal.feed import Feed
from autoheal.journal import FileJournal
from autoheal.journal.checkpoint import FOLDER_NAME as KEY_FOLDER
from autoheal.journal.checkpoint import Signer
from autoheal.journal.encrypting import Encryption, encrypting
from autoheal.metrics import Metrics
from autoheal.model import Record
from autoheal.notify import Channel
from autoheal.oidc import provider_client
from autoheal.prometheus import Prometheus
from autoheal.redaction import HiddenNames, Redaction, load_key
from autoheal.rules import RuleSet, load
from autoheal.selftest import SelfTesting, Subject, run_checks
from autoheal.serve.log import configure_logging, print_line
from autoheal.serve.server import Server, listen, web_server
from autoheal.serve.signals import Signals, Stopped
from autoheal.serve.threads import writes_on_signal
from autoheal.state import State
from autoheal.traces import Spans, Traces
from autoheal.web.health import warnings
from autoheal.witness import Witness

LAST_WORD_SECONDS = 5.0
"""How long the last checkpoint, and the last spans, may take to leave the host at stop."""

_log = structlog.get_logger("autoheal")


def serve(settings: Settings, accept_damage: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads the rules. All three are minded during the start as well.

    `accept_damage` is the reason why the log may go on before a line that is not what was written.
    The exit code is 0 after a stop that was asked for, and 1 when the engine failed: a new start folds the log anew.
    Raises ConfigError for rules that cannot be used, and JournalError for a log that cannot be opened.
    """
    signals = Signals()
    configure_logging(settings.log_format, settings.log_level)
    try:
        actions = available(
            docker_host=settings.docker_host,
            docker_certs=settings.docker_certs,
            kubeconfig=settings.kubeconfig,
            ssh_hosts=settings.ssh_hosts,
        )
        load_rules(settings.rules, settings.redact, actions)  # all faults, and the address, before the log is touched
        signals.go_on()
        with listen(settings) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, actions, listener, SystemClock(), signals, accept_damage))
    except Stopped:
        _log.info("stopped_before_serving")
        return 0


def load_rules(path: Path, redact: HiddenNames, actions: Mapping[str, Action]) -> RuleSet:
    """The rules at `path`, as the engine loads them at start and at each reload. Raises ConfigError."""
    return load(
        path,
        actions={name: action.Params for name, action in actions.items()},
        redact=redact,
        idempotent=lambda name, params: actions[name].traits(params).idempotent,
    )


async def _serve(
    settings: Settings,
    actions: Mapping[str, Action],
    listener: socket.socket,
    clock: Clock,
    signals: Signals,
    accept_damage: str | None,
) -> int:
    metrics = Metrics()
    state = State()
    feed: Feed | None = None
    witness: Witness | None = None
    traces: Traces | None = None
    spans = Spans()

    def replayed(record: Record) -> None:
        signals.go_on()
        state.apply(record)
        if settings.otlp_endpoint is not None:
            spans.remember(record)

    def durable(records: Sequence[Record]) -> None:
        metrics.count(records)
        if feed is not None:
            feed.publish(records)
        if witness is not None:
            witness.tell(records)
        if traces is not None:
            traces.tell(records)

    journal = FileJournal.open(
        settings.data_dir,
        clock,
        on_durable=durable,
        on_replay=replayed,
        on_snapshot=state.restore,
        observe=metrics.journal_append.observe,
        on_error=lambda error: _journal_error(metrics, error),
        accept_damage=accept_damage,
        identities=settings.audit_identity,
    )
    try:
        signals.go_on()
        feed = Feed(journal.durable.seq, lambda after, limit: asyncio.to_thread(journal.read, after, limit), clock)
        encryption = _encryption(settings, metrics, clock)
        # The system's authorities rather than a bundled list: a company's own are there.
        tls = ssl.create_default_context()
        async with (
            httpx.AsyncClient(timeout=5.0, trust_env=False, verify=tls) as client,
            provider_client(tls) as provider,
            encrypting(encryption),
            writes_on_signal(settings.data_dir),
        ):
            channels = _channels(settings, client, clock)
            witness = Witness(print_line, settings.checkpoint_url, client, clock)
            if settings.otlp_endpoint is not None:
                traces = Traces(settings.otlp_endpoint, settings.otlp_headers, spans, client, clock)
            engine = _engine(settings, actions, journal, state, client, clock, channels)
            _announce(settings, engine, journal, accept_damage)
            app = build(settings, engine, journal, feed, metrics, provider=provider, clock=clock)
            server = Server(web_server(app), engine, signals)
            telling = [asyncio.create_task(each.run()) for each in (witness, traces) if each is not None]
            testing = asyncio.create_task(_test_itself(settings, engine, metrics, clock, tls))
            try:
                return await _until_stopped(server, signals, listener, feed)
            finally:
                # The last checkpoint is durable by now, and may still be on its way.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_WORD_SECONDS):
                        await witness.told()
                        if traces is not None:
                            await traces.told()
                for task in (*telling, testing):
                    task.cancel()
    finally:
        await journal.close()


def _announce(settings: Settings, engine: Engine, journal: FileJournal, accept_damage: str | None) -> None:
    """What is served, and what an operator should be told loudly about it."""
    _log.info(
        "serving",
        address=settings.address,
        rules=len(engine.rules.rules),
        enabled=settings.enabled,
        dry_run=settings.dry_run,
        log=journal.log_id,
        seq=journal.head.seq,
    )
    if accept_damage is not None:
        _log.warning("danger", warning="--accept-damage is given: leave it out of every later start")
    for warning in warnings(settings, engine.rules):
        _log.warning("danger", warning=warning)


async def _test_itself(settings: Settings, engine: Engine, metrics: Metrics, clock: Clock, tls: ssl.SSLContext) -> None:
    """Self-tests through connections of their own: what hangs in them must hold up nothing else."""
    if settings.selftest_interval is None:
        return
    async with httpx.AsyncClient(trust_env=False, verify=tls) as http, provider_client(tls) as provider:
        subject = Subject(
            url=f"http://{settings.nearest}",
            settings=settings,
            token_file=settings.selftest_token_file,
            local=True,
            http=http,
            provider=provider,
            clock=clock,
        )
        testing = SelfTesting(
            lambda: run_checks(subject), engine.selftested, metrics, clock, settings.selftest_interval
        )
        await testing.run()


def _encryption(settings: Settings, metrics: Metrics, clock: Clock) -> Encryption | None:
    if settings.audit_encrypt is None:
        return None
    return Encryption(
        settings.data_dir,
        settings.audit_encrypt,
        clock,
        min_free=settings.audit_min_free,
        left=metrics.audit_unencrypted.set,
    )


def _engine(
    settings: Settings,
    actions: Mapping[str, Action],
    journal: FileJournal,
    state: State,
    client: httpx.AsyncClient,
    clock: Clock,
    channels: Sequence[Channel],
) -> Engine:
    return Engine(
        settings=settings,
        journal=journal,
        state=state,
        load_rules=lambda: load_rules(settings.rules, settings.redact, actions),
        actions=actions,
        alertmanager=Alertmanager(settings.alertmanager_urls, client, clock=clock)
        if settings.alertmanager_urls
        else None,
        prometheus=Prometheus(settings.prometheus_urls, client) if settings.prometheus_urls else None,
        redaction=Redaction(settings.redact, load_key(settings.keys / "redact.key")),
        # `autoheal audit restore` knows the data directory alone.
        sign=Signer.load(settings.keys, restored=settings.data_dir / KEY_FOLDER).draft,
        clock=clock,
        channels=channels,
    )


def _channels(settings: Settings, client: httpx.AsyncClient, clock: Clock) -> list[Channel]:
    return notify.channels(
        client,
        clock,
        source=settings.public_url or socket.gethostname(),
        slack_url=settings.slack_webhook_url if settings.slack_enabled else None,
        slack_limit=settings.slack_limit,
        slack_timeout=settings.slack_timeout,
        pagerduty_key=settings.pagerduty_key,
        pagerduty_url=settings.pagerduty_url,
        webhook_url=settings.notify_webhook_url,
        webhook_secret=settings.notify_webhook_secret,
        apprise_urls=settings.notify_apprise_urls,
    )


async def _until_stopped(server: Server, signals: Signals, listener: socket.socket, feed: Feed) -> int:
    signals.attach(server.stop)
    # What lives as long as the process need not be looked at by every collection: a shorter tail of latencies.
    gc.freeze()
    gc.enable()
    try:
        await server.serve(sockets=[listener])
    except SystemExit:
        # How uvicorn gives up when the application does not start.
        raise JournalUnavailable("the service could not start: its log says why") from None
    feed.close()
    return server.exit_code


def _journal_error(metrics: Metrics, error: OSError) -> None:
    metrics.journal_errors.inc()
    _log.error("journal_error", error=str(error))
