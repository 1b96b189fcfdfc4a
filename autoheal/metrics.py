"""What Prometheus sees of this process (docs/metrics.md): names, types and bounded labels.

Counts begin at 0 with the process; rates and alerts are Prometheus's business. Label values come from the rules,
the settings and closed vocabularies, never from an alert: a sender must not be able to grow a series per label.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from autoheal import __version__
from autoheal.errors import FailureReason
from autoheal.model import CHANNELS, Check, Kind, OwnName, Reason, Record

_ACTION_OUTCOMES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.ACTION_OK: "ok",
        Kind.ACTION_FAIL: "fail",
        Kind.ACTION_DRY_RUN: "dry_run",
        Kind.ACTION_INTERRUPTED: "interrupted",
        Kind.ACTION_CANCELLED: "cancelled",
    }
)
_HEAL_OUTCOMES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.HEAL_CONFIRMED: "confirmed",
        Kind.HEAL_FAILED: "failed",
        Kind.HEAL_INCONCLUSIVE: "inconclusive",
    }
)
_WEBHOOK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ACTION_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_VALIDATION_BUCKETS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.001, 0.005, 0.025, 0.1, 0.5, 1, 5)
# 0.2 is what the alert on slow appends asks about: an edge there needs no guess between two others.
_APPEND_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2.5)


class Metrics:
    """All metrics of one gateway, in a registry of their own: two gateways in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)

        build = Info("autoheal_build", "The version that runs.", registry=self._registry)
        build.info({"version": __version__})
        self.alerts_received = counter(
            "autoheal_alerts_received_total", "Alerts of webhooks that were answered 200, by status.", ["status"]
        )
        self.webhooks = counter("autoheal_webhooks_total", "Webhook requests, by HTTP status of the answer.", ["code"])
        self.webhook_duration = histogram(
            "autoheal_webhook_duration_seconds",
            "From the request's headers to the answer, durable write included.",
            buckets=_WEBHOOK_BUCKETS,
        )
        self.last_webhook = gauge(
            "autoheal_last_webhook_timestamp_seconds", "When the last webhook was answered 200; 0: never."
        )
        self.decisions = counter(
            "autoheal_decisions_total", "Recorded decisions; rule is empty when none matched.", ["rule", "reason"]
        )
        self.actions = counter("autoheal_actions_total", "Actions, by how they ended.", ["rule", "action", "outcome"])
        self.action_duration = histogram(
            "autoheal_action_duration_seconds", "How long executed actions took.", ["action"], buckets=_ACTION_BUCKETS
        )
        self.heals = counter("autoheal_heals_total", "Verdicts on steps, by outcome.", ["rule", "outcome"])
        self.runs_in_progress = gauge("autoheal_runs_in_progress", "Runs that have not ended.")
        self.approvals_waiting = gauge("autoheal_approvals_waiting", "Runs that wait for an approval.")
        self._paused = _Flags(
            gauge("autoheal_paused", "1 while no run begins by the rule; by any, where rule is empty.", ["rule"])
        )
        self._breaker_open = _Flags(gauge("autoheal_breaker_open", "1 while the rule's breaker is open.", ["rule"]))
        self._rule_demoted = _Flags(gauge("autoheal_rule_demoted", "1 while the rule is made a dry run.", ["rule"]))
        self.watchdog_seen = gauge(
            "autoheal_watchdog_last_seen_timestamp_seconds", "When the alert of AUTOHEAL_WATCHDOG last came; 0: never."
        )
        self.watchdog_missing = gauge("autoheal_watchdog_missing", "1 while it has stayed away for too long, else 0.")
        self.acks = gauge("autoheal_acks", "Acknowledgements in force.")
        self.ack_oldest = gauge(
            "autoheal_ack_oldest_timestamp_seconds", "When the oldest of them was made; 0: there is none."
        )
        self.posting_fails = gauge(
            "autoheal_alertmanager_posts_failing", "1 while no Alertmanager takes alerts of autoheal's own, else 0."
        )
        self.notifications = counter(
            "autoheal_notifications_total",
            "Messages to people, by how they ended; retried: a first attempt that failed, where that is recorded.",
            ["channel", "outcome"],
        )
        self.notices_waiting = gauge("autoheal_notices_waiting", "What is yet to be told, by channel.", ["channel"])
        self.journal_records = counter("autoheal_journal_records_total", "Durable records, by kind.", ["kind"])
        self.journal_append = histogram(
            "autoheal_journal_append_seconds",
            "From handing records over to their being durable.",
            buckets=_APPEND_BUCKETS,
        )
        self.journal_errors = counter(
            "autoheal_journal_errors_total", "Failed attempts to make a batch of records durable."
        )
        self.audit_free = gauge("autoheal_audit_free_bytes", "What the audit log's disk has left for the service.")
        self.audit_space_low = gauge(
            "autoheal_audit_space_low", "1 while that is too little for new live actions to begin, else 0."
        )
        self.audit_unencrypted = gauge(
            "autoheal_audit_unencrypted_files", "Rotated files of the log that AUTOHEAL_AUDIT_ENCRYPT asks to encrypt."
        )
        self.sse_subscribers = gauge("autoheal_sse_subscribers", "Open /events streams.")
        self.sse_dropped = counter("autoheal_sse_dropped_total", "Streams cut because the client read too slowly.")
        self.reload_successful = gauge(
            "autoheal_config_last_reload_successful", "1 when the rules on disk are the rules in force, else 0."
        )
        self.reload_success_timestamp = gauge(
            "autoheal_config_last_reload_success_timestamp_seconds", "When the rules in force were loaded."
        )
        self.selftest_last_success = gauge(
            "autoheal_selftest_last_success_timestamp_seconds", "When a self-test was last without a fault; 0: never."
        )
        self.selftest_consecutive_failures = gauge(
            "autoheal_selftest_consecutive_failures", "Self-tests that failed since the last one that did not."
        )
        self.selftest_interval = gauge(
            "autoheal_selftest_interval_seconds",
            "How often autoheal tests itself; 0: never (AUTOHEAL_SELFTEST_INTERVAL).",
        )
        self.selftest_failures = counter(
            "autoheal_selftest_failures_total", "Checks of self-tests inside that failed.", ["check"]
        )
        self._add_tokens(counter, gauge, histogram)
        self._begin_at_zero()

    def _add_tokens(self, counter: partial[Counter], gauge: partial[Gauge], histogram: partial[Histogram]) -> None:
        """What tells of the identity provider's keys and of the tokens that they sign."""
        self.jwt_keys_loaded = gauge("autoheal_jwt_keys_loaded", "Keys that tokens are verified with.", ["issuer"])
        self.jwt_active_key_age = gauge(
            "autoheal_jwt_active_key_age_seconds", "How long each of these keys has been known.", ["issuer", "kid"]
        )
        self.jwt_key_rotations = counter(
            "autoheal_jwt_key_rotations_total", "Keys that were added after the first load.", ["key_set"]
        )
        self.jwt_key_retirements = counter(
            "autoheal_jwt_key_retirements_total", "Keys that are no longer there.", ["key_set"]
        )
        self.jwt_key_rotation_errors = counter(
            "autoheal_jwt_key_rotation_errors_total", "Fetched key sets that could not be used.", ["key_set"]
        )
        self.jwt_validations = counter("autoheal_jwt_validations_total", "Tokens judged, remembered ones included.")
        self.jwt_auth_failures = counter("autoheal_jwt_auth_failures_total", "Refused tokens, by reason.", ["reason"])
        self.jwt_validation_duration = histogram(
            "autoheal_jwt_validation_duration_seconds",
            "How long the validation of a token took that was not remembered, waiting for keys included.",
            buckets=_VALIDATION_BUCKETS,
        )
        self.jwks_refresh_errors = counter("autoheal_jwks_refresh_errors_total", "Failed attempts to fetch the keys.")
        self.jwks_age = gauge("autoheal_jwks_age_seconds", "Since the keys were last fetched; 0 without OIDC.")
        self.jwks_stale_served = counter(
            "autoheal_jwks_stale_served_total", "Tokens judged by keys that are older than their TTL."
        )

    def count(self, records: Sequence[Record]) -> None:
        """Count what durable `records` tell. To be called once for each record of this process's life."""
        for record in records:
            kind, rule = record.kind, record.rule or ""
            self.journal_records.labels(kind).inc()
            if record.alertname == OwnName.SELFTEST:
                continue
            if kind is Kind.DECISION:
                self.decisions.labels(rule, record.reason).inc()
            elif kind in _ACTION_OUTCOMES:
                self._count_action(record, rule)
            elif kind in _HEAL_OUTCOMES:
                self.heals.labels(rule, _HEAL_OUTCOMES[kind]).inc()
            elif kind in (Kind.NOTIFIED, Kind.NOTIFY_FAILED):
                self._count_notification(record)
            elif kind is Kind.CONFIG_LOADED:
                self.reload_successful.set(1)
                self.reload_success_timestamp.set(record.ts)
            elif kind is Kind.CONFIG_REJECTED:
                self.reload_successful.set(0)

    def set_paused(self, rules: Collection[str]) -> None:
        """Tell which rules are paused; the empty name stands for all. A rule that no longer is loses its series."""
        self._paused.show({"": "" in rules, **dict.fromkeys(rules, True)})

    def set_breakers(self, opened: Collection[str], demoted: Collection[str]) -> None:
        """Tell which rules' breakers are open, and which rules are demoted. The others have no series."""
        self._breaker_open.show(dict.fromkeys(opened, True))
        self._rule_demoted.show(dict.fromkeys(demoted, True))

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics and their media type: OpenMetrics 1.0 when `accept` (a header) names it first, else text 0.0.4.

        Blocks for as long as there are series; callers on an event loop use a thread.
        """
        for offered in accept.split(","):
            media_type = offered.split(";")[0].strip().lower()
            if media_type == "application/openmetrics-text":
                text: bytes = openmetrics.generate_latest(_WithoutCreated(self._registry))  # type: ignore[no-untyped-call]
                return text, openmetrics.CONTENT_TYPE_LATEST
            if media_type == "text/plain":
                break
        return generate_latest(_WithoutCreated(self._registry)), CONTENT_TYPE_PLAIN_0_0_4

    def _count_action(self, record: Record, rule: str) -> None:
        # A run that was cancelled before its step began has no action.
        action = str(record.detail.get("action", ""))
        self.actions.labels(rule, action, _ACTION_OUTCOMES[record.kind]).inc()
        milliseconds = record.detail.get("duration_ms")
        if record.kind in (Kind.ACTION_OK, Kind.ACTION_FAIL) and milliseconds is not None:
            self.action_duration.labels(action).observe(milliseconds / 1000)

    def _count_notification(self, record: Record) -> None:
        failed = "retried" if record.detail.get("again") else "failed"
        outcome = "sent" if record.kind is Kind.NOTIFIED else failed
        self.notifications.labels(record.detail.get("channel", ""), outcome).inc()

    def _begin_at_zero(self) -> None:
        """Series that have no rule in them exist from the start, so that rate() sees their first count too."""
        for status in ("firing", "resolved", "rejected"):
            self.alerts_received.labels(status)
        for code in (200, 400, 403, 413, 415, 500, 503):
            self.webhooks.labels(code)
        for kind in Kind:
            self.journal_records.labels(kind)
        for reason in (Reason.DISABLED, Reason.NO_RULE):
            self.decisions.labels("", reason)
        self.set_paused(())
        for channel in (*CHANNELS, "alertmanager"):
            for outcome in ("sent", "failed"):
                self.notifications.labels(channel, outcome)
        for check in Check:
            self.selftest_failures.labels(check)
        for failure in FailureReason:
            self.jwt_auth_failures.labels(failure)
        for changes in (self.jwt_key_rotations, self.jwt_key_retirements, self.jwt_key_rotation_errors):
            changes.labels("oidc")


class _Flags:
    """A gauge by rule that is 1 or 0, with series for those rules alone that it was last shown."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: set[str] = set()

    def show(self, flags: Mapping[str, bool]) -> None:
        for rule in self._shown - flags.keys():
            self._gauge.remove(rule)
        for rule, flag in flags.items():
            self._gauge.labels(rule).set(flag)
        self._shown = set(flags)


class _WithoutCreated:
    """A registry less the `_created` series, which would double the counters for nobody's use.

    The library can only leave them out for the whole process, of which this package may be a part.
    """

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
