"""GET /state."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from autoheal.journal.record import seal
from autoheal.model import Kind
from autoheal.state import State, fold
from autoheal.web.state import page
from tests.support.gateway import firing, gateway
from tests.support.operating import operating

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
RULES = """
version: 1
rules:
  - {name: restart, match: alertname="Down", target: '{{ labels.instance }}', mode: live, steps: [{fake: {do: x}}]}
"""


async def test_it_is_where_events_go_on(tmp_path: Path) -> None:
    """The answer's head belongs to its state, which is that of the log up to there."""
    async with operating(tmp_path, RULES) as here:
        await here.fire("api-1")
        await here.run("verifying")
        answer = (await here.client.get("/state")).json()
        seq = answer["head"]["seq"]
        known = fold(record for record in await here.records(*Kind) if record.seq <= seq)
        assert answer["head"] == {"seq": seq, "ts": known.head.ts, "log": here.journal.log_id}
        assert answer["state"] == orjson.loads(orjson.dumps(page(known)))
        assert {run["rule"] for run in answer["state"]["runs"].values()} == {"restart"}


async def test_links_carry_no_credentials(tmp_path: Path) -> None:
    """They are for browsers; the gateway's own user and password stay with it."""
    env = {"ALERTMANAGER_URL": "http://ann:secret@127.0.0.1:9/am, http://127.0.0.1:10"}
    env["PROMETHEUS_URL"] = "http://bob:secret@127.0.0.1:11"
    env["GRAFANA_URL"] = "https://grafana.example.org/"
    async with gateway(tmp_path, env) as gate:
        answer = (await gate.client.get("/state")).json()
    assert answer["links"] == {
        "alertmanager": ["http://127.0.0.1:9/am", "http://127.0.0.1:10"],
        "prometheus": ["http://127.0.0.1:11"],
        "grafana": ["https://grafana.example.org/"],
    }


async def test_it_tells_nothing_that_might_be_taken_back(tmp_path: Path) -> None:
    """A state that holds what is not durable waits for that, and is refused when it will not be."""
    async with gateway(tmp_path) as gate:
        assert (await gate.client.get("/state")).status_code == 200
        gate.engine.state.apply(seal(firing(), gate.engine.state.head, 1_790_000_000.0))
        assert (await gate.client.get("/state")).status_code == 503


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/state", 405), ("GET", "/state?all=1", 400)])
async def test_what_is_not_understood_is_refused(tmp_path: Path, method: str, path: str, status: int) -> None:
    """Another method, or a parameter."""
    async with gateway(tmp_path) as gate:
        assert (await gate.client.request(method, path)).status_code == status


def test_every_part_is_documented() -> None:
    """Each field of the answer's state stands in its section."""
    section = DOCS.read_text().partition("\n## GET /state\n")[2].partition("\n## ")[0]
    assert set(page(State())) <= set(re.findall(r"\w+", section))
