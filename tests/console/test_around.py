"""What happens around the page while somebody works on it: the session ends, the gateway is upgraded, clocks differ."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.test_login import log_in, world
from tests.support.browser import browser
from tests.support.consoles import STATUS, Console, console, labels
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULE = (
    "{name: restart-db, match: alertname=Down, target: '{{ labels.instance }}', mode: approve,"
    " steps: [{command: {argv: [/bin/true]}}]}"
)
CSRF = {"X-Autoheal-CSRF": "1"}
HOURS = 3 * 3_600_000
OTHER_VERSION = """(() => {
    const real = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await real(path, options);
        return path === '/' ? Response.json({ ...(await answer.json()), version: '999' }) : answer;
    };
})()"""
MOVED = """((answer) => new Proxy(answer, { get: (of, name) => name === 'headers'
    ? new Headers({ Date: new Date(Date.now()).toUTCString() })
    : typeof of[name] === 'function' ? of[name].bind(of) : of[name] }))"""
FAULT = "document.querySelector('dialog .fault[role=alert]').innerText"


def later(milliseconds: str) -> str:
    """A clock of the page that is so far ahead."""
    return f"(() => {{ const real = Date.now; Date.now = () => real() + {milliseconds}; }})()"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path, [RULE], AUTOHEAL_DRY_RUN="false") as made:
        made.page.size(1280, 900)
        yield made


def test_what_somebody_writes_outlives_the_session(tmp_path: Path) -> None:
    """The dialog stays and says so; after a login in another tab the same words are sent."""
    with world(tmp_path) as there, browser(tmp_path) as page:
        page.open(f"{there.origin}/console")
        log_in(page, "olga")
        page.until(f"location.pathname === '/console' && {STATUS} === 'live'")
        page.ask("window.sameLife = true; document.getElementById('pause').click()")
        page.type("four words of mine")
        (session,) = (one for one in page.cookies() if "autoheal_session" in one["name"])
        page.forget(session["name"])
        page.press("Enter")
        page.until(f"{FAULT}.startsWith('You are logged in no more. Log in in another tab')")
        link = page.ask("(({href, target}) => [href, target])(document.querySelector('dialog .fault a'))")
        assert link == [f"{there.origin}/console/login.html", "_blank"]
        # What a login in another tab leaves behind.
        page.remember(session)
        page.press("Enter")
        page.until("document.querySelector('dialog') === null")
        (paused,) = there.records("paused")
        assert paused["detail"]["reason"] == "four words of mine"
        assert page.ask("window.sameLife") is True


def test_a_page_of_another_version_is_left_with_its_view(here: Console) -> None:
    """It is told; and whoever goes to another view gets all of it anew, at the place where they go."""
    with here.running():
        here.look()
        here.page.ask(f"window.sameLife = true; {OTHER_VERSION}; dispatchEvent(new Event('focus'))")
        here.page.until("document.getElementById('notices').innerText.includes('another version by now')")
        here.page.ask("location.hash = '#/rules'")
        here.page.until(f"window.sameLife === undefined && {STATUS} === 'live'")
        here.page.until("document.querySelector('details.rule')?.innerText.includes('restart-db')")


def test_a_view_comes_when_the_gateway_does(here: Console) -> None:
    """Whoever waits at a view that could not be fetched gets it without doing anything."""
    with here.running():
        here.look()
    here.page.ask("location.hash = '#/rules'")
    here.page.until("document.querySelector('main .fault')?.innerText.includes('does not answer')")
    here.page.until(f"{STATUS} !== 'live'")
    with here.running():
        here.page.until("document.querySelector('details.rule')?.innerText.includes('restart-db')")


def test_what_a_view_could_not_have_it_asks_for_again(here: Console) -> None:
    """Rules, their counts, the promises of a plan and a timeline: once the gateway is back, without a record more."""
    with here.running():
        here.look("#/rules")
        here.fire(labels("Down", "db-1"))
        here.page.until("document.querySelector('[data-name=approvals] .badge').textContent === '1'")
        (run,) = (record["run"] for record in here.records() if record["kind"] == "approval_requested")
        for at in ("#/approvals", f"#/runs/{run}", "#/live"):
            here.page.ask(f"location.hash = '{at}'")
            here.page.until("document.querySelector('main').innerText.includes('db-1')")
        for at, bad, good in [
            ("#/rules", "What stands before the gateway", "no run judged"),
            ("#/approvals", "restart-db → db-1", "not idempotent"),
            (f"#/runs/{run}", "It is tried again soon", "People are asked"),
        ]:
            here.page.ask(
                "window.real = fetch; window.fetch = async (path, options) =>"
                " path === '/' ? real(path, options) : new Response('<html>', { status: 502 })"
            )
            here.page.ask(f"location.hash = '{at}'")
            here.page.until(f"document.querySelector('main').innerText.includes({bad!r})")
            assert good not in here.page.ask("document.querySelector('main').innerText")
            here.page.ask("window.fetch = real")
            here.page.until(f"document.querySelector('main').innerText.includes({good!r})")
            assert bad == "restart-db → db-1" or bad not in here.page.ask("document.querySelector('main').innerText")
            here.page.ask("location.hash = '#/live'")


@pytest.mark.parametrize("off", [HOURS, -HOURS])
def test_a_wrong_clock_does_not_mislead(here: Console, off: int) -> None:
    """Countdowns, ages and whether a pause still holds go by the gateway's clock, not by the browser's."""
    with here.running():
        httpx.post(
            f"{here.origin}/pause", json={"reason": "deploying", "duration": "1h"}, headers=CSRF, trust_env=False
        )
        here.fire(labels("Nobody", "x"))
        here.page.before(later(str(off)))
        here.look("#/now")
        here.page.until("document.getElementById('notices').innerText.includes('Everything is paused')")
        here.page.until("/^for \\d+ s$/.test(document.querySelector('.card .age')?.textContent)")
        httpx.post(f"{here.origin}/resume", json={}, headers=CSRF, trust_env=False).raise_for_status()
        here.fire(labels("Down", "db-1"))
        here.page.until("document.querySelector('[data-name=approvals] .badge').textContent === '1'")
        here.page.ask("location.hash = '#/approvals'")
        here.page.until("/^Expires in 1[45] min/.test(document.querySelector('.expiry')?.innerText)")


def test_the_times_of_yesterday_say_so(here: Console) -> None:
    """When a day ends while the page is open its times get their date."""
    with here.running():
        here.page.before("window.gone = 0; " + later("window.gone"))
        here.look()
        here.page.until("document.querySelectorAll('.log time').length > 2")
        times = "[...document.querySelectorAll('.log time')].map((one) => one.textContent.length)"
        assert set(here.page.ask(times)) == {len("12:00:00")}
        # The gateway's clock goes with it, as a real one would.
        here.page.ask(f"window.real = fetch; window.fetch = async (...given) => {MOVED}(await real(...given))")
        here.page.ask("window.gone = 86_400_000")
        here.page.until(f"{times}.every((length) => length === {len('2026-05-01 12:00:00')})")


def test_a_second_click_does_nothing_twice(here: Console) -> None:
    """Two clicks on a button open one dialog, and its button sends once however often it is pressed."""
    with here.running():
        here.look("#/approvals")
        here.fire(labels("Down", "db-1"))
        here.page.until("document.querySelector('[data-word=approve]') !== null")
        here.page.ask(
            "window.sent = []; window.real = fetch; window.fetch = (path, options) => {"
            " if (options?.method === 'POST') sent.push(path); return real(path, options); }"
        )
        for _ in range(2):
            here.page.click("[data-word=approve]")
        here.page.until("document.querySelectorAll('dialog').length === 1")
        here.page.ask(
            "document.querySelector('dialog form').requestSubmit(); document.querySelector('dialog .main').click()"
        )
        here.page.until("document.querySelector('dialog') === null")
        assert len(here.page.ask("sent")) == 1
        wait_until(lambda: any(one["kind"] == "approval_granted" for one in here.records()), what="the approval")


def test_whoever_closes_a_dialog_too_early_hears_how_it_ended(here: Console) -> None:
    """A refusal that comes after that is read aloud."""
    with here.running():
        here.look()
        here.page.ask("document.getElementById('pause').click()")
        here.page.type("x")
        refused = "new Response(JSON.stringify({detail: 'It cannot be.'}), {status: 409})"
        here.page.ask(f"window.fetch = () => new Promise((then) => {{ window.answer = () => then({refused}) }})")
        here.page.press("Enter")
        here.page.until("window.answer !== undefined")
        here.page.press("Escape")
        here.page.until("document.querySelector('dialog') === null")
        here.page.ask("answer()")
        here.page.until("document.getElementById('said').textContent === 'Nothing was done. It cannot be.'")


def test_a_page_that_broke_off_says_so(here: Console) -> None:
    """An error that nobody expected: what is shown may be old from then on, however live the connection is."""
    with here.running():
        here.look()
        here.page.ask("void setTimeout(() => { throw new Error('odd <b>thing</b>') })")
        here.page.until("document.getElementById('notices').innerText.includes('Reload it. Error: odd <b>thing</b>')")


def test_what_everybody_must_know_stands_above_each_view(tmp_path: Path) -> None:
    """A log that cannot be written, a silent Alertmanager, a dry run, a missing login: for as long as it is so."""
    watched = {"AUTOHEAL_WATCHDOG": 'alertname="Watchdog"', "AUTOHEAL_WATCHDOG_AFTER": "1s"}
    with console(tmp_path, **watched) as here, here.running() as process:
        here.look("#/live")
        told = "document.getElementById('notices').innerText"
        here.page.until(f"{told}.includes('Alertmanager is silent') && {told}.includes('Watchdog')")
        assert here.page.ask(f"{told}.includes('Dry run.') && {told}.includes('No login.')")
        size = (tmp_path / "data" / "audit.jsonl").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        alert = {"status": "firing", "annotations": {}, "startsAt": "2026-05-01T12:00:00Z", **labels("Down", "x")}
        body = {"version": "4", "alerts": [alert]}
        assert httpx.post(f"{here.origin}/alert", json=body, trust_env=False).status_code == 503
        here.page.ask("location.hash = '#/now'")
        here.page.until(f"{told}.includes('The audit log cannot be written.')")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        here.page.until(f"!{told}.includes('The audit log cannot be written.')")
