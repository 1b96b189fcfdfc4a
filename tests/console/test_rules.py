"""Rules in a real browser: how far each may go, how it does, and what holds it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoheal.model import rfc3339
from tests.console.test_live import HOSTILE
from tests.support.consoles import NEWEST, Console, console, labels, picture
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

ABOUT = (
    "{{name: {}, match: 'alertname={}', target: '{{{{ labels.instance }}}}', mode: {},"
    " steps: [{{command: {{argv: [/bin/{}]}}}}]}}"
)
RULES = [
    ABOUT.format("restart-api", "ApiDown", "live, budget: [3/1h]", "true"),
    ABOUT.format("rotate-logs", "DiskFull", "live, breaker: {failures: 2, reset: 1h}, cooldown: 0s", "false"),
    ABOUT.format("clean-cache", "CacheFull", "live, rollout: 0.1%", "true"),
    ABOUT.format("scale-out", "QueueLong", "dry_run", "true"),
    ABOUT.format("drain-node", "NodeDown", "live, storm: 2/10m", "true"),
]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path, RULES, AUTOHEAL_DRY_RUN="false") as made:
        made.page.size(1280, 900, dark=True)
        yield made


def row(name: str) -> str:
    """The rule's element, as an expression of the page."""
    called = f"one.querySelector('b').innerText === {json.dumps(name)}"
    return f"[...document.querySelectorAll('.rule')].find((one) => {called})"


def text(name: str) -> str:
    """What its element says."""
    return f"{row(name)}.innerText.replace(/\\s+/g, ' ')"


def told(here: Console, kind: str, rule: str) -> int:
    """How many records of that kind the log has of the rule."""
    return sum(one["kind"] == kind and one.get("rule") == rule for one in here.records())


def resolve(here: Console, name: str, instance: str) -> None:
    here.fire({**labels(name, instance), "status": "resolved", "endsAt": rfc3339(NEWEST + 60)})


def happenings(here: Console) -> None:
    """Some of everything."""
    for number in range(3):
        here.fire(labels("ApiDown", f"api-{number}"))
        wait_until(lambda done=number: told(here, "action_ok", "restart-api") == done + 1, what="an action")
        resolve(here, "ApiDown", f"api-{number}")
        here.fire(labels("DiskFull", f"db-{number}"), labels("QueueLong", f"q-{number}"))
        here.fire(labels("CacheFull", f"cache-{number}"))
        if number < 2:
            wait_until(lambda done=number: told(here, "escalated", "rotate-logs") == done + 1, what="left to people")
    wait_until(lambda: told(here, "heal_confirmed", "restart-api") == 3, what="heals")
    wait_until(lambda: told(here, "action_dry_run", "clean-cache") == 3, what="hold-outs")
    resolve(here, "CacheFull", "cache-0")
    resolve(here, "CacheFull", "cache-1")
    here.fire(*(labels("NodeDown", f"node-{number}") for number in range(3)))
    wait_until(lambda: told(here, "breaker_opened", "rotate-logs") == 1, what="the breaker")


def test_each_rule_tells_how_it_does(here: Console) -> None:
    """Heals with their interval, dry runs and hold-outs beside them, breaker, storm and budget, before and while it is
    looked at.
    """
    with here.running():
        happenings(here)
        here.look("#/rules")
        here.page.until(
            f"{text('restart-api')}.includes('live') && {text('restart-api')}.includes('3 of 3 · 100 % (44 to 100 %)')"
        )
        here.page.until(
            f"{text('rotate-logs')}.includes('breaker open') && {text('rotate-logs')}.includes('healed 0 of 2')"
        )
        here.page.until(f"{text('clean-cache')}.includes('no run judged · 3 held out')")
        here.page.until(f"{text('scale-out')}.includes('dry run') && {text('scale-out')}.includes('3 dry')")
        here.page.until(f"/storm.*3 held/.test({text('drain-node')})")
        for name in ("restart-api", "rotate-logs", "clean-cache"):
            here.page.ask(f"({row(name)}).open = true")
        here.page.until(f"{text('restart-api')}.includes('Budget of a target 1 of 3 in 1 h, most on api-')")
        here.page.until(f"{text('restart-api')}.includes('Budget of all rules 5 of 60 in 1 h')")
        here.page.until(f"{text('rotate-logs')}.includes('one run tries again')")
        here.page.until(f"{text('clean-cache')}.includes('Left alone 2 of 3 · 67 % (21 to 94 %)')")
        here.page.until(f"{text('restart-api')}.includes('ApiDown → api-2 healed')")
        # What happens while somebody looks is counted, and what they have unfolded stays so.
        here.fire(labels("QueueLong", "q-9"))
        here.page.until(f"{text('scale-out')}.includes('4 dry')")
        assert here.page.ask(f"({row('restart-api')}).open") is True
        assert here.page.complaints == []
        here.page.ask(f"({row('restart-api')}).open = ({row('rotate-logs')}).open = false")
        picture(here.page, "console-rules")


def test_an_operator_resets_pauses_and_resumes_a_rule(here: Console) -> None:
    """Each from its own card, and the card says what it is then."""
    with here.running():
        happenings(here)
        here.look("#/rules")
        here.page.until("document.querySelectorAll('.rule').length === 5")
        here.page.ask(f"({row('rotate-logs')}).open = true")

        def click(what: str) -> None:
            here.page.until(f"({row('rotate-logs')}).querySelector('[data-do={what}]') !== null")
            here.page.ask(f"({row('rotate-logs')}).querySelector('[data-do={what}]').click()")
            here.page.until("document.querySelector('dialog[open]') !== null")

        click("reset")
        here.page.ask("document.querySelector('dialog .main').click()")
        wait_until(lambda: told(here, "breaker_closed", "rotate-logs") == 1, what="the reset")
        here.page.until(f"!{text('rotate-logs')}.includes('breaker open')")
        click("pause")
        assert here.page.ask("document.getElementById('pause-rule').value") == "rotate-logs"
        here.page.type("the disk is being replaced")
        here.page.press("Enter")
        here.page.until(f"{text('rotate-logs')}.includes('paused')")
        assert told(here, "paused", "rotate-logs") == 1
        click("resume")
        here.page.press("Enter")
        here.page.until(f"!{text('rotate-logs')}.includes('paused')")
        assert told(here, "resumed", "rotate-logs") == 1


def test_the_mode_is_the_one_in_force(tmp_path: Path) -> None:
    """With AUTOHEAL_DRY_RUN a live rule is a dry run, and says that its file says otherwise."""
    with console(tmp_path, RULES[:1], AUTOHEAL_DRY_RUN="true") as there, there.running():
        there.look("#/rules")
        there.page.until("document.querySelector('.rule .chip').textContent === 'dry run'")
        there.page.ask("document.querySelector('.rule').open = true")
        there.page.until(f"{text('restart-api')}.includes('dry run: its file says live, but AUTOHEAL_DRY_RUN is on')")


def test_what_cannot_all_be_counted_is_said(here: Console) -> None:
    """More ends of runs than are read at a time: the newest count, and since when that is stands there; a shorter range
    may have all of them.
    """
    with here.running():
        for part in range(5):
            here.fire(*(labels("QueueLong", f"q-{part}-{number}") for number in range(900)))
        wait_until(lambda: told(here, "action_dry_run", "scale-out") == 4500, what="all dry runs")
        here.look("#/rules")
        here.page.until(
            "document.querySelector('.bar').innerText.includes('Only the newest 4000 ends of runs are counted, since')"
        )
        here.page.until(f"{text('scale-out')}.includes('4000 dry')")
        here.page.ask("document.getElementById('rules-range').value = '24h'")
        here.page.ask("document.getElementById('rules-range').dispatchEvent(new Event('change'))")
        here.page.until("document.querySelector('.bar').innerText.includes('Only the newest 4000')")


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_anybodys_way(here: Console, dark: bool, width: int) -> None:
    """All rules unfolded: axe finds no fault, nothing is wider than the page, and hostile text is text."""
    with here.running():
        here.page.size(width, 780, dark=dark)
        happenings(here)
        here.fire(*({"labels": {"alertname": "QueueLong", "instance": one.replace("\0", "")}} for one in HOSTILE))
        here.look("#/rules")
        here.page.until("document.querySelectorAll('.rule').length === 5")
        here.page.ask("document.querySelectorAll('.rule').forEach((one) => { one.open = true; })")
        here.page.until(f"{text('clean-cache')}.includes('Left alone')")
        here.page.until("document.querySelectorAll('.last li').length > 5")
        assert here.faults() == []
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")
        assert here.page.ask("[window.hurt === undefined, violations]") == [True, []]
        assert here.page.complaints == []
