"""Now, the timeline of a run, and acknowledging: in a real browser, at a real gateway, with a real Alertmanager."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoheal.clock import SystemClock
from autoheal.model import rfc3339
from tests.console.test_live import BURST, HOSTILE, LONGEST_MS
from tests.end_to_end.test_login import log_in, world
from tests.support.browser import browser
from tests.support.consoles import STATUS, Console, console, labels
from tests.support.monitoring import alertmanager
from tests.support.ports import free_port
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULE = (
    "{{name: {}, match: alertname={}, target: '{{{{ labels.instance }}}}', mode: {}, {}"
    " steps: [{{command: {{argv: [{}]}}}}, {{command: {{argv: [/bin/echo, 'the second step']}}}}]}}"
)
RULES = [
    RULE.format("works", "Down", "live", "", "/bin/echo, 'restarting {{ target }}'"),
    RULE.format("fails", "Full", "live", "cooldown: 0s,", "/bin/false").replace(
        "[/bin/echo, 'the second step']", "[/bin/false]"
    ),
    RULE.format("looks", "Slow", "dry_run", "", "/bin/true"),
    RULE.format("later", "Late", "live", "'for': 365d,", "/bin/true"),
    RULE.format("asks", "Risky", "approve", "", "/bin/true"),
    RULE.format("hangs", "Stuck", "live", "", "/bin/sleep, '600'"),
]
TEXT = "document.querySelector('main').innerText"


def card(name: str) -> str:
    """The card of the alert of that name."""
    return f"[...document.querySelectorAll('.card')].find((one) => one.querySelector('h4').textContent === {name!r})"


def button(name: str, what: str) -> str:
    return f"{card(name)}?.querySelector('[data-do={what}]')"


def unfold(here: Console, what: str, *, to: bool = True) -> None:
    here.page.ask(f"document.querySelectorAll({what!r}).forEach((one) => {{ one.open = {json.dumps(to)}; }})")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path, RULES, AUTOHEAL_DRY_RUN="false") as made:
        made.page.size(1280, 900)
        yield made


def everything(here: Console) -> None:
    """An alert of each kind, each as far as it comes by itself."""
    here.fire(
        {
            **labels("Down", "api-1:8080", severity="critical", job="api", namespace="shop", region="eu-1"),
            "annotations": {"summary": "api-1 does not answer", "runbook_url": "https://runbooks.example/api"},
        },
        {
            **labels("Full", "db-2:9100", severity="critical", job="db"),
            "annotations": {"summary": "/data has 1 % left"},
        },
        labels("Slow", "web-3:80", severity="warning"),
        labels("Late", "web-4:80", severity="warning"),
        {**labels("Risky", "db-1", severity="critical"), "annotations": {"summary": "replication is 20 min behind"}},
        labels("Nobody", "cron-1"),
        labels("Stuck", "queue-7", job="queue"),
    )
    for name, text in [
        ("Full", "Left to people: no step of the ladder is left"),
        ("Risky", "Waits for somebody to approve it"),
        ("Stuck", "Does step 1 of 2"),
        ("Down", "Watches whether step 1 of 2 has helped: the alert ends within 15 min"),
        ("Late", "Waits: the alert has to fire for"),
        ("Slow", "Dry run: nothing is in the way"),
        ("Nobody", "Leaves it alone: no rule is for this alert"),
    ]:
        here.page.until(f"{card(name)}?.innerText.includes({text!r})")


def test_what_fires_and_why_is_seen_at_once(here: Console) -> None:
    """Who needs a person on top, each with what is done or would be and why, its ladder, deadline and labels."""
    with here.running():
        here.page.size(1280, 900, dark=True)
        here.look("")
        here.page.until(f"{TEXT}.includes('Nothing fires.')")
        everything(here)
        groups = here.page.ask(
            "[...document.querySelectorAll('.now > section:not([hidden])')].map((one) =>"
            " [one.querySelector('h3').textContent, [...one.querySelectorAll('h4')].map((name) => name.textContent)])"
        )
        assert groups == [
            ["Needs a person (2)", ["Full", "Risky"]],
            ["Under way (2)", ["Down", "Stuck"]],
            ["Waiting (1)", ["Late"]],
            ["Left alone (2)", ["Slow", "Nobody"]],
        ]
        chips = f"[...{card('Down')}.querySelectorAll('.ladder li')].map((one) => [one.className, one.ariaCurrent])"
        assert here.page.ask(chips) == [["watched", "step"], ["next", None]]
        here.page.until(f"/1[45] min.* left/.test({card('Down')}.innerText)")
        here.page.until(f"{card('Stuck')}.innerText.match(/[1-5]\\d s left|1 min left/)")
        assert "namespace=shop" in here.page.ask(f"{card('Down')}.innerText")
        # It unfolds to all that is known of the alert, and stays so while others come and it goes on itself.
        here.page.ask(f"{card('Down')}.querySelector('details').open = true")
        here.page.until(f"{card('Down')}.innerText.includes('https://runbooks.example/api')")
        here.fire(
            {**labels("Down", "api-1:8080", severity="critical", job="api", namespace="shop", region="eu-1")}
            | {"status": "resolved", "endsAt": rfc3339(SystemClock().now())}
        )
        here.page.until(f"{card('Down')} === undefined")
        assert here.page.complaints == []


def test_a_run_is_cancelled_and_let_try_again(here: Console) -> None:
    """Both ask once more and take a comment, which stands in the log; the action is really ended, and begins anew."""
    with here.running():
        here.look("#/now")
        here.fire(labels("Stuck", "queue-7"))
        here.page.until(f"{button('Stuck', 'cancel')} != null")
        here.page.ask(f"{button('Stuck', 'cancel')}.click()")
        here.page.ask("document.getElementById('comment').focus()")
        here.page.type("it <b>hangs</b>")
        here.page.press("Enter")
        here.page.until(f"{card('Stuck')}?.innerText.includes('Cancelled: an operator has cancelled it (local)')")
        (asked,) = (record for record in here.records() if record["kind"] == "cancel_requested")
        assert asked["detail"]["comment"] == "it <b>hangs</b>"
        assert asked["run"] in {record["run"] for record in here.records() if record["kind"] == "action_cancelled"}
        here.page.ask(f"{button('Stuck', 'rerun')}.click()")
        here.page.press("Enter")
        here.page.until(f"/Does step 1 of 2|: cooldown until/.test({card('Stuck')}?.innerText)")
        (again,) = (record for record in here.records() if record["kind"] == "rerun_requested")
        assert again["run"] == asked["run"]


def test_what_a_storm_holds_is_one_card(tmp_path: Path) -> None:
    """On top, with how many there are; the alerts themselves wait below, not all of a thousand at once."""
    rule = RULE.format("stormy", "Down", "live", "storm: 3/10m,", "/bin/true")
    with console(tmp_path, [rule], AUTOHEAL_DRY_RUN="false") as here, here.running():
        here.look("#/now")
        here.fire(*(labels("Down", f"web-{number}") for number in range(1000)))
        here.page.until(f"{card('Storm: stormy')}?.innerText.includes('a storm holds 1000 alerts of this rule')")
        here.page.until(f"{TEXT}.includes('Waits: a storm holds it since')")
        assert here.page.ask("document.querySelectorAll('.card').length") == 41
        here.page.ask("document.querySelector('section:has([data-key]:nth-child(40)) > button').click()")
        assert here.page.ask("document.querySelectorAll('.card').length") == 81


def test_a_burst_of_ten_thousand_records(here: Console) -> None:
    """No task of the page takes 100 ms of a core, and at most forty cards are there."""
    with here.running():
        here.look("#/now")
        with here.page.tasks() as tasks:
            for part in range(10):
                # Each makes two records: it fires, and no rule is for it.
                here.fire(*(labels("Nobody", f"web-{part}-{number}") for number in range(BURST // 20)))
            here.page.until(f"{TEXT}.includes('Left alone: {BURST // 2}')")
        assert here.page.ask("document.querySelectorAll('.card').length") == 40
        assert max(tasks) < LONGEST_MS


def test_why_is_known_of_what_happened_before_the_page_was_opened(here: Console) -> None:
    """Also when the decision is no longer among the newest records: it is asked for."""
    with here.running():
        here.fire(labels("Late", "web-4"))
        for part in range(2):
            here.fire(*(labels("Nobody", f"n-{part}-{number}") for number in range(200)))
        wait_until(lambda: len(here.records()) > 800, what="many records")
        here.look("#/now")
        here.page.until(f"/Waits: the alert has to fire for 365 d first, until 20/.test({card('Late')}?.innerText)")


def timeline(here: Console, run: str) -> None:
    here.page.ask(f"location.hash = '#/runs/' + encodeURIComponent({json.dumps(run)})")


def test_a_run_from_firing_to_healed(here: Console) -> None:
    """Each record as a sentence, the words of each guard, plan, output, durations; what comes later streams in."""
    with here.running():
        here.page.size(1280, 900)
        here.look("#/now")
        alert = {
            **labels("Down", "api-1:8080", severity="critical", job="api"),
            "annotations": {"summary": "api-1 does not answer"},
        }
        here.fire(alert)
        here.page.until(f"{card('Down')}?.innerText.includes('Watches whether')")
        here.page.ask(f"{card('Down')}.querySelector('.does a').click()")
        here.page.until("document.querySelector('h2').textContent === 'Down → api-1:8080'")
        here.page.until(f"{TEXT}.includes('Watches whether step 1 of 2 has helped')")
        unfold(here, ".run details")
        assert here.page.ask(f"{TEXT}.match(/Not idempotent, not reversible/g).length") == 2, "of the step to come too"
        here.fire(alert | {"status": "resolved", "endsAt": rfc3339(SystemClock().now())})
        here.page.until(f"{TEXT}.includes('Healed: the alert has ended.')")
        rows = here.page.ask(
            "[...document.querySelectorAll('.timeline > li')].map((one) => one.querySelector('p').innerText)"
        )
        assert rows[0] == "The alert fires: api-1 does not answer."
        assert rows[1:3] == ["Acts: nothing is in the way.", "Step 1 begins: /bin/echo 'restarting api-1:8080'."]
        assert rows[3].startswith("Step 1 has done it after ")
        assert sorted(rows[4:6]) == ["Healed: the alert has ended.", "The alert has ended: Alertmanager told so."]
        assert "restarting api-1:8080" in here.page.ask("document.querySelector('.timeline pre').innerText")
        unfold(here, ".run details, .timeline li:nth-child(2) details:not(.record)")
        told = here.page.ask(TEXT)
        for text in [
            "✓ no cooldown is on cooldown",
            "Not idempotent, not reversible.",
            "It has helped when the alert ends within 15 min.",
            "+",
        ]:
            assert text in told
        seqs = here.page.ask("[...document.querySelectorAll('.timeline > li')].map(({dataset}) => +dataset.seq)")
        (run,) = {record["run"] for record in here.records() if "run" in record}
        own = [
            record["seq"] for record in here.records() if record.get("run") == run or record["kind"].startswith("alert")
        ]
        assert seqs == own
        assert here.page.ask("document.querySelector('.does a').hash") == f"#/audit?q=run%3D{run}"
        unfold(here, ".run details, .timeline details", to=False)
        here.page.ask("document.querySelector('.timeline details.record').open = true")
        here.page.until("document.querySelector('.timeline .whole')?.innerText.includes('starts_at')")
        assert here.page.complaints == []


def test_a_run_that_only_the_log_knows(here: Console) -> None:
    """The gateway lists it no longer (404): its records are in /audit, and the timeline is made of them."""
    with here.running():
        here.look("#/now")
        here.fire(labels("Full", "db-2"))
        here.page.until(f"{card('Full')}?.innerText.includes('Left to people')")
        run = next(record["run"] for record in here.records() if "run" in record)
        here.page.ask(
            "window.really = fetch; window.fetch = (url, ...rest) => String(url).startsWith('/runs/')"
            " ? Promise.resolve(new Response('{}', {status: 404})) : really(url, ...rest)"
        )
        timeline(here, run)
        here.page.until(f"{TEXT}.includes('It ended long ago: this is from the log.')")
        assert "Step 2 did not help: the action failed." in here.page.ask(TEXT)
        timeline(here, "r999999")
        here.page.until(f"{TEXT}.includes('There is no such run in the log.')")
        timeline(here, "r1\" OR kind=x \\ '")
        here.page.until(f"{TEXT}.includes('There is no such run in the log.')")


def test_the_timeline_goes_on_over_a_restart(here: Console) -> None:
    """What came while the gateway was away is in it once, and so is what came in a burst."""
    with here.running() as process:
        here.look("#/now")
        here.fire(labels("Stuck", "queue-7"))
        here.page.until(f"{card('Stuck')}?.innerText.includes('Does step 1 of 2')")
        run = next(record["run"] for record in here.records() if "run" in record)
        timeline(here, run)
        here.page.until(f"{TEXT}.includes('Step 1 begins: /bin/sleep 600')")
        process.kill()
    with here.running():
        here.page.until(f"{TEXT}.includes('Step 1 was interrupted: the gateway died over it.')")
        for part in range(6):
            here.fire(*(labels("Nobody", f"n-{part}-{number}") for number in range(300)))
        here.page.ask("document.querySelector('[data-do=cancel]').click()")
        here.page.press("Enter")
        here.page.until(f"{TEXT}.includes('The run ends: an operator has cancelled it.')")
        own = [
            record["seq"] for record in here.records() if record.get("run") == run or record.get("alertname") == "Stuck"
        ]
        wait_until(
            lambda: (
                here.page.ask("[...document.querySelectorAll('.timeline > li')].map(({dataset}) => +dataset.seq)")
                == own
            ),
            what="each record once",
        )


def silences(port: int) -> list[dict[str, Any]]:
    found = httpx.get(f"http://127.0.0.1:{port}/api/v2/silences", trust_env=False).raise_for_status().json()
    return [silence for silence in found if silence["status"]["state"] == "active"]


def test_an_alert_is_acknowledged_in_a_real_alertmanager(tmp_path: Path) -> None:
    """For 15 minutes unless said otherwise; what is too long is told; one's own is extended, and ended, there too."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        here = stack.enter_context(console(tmp_path, RULES, AUTOHEAL_DRY_RUN="false", ALERTMANAGER_URL=url))
        stack.enter_context(here.running())
        stack.enter_context(alertmanager(tmp_path, port, f"{here.origin}/alert"))
        here.page.size(1280, 900)
        here.look("#/now")
        now = SystemClock().now()
        body = [
            {
                "labels": {"alertname": "Late", "instance": 'a "b"'},
                "startsAt": rfc3339(now - 5),
                "endsAt": rfc3339(now + 600),
            }
        ]
        httpx.post(f"{url}/api/v2/alerts", json=body, trust_env=False).raise_for_status()
        here.page.until(f"{button('Late', 'ack')} != null")
        here.page.ask(f"{button('Late', 'ack')}.click()")
        assert here.page.ask("document.getElementById('ack-for').value") == "15m"
        here.page.type("on it")
        here.page.ask("document.getElementById('ack-for').value = '30d'")
        here.page.press("Enter")
        here.page.until("document.querySelector('dialog .fault').innerText.includes('AUTOHEAL_ACK_MAX')")
        here.page.ask("document.getElementById('ack-for').value = '15m'")
        here.page.press("Enter")
        here.page.until("document.querySelector('dialog') === null")
        (silence,) = silences(port)
        assert {each["name"]: each["value"] for each in silence["matchers"]} == body[0]["labels"]
        assert (silence["createdBy"], silence["comment"]) == ("local", "on it")
        here.page.until(f"{card('Late')}?.innerText.includes('acknowledged by local, 14 min')")
        here.page.until(f"/on it/.test({card('By you')}?.innerText)")
        assert here.page.ask(button("Late", "ack")) is None
        here.page.ask(f"{button('By you', 'extend')}.click()")
        assert here.page.ask("document.getElementById('ack-comment').value") == "on it"
        here.page.ask("document.getElementById('ack-for').value = '2h'")
        here.page.press("Enter")
        here.page.until(f"{card('By you')}?.innerText.includes('1 h 59 min left')")
        assert len(silences(port)) == 1
        here.page.ask(f"{button('By you', 'expire')}.click()")
        # Without a word to say, what the focus begins at is the way back.
        here.page.press("Tab")
        here.page.press("Enter")
        here.page.until(f"{card('By you')} === undefined && {button('Late', 'ack')} != null")
        wait_until(lambda: silences(port) == [], what="no silence")


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_anybodys_way(here: Console, dark: bool, width: int) -> None:
    """Now with a card of each kind, the dialogs, a timeline unfolded: axe finds no fault, nothing is too wide."""
    with here.running():
        here.page.size(width, 780, dark=dark)
        here.look("#/now")
        everything(here)
        here.fire(labels("Nobody", "x" * 300))
        here.page.until(f"{TEXT}.includes('{'x' * 300}')")
        unfold(here, ".card details")
        here.page.until("document.querySelectorAll('.whole').length > 6")
        assert here.faults() == []
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")
        here.page.ask(f"{button('Stuck', 'ack')}.click()")
        here.page.until("document.querySelector('dialog[open]') !== null")
        assert here.faults("'dialog'") == []
        here.page.press("Escape")
        here.page.ask(f"{card('Full')}.querySelector('.does a').click()")
        here.page.until(f"{TEXT}.includes('Step 2 did not help')")
        unfold(here, "main details")
        here.page.until("document.querySelectorAll('.whole').length > 6")
        assert here.faults() == []
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")


def test_text_from_alerts_and_people_is_text(here: Console) -> None:
    """In names, labels, annotations and comments, in Now and in a timeline: nothing runs, nothing is refused."""
    with here.running():
        here.look("#/now")
        for number, text in enumerate(HOSTILE):
            named = {"alertname": text, "instance": f"i{number}", text.replace("\0", ""): text}
            here.fire({"labels": named, "annotations": {"summary": text, text: text}, "generatorURL": text})
        here.fire({**labels("Stuck", "queue-7", evil=HOSTILE[1]), "annotations": {"summary": HOSTILE[0]}})
        here.page.until(f"{button('Stuck', 'cancel')} != null")
        run = next(record["run"] for record in here.records() if "run" in record)
        told = json.dumps({"comment": HOSTILE[0] + HOSTILE[1]})
        here.page.ask(f"fetch('/runs/{run}/cancel', {{method: 'POST', body: {json.dumps(told)}}})")
        unfold(here, ".card details")
        for text in HOSTILE[:3]:
            here.page.until(f"document.querySelector('.now').textContent.includes({json.dumps(text)})")
        timeline(here, run)
        here.page.until(f"document.querySelector('.timeline')?.textContent.includes({json.dumps(HOSTILE[0])})")
        here.page.until(f"{TEXT}.includes('local asks to end it: <script>')")
        assert here.page.ask("[window.hurt === undefined, violations, ({}).target === undefined]") == [True, [], True]
        assert here.page.ask("document.querySelectorAll('main :is(script, img, iframe, style, base)').length") == 0
        assert here.page.complaints == []


def test_a_viewer_reads_and_is_offered_nothing(tmp_path: Path) -> None:
    """Alerts, why, timelines; no button that does anything."""
    with world(tmp_path, role="viewer") as there, browser(tmp_path) as page:
        page.open(f"{there.origin}/console")
        log_in(page, "olga")
        page.until(f"location.pathname === '/console' && {STATUS} === 'live'")
        page.until("document.title.startsWith('Now')")
        alert = {
            "status": "firing",
            "startsAt": rfc3339(SystemClock().now()),
            "annotations": {},
            **labels("Nobody", "x"),
        }
        httpx.post(
            f"{there.origin}/alert", json={"version": "4", "alerts": [alert]}, verify=False, trust_env=False
        ).raise_for_status()
        page.until(f"{card('Nobody')}?.innerText.includes('Dry run: nothing is in the way')")
        assert page.ask("document.querySelectorAll('[data-do]').length") == 0
