"""The true gateway tells Slack, PagerDuty and a webhook, and dies in between."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import httpx
import orjson

from tests.support import published
from tests.support.commands import autoheal
from tests.support.monitoring import SERVE, answers
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import running, wait_until
from tests.support.told import Told, listeners

RULES = """\
version: 1
rules:
  - name: mend
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    exhausted: {notify: [slack, pagerduty, webhook]}
    steps:
      - command: {argv: [/bin/false]}
"""
SECRETS = {
    "SLACK_WEBHOOK_URL": "{url}/services/TPLANTED/BPLANTED/plantedslack",
    "PAGERDUTY_ROUTING_KEY": "plantedkeyplantedkeyplantedkey00",
    "NOTIFY_WEBHOOK_URL": "{hook}/hook?token=plantedtoken",
    "NOTIFY_WEBHOOK_SECRET": "whsec_plantedplantedplantedplantedplantedplant",
}


def environ(folder: Path, told: Told) -> dict[str, str]:
    """Settings with every secret in a file."""
    (folder / "rules.yaml").write_text(RULES)
    found = {
        **os.environ,
        "AUTOHEAL_DRY_RUN": "false",
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
        "AUTOHEAL_DATA_DIR": str(folder / "data"),
        "SLACK_ALERTING_ENABLED": "true",
        "PAGERDUTY_URL": f"{told.url}/v2/enqueue",
        "AUTOHEAL_PUBLIC_URL": "https://autoheal.example.org",
        "SLACK_TIMEOUT_SECONDS": "30",
    }
    hook = told.url.replace("://", "://me:plantedpassword@")
    for name, value in SECRETS.items():
        file = folder / "secrets" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(value.format(url=told.url, hook=hook))
        found[f"{name}_FILE"] = str(file)
    return found


def test_people_are_told_by_a_gateway_that_was_killed_before_it_could(tmp_path: Path) -> None:
    """Kill -9 between `escalated` and any answer: after the restart each channel has one notice, the same as was under
    way, then its end; no record, log line or metric holds a secret.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "data" / "audit.jsonl"

    def kinds() -> list[str]:
        return [orjson.loads(line)["kind"] for line in log.read_bytes().split(b"\n")[:-1]]

    def tell(status: str) -> None:
        one = alert("00112233aabbccdd", "<!channel> it is down", instance="api-1", severity="warning") | {
            "status": status
        }
        if status == "resolved":
            one["endsAt"] = "2026-11-21T05:10:00Z"
        httpx.post(f"{url}/alert", json=body(one), trust_env=False).raise_for_status()

    with listeners(SECRETS["NOTIFY_WEBHOOK_SECRET"]) as told:
        env = {**environ(tmp_path, told), "AUTOHEAL_PORT": str(port)}
        life = partial(running, SERVE, lambda: answers(f"{url}/readyz"), tmp_path / "gateway.log", env=env)
        with life() as process:
            tell("firing")
            wait_until(lambda: told.asked == 3, what="three messages under way")
            assert kinds()[-1] == "escalated"
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
        told.answering.set()
        wait_until(lambda: len(told.slack) + len(told.pagerduty) + len(told.webhook) == 3, what="those that died")
        for heard in (told.slack, told.pagerduty, told.webhook):
            heard.clear()
        with life():
            wait_until(lambda: kinds().count("notified") == 3, what="three notified")
            assert len(told.slack) == len(told.pagerduty) == len(told.webhook) == 1
            assert told.ids == [told.ids[0]] * 2
            tell("resolved")
            wait_until(lambda: kinds().count("notified") == 6, what="six notified")
            metrics = httpx.get(f"{url}/metrics", trust_env=False).text
            state = httpx.get(f"{url}/state", trust_env=False).text
        assert told.wrong == []
    assert [event["event_action"] for event in told.pagerduty] == ["trigger", "resolve"]
    assert len({event["dedup_key"] for event in told.pagerduty}) == 1
    assert told.pagerduty[0]["payload"]["severity"] == "warning"
    assert [one["type"] for one in told.webhook] == ["autoheal.trigger", "autoheal.resolve"]
    assert told.slack[0]["text"] == "[warning] mend leaves Down on api-1 to people: steps_exhausted"
    for channel in ("slack", "pagerduty", "webhook"):
        assert f'autoheal_notifications_total{{channel="{channel}",outcome="sent"}} 2.0' in metrics
    texts = [metrics, state] + [
        file.read_bytes().decode(errors="replace")
        for file in tmp_path.rglob("*")
        if file.is_file() and file.parent.name != "secrets"
    ]
    assert len(texts) > 4
    assert not [text for text in texts if "planted" in text.lower()]
    assert autoheal("audit", "verify", tmp_path / "data").returncode == 0


def test_forty_failures_are_no_more_messages_than_slack_may_have(tmp_path: Path) -> None:
    """PagerDuty and the webhook have one for each; Slack has ten, and what these do not hold waits for the digest."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    rules = RULES.replace("rules:", "storm: off\nbudget: [1000/1h]\nrules:", 1)

    def measured(metric: str) -> float:
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(metric))

    with listeners(SECRETS["NOTIFY_WEBHOOK_SECRET"]) as told:
        told.answering.set()
        env = {**environ(tmp_path, told), "AUTOHEAL_PORT": str(port)}
        (tmp_path / "rules.yaml").write_text(rules)
        with running(SERVE, lambda: answers(f"{url}/readyz"), tmp_path / "gateway.log", env=env):
            forty = [alert(f"{number:016x}", instance=f"api-{number}") for number in range(40)]
            httpx.post(f"{url}/alert", json=body(*forty), trust_env=False).raise_for_status()
            wait_until(lambda: len(told.pagerduty) == len(told.webhook) == 40, what="forty notices")
            wait_until(lambda: len(told.slack) == 10, what="ten messages")
            wait_until(
                lambda: measured('autoheal_notifications_total{channel="slack",outcome="sent"}') == 10,
                what="ten records",
            )
            waiting = measured('autoheal_notices_waiting{channel="slack"}')
        assert told.wrong == []
    held = sum(published.slack_texts(one)[2].count("•") for one in told.slack if "notices at once" in one["text"])
    single = sum("notices at once" not in one["text"] for one in told.slack)
    assert single >= 9
    assert single + held + waiting == 40
    assert len({event["dedup_key"] for event in told.pagerduty}) == 40
