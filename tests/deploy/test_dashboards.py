"""The Grafana dashboards: whole, and with no query that Prometheus cannot answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from ruamel.yaml import YAML

from tests.support.components import require
from tests.support.monitoring import answers, gateway
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import running, wait_until

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, Any] = {file.stem: orjson.loads(file.read_bytes()) for file in FILES}
RULES = """\
version: 1
rules:
  - name: note
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/true]}, verify: {probe: {command: {argv: [/bin/true]}, within: 5s}}}]
"""
VARIABLES = {"$instance": ".*", "$__rate_interval": "1m"}
ONLY_SOMETIMES = {
    "autoheal_jwt_keys_loaded": "with OIDC",
    "autoheal_jwt_active_key_age_seconds": "with OIDC",
    "autoheal_action_duration_seconds_bucket": "after an action",
    "autoheal_breaker_open": "while one is",
    "autoheal_rule_demoted": "while one is",
    "autoheal_notices_waiting": "with a channel",
}


def expressions() -> list[tuple[str, str, str]]:
    """Dashboard, panel and query, its variables replaced as Grafana does."""
    found = []
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                query = target["expr"]
                for variable, value in VARIABLES.items():
                    query = query.replace(variable, value)
                found.append((name, panel["title"], query))
    return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that evaluates our rules and has scraped a gateway twice, which has healed something; its address."""
    folder, port, gateway_port = tmp_path_factory.mktemp("dashboards"), free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy" / "prometheus" / "*.rules.yml")],
        "scrape_configs": [
            {"job_name": "autoheal", "static_configs": [{"targets": [f"127.0.0.1:{gateway_port}"]}]},
        ],
    }
    YAML(typ="safe").dump(config, folder / "prometheus.yml")
    argv = [
        require("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data-of-prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url, service = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{gateway_port}"
    with (
        gateway(folder, gateway_port, RULES, {"AUTOHEAL_DRY_RUN": "false"}),
        running(argv, lambda: answers(f"{url}/-/ready"), folder / "prometheus.log"),
    ):
        httpx.post(f"{service}/alert", json=body(alert("a" * 16, instance="web")), trust_env=False).raise_for_status()
        healed = 'sum(autoheal_heals_total{outcome="confirmed"}) == 1'
        wait_until(lambda: bool(ask(url, healed)), seconds=60, what="a scrape that tells of the heal")
        once_more = 'count_over_time(autoheal_heals_total{outcome="confirmed"}[5m]) >= 2'
        wait_until(lambda: bool(ask(url, once_more)), seconds=30, what="a scrape after that")
        yield url


def ask(url: str, query: str) -> list[Any]:
    """The series that answer `query` now."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=10, trust_env=False)
    assert answer.status_code == 200, f"{query}\n{answer.text}"
    series: list[Any] = answer.json()["data"]["result"]
    return series


@pytest.mark.component
def test_prometheus_answers_every_query(prometheus: str) -> None:
    """None is refused, and none is about series that a running gateway does not have."""
    asked = expressions()
    assert len(asked) > 50
    for dashboard, panel, query in asked:
        answer = ask(prometheus, query)
        sometimes = any(metric in query for metric in ONLY_SOMETIMES) or query.startswith("ALERTS") or "> 0" in query
        assert answer or sometimes, f"{dashboard}, {panel}: nothing answers {query}"


@pytest.mark.component
def test_prometheus_evaluates_every_rule(prometheus: str) -> None:
    """Our rules are healthy over real series, and a gateway that has just healed something raises no alert."""

    def rules() -> list[Any]:
        groups = httpx.get(f"{prometheus}/api/v1/rules", timeout=10, trust_env=False).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), what="an evaluation of every rule")
    assert [rule for rule in rules() if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules() if rule.get("state") == "firing"] == ["Watchdog"]


def test_queries_ask_for_metrics_that_there_are() -> None:
    """A renamed metric would empty a panel without a word."""
    documented = set(re.findall(r"^\| `(autoheal_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    asked = {name for _, _, query in expressions() for name in re.findall(r"\bautoheal_\w+", query)}
    assert {re.sub("_(bucket|count)$", "", name) for name in asked} <= documented


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_imported(name: str) -> None:
    """Its uid is its own and fits; panels have ids of their own, do not overlap, and ask the chosen Prometheus."""
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == ("AUTOHEAL" if name == "overview" else f"AUTOHEAL-{name}")
    assert len(dashboard["uid"]) <= 40
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "instance"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, rows = (range(place[start], place[start] + place[size]) for start, size in ("xw", "yh"))
        cells = set(product(columns, rows))
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
        for asking in (panel, *panel["targets"]):
            assert asking["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_grafana_finds_them_at_start() -> None:
    """The provisioning names the folder into which the stack mounts them, and the stack's Prometheus."""
    yaml = YAML(typ="safe")
    (provider,) = yaml.load(GRAFANA / "provisioning" / "dashboards" / "autoheal.yml")["providers"]
    (source,) = yaml.load(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    grafana = yaml.load(ROOT / "docker-compose.prod.yml")["services"]["grafana"]
    mounted = {volume["target"]: volume["source"] for volume in grafana["volumes"] if volume["type"] == "bind"}
    assert mounted[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    assert source["url"] == "http://prometheus:9090"
