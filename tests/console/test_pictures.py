"""Pictures in a real browser, at a real gateway: what is drawn and told is what the log holds."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

import pytest

from autoheal.journal.record import seal
from autoheal.model import Draft, Head, Kind, Mode, Reason, parse_rfc3339, rfc3339
from tests.console.test_live import HOSTILE
from tests.support.consoles import Console, console, picture
from tests.support.gateway import PLAN

pytestmark = pytest.mark.component

TOLD = "document.querySelector('main [role=status]').textContent"
CAPTIONS = "[...document.querySelectorAll('figcaption .count')].map((one) => one.textContent)"
ROWS = "[...document.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent))"
HOUR = 3600.0


def episode(number: int, begins: float, how: str, lasts: float) -> Iterator[tuple[float, Draft]]:
    """What the log has of one alert: healed, failed, or a dry run."""
    about: dict[str, Any] = {"alertname": "ApiDown", "fingerprint": f"f{number}", "episode": f"e{number}"}
    detail: dict[str, Any] = {"starts_at": rfc3339(begins), "how": "webhook"}
    yield begins, Draft(kind=Kind.ALERT_FIRING, labels={"alertname": "ApiDown"}, detail=detail, **about)
    dry = how == "dry"
    mode, reason = (Mode.DRY_RUN, Reason.DRY_RUN) if dry else (Mode.LIVE, Reason.ACT)
    about |= {"rule": "restart-api", "target": f"api-{number}", "run": f"r{number}", "mode": mode}
    plan = {"plan": {**PLAN, "target": f"api-{number}"}, "plan_digest": "d"}
    yield begins + 1, Draft(kind=Kind.DECISION, reason=reason, detail=plan, **about)
    if dry:
        yield begins + 1, Draft(kind=Kind.ACTION_DRY_RUN, step=1, detail=plan, **about)
        return
    yield begins + 20, Draft(kind=Kind.ACTION_STARTED, step=1, detail={"action": "command", **plan}, **about)
    if how == "failed":
        yield begins + 21, Draft(kind=Kind.ACTION_FAIL, step=1, detail={"exit_code": 1}, **about)
        yield begins + 21, Draft(kind=Kind.HEAL_FAILED, step=1, reason="action_failed", **about)
        yield begins + 21, Draft(kind=Kind.ESCALATED, reason="steps_exhausted", **about)
        return
    yield begins + 21, Draft(kind=Kind.ACTION_OK, step=1, detail={"exit_code": 0}, **about)
    yield begins + lasts, Draft(kind=Kind.HEAL_CONFIRMED, step=1, **about)
    ended: dict[str, Any] = {"how": "webhook", "ends_at": rfc3339(begins + lasts)}
    alert = {name: about[name] for name in ("alertname", "fingerprint", "episode")}
    yield begins + lasts, Draft(kind=Kind.ALERT_RESOLVED, detail=ended, **alert)


def write(folder: Path, parts: Sequence[tuple[float, Draft]]) -> list[dict[str, Any]]:
    """A log in which that has happened; its records."""
    head, lines = Head(), []
    ordered = sorted(parts, key=lambda part: part[0])
    for ts, draft in [(ordered[0][0], Draft(kind=Kind.LOG_CREATED)), *ordered]:
        record = seal(draft, head, ts)
        head = record.head
        lines.append(record.line)
    (folder / "data").mkdir()
    (folder / "data" / "audit.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return [json.loads(line) for line in lines]


def a_day(folder: Path) -> list[dict[str, Any]]:
    """A day with a bad evening."""
    chance = random.Random(7)
    now = time.time()
    parts: list[tuple[float, Draft]] = []
    for number in range(140):
        ago = chance.uniform(5, 7) if number % 3 == 0 else chance.uniform(0.5, 23)
        how = chance.choices(["healed", "failed", "dry"], [7, 2, 2])[0]
        parts += episode(number, now - ago * HOUR, how, 25 + chance.lognormvariate(3.6, 1.1))
    return write(folder, parts)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(
        tmp_path,
        GRAFANA_URL="https://grafana.example/d/1",
        ALERTMANAGER_URL="http://ann:pw@127.0.0.1:9/am",
        PROMETHEUS_URL="http://127.0.0.1:9/prom",
    ) as made:
        made.page.size(1280, 860)
        yield made


def look(here: Console, at: str = "#/pictures") -> None:
    here.look(at)
    here.page.until("document.querySelectorAll('figure').length === 4")


def test_what_is_told_is_what_the_log_holds(here: Console) -> None:
    """Counts and medians, in the captions and in the table; each step leads to its records."""
    records = a_day(here.folder)
    with here.running():
        look(here)
        kinds = Counter(record["kind"] for record in records)
        fired = {one["episode"]: one["ts"] for one in records if one["kind"] == "alert_firing"}
        began = {one["run"]: one["ts"] for one in records if one["kind"] == "action_started"}
        heals = [one for one in records if one["kind"] == "heal_confirmed"]
        since_alert = median_low(parse_rfc3339(one["ts"]) - parse_rfc3339(fired[one["episode"]]) for one in heals)
        since_action = median_low(parse_rfc3339(one["ts"]) - parse_rfc3339(began[one["run"]]) for one in heals)
        assert here.page.ask(CAPTIONS) == [
            f"{kinds['alert_firing']} began to fire",
            f"{kinds['action_ok']} done, {kinds['action_fail']} failed, {kinds['action_dry_run']} dry runs",
            f"{kinds['heal_confirmed']} healed, {kinds['heal_failed']} not, {kinds['escalated']} left to people",
            f"median {told(since_alert)} since the alert, {told(since_action)} since the first action",
        ]
        assert f"{sum(kinds[kind] for kind in COUNTED)} records, as of" in here.page.ask(TOLD)
        rows = here.page.ask(ROWS)
        names = (
            "alert_firing",
            "action_ok",
            "action_fail",
            "action_dry_run",
            "heal_confirmed",
            "heal_failed",
            "escalated",
        )
        assert [sum(int(row[place]) for row in rows) for place in range(1, 8)] == [kinds[name] for name in names]
        # Each count is drawn: as much height as there is, upward what went well, downward what did not.
        heights = here.page.ask(
            "['success', 'failure'].map((tone) => [...document.querySelectorAll(`figure:nth-child(3) rect.${tone}`)]"
            ".reduce((all, one) => all + one.height.baseVal.value, 0))"
        )
        assert heights[0] / heights[1] == pytest.approx(kinds["heal_confirmed"] / kinds["heal_failed"], rel=1e-3)
        first = sum(int(cell) for cell in rows[0][1:8])
        here.page.ask("document.querySelector('.numbers').open = true")
        here.page.ask("document.querySelector('tbody a').click()")
        here.page.until(
            "document.querySelector('#audit-query') !== null && document.querySelector('.log > li') !== null"
        )
        shown = here.page.ask("[...document.querySelectorAll('.log b')].map((one) => one.textContent)")
        assert len([kind for kind in shown if kind != "action started"]) == first
        assert here.page.complaints == []


COUNTED = {
    "alert_firing", "action_started", "action_ok", "action_fail", "action_dry_run",
    "heal_confirmed", "heal_failed", "escalated",
}  # fmt: skip


def told(length: float) -> str:
    """As the page tells a length of less than ten minutes."""
    whole = int(length + 0.5)
    if length < 10:
        return f"{round(length * 10) / 10:g} s"
    return f"{whole} s" if whole < 60 else f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")


def test_another_time_is_asked_for_by_its_link(here: Console) -> None:
    """The address holds it, and what lies before is not counted."""
    now = time.time()
    parts = [*episode(1, now - 3 * HOUR, "healed", 30), *episode(2, now - 600, "failed", 0)]
    write(here.folder, parts)
    with here.running():
        look(here, "#/pictures?since=1h")
        assert here.page.ask(CAPTIONS)[:2] == ["1 began to fire", "0 done, 1 failed, 0 dry runs"]
        assert here.page.ask(CAPTIONS)[3] == "nothing was healed"
        here.page.ask("[...document.querySelectorAll('.spans a')].find((one) => one.textContent === '6 hours').click()")
        here.page.until(f"location.hash === '#/pictures?since=6h' && {CAPTIONS}[0] === '2 began to fire'")
        assert here.page.ask("document.querySelector('.spans [aria-current]').textContent") == "6 hours"
        # What has come since is counted when somebody wants it.
        here.fire({"labels": {"alertname": "New"}})
        here.page.ask(
            "[...document.querySelectorAll('main button')].find((one) => one.textContent === 'Refresh').click()"
        )
        here.page.until(f"{CAPTIONS}[0] === '3 began to fire'")


def test_more_than_is_counted_is_said(here: Console) -> None:
    """Of a log with more than one look may fetch: from when on it counts; the rest is not drawn as nothing."""
    with here.running():
        here.look("#/live")
        record = {"seq": 9, "ts": rfc3339(time.time() - 600), "kind": "alert_firing", "episode": "e", "actor": "system"}
        stand_in = f"""
            const real = fetch;
            const told = {json.dumps(json.dumps({"records": [record], "next": 9, "partial": True}))};
            window.asked = 0;
            window.fetch = (path, ...more) => {{
                if (!path.startsWith('/audit')) return real(path, ...more);
                window.asked += 1;
                return Promise.resolve(new Response(told));
            }};
        """
        here.page.ask(f"(() => {{{stand_in}}})()")
        here.page.ask("location.hash = '#/pictures?since=1h'")
        here.page.until(f"/^These are the newest 8 records, from .* on: there is more/.test({TOLD})")
        assert here.page.ask("window.asked") == 8
        assert here.page.ask("document.querySelectorAll('.unknown').length") == 4


def test_links_lead_elsewhere(here: Console) -> None:
    """To Grafana, Alertmanager, Prometheus and the gateway's own health; no address carries a password."""
    with here.running():
        look(here)
        here.page.until("document.querySelector('.elsewhere').textContent.includes('Grafana')")
        assert here.page.ask(
            "[...document.querySelectorAll('.elsewhere a')].map((one) => one.getAttribute('href'))"
        ) == [
            "https://grafana.example/d/1",
            "http://127.0.0.1:9/am",
            "http://127.0.0.1:9/prom",
            "/healthz",
            "/readyz",
            "/metrics",
        ]


def test_what_is_not_set_has_no_link(tmp_path: Path) -> None:
    """Then the gateway's own health alone."""
    with console(tmp_path) as alone, alone.running():
        look(alone)
        alone.page.until("document.querySelector('.elsewhere').textContent === 'Elsewhere: HealthReadinessMetrics'")


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_anybodys_way(here: Console, dark: bool, width: int) -> None:
    """Charts that fit and have their numbers beside them: axe finds no fault, and nothing is wider than the page."""
    a_day(here.folder)
    with here.running():
        here.page.size(width, 860, dark=dark)
        look(here)
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")
        if width == 1280 and dark:
            here.page.size(width, here.page.ask("document.documentElement.scrollHeight"), dark=dark)
            picture(here.page, "console-pictures")
            here.page.size(width, 860, dark=dark)
        here.page.ask("document.querySelector('.numbers').open = true")
        assert here.faults() == []
        assert here.page.ask("document.documentElement.scrollWidth <= innerWidth")
        # They are drawn anew for another width: their text stays as large as it was.
        here.page.size(700, 860, dark=dark)
        here.page.until(
            "[...document.querySelectorAll('.chart')].every((one) => one.clientWidth === one.viewBox.baseVal.width)"
        )
        assert here.page.ask("document.querySelector('.chart').clientWidth > 600")


def test_text_from_alerts_is_not_shown_at_all(here: Console) -> None:
    """Only numbers are: whatever an alert is called, nothing runs."""
    with here.running():
        for text in HOSTILE:
            here.fire({"labels": {"alertname": text, "instance": text}, "annotations": {"summary": text}})
        look(here, "#/pictures?since=1h")
        here.page.until(f"{CAPTIONS}[0] === '{len(HOSTILE)} began to fire'")
        assert here.page.ask("[window.hurt === undefined, violations]") == [True, []]
        assert not re.search("script|onerror", here.page.ask("document.querySelector('main').innerHTML"))
