"""The command line: `autoheal serve`, `check`, `demo`, `selftest`, `incident`, `audit`.

Exit codes: 0 done, 1 the thing checked is bad or the service failed, 2 wrong usage or configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import shtab

from autoheal import __version__, audit
from autoheal.errors import AutohealError, ConfigError, Fault

if TYPE_CHECKING:
    from autoheal.actions import Action

_OF_ACTIONS = ("docker_host", "docker_certs", "kubeconfig", "ssh_hosts")
"""The settings that `available` takes."""

_EXAMPLES = {
    "serve": """\
examples:
  autoheal serve                                     everything is a dry run: that is the default
  AUTOHEAL_DRY_RUN=false autoheal serve              rules with `mode: live` act
  AUTOHEAL_RULES=/etc/autoheal/rules ALERTMANAGER_URL=http://alertmanager:9093 autoheal serve
  autoheal serve --accept-damage 'bad sector, OPS-42'    once, after a start that named a damaged line

Settings come from the environment: docs/configuration.md lists them. SIGHUP reloads the rules.""",
    "check": """\
examples:
  autoheal check rules.yaml
  autoheal check /etc/autoheal/rules && systemctl reload autoheal
  autoheal check --schema > rules.schema.json     for editors, with the actions that are installed here

AUTOHEAL_REDACT and AUTOHEAL_SSH_HOSTS count, as they do for `autoheal serve`: a rule may not use what the one names,
nor a host that the other does not allow. Without PROMETHEUS_URL it warns of rules that ask Prometheus.""",
    "demo": """\
examples:
  autoheal demo           heals a service that it kills, then keeps serving on 127.0.0.1:9009
  autoheal demo --once    the same, then ends; exit code 0 when healed""",
    "selftest": """\
examples:
  autoheal selftest                                            the gateway of this environment
  autoheal selftest --url https://autoheal.example.org --token-file /run/secrets/token
  autoheal selftest --json | jq .ok

One line a check: ok, FAIL with what to do, or skipped with why. Nothing is done by it but a dry run.
Exit code 0: no check failed; 1: one did; 2: wrong usage or settings. docs/operations.md tells of each check.""",
    "incident": """\
examples:
  autoheal incident /tmp/incident-42          before a service that misbehaves is restarted, on its machine
  docker compose -f docker-compose.prod.yml exec autoheal autoheal incident /var/lib/autoheal/incident-42
  autoheal incident /tmp/incident-42 --token-file /run/secrets/token     with OIDC: /state and /rules too

Each part that cannot be had says why, and the rest is there all the same; no secret's value is in it.
Exit code 0: report.md says what is there; 2: nothing could be written, or DIR is not empty.""",
    "audit": """\
examples:
  autoheal audit verify                     the log in AUTOHEAL_DATA_DIR, or ./data
  autoheal audit verify --help              more about one of its commands""",
}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="autoheal",
        description="Auto-remediation gateway: Alertmanager alerts in, audited and verified actions out.",
        epilog="`autoheal COMMAND --help` shows examples.",
    )
    top.add_argument("--version", action="version", version=f"autoheal {__version__}")
    shtab.add_argument_to(top, "--print-completion", help="print a completion script for this shell")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=_EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    serve = command("serve", "run the gateway")
    serve.add_argument(
        "--accept-damage",
        metavar="REASON",
        type=_reason,
        help="go on before a damaged line of the log; it is kept aside, and the reason recorded",
    )
    check = command("check", "check rules files or folders, as `promtool check rules` does")
    what = check.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "files", metavar="FILE", nargs="*", default=[], type=Path, help="a rules file, or a folder of them"
    )
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of rules files instead")
    demo = command("demo", "kill a small service and watch it being healed")
    demo.add_argument("--once", action="store_true", help="end when the story is told; 0 when healed")
    demo.add_argument("--port", type=int, default=9009, help="the gateway's port on 127.0.0.1 (default 9009)")
    selftest = command("selftest", "send a made-up alert through a running gateway, and look at all it depends on")
    _reaching(selftest)
    selftest.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    incident = command("incident", "gather all that is worth keeping of a sick service, in one bundle")
    incident.add_argument(
        "dir", metavar="DIR", type=Path, help="a folder that is yet to be made; DIR.tar.gz is beside it"
    )
    _reaching(incident)
    many = "how many of the log's last records (default 1000)"
    incident.add_argument("--records", metavar="N", type=_count, default=1000, help=many)
    audit.register(command("audit", "ask, check, copy and restore the audit log, also without the service"))
    return top


def _reaching(command: argparse.ArgumentParser) -> None:
    """How a running gateway is reached."""
    at = "the gateway's address (default: AUTOHEAL_HOST and AUTOHEAL_PORT, so http://127.0.0.1:9009)"
    command.add_argument("--url", metavar="URL", type=_address, help=at)
    shown = "a file with the access token to show (default: AUTOHEAL_SELFTEST_TOKEN_FILE)"
    command.add_argument("--token-file", metavar="FILE", type=Path, help=shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    if arguments.command != "serve":
        gc.enable()
    try:
        match arguments.command:
            case "serve":
                return _serve(arguments.accept_damage)
            case "check":
                return _schema() if arguments.schema else _check(arguments.files)
            case "audit":
                return audit.run(arguments)
            case "incident":
                return _incident(arguments)
            case "selftest":
                return _selftest(arguments)
            case _:
                return _demo(once=arguments.once, port=arguments.port)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads (`| head`) has read enough; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _selftest(arguments: argparse.Namespace) -> int:
    from autoheal.selftest.command import run  # noqa: PLC0415 as above

    return run(arguments)


def _incident(arguments: argparse.Namespace) -> int:
    from autoheal.incident.command import run  # noqa: PLC0415 as above

    return run(arguments)


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets that do not close, a port beyond 65535
        known = False
    if not known or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError("an address such as http://127.0.0.1:9009 or https://autoheal.example.org")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 5000:
        raise argparse.ArgumentTypeError("a whole number from 1 to 5000")
    return int(text)


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why, for those who will read the log")
    return text.strip()[:1000]


def _serve(accept_damage: str | None) -> int:
    from autoheal.config import load  # noqa: PLC0415 the other commands start without a web server's imports
    from autoheal.serve import serve  # noqa: PLC0415

    try:
        settings = load(os.environ)
    except ConfigError as error:
        return _refused([*error.faults, *_rules_faults()])
    try:
        return serve(settings, accept_damage)
    except ConfigError as error:
        return _refused(error.faults)
    except AutohealError as error:
        print(f"autoheal: {error}", file=sys.stderr)
        return 2


def _rules_faults() -> Sequence[Fault]:
    """Beside faulty settings: who mends those should not meet these only then."""
    from autoheal.actions import available  # noqa: PLC0415
    from autoheal.config import load_one  # noqa: PLC0415
    from autoheal.redaction import HiddenNames  # noqa: PLC0415
    from autoheal.serve import load_rules  # noqa: PLC0415

    redact = HiddenNames(())
    with contextlib.suppress(ConfigError):
        redact = load_one(os.environ, "redact")
    try:
        path = load_one(os.environ, "rules")
        settings = {name: load_one(os.environ, name) for name in _OF_ACTIONS}
    except ConfigError:
        return ()
    try:
        load_rules(path, redact, available(**settings))
    except ConfigError as error:
        return error.faults
    return ()


def _refused(faults: Sequence[Fault]) -> int:
    for fault in faults:
        print(f"autoheal: {fault}", file=sys.stderr)
    return 2


def _check(files: Sequence[Path]) -> int:
    from autoheal.config import CHANNEL_SETTINGS, load_one  # noqa: PLC0415
    from autoheal.rules import asking_prometheus, describe, naming_channels  # noqa: PLC0415
    from autoheal.serve import load_rules  # noqa: PLC0415

    try:
        # A rule that uses a redacted label is one that `serve` refuses.
        redact = load_one(os.environ, "redact")
        prometheus = load_one(os.environ, "prometheus_urls")
        configured = [name for name, setting in CHANNEL_SETTINGS.items() if load_one(os.environ, setting)]
        actions = _actions()
    except ConfigError as error:
        return _refused(error.faults)
    bad = 0
    for path in files:
        print(f"Checking {path}")
        try:
            rules = load_rules(path, redact, actions)
        except ConfigError as error:
            bad += 1
            print(f"  FAILED: {len(error.faults)} faults", file=sys.stderr)
            for fault in error.faults:
                print(f"  {fault}", file=sys.stderr)
        else:
            print(f"  {describe(rules)}")
            for name in () if prometheus else asking_prometheus(rules):
                print(f"  WARNING: rule {name!r} asks Prometheus, and PROMETHEUS_URL is not set here")
            for channel, names in naming_channels(rules, configured).items():
                print(f"  WARNING: rule {names[0]!r} names the channel {channel}, which is not configured here")
    return 1 if bad else 0


def _schema() -> int:
    from autoheal.rules import json_schema  # noqa: PLC0415

    try:
        params = {name: action.Params for name, action in _actions().items()}
        print(json.dumps(json_schema(params), indent=2, ensure_ascii=False))
    except ConfigError as error:
        return _refused(error.faults)
    return 0


def _actions() -> Mapping[str, Action]:
    """Every action that `serve` would have."""
    from autoheal.actions import available  # noqa: PLC0415
    from autoheal.config import load_one  # noqa: PLC0415

    return available(**{name: load_one(os.environ, name) for name in _OF_ACTIONS})


def _demo(*, once: bool, port: int) -> int:
    from autoheal.demo import main as demo  # noqa: PLC0415

    return demo(once=once, port=port)
