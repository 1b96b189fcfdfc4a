"""The command action, with real programs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from autoheal.actions import ACTIONS, Command, Context, Outcome, orphan_gone, supervision
from autoheal.actions.command import CommandParams
from tests.support.looping import run_on
from tests.support.processes import wait_until
from tests.support.victims import marked

SLEEPER = "import sys, time; time.sleep(600)"


async def run(context: Context, *argv: str, grace: float = 5.0, **params: Any) -> Outcome:
    return await Command(grace=grace).run({"argv": list(argv), **params}, context)


async def sh(context: Context, script: str, *args: str, grace: float = 5.0, **params: Any) -> Outcome:
    return await run(context, "/bin/sh", "-c", script, "sh", *args, grace=grace, **params)


def test_arguments_reach_the_program_verbatim(context: Context, loop: str) -> None:
    """No shell reads arguments: metacharacters, line breaks and empty ones arrive as they are."""
    hostile = ["$(id)", "`id`", "; rm -rf /", "a\nb", "", "*", "~", "'\"\\", "é ☃", "--", "|&>"]
    outcome = run_on(loop, run(context, sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *hostile))
    assert outcome.ok
    assert outcome.detail["output"] == ascii(hostile) + "\n"


def test_a_success_tells_exit_code_duration_and_output(context: Context, loop: str) -> None:
    """Standard output and error are one output, in order."""
    outcome = run_on(loop, sh(context, "echo out; echo err >&2; echo out again"))
    took = outcome.detail.pop("duration_ms")
    assert outcome == Outcome(
        ok=True, detail={"exit_code": 0, "output": "out\nerr\nout again\n", "output_truncated": False}
    )
    assert 0 < took < 10_000


async def test_the_environment_is_clean(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the gateway's environment is inherited; what `env` says is added or replaces."""
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "gateway's")
    outcome = await run(context, "/usr/bin/env", env={"GREETING": "hello there", "HOME": "/srv"})
    assert sorted(outcome.detail["output"].splitlines()) == [
        "AUTOHEAL_IDEMPOTENCY_KEY=log-run-1-2",
        "AUTOHEAL_RUN=run-1",
        "AUTOHEAL_STEP=2",
        "GREETING=hello there",
        "HOME=/srv",
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


async def test_no_descriptor_but_the_standard_three_is_inherited(context: Context) -> None:
    """The guardian's pipes and its lock stay with the guardian; stdin is empty."""
    script = "import os, sys; print(sys.stdin.read(), sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    outcome = await run(context, sys.executable, "-I", "-c", script)
    assert outcome.detail["output"] == " [0, 1, 2]\n"


async def test_signals_are_as_a_program_expects_them(context: Context) -> None:
    """What the guardian and Python ignore is at its default again: a pipe's writer dies of SIGPIPE as in a shell."""
    outcome = await sh(context, "grep SigIgn /proc/self/status")
    ignored = int(outcome.detail["output"].split()[1], 16)
    # 32 and 33 are libc's own, and GNU make may hand them down ignored: no program can ask for them.
    assert ignored & 0x7FFFFFFF == 0


async def test_the_working_directory(context: Context, tmp_path: Path) -> None:
    """It is / unless `cwd` says otherwise."""
    assert (await sh(context, "pwd")).detail["output"] == "/\n"
    assert (await sh(context, "pwd", cwd=str(tmp_path))).detail["output"] == f"{tmp_path}\n"


async def test_a_program_without_a_slash_is_looked_up_in_path(context: Context, tmp_path: Path) -> None:
    """In the PATH that the command gets."""
    (tmp_path / "fix-it").write_text("#!/bin/sh\necho fixed\n")
    (tmp_path / "fix-it").chmod(0o755)
    assert (await run(context, "fix-it", env={"PATH": f"/nowhere:{tmp_path}"})).detail["output"] == "fixed\n"
    assert not (await run(context, "fix-it")).ok


@pytest.mark.parametrize(
    ("argv", "params", "error"),
    [
        (["/no/such"], {}, "the program cannot be executed: No such file or directory"),
        (["{tmp}/plain"], {}, "the program cannot be executed: Permission denied"),
        (["{tmp}/noshebang"], {}, "the program cannot be executed: Exec format error"),
        (["/bin/true"], {"cwd": "/no/such"}, "the working directory cannot be entered: No such file or directory"),
        (["/bin/true", "a\0b"], {}, "a NUL byte cannot be passed to a program"),
        (["/bin/true", "\ud800"], {}, "text that is not valid Unicode cannot be passed to a program"),
        (["/bin/true", "x" * 200_000], {}, "the program cannot be executed: Argument list too long"),
    ],
)
async def test_what_cannot_be_started_says_why(
    context: Context, tmp_path: Path, argv: list[str], params: dict[str, Any], error: str
) -> None:
    """It has an error and no exit code, so that it cannot be mistaken for a program that ran and failed."""
    (tmp_path / "noshebang").write_text("echo never\n")
    (tmp_path / "noshebang").chmod(0o755)
    (tmp_path / "plain").write_text("text\n")
    outcome = await run(context, *(part.replace("{tmp}", str(tmp_path)) for part in argv), **params)
    assert not outcome.ok
    assert outcome.detail["error"] == error
    assert "exit_code" not in outcome.detail
    assert outcome.detail["output"] == ""


@pytest.mark.parametrize(
    ("script", "seen", "error"),
    [
        ("exit 3", {"exit_code": 3}, "exit code 3"),
        ("exit 127", {"exit_code": 127}, "exit code 127"),
        ("exit 255", {"exit_code": 255}, "exit code 255"),
        ("kill -9 $$", {"signal": "SIGKILL"}, "ended by SIGKILL"),
        ("kill -40 $$", {"signal": "signal 40"}, "ended by signal 40"),
    ],
)
async def test_a_failure_tells_how_it_ended(context: Context, script: str, seen: dict[str, Any], error: str) -> None:
    """Exit codes that shells use for signals and missing programs are exit codes here."""
    outcome = await sh(context, script)
    assert not outcome.ok
    assert {key: outcome.detail.get(key) for key in seen} == seen
    assert outcome.detail["error"] == error


async def test_an_exit_code_is_what_the_kernel_makes_of_it(context: Context) -> None:
    """The kernel keeps eight bits: `exit(1000)` is 232."""
    outcome = await run(context, sys.executable, "-I", "-c", "import sys; sys.exit(1000)")
    assert outcome.detail["exit_code"] == 232


def test_a_timeout_ends_the_whole_family(context: Context, loop: str, victim: str) -> None:
    """Grandchildren too, and also those that `timeout` gave a process group of their own."""
    script = 'sleep 600 & "$1" -c "$2" "$3" & timeout 600 "$1" -c "$2" "$3" & echo started; wait'
    outcome = run_on(loop, sh(context, script, sys.executable, SLEEPER, victim, timeout=0.6))
    assert marked(victim) == []
    assert not outcome.ok
    assert outcome.detail["timed_out"] is True
    assert outcome.detail["signal"] == "SIGTERM"
    assert outcome.detail["error"] == "not finished after 0.6 s, so it was ended"
    assert outcome.detail["output"].startswith("started\n")


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(context: Context, victim: str) -> None:
    """SIGKILL cannot be ignored."""
    script = "trap '' TERM; echo deaf; sleep 600 & wait; while :; do sleep 600; done"
    outcome = await sh(context, script, victim, timeout=0.6, grace=0.2)
    assert outcome.detail["signal"] == "SIGKILL"
    assert outcome.detail["timed_out"] is True
    assert outcome.detail["output"] == "deaf\n"
    assert marked(victim) == []


async def test_a_timed_out_command_that_tidies_up_and_exits_with_0_has_failed(context: Context) -> None:
    """Its exit code is recorded and does not count."""
    outcome = await sh(context, "trap 'echo bye; exit 0' TERM; sleep 600 & wait", timeout=0.6)
    assert not outcome.ok
    assert outcome.detail["exit_code"] == 0
    assert outcome.detail["timed_out"] is True
    assert outcome.detail["output"] == "bye\n"


async def test_a_timeout_before_anything_started_is_a_timeout(context: Context) -> None:
    """However short it is."""
    outcome = await run(context, "/bin/sleep", "600", timeout=1e-6)
    assert not outcome.ok
    assert outcome.detail["error"] == "not finished after 1e-06 s, so it was ended"


def test_a_daemon_left_by_a_success_lives_on_and_holds_nothing_up(context: Context, loop: str, victim: str) -> None:
    """Restart scripts start daemons: theirs keeps running, though it holds the output pipe, and the lock is free."""
    outcome = run_on(loop, sh(context, '"$1" -c "$2" "$3" & echo started', sys.executable, SLEEPER, victim, timeout=30))
    assert outcome.ok
    assert outcome.detail["output"] == "started\n"
    assert outcome.detail["duration_ms"] < 20_000
    assert len(marked(victim)) == 1
    assert orphan_gone(context.lock_dir, "run-1", 2)


async def test_what_a_failed_command_leaves_is_ended(context: Context, victim: str) -> None:
    """The next step must not find the last one still working."""
    outcome = await sh(context, '"$1" -c "$2" "$3" & exit 1', sys.executable, SLEEPER, victim)
    assert outcome.detail["exit_code"] == 1
    assert marked(victim) == []


def test_ten_megabytes_of_output_are_cut(context: Context, loop: str) -> None:
    """Beginning and end are kept, 16 KiB in all, and the gap says how much is missing."""
    script = "import os; os.write(1, b'first'); [os.write(1, b'x' * 1000000) for _ in range(10)]; os.write(1, b'last')"
    outcome = run_on(loop, run(context, sys.executable, "-I", "-c", script))
    output = outcome.detail["output"]
    assert outcome.ok
    assert outcome.detail["output_truncated"] is True
    assert output.startswith("firstxxx")
    assert output.endswith("xxxlast")
    assert f"\n[… {10_000_009 - 16_384} bytes cut …]\n" in output
    assert len(output) < 16_384 + 50


@pytest.mark.parametrize("byte", [0x00, 0x01, 0x0A, 0x1B, 0x22, 0x5C, 0x80, 0xE2, 0xFE, 0xFF])
async def test_no_output_makes_a_record_too_large(context: Context, byte: int) -> None:
    """Whatever bytes it consists of, they are text afterwards, fit a record and steer no terminal."""
    outcome = await run(context, sys.executable, "-I", "-c", f"import os; os.write(1, bytes([{byte}]) * 60000)")
    assert outcome.ok
    assert len(orjson.dumps(outcome.detail)) < 50 * 1024
    assert "\x1b" not in outcome.detail["output"]


async def test_secrets_reach_the_program_and_no_record(context: Context) -> None:
    """In the environment and the arguments; all that comes back is redacted, in other notations too."""
    outcome = await sh(
        context,
        'test "$TOKEN" = hunter2-hunter2 && test "$1" = --token=hunter2-hunter2 && echo "<$TOKEN>" "$1"',
        "--token=⟦secret:token⟧",
        env={"TOKEN": "⟦secret:token⟧"},
    )
    assert outcome.ok
    assert outcome.detail["output"] == "<[redacted]> --token=[redacted]\n"


async def test_a_secret_of_an_earlier_step_is_hidden_as_well(context: Context) -> None:
    """A command may print what an earlier one stored, without naming the secret."""
    assert (await run(context, "/bin/echo", "hunter2-hunter2")).detail["output"] == "[redacted]\n"


@pytest.mark.parametrize(
    ("name", "error"),
    [("missing", "secret 'missing': No such file or directory"), ("other", "secret 'other': is not declared")],
)
async def test_a_secret_that_cannot_be_read_fails_the_action(context: Context, name: str, error: str) -> None:
    """Nothing is executed; the error has the secret's name."""
    outcome = await run(context, "/bin/echo", f"⟦secret:{name}⟧")
    assert not outcome.ok
    assert outcome.detail == {"duration_ms": 0, "error": error, "output": "", "output_truncated": False}


def test_cancelling_ends_the_command_first(context: Context, loop: str, victim: str) -> None:
    """CancelledError comes out when the whole family is gone and the lock is free."""

    async def cancelled() -> None:
        task = asyncio.ensure_future(sh(context, '"$1" -c "$2" "$3"; :', sys.executable, SLEEPER, victim))
        await asyncio.to_thread(wait_until, lambda: len(marked(victim)) == 2)
        assert not orphan_gone(context.lock_dir, "run-1", 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_on(loop, cancelled())
    assert marked(victim) == []
    assert orphan_gone(context.lock_dir, "run-1", 2)


async def test_a_command_that_cannot_be_ended_is_reported_and_keeps_its_lock(
    context: Context, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway does not wait for ever: here the guardian itself is stopped, as a hung disk stops a process."""
    monkeypatch.setattr(supervision, "MARGIN_SECONDS", 0.1)
    task = asyncio.ensure_future(run(context, sys.executable, "-c", SLEEPER, victim, timeout=0.6, grace=0.1))
    await asyncio.to_thread(wait_until, lambda: bool(marked(victim)))
    guardian = os.getsid(marked(victim)[0])
    os.kill(guardian, signal.SIGSTOP)
    outcome = await task
    assert not outcome.ok
    assert outcome.detail["still_running"] is True
    assert not orphan_gone(context.lock_dir, "run-1", 2)
    os.kill(guardian, signal.SIGCONT)
    await _until(lambda: orphan_gone(context.lock_dir, "run-1", 2))
    assert marked(victim) == []


async def _until(condition: Any) -> None:
    """As `wait_until`, while this loop goes on."""
    deadline = asyncio.get_running_loop().time() + 20
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_killing_the_guardian_ends_the_command(context: Context, victim: str) -> None:
    """As the kernel does when memory runs out: no process of the command survives, and the outcome says so."""
    script = '"$1" -c "$2" "$3" & "$1" -c "$2" "$3"; :'
    task = asyncio.ensure_future(sh(context, script, sys.executable, SLEEPER, victim))
    await asyncio.to_thread(wait_until, lambda: len(marked(victim)) == 3)
    os.kill(os.getsid(marked(victim)[0]), signal.SIGKILL)
    outcome = await task
    assert not outcome.ok
    assert outcome.detail["error"] == "its guardian was lost (-9), so that its end is not known"
    await _until(lambda: not marked(victim))


async def test_sigterm_to_the_guardian_does_not_free_the_lock(context: Context, victim: str) -> None:
    """Whoever stops a whole control group reaches the command; its guardian stays until that is gone."""
    task = asyncio.ensure_future(sh(context, 'trap "" TERM; "$1" -c "$2" "$3"; :', sys.executable, SLEEPER, victim))
    await asyncio.to_thread(wait_until, lambda: len(marked(victim)) == 2)
    guardian = os.getsid(marked(victim)[0])
    os.kill(guardian, signal.SIGTERM)
    inner = max(marked(victim))
    os.kill(inner, signal.SIGKILL)
    outcome = await task
    assert outcome.ok
    assert outcome.detail["exit_code"] == 0


def test_describe_is_one_line() -> None:
    """A command line as a person would type it; control characters are escaped and it is cut at 500 characters."""
    describe = ACTIONS["command"].describe
    assert describe({"argv": ["/opt/fix", "api-1", "two words", "⟦secret:token⟧"]}) == (
        "/opt/fix api-1 'two words' '⟦secret:token⟧'"
    )
    assert describe({"argv": ["/opt/fix", "a\nb\x1b[2J"]}) == "/opt/fix 'a\\nb\\x1b[2J'"
    assert len(describe({"argv": ["/opt/fix", "x" * 10_000]})) == 500


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({}, ("argv",)),
        ({"argv": []}, ("argv",)),
        ({"argv": "/opt/fix api"}, ("argv",)),
        ({"argv": ["{{ labels.program }}"]}, ("argv",)),
        ({"argv": [""]}, ("argv",)),
        ({"argv": ["/opt/fix", 5]}, ("argv", 1)),
        ({"argv": ["/opt/fix"], "shell": True}, ("shell",)),
        ({"argv": ["/opt/fix"], "env": {"AUTOHEAL_RUN": "x"}}, ("env", "AUTOHEAL_RUN", "[key]")),
        ({"argv": ["/opt/fix"], "env": {"A=B": "x"}}, ("env", "A=B", "[key]")),
        ({"argv": ["/opt/fix"], "timeout": "0s"}, ("timeout",)),
        ({"argv": ["/opt/fix"], "timeout": 30}, ("timeout",)),
    ],
)
def test_wrong_parameters_are_refused_at_load(params: dict[str, Any], where: tuple[Any, ...]) -> None:
    """Each fault is at its place; the program itself is never a label's choice."""
    with pytest.raises(ValidationError) as caught:
        CommandParams.model_validate(params)
    assert [error["loc"] for error in caught.value.errors()] == [where]
