"""`autoheal audit …`: the log's files asked, checked and copied without the service.

One module a command. Each has `register`, which names the command and its arguments, and `run`, which returns the
exit code: 0 done, 1 the log (or the copy) is bad, 2 usage, or something that cannot be read.
"""

from __future__ import annotations

import argparse
import sys

from autoheal.audit import backup, export, query, restore, tail, verify
from autoheal.audit.plain import plain
from autoheal.errors import AutohealError

COMMANDS = (query, tail, export, verify, backup, restore)


def register(audit: argparse.ArgumentParser) -> None:
    """Give `autoheal audit` its commands."""
    commands = audit.add_subparsers(dest="audit_command", metavar="COMMAND", required=True)

    def add(name: str, summary: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    for module in COMMANDS:
        module.register(add)


def run(arguments: argparse.Namespace) -> int:
    """Run the command that was asked for; returns the exit code."""
    try:
        code: int = arguments.run(arguments)
    except BrokenPipeError:
        raise
    except (AutohealError, OSError) as error:
        print(f"autoheal: {plain(str(error))}", file=sys.stderr)
        return 2
    return code
