"""The ssh action, with a real sshd on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import Context, Outcome, Ssh
from tests.support.looping import run_on
from tests.support.ports import free_port
from tests.support.sshd import Sshd, make_key, sshd

HERE = ("127.0.0.*",)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def params(there: Sshd, *argv: str, **changes: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": there.port,
        "user": there.user,
        "identity_file": str(there.identity),
        "known_hosts": str(there.known_hosts),
        "argv": list(argv),
        **changes,
    }


@pytest.mark.component
def test_arguments_arrive_verbatim(there: Sshd, context: Context, loop: str) -> None:
    """A shell reads them there, so they are quoted: nothing in a label becomes a second command."""
    hostile = ["$(id)", "`id`", "; rm -rf /", "a\nb", "", "*", "~", "'\"\\", "é ☃", "--", "|&>"]
    outcome = run_on(loop, Ssh(HERE).run(params(there, "printf", "<%s>", *hostile), context))
    assert outcome.ok
    assert outcome.detail["output"] == "".join(f"<{text}>" for text in hostile)
    assert outcome.detail["exit_code"] == 0


@pytest.mark.component
async def test_a_secret_stays_one_argument_and_is_not_told(there: Sshd, context: Context, tmp_path: Path) -> None:
    """Whatever is in it: it is quoted when it is known."""
    (tmp_path / "token").write_text("it's; echo broken-out")
    outcome = await Ssh(HERE).run(params(there, "printf", "<%s>", "⟦secret:token⟧"), context)
    assert outcome.detail["output"] == "<[redacted]>"


@pytest.mark.component
async def test_the_exit_code_is_the_programs(there: Sshd, context: Context) -> None:
    """And its output is told, both streams of it."""
    outcome = await Ssh(HERE).run(params(there, "sh", "-c", "echo out; echo err >&2; exit 7"), context)
    assert not outcome.ok
    assert outcome.detail["exit_code"] == 7
    assert outcome.detail["error"] == "exit code 7"
    assert sorted(outcome.detail["output"].split()) == ["err", "out"]


@pytest.mark.component
async def test_nothing_of_this_machine_is_lent_to_the_other(
    there: Sshd, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the agent, nor X11, nor the gateway's environment; no terminal."""
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("DISPLAY", ":0")
    outcome = await Ssh(HERE).run(params(there, "env"), context)
    names = {line.partition("=")[0] for line in outcome.detail["output"].splitlines()}
    assert "SSH_CONNECTION" in names
    assert not names & {"SSH_AUTH_SOCK", "DISPLAY", "SSH_TTY", "AUTOHEAL_RUN"}


@pytest.mark.component
def test_what_a_users_configuration_cannot_change(tmp_path: Path) -> None:
    """The true ssh tells what it would do, with a configuration that asks for the contrary."""
    hostile = tmp_path / "config"
    hostile.write_text(
        "Host *\n BatchMode no\n StrictHostKeyChecking no\n ForwardAgent yes\n ForwardX11 yes\n"
        " PermitLocalCommand yes\n LocalForward 1 a:1\n ControlMaster auto\n ControlPath /tmp/x\n"
        " RequestTTY force\n UpdateHostKeys yes\n RemoteCommand id\n"
        " NoHostAuthenticationForLocalhost yes\n VerifyHostKeyDNS yes\n"
    )
    ssh, *rest = Ssh(HERE)._argv({"host": "127.0.0.1", "argv": ["true"]})
    told = subprocess.run([ssh, "-G", "-F", hostile, *rest], capture_output=True, text=True, check=True).stdout
    settings = dict(line.split(" ", 1) for line in told.splitlines())
    expected = {
        "batchmode": "yes",
        "stricthostkeychecking": "true",
        "forwardagent": "no",
        "forwardx11": "no",
        "permitlocalcommand": "no",
        "clearallforwardings": "yes",
        "controlmaster": "false",
        "requesttty": "false",
        "updatehostkeys": "false",
        "nohostauthenticationforlocalhost": "no",
        "verifyhostkeydns": "false",
        "connecttimeout": "10",
    }
    assert {name: settings.get(name) for name in expected} == expected
    assert "localforward" not in settings
    assert settings.get("controlpath", "none") == "none"
    assert settings.get("remotecommand", "none") == "none"


@pytest.mark.component
async def test_a_host_that_is_not_known_is_not_spoken_to(there: Sshd, context: Context, tmp_path: Path) -> None:
    """Nor one whose key has changed: somebody else may answer in its place."""
    other = tmp_path / "known_hosts"
    other.write_text("")
    outcome = await Ssh(HERE).run(params(there, "touch", str(tmp_path / "ran"), known_hosts=str(other)), context)
    assert outcome.detail["error"] == ("ssh could not connect or log in (exit code 255): Host key verification failed.")
    make_key(tmp_path / "key")
    other.write_text(f"[127.0.0.1]:{there.port} {(tmp_path / 'key.pub').read_text()}")
    outcome = await Ssh(HERE).run(params(there, "touch", str(tmp_path / "ran"), known_hosts=str(other)), context)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in outcome.detail["output"]
    assert not outcome.ok
    assert not (tmp_path / "ran").exists()


@pytest.mark.component
async def test_a_key_that_is_not_taken(there: Sshd, context: Context, tmp_path: Path) -> None:
    """No password is asked for."""
    make_key(tmp_path / "key")
    outcome = await Ssh(HERE).run(params(there, "true", identity_file=str(tmp_path / "key")), context)
    assert "Permission denied (publickey)" in outcome.detail["error"]


@pytest.mark.component
async def test_nobody_listens(there: Sshd, context: Context) -> None:
    """What ssh says stands in the error."""
    outcome = await Ssh(HERE).run(params(there, "true", port=free_port()), context)
    assert outcome.detail["error"].startswith("ssh could not connect or log in (exit code 255): ssh: connect to host")
    assert "Connection refused" in outcome.detail["error"]


@pytest.mark.component
async def test_a_slow_program_ends_at_the_deadline(there: Sshd, context: Context) -> None:
    """Nobody can say whether it ended there."""
    outcome = await Ssh(HERE).run(params(there, "sleep", "30", timeout=1.0), context)
    assert outcome.detail["error"] == "not finished after 1 s, so it was ended; the program may still run there"


@pytest.mark.parametrize(
    "host",
    [
        "-oProxyCommand=id",
        "--",
        "",
        "root@127.0.0.1",
        "ssh://127.0.0.1",
        "127.0.0.1 id",
        "127.0.0.1\n",
        "%h",
        "a/b",
        "ä",
    ],
)
async def test_what_is_no_host_never_reaches_ssh(context: Context, host: str) -> None:
    """An option could name any program to run here (CWE-88)."""
    outcome = await Ssh(("*.*.*.*", "*"), ssh="/no/such/ssh").run({"host": host, "argv": ["true"]}, context)
    assert outcome.detail == {"error": f"{host!r} is not a host's name or address"}


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("db1", "db1", True),
        ("db1", "DB1", True),
        ("db1", "db10", False),
        ("db1", "xdb1", False),
        ("web-*.example.org", "web-7.example.org", True),
        ("web-*.example.org", "web-7.evil.example.org", False),
        ("web-*", "web-1.evil.org", False),
        ("10.0.0.*", "10.0.0.7", True),
        ("10.0.0.*", "10x0.0.7", False),
        ("fd00::*", "fd00::1", True),
        ("fd00::*", "fd00::1:2", False),
    ],
)
async def test_only_hosts_that_are_allowed_are_reached(
    context: Context, pattern: str, host: str, allowed: bool
) -> None:
    """The whole name must be one of them, and `*` is a part of one label: a suffix cannot be smuggled in."""
    outcome: Outcome = await Ssh((pattern,), ssh="/no/such/ssh").run({"host": host, "argv": ["true"]}, context)
    refused = f"host {host!r} is not allowed: AUTOHEAL_SSH_HOSTS says which hosts are"
    assert outcome.detail["error"] == (
        "the program cannot be executed: No such file or directory" if allowed else refused
    )


async def test_with_no_setting_no_host_is_allowed(context: Context) -> None:
    """It must be chosen."""
    outcome = await Ssh(ssh="/no/such/ssh").run({"host": "localhost", "argv": ["true"]}, context)
    assert outcome.detail["error"].startswith("host 'localhost' is not allowed")


def test_describe_is_what_one_would_type() -> None:
    """Without the options that are always there; a shell there reads the last argument."""
    asked = {"host": "db1", "argv": ["echo", "a b"], "user": "ops", "port": 2222, "identity_file": "/k"}
    assert Ssh().describe(asked) == "ssh -l ops -p 2222 -i /k -o IdentitiesOnly=yes -- db1 'echo '\"'\"'a b'\"'\"''"
