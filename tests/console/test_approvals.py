"""Approvals in a real browser: a word there is what makes a real command run, and everybody sees it at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.console.test_live import HOSTILE
from tests.end_to_end.test_login import log_in, world
from tests.support.browser import Page, browser
from tests.support.consoles import STATUS, Console, console, labels, picture
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

ASKS = (
    "{{name: {}, match: alertname={}, target: '{{{{ labels.instance }}}}', mode: approve, {}"
    " steps: [{{command: {{argv: [{}, '{{{{ target }}}}']}}}}, {{http: {{method: PUT, url: 'http://127.0.0.1:9/again'}}}}]}}"
)
MANY = (
    "{name: cluster, match: alertname=Many, target: '{{ labels.instance }}', mode: live, storm: 2/10m,"
    " steps: [{command: {argv: [/usr/bin/touch, '{{ target }}']}}]}"
)
CARDS = "document.querySelectorAll('[data-run]')"
PROMISED = f"{CARDS}.length > 0 && [...{CARDS}].every((card) => card.querySelector('.chip'))"
FAULT = "[...document.querySelectorAll('dialog .fault')].map((one) => one.textContent).join(' ')"
ANSWERED = "document.querySelector('.answered').innerText"


CARD = """
(async () => {
    const { card } = await import('/console/approval-card.js');
    const approval = { expires_at: 0, requested_at: 0, by: null, observed: 'container 5d41, since 09:12' };
    const plan = { target: 't', steps: [{ action: 'docker', params: { restart: 't' } }] };
    const run = { id: 'r1', rule: 'r', target: 't', alertname: 'A', created_at: 0, approval, plan,
        plan_digest: "77ab", caused_by: 'ann' };
    const shown = (subject) => card(run, { who: { subject }, may: () => true });
    const words = (subject) => [...shown(subject).querySelectorAll('button')].map(({ dataset }) => dataset.word);
    return [shown('ann').textContent, words('ann'), words('bob')];
})()
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    rules = [
        ASKS.format("restart-db", "Down", "", "/usr/bin/touch"),
        ASKS.format("hasty", "Late", "approval: {expires: 2s},", "/usr/bin/touch"),
        MANY,
    ]
    with console(tmp_path, rules, AUTOHEAL_DRY_RUN="false") as made:
        made.page.size(1280, 800)
        yield made


def say(page: Page, word: str, comment: str = "") -> None:
    """Click a card's button, and fill in what is asked then."""
    page.ask(f"document.querySelector('[data-word={word}]').click()")
    page.until("document.querySelector('dialog[open]') !== null")
    page.type(comment)
    page.press("Enter")


def test_an_approval_makes_the_command_run_and_everybody_sees_it(here: Console, tmp_path: Path) -> None:
    """The plan with what it promises is shown; the digest of that plan is what is approved; another browser has the
    result without asking.
    """
    (tmp_path / "other").mkdir()
    done = tmp_path / "db-1"
    with here.running(), browser(tmp_path / "other") as other:
        here.look("#/approvals")
        other.open(f"{here.origin}/console#/approvals")
        other.until(f"{STATUS} === 'live'")
        here.fire(labels("Down", str(done)), labels("Down", str(tmp_path / "db-2")))
        for page in (here.page, other):
            page.until(f"{CARDS}.length === 2 && {PROMISED}")
            assert page.ask("document.querySelector('[data-name=approvals] .badge').textContent") == "2"
        text = here.page.ask("document.querySelector('[data-run]').innerText")
        for told in (f"restart-db → {done}", f"/usr/bin/touch {done}", "not idempotent", "if that does not help"):
            assert told in text
        assert "Expires in 1" in text
        here.page.ask("document.querySelector('[data-word=approve]').focus()")
        say(here.page, "approve", "looks <b>right</b>")
        wait_until(done.exists, what="what the command makes")
        for page in (here.page, other):
            page.until(f"{ANSWERED}.includes('Approved by local') && {ANSWERED}.includes('looks <b>right</b>')")
            page.until(f"{CARDS}.length === 1")
        # Its card is gone, and with it the button that had the focus.
        here.page.until("document.activeElement.id === 'view'")
        (granted,) = (one for one in here.records() if one["kind"] == "approval_granted")
        (asked, _) = (one for one in here.records() if one["kind"] == "approval_requested")
        assert granted["detail"]["plan_digest"] == asked["detail"]["plan_digest"]
        here.page.until("document.querySelector('.meanwhile').innerText.includes('step 1 of 2 is done: does it help?')")
        say(other, "deny", "not tonight")
        here.page.until(f"{ANSWERED}.includes('Denied by local') && {ANSWERED}.includes('not tonight')")
        here.page.until("document.querySelector('[data-name=approvals] .badge').textContent === ''")
        assert not (tmp_path / "db-2").exists()
        assert here.page.complaints == other.complaints == []


def test_what_is_over_first_stands_first(tmp_path: Path) -> None:
    """One page has what waits, what a storm holds, and what was answered."""
    about = "match: alertname={}, target: '{{{{ labels.instance }}}}', mode: {} steps: [{}]"
    echo = "{{command: {{argv: [/bin/echo, {}, '{{{{ target }}}}']}}}}".format
    page = "{http: {method: PUT, url: 'http://127.0.0.1:9/page'}}"
    promote = about.format("PrimaryDown", "approve, approval: {expires: 30m},", f"{echo('promote')}, {page}")
    rules = [
        f"{{name: promote-replica, {promote}}}",
        f"{{name: restart-api, {about.format('ApiDown', 'approve,', echo('restart'))}}}",
        f"{{name: drain-node, {about.format('NodeDown', 'live, storm: 2/10m,', echo('drain'))}}}",
    ]
    with console(tmp_path, rules, AUTOHEAL_DRY_RUN="false") as there, there.running():
        there.page.size(1280, 900, dark=True)
        there.look("#/approvals")
        there.fire(labels("ApiDown", "api-2"))
        there.page.until(PROMISED)
        say(there.page, "approve", "seen in staging as well")
        there.page.until(f"{ANSWERED}.includes('Approved by local')")
        there.fire(labels("PrimaryDown", "db-7.internal"), labels("ApiDown", "api-3"))
        there.fire(*(labels("NodeDown", f"node-{number}") for number in range(3)))
        there.page.until(
            f"{CARDS}.length === 2 && {PROMISED} && document.querySelector('[data-rule=drain-node]') !== null"
        )
        names = there.page.ask(f"[...{CARDS}].map((card) => card.querySelector('h4').textContent)")
        assert names == ["restart-api → api-3", "promote-replica → db-7.internal"]
        assert there.page.ask("document.querySelector('[data-name=approvals] .badge').textContent") == "3"
        picture(there.page, "console-approvals")


def test_how_the_target_is_and_whose_alert_it_was_is_told(here: Console) -> None:
    """Where that is known; whoever has sent the alert has no button to approve what follows from it."""
    with here.running():
        here.look()
        text, own, others = here.page.ask(CARD)
        assert "Now: container 5d41, since 09:12" in text
        assert "somebody else must approve it" in text
        assert (own, others) == (["deny"], ["deny", "approve"])


def test_who_comes_second_is_told_by_whom_and_that_nothing_was_done(here: Console, tmp_path: Path) -> None:
    """In the open dialog, before and after they try."""
    with here.running():
        here.look("#/approvals")
        here.fire(labels("Down", str(tmp_path / "db-1")))
        here.page.until(PROMISED)
        here.page.ask("document.querySelector('[data-word=approve]').click()")
        here.page.until("document.querySelector('dialog[open]') !== null")
        run = here.page.ask("document.querySelector('[data-run]').dataset.run")
        httpx.post(f"{here.origin}/runs/{run}/deny", trust_env=False).raise_for_status()
        here.page.until(f"{FAULT}.includes('Meanwhile: Denied by local.')")
        here.page.press("Enter")
        here.page.until(f"{FAULT}.includes('Nothing was done.') && {FAULT}.includes('denied by local')")


def test_who_comes_too_late_is_told_so(here: Console, tmp_path: Path) -> None:
    """The card goes when its time is over; whoever has its dialog open still cannot approve."""
    with here.running():
        here.look("#/approvals")
        here.fire(labels("Late", str(tmp_path / "db-1")))
        here.page.until(f"{CARDS}.length === 1")
        here.page.ask("document.querySelector('[data-word=approve]').click()")
        here.page.until(f"{FAULT}.includes('Meanwhile: Nobody answered in time.')")
        here.page.press("Enter")
        here.page.until(f"{FAULT}.includes('Too late, nothing was done.')")
        assert here.page.ask(f"{CARDS}.length") == 0
        assert not (tmp_path / "db-1").exists()


def test_a_storm_is_released_as_the_batch_that_was_looked_at(here: Console, tmp_path: Path) -> None:
    """When another alert has come meanwhile the new batch is shown first; then all of its commands run."""
    targets = [tmp_path / f"n{number}" for number in range(4)]
    batch = "document.querySelector('dialog .batch').innerText"
    with here.running():
        here.look("#/approvals")
        here.fire(*(labels("Many", str(target)) for target in targets[:3]))
        here.page.until("document.querySelector('[data-rule=cluster]') !== null")
        here.page.until("document.querySelector('.batch').innerText.includes('3 can be released together')")
        here.page.ask("document.querySelector('[data-rule=cluster]').click()")
        here.page.until(f"{batch}.includes('n2') && !{batch}.includes('n3')")
        here.fire(labels("Many", str(targets[3])))
        wait_until(lambda: [one.get("target") for one in here.records()].count(str(targets[3])) == 1, what="n3 decided")
        here.page.press("Enter")
        here.page.until(f"{FAULT}.includes('the batch has changed') && {batch}.includes('n3')")
        assert not any(target.exists() for target in targets)
        here.page.press("Enter")
        wait_until(lambda: all(target.exists() for target in targets), what="what the commands make")
        here.page.until("document.querySelector('dialog') === null")
        (released,) = (one for one in here.records() if one["kind"] == "storm_released")
        assert released["detail"]["alerts"] == 4


def test_a_viewer_sees_what_waits_and_has_no_buttons(tmp_path: Path) -> None:
    """An operator may deny and not approve; neither sees a button that would fail."""
    rules = "version: 1\nrules:\n  - " + ASKS.format("restart-db", "Down", "", "/usr/bin/touch")
    for role, buttons in (("viewer", []), ("operator", ["deny"]), ("approver", ["deny", "approve"])):
        folder = tmp_path / role
        folder.mkdir()
        with world(folder, role, rules, AUTOHEAL_DRY_RUN="false") as there, browser(folder) as page:
            alert = {"status": "firing", **labels("Down", "x"), "annotations": {}, "startsAt": "2026-05-01T12:00:00Z"}
            body = {"version": "4", "alerts": [alert]}
            httpx.post(f"{there.origin}/alert", json=body, trust_env=False).raise_for_status()
            page.open(f"{there.origin}/console")
            log_in(page, "olga")
            page.until(f"location.pathname === '/console' && {STATUS} === 'live'")
            page.ask("location.hash = '#/approvals'")
            page.until(PROMISED)
            shown = page.ask("[...document.querySelectorAll('main button')].map((button) => button.dataset.word)")
            assert shown == buttons
            page.ask("location.hash = '#/now'")
            page.until("document.querySelector('.card .standing')?.innerText.startsWith('Waits for somebody')")
            assert ("Answer…" in page.ask("document.querySelector('main').innerText")) is (role != "viewer")
            page.ask("location.hash = '#/rules'")
            page.until("document.querySelector('.rule') !== null")
            page.ask("document.querySelector('.rule').open = true")
            page.until("document.querySelector('.last li') !== null")
            assert page.ask("[...document.querySelectorAll('main button')].length") == (role != "viewer")


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_anybodys_way(here: Console, tmp_path: Path, dark: bool, width: int) -> None:
    """Waiting, held, answered, and the dialogs: axe finds no fault, nothing is wider than the page, and hostile text
    is text.
    """
    with here.running():
        here.page.size(width, 780, dark=dark)
        here.look("#/approvals")
        here.fire(
            *({"labels": {"alertname": "Down", "instance": text.replace("\0", ""), "x": text}} for text in HOSTILE)
        )
        here.fire(*(labels("Many", f"node-{number}-{'x' * 80}") for number in range(3)))
        here.page.until(f"{PROMISED} && document.querySelector('[data-rule=cluster]') !== null")
        say(here.page, "deny", HOSTILE[1])
        here.page.until(f"{ANSWERED}.includes('Denied by local') && document.querySelector('dialog') === null")
        here.page.ask("document.querySelectorAll('.card details').forEach((one) => { one.open = true; })")
        assert here.faults() == []
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")
        for button in ("[data-word=approve]", "[data-rule=cluster]"):
            here.page.ask(f"document.querySelector({json.dumps(button)}).click()")
            here.page.until("document.querySelector('dialog[open]') !== null")
            assert here.faults("'dialog'") == []
            assert here.page.ask(
                "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('dialog'))"
            )
            here.page.press("Escape")
            here.page.until("document.querySelector('dialog') === null")
        assert here.page.ask("[window.hurt === undefined, violations]") == [True, []]
        assert here.page.complaints == []
