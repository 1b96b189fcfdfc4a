"""What is counted, under which names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autoheal.journal.record import seal_all
from autoheal.metrics import Metrics
from autoheal.model import Draft, Head, Kind, Mode, Reason

DOCS = Path(__file__).parents[1] / "docs" / "metrics.md"
NOW = 1_790_000_000.0


def counted(*drafts: Draft) -> dict[str, float]:
    """All samples after counting those records."""
    metrics = Metrics()
    metrics.count(seal_all(drafts, Head(), NOW))
    return samples(metrics)


def samples(metrics: Metrics, accept: str = "") -> dict[str, float]:
    lines = metrics.expose(accept)[0].decode().splitlines()
    return {name: float(value) for name, value in (one.rsplit(" ", 1) for one in lines if not one.startswith("#"))}


def of_run(kind: Kind, **detail: object) -> Draft:
    return Draft(kind=kind, rule="restart-api", run="r1", step=1, mode=Mode.LIVE, detail=detail)


def declared(text: str) -> dict[str, str]:
    """Type by name of what an exposition declares."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_docs_and_code_name_the_same_metrics() -> None:
    """Each with its type, in both directions."""
    documented = dict(re.findall(r"^\| `(autoheal_\w+)` \| (\w+) \|", DOCS.read_text(), re.MULTILINE))
    # OpenMetrics declares families without their suffixes; it alone knows `info`.
    suffix = {"counter": "_total", "info": "_info"}
    exposed = declared(Metrics().expose("application/openmetrics-text")[0].decode())
    assert documented == {name + suffix.get(kind, ""): kind for name, kind in exposed.items()}


def test_docs_and_code_name_the_same_labels() -> None:
    """A label that nobody documented cannot slip in."""
    documented = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(autoheal_\w+)` \| \w+ \| (.*?) \|", DOCS.read_text(), re.MULTILINE)
    }
    found = counted(
        Draft(kind=Kind.DECISION, rule="restart-api", reason="act"),
        of_run(Kind.ACTION_OK, action="command", duration_ms=1200),
        of_run(Kind.HEAL_CONFIRMED),
    )
    of_keys = Metrics()
    of_keys.jwt_keys_loaded.labels("https://idp.example")
    of_keys.jwt_active_key_age.labels("https://idp.example", "one")
    of_keys.set_breakers({"restart-api"}, {"restart-api"})
    of_keys.notices_waiting.labels("slack")
    labels: dict[str, set[str]] = {name: set() for name in documented}
    for sample in found | samples(of_keys):
        name = re.sub(r"_(bucket|sum|count)$", "", sample.split("{")[0])
        labels[name] |= set(re.findall(r"(\w+)=", sample)) - {"le"}
    assert labels == documented


@pytest.mark.parametrize("reason", list(Reason))
def test_decisions_by_rule_and_reason(reason: Reason) -> None:
    """With an empty rule when none matched."""
    rule = None if reason in (Reason.NO_RULE, Reason.DISABLED) else "restart-api"
    found = counted(Draft(kind=Kind.DECISION, rule=rule, reason=reason))
    assert found[f'autoheal_decisions_total{{reason="{reason}",rule="{rule or ""}"}}'] == 1


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (Kind.ACTION_OK, "ok"),
        (Kind.ACTION_FAIL, "fail"),
        (Kind.ACTION_DRY_RUN, "dry_run"),
        (Kind.ACTION_INTERRUPTED, "interrupted"),
    ],
)
def test_actions_by_outcome(kind: Kind, outcome: str) -> None:
    """Each end of an action has its own; a start is no end."""
    found = counted(of_run(Kind.ACTION_STARTED, action="command"), of_run(kind, action="command"))
    actions = {name: value for name, value in found.items() if name.startswith("autoheal_actions_total")}
    assert actions == {f'autoheal_actions_total{{action="command",outcome="{outcome}",rule="restart-api"}}': 1}


def test_the_alert_of_a_self_test_is_no_decision_and_no_action() -> None:
    """Its records are counted as records alone."""
    own = {"alertname": "AutohealSelfTest", "rule": "autoheal/selftest", "mode": Mode.DRY_RUN}
    detail = {"action": "nothing"}
    found = counted(
        Draft(kind=Kind.DECISION, reason="dry_run", **own),  # type: ignore[arg-type]
        Draft(kind=Kind.ACTION_DRY_RUN, run="r1", detail=detail, **own),  # type: ignore[arg-type]
    )
    assert not [name for name in found if "autoheal/selftest" in name]
    assert found['autoheal_journal_records_total{kind="action_dry_run"}'] == 1


def test_a_cancelled_run_has_no_action() -> None:
    """It ended before a step began."""
    found = counted(of_run(Kind.ACTION_CANCELLED))
    assert found['autoheal_actions_total{action="",outcome="cancelled",rule="restart-api"}'] == 1


@pytest.mark.parametrize(
    ("kind", "again", "outcome"),
    [
        (Kind.NOTIFIED, None, "sent"),
        (Kind.NOTIFY_FAILED, None, "failed"),
        (Kind.NOTIFY_FAILED, True, "retried"),
    ],
)
def test_messages_to_people_by_outcome(kind: Kind, again: bool | None, outcome: str) -> None:
    """One message, one count; all but `retried`, which most never have, begin at 0."""
    more = {"again": True} if again else {}
    found = counted(of_run(kind, channel="slack", of=["1-0"], **more))
    messages = {name: value for name, value in found.items() if 'channel="slack"' in name}
    before = {f'autoheal_notifications_total{{channel="slack",outcome="{each}"}}': 0.0 for each in ("sent", "failed")}
    assert messages == before | {f'autoheal_notifications_total{{channel="slack",outcome="{outcome}"}}': 1.0}


def test_durations_are_those_of_executed_actions() -> None:
    """In seconds, from `detail.duration_ms`; a dry run took no time and is not among them."""
    found = counted(
        of_run(Kind.ACTION_OK, action="http", duration_ms=1500),
        of_run(Kind.ACTION_FAIL, action="http", duration_ms=500),
        of_run(Kind.ACTION_DRY_RUN, action="http", duration_ms=9),
    )
    assert found['autoheal_action_duration_seconds_sum{action="http"}'] == 2
    assert found['autoheal_action_duration_seconds_count{action="http"}'] == 2


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(Kind.HEAL_CONFIRMED, "confirmed"), (Kind.HEAL_FAILED, "failed"), (Kind.HEAL_INCONCLUSIVE, "inconclusive")],
)
def test_heals_by_outcome(kind: Kind, outcome: str) -> None:
    """One verdict, one count."""
    found = counted(of_run(kind))
    assert found[f'autoheal_heals_total{{outcome="{outcome}",rule="restart-api"}}'] == 1


def test_a_reload_that_was_refused_shows_until_one_succeeds() -> None:
    """The time of the last success stays."""
    rejected = counted(Draft(kind=Kind.CONFIG_LOADED), Draft(kind=Kind.CONFIG_REJECTED))
    assert rejected["autoheal_config_last_reload_successful"] == 0
    assert rejected["autoheal_config_last_reload_success_timestamp_seconds"] == NOW
    loaded = counted(Draft(kind=Kind.CONFIG_REJECTED), Draft(kind=Kind.CONFIG_LOADED))
    assert loaded["autoheal_config_last_reload_successful"] == 1


def test_every_kind_of_record_is_counted_from_zero() -> None:
    """So that rate() sees the first one too."""
    found = counted(Draft(kind=Kind.ESCALATED, rule="restart-api"))
    kinds = {kind: found[f'autoheal_journal_records_total{{kind="{kind}"}}'] for kind in Kind}
    assert kinds == {kind: kind is Kind.ESCALATED for kind in Kind}


def test_no_alert_can_make_a_series() -> None:
    """A thousand different alerts are as many series as one."""

    def series(count: int) -> set[str]:
        return set(
            counted(
                *(
                    Draft(
                        kind=kind,
                        alertname=f"Alert{number}",
                        fingerprint=f"{number:016x}",
                        target=f"target-{number}",
                        reason="no_rule",
                        labels={"alertname": f"Alert{number}"},
                    )
                    for number in range(count)
                    for kind in (Kind.ALERT_FIRING, Kind.DECISION, Kind.ALERT_RESOLVED)
                )
            )
        )

    assert series(1000) == series(1)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_no_created_series(accept: str) -> None:
    """They would double the counters; and leaving them out is this registry's matter, not the process's."""
    assert not [name for name in samples(Metrics(), accept) if name.split("{")[0].endswith("_created")]


def test_two_gateways_in_one_process_do_not_mix() -> None:
    """Each has a registry of its own."""
    one, other = Metrics(), Metrics()
    one.sse_subscribers.inc()
    assert samples(one)["autoheal_sse_subscribers"] == 1
    assert samples(other)["autoheal_sse_subscribers"] == 0
