"""Actions of other distributions: one that docs/actions.md shows, installed by pip, and many that are broken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, ConfigDict

from autoheal.actions import ACTIONS, Action, Context, Outcome, Rehearsing, Traits
from autoheal.actions.plugins import Foreign, foreign, installed
from autoheal.errors import ConfigError
from autoheal.rules import load
from tests.support.commands import autoheal

DOCS = (Path(__file__).parents[2] / "docs" / "actions.md").read_text()
RULES = """\
version: 1
rules:
  - name: enable
    match: alertname="Down"
    target: '{{ labels.server }}'
    steps:
      - haproxy: {enable: 'api/{{ target }}', port: 9999}
"""


def of(folder: Path) -> dict[str, Action]:
    return installed(ACTIONS, distributions(path=[str(folder)]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed what the page shows."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text("".join(re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)))
    (source / "autoheal_haproxy.py").write_text("".join(re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, source], check=True, timeout=100)
    return site


async def test_an_action_of_another_distribution_acts(
    site: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parameters are templates, its model is the rules', its outcome is recorded."""
    monkeypatch.syspath_prepend(str(site))
    made = of(site)["haproxy"]
    (tmp_path / "rules.yaml").write_text(RULES)
    ((step,),) = [rule.steps for rule in load(tmp_path / "rules.yaml", actions={"haproxy": made.Params}).rules]
    assert step.params.model_dump()["timeout"] == 60.0
    said = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await made.run({"enable": "api/web-1", "port": port}, context)
    assert said == [b"enable server api/web-1\n"]
    assert outcome.detail.pop("duration_ms") >= 0
    assert outcome == Outcome(ok=True, detail={"answer": ""})
    assert made.describe({"enable": "api/web-1", "port": 1}) == "haproxy: enable server api/web-1"
    assert made.traits({"enable": "api/web-1", "port": 1}) == Traits(idempotent=True, reversible=True)


def test_check_knows_it(site: Path, tmp_path: Path) -> None:
    """Its parameters are checked as those of any other action, and editors are told of them."""
    (tmp_path / "rules.yaml").write_text(RULES)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert autoheal("check", tmp_path / "rules.yaml").returncode == 1
    told = autoheal("check", tmp_path / "rules.yaml", PYTHONPATH=path)
    assert (told.returncode, "1 rule" in told.stdout) == (0, True), told.stderr
    (tmp_path / "rules.yaml").write_text(RULES.replace("port: 9999", "prot: 9999").replace("api/{{ target }}", "api"))
    told = autoheal("check", tmp_path / "rules.yaml", PYTHONPATH=path)
    assert told.returncode == 1
    assert "7:27: enable: 'api' is not BACKEND/SERVER" in told.stderr
    assert "unknown key 'prot': did you mean 'port'?" in told.stderr
    schema = orjson.loads(autoheal("check", "--schema", PYTHONPATH=path).stdout)
    assert "haproxy" in schema["$defs"]["Step"]["properties"]


SOUND = """\
from pydantic import BaseModel, ConfigDict
from autoheal.actions import Outcome, Traits
class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
class Thing:
    name, Params = "thing", Params
    def traits(self, params): return Traits(idempotent=True, reversible=True)
    def describe(self, params): return "a thing"
    async def run(self, params, context): return Outcome(ok=True)
"""


def distribution(folder: Path, code: str, *, name: str = "autoheal-thing", points: str | None = None) -> None:
    """What an installer leaves of one, with its module."""
    module = f"broken_{abs(hash((str(folder), name)))}"
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = points or "[autoheal.actions]\nthing = MODULE:Thing\n"
    (info / "entry_points.txt").write_text(points.replace("MODULE", module))
    (folder / f"{module}.py").write_text(code)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("class Thing:", "import no_such_module\nclass Thing:"), "cannot be loaded: ModuleNotFoundError: No module"),
        (("class Thing:", "import sys; sys.exit('bye')\nclass Thing:"), "cannot be loaded: SystemExit: bye"),
        (("class Thing:", "raise BaseExceptionGroup('', [SystemExit()])\nclass Thing:"), "loaded: BaseExceptionGroup"),
        (("class Thing:", "class Other:"), "has no attribute 'Thing'"),
        (("class Thing:", "class Thing:\n    def __init__(self, x): pass"), "cannot be loaded: TypeError"),
        (('"thing"', '"other"'), "its `name` is not 'thing'"),
        (('"thing", Params', '"thing", dict'), "its `Params` is no pydantic model"),
        (('extra="forbid"', 'extra="allow"'), "its `Params` must refuse unknown keys"),
        (
            ("allowed=True)\n", "allowed=True)\n    key: type(iter(()))\n"),
            "cannot be loaded: PydanticInvalidForJsonSchema",
        ),
        (("async def run", "def run"), "its `run` is not an `async def`"),
        (("def describe", "def rehearse(self): ...\n    def describe"), "its `rehearse` is not an `async def`"),
        (("def describe", "def observe(self): ...\n    def describe"), "its `observe` is not an `async def`"),
        (("def traits", "def straits"), "it has no method `traits`"),
        (("def describe", "def inscribe"), "it has no method `describe`"),
    ],
)
def test_one_that_cannot_be_used_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], says: str
) -> None:
    """It names the distribution, its version and the reason."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert change[0] in SOUND
    distribution(tmp_path, SOUND.replace(*change))
    with pytest.raises(ConfigError) as caught:
        of(tmp_path)
    (fault,) = caught.value.faults
    assert fault.where == "autoheal-thing 1.0, action 'thing'"
    assert says in fault.what


@pytest.mark.parametrize("name", ["verify", "copy", "Thing", "a-b", "a" * 33])
def test_names_that_no_action_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """They would be another key of a step, or a word of the library that reads rules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, SOUND.replace('"thing"', repr(name)), points=f"[autoheal.actions]\n{name} = MODULE:Thing\n")
    with pytest.raises(ConfigError, match="cannot be an action's name"):
        of(tmp_path)


def test_a_name_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By autoheal, or by another distribution: nobody could say which one a rule means. All faults are told."""
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, SOUND)
    distribution(tmp_path, SOUND, name="other-thing")
    distribution(tmp_path, SOUND, name="rogue", points="[autoheal.actions]\ndocker = MODULE:Thing\n")
    with pytest.raises(ConfigError) as caught:
        of(tmp_path)
    told = sorted(fault.what for fault in caught.value.faults)
    assert told[0] == "there is an action of that name already, of autoheal itself"
    assert re.fullmatch(r"there is an action of that name already, of (autoheal|other)-thing 1.0", told[1])
    assert len(told) == 2


def test_one_that_is_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first on the path is the one that Python imports, and the other does not clash with it."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        distribution(folder, SOUND)
        monkeypatch.syspath_prepend(str(folder))
    assert list(installed(ACTIONS, distributions(path=[str(folder) for folder in folders]))) == ["thing"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """One of ours is a fault; another's is not our concern."""
    distribution(tmp_path, SOUND, points="[console_scripts]\n\nno equals sign\n")
    assert of(tmp_path) == {}
    (tmp_path / "autoheal_thing-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff[autoheal.actions]")
    assert of(tmp_path) == {}
    distribution(tmp_path, SOUND, name="ours", points="[autoheal.actions]\nno equals sign\n")
    with pytest.raises(ConfigError, match=r"ours: its entry_points\.txt cannot be read"):
        of(tmp_path)


def test_serve_and_check_name_it_and_end_with_2(tmp_path: Path) -> None:
    """Before anything is touched, without a traceback."""
    site = tmp_path / "site"
    site.mkdir()
    distribution(site, "raise RuntimeError('no\\nluck')")
    (tmp_path / "rules.yaml").write_text("{version: 1, rules: []}")
    env = {"PYTHONPATH": str(site), "AUTOHEAL_RULES": str(tmp_path / "rules.yaml")}
    env |= {"AUTOHEAL_DATA_DIR": str(tmp_path / "data")}
    for arguments in (("serve",), ("check", "rules.yaml"), ("check", "--schema")):
        told = autoheal(*arguments, **env)
        assert told.returncode == 2
        assert re.fullmatch(
            r"autoheal: autoheal-thing 1\.0, action 'thing': \S+:Thing cannot be loaded: RuntimeError: no\\nluck\n",
            told.stderr,
        )
    told = autoheal("serve", AUTOHEAL_PORT="none", **env)
    assert (told.returncode, len(told.stderr.splitlines())) == (2, 2)
    assert not (tmp_path / "data").exists()


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Unruly:
    """Does what it is told by `answer`."""

    name = "unruly"
    Params = Params

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def traits(self, params: Mapping[str, Any]) -> Traits:
        raise SystemExit(3)

    def describe(self, params: Mapping[str, Any]) -> str:
        raise RuntimeError

    async def run(self, params: Mapping[str, Any], context: Context) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return await self.answer(params) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (RuntimeError("hunter2-hunter2"), "RuntimeError"),
        (SystemExit(1), "SystemExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseExceptionGroup("", [SystemExit(1)]), "BaseExceptionGroup"),
        (TimeoutError(), "TimeoutError"),
        (None, "TypeError"),
        (Outcome(ok="yes"), "TypeError"),  # type: ignore[arg-type]
        (Outcome(ok=True, detail=[1]), "TypeError"),  # type: ignore[arg-type]
        (Outcome(ok=True, detail={"when": object()}), "TypeError"),
        (Outcome(ok=True, detail={"big": 2**70}), "TypeError"),
        (Outcome(ok=True, detail={"much": "x" * 50_000}), "ValueError"),
    ],
)
async def test_whatever_it_does_is_a_failed_action(context: Context, answer: Any, kind: str) -> None:
    """It does not reach the gateway, not even what ends programs; its words may hold secrets and are not told."""
    outcome = await Foreign(Unruly(answer), "rogue 1.0").run({}, context)
    assert not outcome.ok
    assert outcome.detail.pop("duration_ms") >= 0
    assert outcome.detail == {"error": f"fault in the action itself: {kind}"}


async def test_how_long_it_took_is_measured_here(context: Context) -> None:
    """Whatever it answers itself: metrics count with it."""
    outcome = await Foreign(Unruly(Outcome(ok=True, detail={"duration_ms": "long"})), "rogue 1.0").run({}, context)
    assert outcome.detail["duration_ms"] >= 0


async def test_what_it_says_is_searched_for_secrets(context: Context) -> None:
    """In every text, also in keys."""
    said = Outcome(ok=True, detail={"a": ["hunter2-hunter2!", 1, None], "hunter2-hunter2": {"b": "x"}})
    outcome = await Foreign(Unruly(said), "rogue 1.0").run({}, context)
    assert outcome.ok
    assert outcome.detail.pop("duration_ms") >= 0
    assert outcome.detail == {"a": ["[redacted]!", 1, None], "[redacted]": {"b": "x"}}


async def test_it_cannot_change_a_plan(context: Context) -> None:
    """It gets a copy."""
    plan = {"list": [1]}

    async def spoil(params: dict[str, Any]) -> Outcome:
        params["list"].append(2)
        return Outcome(ok=True)

    assert (await Foreign(Unruly(spoil), "rogue 1.0").run(plan, context)).ok
    assert plan == {"list": [1]}


async def test_a_deadline_ends_it(context: Context) -> None:
    """One that minds is gone; of one that does not it is told that it goes on."""
    let_go = asyncio.Event()

    async def minds(params: Mapping[str, Any]) -> Outcome:
        await asyncio.Event().wait()
        return Outcome(ok=True)

    async def answers_all_the_same(params: Mapping[str, Any]) -> Outcome:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Outcome(ok=True)

    async def does_not_mind(params: Mapping[str, Any]) -> Outcome:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return Outcome(ok=True)

    for answer in (minds, answers_all_the_same):
        outcome = await Foreign(Unruly(answer), "rogue 1.0").run({"timeout": 0.05}, context)
        assert (outcome.ok, outcome.detail["error"]) == (False, "not finished after 0.05 s, so it was cancelled")
    outcome = await Foreign(Unruly(does_not_mind), "rogue 1.0", grace=0.05).run({"timeout": 0.05}, context)
    assert outcome.detail["error"] == "not finished after 0.05 s, and it goes on though it was cancelled"
    assert outcome.detail["still_running"] is True
    let_go.set()


async def test_it_is_cancelled_with_its_run(context: Context) -> None:
    """When the run is cancelled or the gateway stops."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def work(params: Mapping[str, Any]) -> Outcome:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Outcome(ok=True)

    task = asyncio.ensure_future(Foreign(Unruly(work), "rogue 1.0").run({}, context))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_one_that_cannot_say_what_it_does() -> None:
    """It has a description all the same, and promises nothing."""
    made = Foreign(Unruly(None), "rogue 1.0")
    assert made.describe({}) == "unruly of rogue 1.0"
    assert made.traits({}) == Traits(idempotent=False, reversible=False)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()])
def test_what_ends_tasks_and_programs_does_not_leave_it(error: BaseException) -> None:
    """A run whose task it ended would stay open, and its target locked."""

    class Fatal(Unruly):
        def traits(self, params: Mapping[str, Any]) -> Traits:
            raise error

        def describe(self, params: Mapping[str, Any]) -> str:
            raise error

    made = Foreign(Fatal(None), "rogue 1.0")
    assert made.describe({}) == "unruly of rogue 1.0"
    assert made.traits({}) == Traits(idempotent=False, reversible=False)


@pytest.mark.parametrize("told", [Traits(idempotent="yes", reversible=True), Traits(True, object()), None])  # type: ignore[arg-type]
def test_traits_that_are_no_yes_or_no_promise_nothing(told: Any) -> None:
    """No record could hold them, and nothing would be done."""

    class Vague(Unruly):
        def traits(self, params: Mapping[str, Any]) -> Traits:
            return self.answer  # type: ignore[no-any-return]

    assert Foreign(Vague(told), "rogue 1.0").traits({}) == Traits(idempotent=False, reversible=False)


async def test_one_that_can_be_rehearsed_is_kept_to_the_same(context: Context) -> None:
    """Its answer is searched for secrets, what it raises is a refusal; one that cannot has no such method."""

    class Careful(Unruly):
        async def rehearse(self, params: dict[str, Any], context: Context) -> Outcome:
            outcome: Outcome = await self.run(params, context)
            return outcome

    kept = foreign(Careful(Outcome(ok=True, detail={"said": "hunter2-hunter2"})), "rogue 1.0")
    assert isinstance(kept, Rehearsing)
    assert (await kept.rehearse({}, context)).detail["said"] == "[redacted]"
    kept = foreign(Careful(RuntimeError("hunter2")), "rogue 1.0")
    assert isinstance(kept, Rehearsing)
    outcome = await kept.rehearse({}, context)
    assert (outcome.ok, outcome.detail["error"]) == (False, "fault in the action itself: RuntimeError")
    assert not isinstance(foreign(Unruly(None), "rogue 1.0"), Rehearsing)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("as it was", "as it was"),
        ("token hunter2-hunter2", "token [redacted]"),
        (None, None),
        (5, None),
        (object(), None),
        (RuntimeError("hunter2"), None),
    ],
)
async def test_one_that_can_observe_is_kept_to_the_same(context: Context, answer: Any, told: str | None) -> None:
    """A text without secrets, or it is not known; one that cannot knows nothing."""

    class Watchful(Unruly):
        async def observe(self, params: dict[str, Any], context: Context) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert await foreign(Watchful(None), "rogue 1.0").observe({}, context) == told
    assert await foreign(Unruly(None), "rogue 1.0").observe({}, context) is None
