"""Which alerts autoheal itself has to raise in Alertmanager now. Pure: state, rules and time in, alerts out.

They are made from the state alone, so that none is forgotten when the gateway dies between cause and alert.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoheal.alertmanager import Post
from autoheal.model import OWN_ALERTS, Kind, OwnName
from autoheal.rules import Rule
from autoheal.state import Failure, Run, RunState, State
from autoheal.storm import Storm

FAILED_SECONDS = 600.0
"""How far ahead of now an `AutohealFailed` reaches: a restart of the gateway must not take it back."""
ACTIVE_SECONDS = 180.0
"""How far ahead an `AutohealActive` reaches, its deadline aside: when the gateway dies over a run, people are called
so soon.
"""
LONGEST_HOLD = 3600.0
"""How long a run may hold a page back at most, whatever its steps may take."""
STEP_SECONDS = 60.0
"""What a step may take whose action has no `timeout` of its own, as `defaults` have it."""

_PAST_HELP = (RunState.AWAITING_APPROVAL, RunState.ESCALATING, RunState.CANCELLING)
"""Where a run that has not ended does nothing any more, or not yet, that could spare people a call."""


@dataclass(frozen=True, slots=True)
class OwnAlert:
    """One of them: since when it fires, and for how many `seconds` from now on it does unless it is posted again.

    `deadline` (epoch seconds) is when it ends in any case. `told` is the kind of the last record that tells whether
    Alertmanager took it, and `about` whose that record is.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    seconds: float
    deadline: float = float("inf")
    url: str | None = None
    told: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its alertname."""
        return self.labels["alertname"]

    def post(self, now: float) -> Post:
        """As it is told at `now`."""
        ends_at = min(now + self.seconds, self.deadline)
        return Post(self.labels, self.annotations, self.starts_at, ends_at, self.url)

    def end(self, now: float) -> Post:
        """As its end is told at `now`."""
        return Post(self.labels, self.annotations, self.starts_at, now, self.url)


def standing(
    state: State, rules: Mapping[str, Rule], now: float, *, escalate: bool, public_url: str | None
) -> Iterator[OwnAlert]:
    """The alerts that ought to stand at `now`. `rules` are by name; `escalate` is whether failures are among them."""
    for run in map(state.runs.get, state.working):
        if run is not None and (rule := rules.get(run.rule)) is not None and rule.page_hold:
            deadline = _deadline(run)
            if run.state not in _PAST_HELP and now < deadline:
                yield _active(run, deadline, public_url)
    if not escalate:
        return
    for rule_name, storm in state.storms.items():
        if storm.escalated_at is not None:
            yield _storm(rule_name, storm, public_url)
    for failures in state.failures.values():
        for failure in failures.values():
            yield _failed(failure, public_url)


def _deadline(run: Run) -> float:
    """When all of its steps and what verifies them must be over."""
    began = run.created_at if run.began_at is None else run.began_at
    return began + min(LONGEST_HOLD, sum(_seconds(step) for step in run.steps))


def _seconds(step: Mapping[str, Any]) -> float:
    params, verify = step["params"], step["verify"]
    acting = _number(params.get("timeout"), STEP_SECONDS) * (1 + _number(params.get("retries"), 0))
    probe = verify.get("probe") or {}
    probing = _number(probe.get("within"), 0) + _number(probe.get("stable"), 0)
    return acting + max(_number(verify.get("resolved_within"), 0), probing)


def _number(value: object, otherwise: float) -> float:
    # Actions of others may have parameters of these names that are something else.
    return float(value) if isinstance(value, int | float) and value > 0 else otherwise


def _active(run: Run, deadline: float, public_url: str | None) -> OwnAlert:
    url = _url(public_url, f"/runs/{run.id}")
    return OwnAlert(
        # It calls nobody: whatever routes by severity is to leave it alone.
        labels=_labels(OwnName.ACTIVE, rule=run.rule, target=run.target, severity="none"),
        annotations=_annotations(f"{run.rule} is at work on {run.target}", run=run.id, link=url),
        starts_at=run.created_at,
        seconds=ACTIVE_SECONDS,
        deadline=deadline,
        url=url,
        told=run.hold_told,
        about=_about(run),
    )


def _failed(failure: Failure, public_url: str | None) -> OwnAlert:
    url = _url(public_url, f"/runs/{failure.run}")
    return OwnAlert(
        labels=_labels(
            OwnName.FAILED,
            rule=failure.rule,
            target=failure.target,
            cause=failure.alertname,
            severity=failure.severity or "critical",
        ),
        annotations=_annotations(
            f"{failure.rule} leaves {failure.alertname} on {failure.target} to people: {failure.reason}",
            run=failure.run,
            reason=failure.reason,
            link=url,
        ),
        starts_at=failure.failed_at,
        seconds=FAILED_SECONDS,
        url=url,
        told=failure.told,
        about=_about(failure) | {"reason": failure.reason},
    )


def _storm(rule: str, storm: Storm, public_url: str | None) -> OwnAlert:
    url = _url(public_url, "/console")
    return OwnAlert(
        labels=_labels(OwnName.FAILED, rule=rule, severity="critical"),
        annotations=_annotations(
            f"{rule} leaves a storm to people: too many targets at once", reason="storm", link=url
        ),
        starts_at=storm.escalated_at or storm.began_at,
        seconds=FAILED_SECONDS,
        url=url,
        told=storm.told,
        about={"rule": rule, "reason": "storm"},
    )


def _labels(name: OwnName, **labels: str) -> dict[str, str]:
    about = {label: value for label, value in labels.items() if value}
    return {"alertname": name.value, "autoheal": name.removeprefix(OWN_ALERTS).lower(), **about}


def _annotations(summary: str, **more: str | None) -> dict[str, str]:
    return {"summary": summary} | {name: text for name, text in more.items() if text is not None}


def _url(public_url: str | None, path: str) -> str | None:
    return None if public_url is None else f"{public_url}{path}"


def _about(of: Run | Failure) -> dict[str, Any]:
    return {
        "alertname": of.alertname,
        "fingerprint": of.fingerprint,
        "episode": of.episode,
        "rule": of.rule,
        "target": of.target,
        "run": of.run if isinstance(of, Failure) else of.id,
        "mode": of.mode,
        "correlation_id": of.correlation_id,
    }


CONCERN = frozenset(
    (
        Kind.DECISION,
        Kind.ACTION_STARTED,
        Kind.HEAL_CONFIRMED,
        Kind.HEAL_INCONCLUSIVE,
        Kind.ESCALATED,
        Kind.APPROVAL_EXPIRED,
        Kind.CANCEL_REQUESTED,
        Kind.ACTION_CANCELLED,
        Kind.ALERT_RESOLVED,
        Kind.STORM_ENDED,
        Kind.CONFIG_LOADED,
    )
)
"""Kinds of records after which another alert may stand, or one no more."""
