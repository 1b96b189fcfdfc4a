"""`autoheal audit query`, and what it shares with `tail` and `export`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from autoheal.model import Draft, Kind, Record, rfc3339
from tests.support.commands import argv, autoheal, environment, on_terminal
from tests.support.logs import START, chain, spread, text

HOSTILE = "web\n\x1b[2J\u202egnp.exe\x9b31m"
RECORDS = chain(
    [
        Draft(
            kind=Kind.ALERT_FIRING, alertname="Down", target=f"web-{number}", detail={"exit_code": number, "plan": {}}
        )
        for number in range(300)
    ]
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    spread(tmp_path, RECORDS, [100, 200], ["gzip", "plain"])
    return tmp_path


def raw(records: list[Record]) -> str:
    return text(records).decode()


def test_newest_first_as_they_stand_in_the_log(data: Path) -> None:
    """Into a pipe goes the JSON itself, over all files; what was left out can be asked for next."""
    said = autoheal("audit", "query", "--data", data)
    assert (said.returncode, said.stdout) == (0, raw(RECORDS[:99:-1]))
    assert "--before 101" in said.stderr
    rest = autoheal("audit", "query", "--data", data, "--before", 101)
    assert (rest.stdout, rest.stderr) == (raw(RECORDS[99::-1]), "")
    last = autoheal("audit", "query", "--data", data, "--before", 2, "-n", 1)
    assert (last.stdout, last.stderr) == (raw(RECORDS[:1]), "")


def test_filter_bounds_and_number(data: Path) -> None:
    """The filter of /audit, times in RFC 3339, and `-n`; the data directory may come from the environment."""
    bounds = ("--since", rfc3339(START + 10), "--until", rfc3339(START + 20))
    said = autoheal("audit", "query", "detail.exit_code>=15", "-n", 3, *bounds, AUTOHEAL_DATA_DIR=str(data))
    assert said.stdout == raw(RECORDS[19:16:-1])
    assert autoheal("audit", "query", "--since", "1h", "--data", data).stdout == ""


def test_a_wrong_filter_is_pointed_at(data: Path) -> None:
    """Exit 2, and a caret below the column."""
    said = autoheal("audit", "query", "kind=a\nkind=b", "--data", data)
    assert said.returncode == 2
    assert said.stderr.splitlines()[-2:] == ["  kind=a?kind=b", "         ^"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-n", "0"), "no whole number"),
        (("--before", "x"), "no whole number"),
        (("--since", "yesterday"), "neither an RFC 3339 time"),
        (("--data", "/nowhere"), "no data directory /nowhere"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], says: str) -> None:
    """What cannot be meant is said in words."""
    said = autoheal("audit", "query", *arguments)
    assert said.returncode == 2
    assert says in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("command", ["query", "tail", "export"])
def test_a_damaged_log_is_1(data: Path, command: str) -> None:
    """What comes before the damage is given, and the damage is named with its file."""
    path = data / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"web-295"', b'"web-2x5"'))
    said = autoheal("audit", command, "--data", data)
    assert said.returncode == 1
    assert f"{path}, byte " in said.stderr
    assert len(said.stdout.splitlines()) == {"query": 4, "tail": 0, "export": 295}[command]


@pytest.mark.parametrize("command", ["query", "tail", "export"])
def test_a_reader_that_has_enough_is_no_error(data: Path, command: str) -> None:
    """`| head`: quiet, exit 0."""
    (data / "audit.jsonl").unlink()
    many = chain([Draft(kind=Kind.DECISION, detail={"text": "x" * 5000}) for _ in range(100)])
    (data / "audit.jsonl-0.gz").unlink()
    (data / "audit.jsonl-1").write_bytes(text(many))
    arguments = argv(["audit", command, "--data", data, *([] if command == "export" else ["-n", "100"])])
    with subprocess.Popen(
        arguments, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_people_get_one_coloured_line_each(data: Path) -> None:
    """On a terminal: time, seq, kind and what else there is, in colour; NO_COLOR and a dumb terminal get none."""
    code, shown = on_terminal("audit", "query", "-n", 2, "--data", data)
    assert code == 0
    lines = [line for line in shown.splitlines() if "Down" in line]
    assert len(lines) == 2
    assert "\x1b[33malert_firing" in lines[0]
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        _, plain = on_terminal("audit", "query", "-n", 1, "--data", data, **environ)
        assert plain.splitlines()[0] == (
            "2026-09-21 14:18:19.000Z     300 alert_firing       Down target=web-299 actor=system exit_code=299"
        )
    assert "\x1b[33m" in on_terminal("audit", "query", "-n", 1, "--data", data, NO_COLOR="")[1]


def test_a_record_about_no_alert_is_shown_too(tmp_path: Path) -> None:
    """What autoheal tells of itself has neither alert nor rule."""
    (tmp_path / "audit.jsonl").write_bytes(text(chain([Draft(kind=Kind.SERVICE_STARTED, detail={"pid": 7})])))
    _, shown = on_terminal("audit", "tail", "--data", tmp_path, NO_COLOR="1")
    assert shown == "2026-09-21 14:13:20.000Z       1 service_started    actor=system pid=7\n"


def test_strangers_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    """Line breaks, escape sequences and text that runs backward in labels are shown, not obeyed."""
    draft = Draft(
        kind=Kind.DECISION, alertname=HOSTILE, target='a "b" \\x1b', reason="x" * 500, detail={HOSTILE: "a b"}
    )
    (tmp_path / "audit.jsonl").write_bytes(text(chain([draft])))
    _, shown = on_terminal("audit", "query", "--data", tmp_path, NO_COLOR="1")
    assert shown.count("\n") == 1
    assert all(char.isprintable() for char in shown.removesuffix("\n"))
    escaped = r"web\n\x1b[2J\u202egnp.exe\x9b31m"
    assert f"{escaped} target=" in shown
    assert rf'target="a \"b\" \\x1b" reason={"x" * 120}… actor=system {escaped}="a b"' in shown
