"""Audit in a real browser, at a real gateway: the language, time, pages, links and the export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from autoheal.model import Kind, Mode, Reason
from autoheal.query import ENVELOPE
from tests.console.test_live import HOSTILE, RULE
from tests.end_to_end.test_login import log_in, world
from tests.support.browser import browser
from tests.support.consoles import STATUS, Console, console, labels
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

QUERY = (Path(__file__).parents[2] / "console" / "query.js").read_text()
RULES = [
    RULE.format("works", "Down", "live", "/bin/true"),
    RULE.format("fails", "Full", "live", "/bin/false"),
    RULE.format("looks", "Slow", "dry_run", "/bin/true"),
]
TOLD = "document.querySelector('main [role=status]').textContent"
FAULT = "document.getElementById('audit-fault').textContent"
OFFERED = (
    "[...document.querySelectorAll('.choices li')].filter(one => one.checkVisibility()).map(one => one.textContent)"
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path, RULES, AUTOHEAL_DRY_RUN="false") as made:
        made.page.size(1280, 720)
        yield made


def happened(here: Console) -> None:
    """Something of each kind that people look for has happened, and the log rests."""
    here.fire(labels("Down", "web-1", job="api"), labels("Full", "disk-1"), labels("Slow", "db-1"))
    wait_until(
        lambda: {"action_ok", "escalated", "action_dry_run"} <= {record["kind"] for record in here.records()},
        what="a run of each rule",
    )


def look(here: Console, at: str) -> None:
    """Open it, and wait until it is there."""
    here.look(at)
    here.page.until("document.getElementById('audit-query') !== null")


def search(here: Console, text: str) -> None:
    """As somebody does who types it and presses Enter."""
    here.page.press("/")
    here.page.ask("document.getElementById('audit-query').select()")
    here.page.type(text)
    here.page.press("Enter")
    here.page.until(f"{TOLD} !== 'Searching…'")


def expected(here: Console, **wanted: Any) -> list[int]:
    """The seqs of records with these fields, newest first."""
    found = [one["seq"] for one in here.records() if all(one.get(name) == value for name, value in wanted.items())]
    return found[::-1]


def test_the_vocabulary_is_the_services() -> None:
    """Each kind, reason, mode and field that can be asked for is offered, and no other."""

    def words(name: str) -> set[str]:
        (found,) = re.findall(rf"const {name} = (?:\[(.*?)\]|\((.*?)\)\.split)", QUERY, re.DOTALL)
        return set(re.findall(r"\w+", "".join(found)))

    assert words("KINDS") == set(Kind)
    assert words("REASONS") == set(Reason)
    assert words("MODES") == set(Mode)
    assert words("FIELDS") == set(ENVELOPE)


def test_the_language_finds_what_it_asks_for(here: Console) -> None:
    """All of the log without a filter; with one the records that match, and the address is one that leads back."""
    with here.running():
        look(here, "#/audit")
        happened(here)
        search(here, "kind IN (action_ok, action_fail) AND NOT rule=looks")
        wanted = sorted(expected(here, kind="action_ok") + expected(here, kind="action_fail"), reverse=True)
        here.page.until(f"JSON.stringify({SHOWN}) === '{json.dumps(wanted, separators=(',', ':'))}'")
        assert here.page.ask("document.activeElement.id") == "audit-query"
        search(here, "labels.job=api AND kind=alert_firing")
        here.page.until("document.querySelectorAll('.log > li').length === 1")
        there = here.page.ask("location.hash")
        here.page.ask("history.back()")
        here.page.until(f"JSON.stringify({SHOWN}) === '{json.dumps(wanted, separators=(',', ':'))}'")
        # Anybody who gets the address sees the same.
        here.look("#/live")
        look(here, there)
        here.page.until("document.querySelectorAll('.log > li').length === 1")
        assert here.page.ask("document.getElementById('audit-query').value") == "labels.job=api AND kind=alert_firing"
        here.page.ask("document.querySelector('.log details').open = true")
        here.page.until("document.querySelector('.whole').innerText.includes('api')")
        assert here.page.complaints == []


SHOWN = "[...document.querySelectorAll('.log > li')].map(({dataset}) => +dataset.seq)"


def test_what_is_wrong_is_shown_where_it_is(here: Console) -> None:
    """The column that the service names is marked below the filter, and the caret stands there."""
    with here.running():
        look(here, "#/audit")
        search(here, "kind=action_ok rule=works")
        here.page.until(f"{FAULT}.startsWith('Column 16: AND or OR is missing')")
        assert here.page.ask("document.querySelector('#audit-fault mark').textContent") == "r"
        assert here.page.ask("document.getElementById('audit-query').selectionStart") == 15
        assert here.page.ask("document.getElementById('audit-query').ariaInvalid") == "true"
        assert here.shown() == []
        search(here, "kind=log_created")
        here.page.until("document.querySelectorAll('.log > li').length === 1")
        assert here.page.ask(FAULT) == ""
        assert here.page.ask("document.getElementById('audit-query').ariaInvalid") is None
        # A time that is none is told as well.
        here.look("#/live")
        look(here, "#/audit?since=yesterday")
        here.page.until(f"{FAULT}.startsWith('since: ')")


def test_what_may_come_next_is_offered(here: Console) -> None:
    """Fields, then their values: the vocabulary, the rules in force, and what has been seen; chosen by keys."""
    with here.running():
        look(here, "#/audit")
        happened(here)
        here.page.press("/")
        here.page.type("ki")
        here.page.until(f"{OFFERED}.join() === 'kind'")
        here.page.press("ArrowDown")
        active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))"
        assert here.page.ask(f"{active}.ariaSelected") == "true"
        here.page.press("Enter")
        here.page.until(f"{OFFERED}.includes('heal_confirmed')")
        here.page.type("action_f")
        here.page.until(f"{OFFERED}.join() === 'action_fail'")
        here.page.press("ArrowDown")
        here.page.press("Enter")
        assert here.page.ask("document.getElementById('audit-query').value") == "kind=action_fail"
        for typed, offers in (
            (" AND rule=", "works"),
            (" AND target=", "disk-1"),
            (" AND mode=", "live"),
            (" AND reason=", "act"),
            (" AND labels.jo", "labels.job"),
            (" AND labels.job=", "api"),
        ):
            here.page.ask("document.getElementById('audit-query').value = 'kind=action_fail'")
            here.page.type(typed)
            here.page.until(f"{OFFERED}.includes('{offers}')")
        here.page.press("Escape")
        assert here.page.ask(OFFERED) == []
        # By mouse as well, and the filter keeps the focus.
        here.page.ask("document.getElementById('audit-query').value = ''")
        here.page.type("rule=wor")
        here.page.until(f"{OFFERED}.join() === 'works'")
        here.page.ask("document.querySelector('.choices li').click()")
        assert here.page.ask("document.getElementById('audit-query').value") == "rule=works"


def test_time_back_from_now_and_between_two(here: Console) -> None:
    """A preset stays relative in the address; two times are those of the local clock."""
    with here.running():
        look(here, "#/audit")
        happened(here)
        choose = "(value) => { const one = document.getElementById('range'); one.value = value;"
        choose = f"({choose} one.dispatchEvent(new Event('change', {{bubbles: true}})); }})"
        here.page.ask(f"{choose}('15m')")
        search(here, "kind=alert_firing")
        here.page.until("document.querySelectorAll('.log > li').length === 3")
        assert here.page.ask("location.hash") == "#/audit?q=kind%3Dalert_firing&since=15m"
        here.page.ask(f"{choose}('between')")
        here.page.ask("document.getElementById('range-from').value = '2001-02-03T04:05:06'")
        here.page.ask("document.getElementById('range-to').value = '2002-02-03T04:05:06'")
        here.page.press("Enter")
        here.page.until(f"{TOLD} === 'Nothing matches.'")
        since, until = here.page.ask(
            "['since', 'until'].map(name => new URLSearchParams(location.hash.split('?')[1]).get(name))"
        )
        assert here.page.ask(f"new Date('2001-02-03T04:05:06').getTime() === Date.parse('{since}')")
        assert here.page.ask(f"new Date('2002-02-03T04:05:06').getTime() === Date.parse('{until}')")
        # What a link holds and the choice does not offer stays.
        here.look("#/live")
        look(here, "#/audit?q=kind%3Dalert_firing&since=3d")
        here.page.until("document.querySelectorAll('.log > li').length === 3")
        assert here.page.ask("document.getElementById('range').selectedOptions[0].textContent") == "since 3d"


def test_pages(here: Console) -> None:
    """Older and newest are links; together the pages are the log, each record once."""
    with here.running():
        here.fire(*(labels("Nobody", f"web-{number}") for number in range(250)))
        look(here, "#/audit?q=alertname%3DNobody")
        here.page.until(f"{SHOWN}.length === 200")
        first = here.shown()
        here.page.ask("document.querySelector('a[rel=next]').click()")
        here.page.until(f"location.hash.includes('before=') && {SHOWN}.length === 200 && {SHOWN}[0] < {first[-1]}")
        second = here.shown()
        here.page.ask("document.querySelector('a[rel=next]').click()")
        here.page.until(f"{SHOWN}.length === 100 && {SHOWN}[0] < {second[-1]}")
        assert first + second + here.shown() == expected(here, alertname="Nobody")
        assert here.page.ask("document.querySelector('a[rel=next]')") is None
        here.page.ask("[...document.querySelectorAll('main nav a')].find(one => one.textContent === 'Newest').click()")
        here.page.until(f"{SHOWN}[0] === {first[0]}")


def test_a_search_that_stopped_early_says_so(here: Console) -> None:
    """What was not looked at is not shown as if there were nothing; what cannot be read is named."""
    with here.running():
        here.look("#/live")
        page = {"records": [], "next": 5, "partial": True, "unread": [{"first": 1, "last": 4, "why": "encrypted: <b>"}]}
        stand_in = f"""
            const real = fetch;
            const told = {json.dumps(json.dumps(page))};
            const answer = async () => new Response(told);
            window.fetch = (path, ...more) => (path.startsWith('/audit') ? answer() : real(path, ...more));
        """
        here.page.ask(f"(() => {{{stand_in}}})()")
        here.page.ask("location.hash = '#/audit?q=target%3Dx'")
        here.page.until(
            f"{TOLD} === 'Nothing yet. The search stopped before record 5: what is older has not been looked at.'"
        )
        told = here.page.ask("document.querySelector('.notes').textContent")
        assert told == "Records 1 to 4 could not be read: encrypted: <b>"
        assert "before=5" in here.page.ask("document.querySelector('a[rel=next]').href")


def test_export_is_the_log(here: Console, tmp_path: Path) -> None:
    """All that matches, not the page alone, as JSON lines, byte for byte as they stand in the log."""
    with here.running():
        here.fire(*(labels("Nobody", f"web-{number}") for number in range(150)))
        here.page.keep_downloads(tmp_path / "kept")
        look(here, "#/audit?q=alertname%3DNobody")
        here.page.until(f"{SHOWN}.length === 200")
        here.page.ask("[...document.querySelectorAll('main button')].find(one => one.textContent === 'Export').click()")
        wait_until(lambda: [*(tmp_path / "kept").glob("*.jsonl")] != [], what="the download")
        (file,) = (tmp_path / "kept").glob("autoheal-audit-*.jsonl")
        lines = [
            line for line in (here.folder / "data" / "audit.jsonl").read_bytes().splitlines() if b'"Nobody"' in line
        ]
        wanted = [line for line in lines if orjson.loads(line).get("alertname") == "Nobody"][::-1]
        assert len(wanted) == 300
        assert file.read_bytes().splitlines() == wanted
        assert here.page.ask("violations") == []
        # What cannot be exported is told like any other fault.
        here.page.ask("document.getElementById('audit-query').value = 'kind='")
        here.page.ask("[...document.querySelectorAll('main button')].find(one => one.textContent === 'Export').click()")
        here.page.until(f"{FAULT}.startsWith('Column 6: ')")


def test_help_is_one_sheet(here: Console) -> None:
    """Its examples are filters that the service takes."""
    with here.running():
        look(here, "#/audit")
        here.page.ask("[...document.querySelectorAll('main button')].find(one => one.textContent === 'Help').click()")
        here.page.until("document.querySelector('dialog[open] .help') !== null")
        for example in here.page.ask("[...document.querySelectorAll('dialog dt code')].map(one => one.textContent)"):
            status = here.page.ask(
                f"fetch('/audit?q=' + encodeURIComponent({json.dumps(example)})).then(one => one.status)"
            )
            assert (example, status) == (example, 200)
        assert here.faults("'dialog'") == []


def test_live_leads_there(here: Console) -> None:
    """Live knows the newest records alone."""
    with here.running():
        here.look("#/live")
        here.page.ask(
            "[...document.querySelectorAll('main a')].find(one => /all of the log/.test(one.textContent)).click()"
        )
        here.page.until(
            "document.querySelector('#audit-query') !== null && document.querySelector('.log > li') !== null"
        )


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_anybodys_way(here: Console, dark: bool, width: int) -> None:
    """The form with its offers open, a fault, rows unfolded: axe finds no fault, and nothing is wider than the page."""
    with here.running():
        here.page.size(width, 780, dark=dark)
        look(here, "#/audit?since=2026-01-01T00:00:00Z")
        happened(here)
        search(here, f"kind EXISTS AND NOT target={'x' * 200}")
        here.page.until("document.querySelectorAll('.log > li').length > 5")
        here.page.ask("document.querySelectorAll('.log details').forEach((one, index) => { one.open = index < 2; })")
        here.page.until("document.querySelectorAll('.whole').length === 2")
        here.page.press("/")
        here.page.type(" O")
        here.page.until(f"{OFFERED}.includes('OR')")
        assert here.faults() == []
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")
        search(here, "kind=action_ok rule=works")
        here.page.until(f"{FAULT}.startsWith('Column 16')")
        assert here.faults() == []
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")


def test_text_from_alerts_is_text(here: Console) -> None:
    """In rows, in what is offered, in a filter from a link and in its fault: nothing runs."""
    with here.running():
        for number, text in enumerate(HOSTILE):
            here.fire(
                {"labels": {"alertname": text, "instance": f"i{number}", "job": text, text.replace("\0", ""): "x"}}
            )
        look(here, "#/audit")
        here.page.until("document.querySelectorAll('.log > li').length > 10")
        here.page.ask("document.querySelectorAll('.log details').forEach((one) => { one.open = true; })")
        here.page.press("/")
        here.page.type("labels.job=")
        here.page.until(f"{OFFERED}.includes({json.dumps(HOSTILE[1])})")
        here.page.ask("document.getElementById('audit-query').value = ''")
        here.page.type("alertname=<im")
        here.page.ask("document.getElementById('audit-query').value = ''")
        here.page.type('alertname="<im')
        here.page.until(f"{OFFERED}.join() === {json.dumps(HOSTILE[1])}")
        here.page.press("ArrowDown")
        here.page.press("Enter")
        here.page.press("Enter")
        here.page.until("document.querySelectorAll('.log > li').length === 2")
        for text in (HOSTILE[0], HOSTILE[1], "kind=" + HOSTILE[2]):
            given = json.dumps({"q": text, "since": text})
            here.page.ask(f"location.hash = '#/audit?' + new URLSearchParams({given})")
            here.page.until(f"document.getElementById('audit-query').value === {json.dumps(text)} && {FAULT} !== ''")
        assert here.page.ask("[window.hurt === undefined, violations, ({}).target === undefined]") == [True, [], True]
        assert here.page.ask("document.querySelectorAll('main :is(script, img, iframe, style, base)').length") == 0


def test_a_link_leads_there_through_the_login(tmp_path: Path) -> None:
    """Opened while nobody is logged in, and after the session has ended: the place is there again after the login."""
    with world(tmp_path, role="viewer") as there, browser(tmp_path) as page:
        place = "#/audit?q=kind%3Dservice_started&since=24h"
        page.open(f"{there.origin}/console{place}")
        page.until("document.querySelector('input[name=login]') !== null")
        assert "service_started" not in page.ask("location.href"), "the provider learns nothing of it"
        log_in(page, "olga")
        page.until(f"location.href === '{there.origin}/console{place}' && {STATUS} === 'live'")
        page.until("document.querySelectorAll('.log > li').length === 1")
        assert page.ask("sessionStorage.length") == 0
        for button in ("Export", "Search", "Help"):
            assert page.ask(
                f"[...document.querySelectorAll('main button')].some(one => one.textContent === '{button}')"
            )
        (session,) = (one["name"] for one in page.cookies() if "autoheal_session" in one["name"])
        page.forget(session)
        page.ask("document.querySelector('main button[type=submit]').click()")
        # The provider still knows her, so that it leads straight back.
        wait_until(lambda: len(there.records("login")) == 2, what="the second login")
        page.until(f"location.href === '{there.origin}/console{place}' && {STATUS} === 'live'")
        page.until("document.querySelectorAll('.log > li').length === 1")
