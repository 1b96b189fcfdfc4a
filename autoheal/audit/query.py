"""`autoheal audit query`: the log, newest first, filtered."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from autoheal.audit.asking import Answer, Unread, add_bounds, add_count, add_filter, answering, ask_of, search_of
from autoheal.audit.places import Add

_EXAMPLES = """\
  autoheal audit query                                    the newest 200 records
  autoheal audit query 'kind=action_fail OR alertname=HighCPU' -n 20
  autoheal audit query 'rule=restart-api' --since 24h | jq .target
  autoheal audit query --data /mnt/copy --before 1000

The filter is that of GET /audit: docs/query.md. On a terminal each record is one line; into a pipe goes the JSON as it
stands in the log. The service need not run. Exit code 0: done; 1: the log is damaged, or a part
of it is encrypted and was left out; 2: wrong usage."""


def register(add: Add) -> None:
    """`autoheal audit query [Q]`."""
    command = add("query", "show the records that a filter matches, newest first", _EXAMPLES)
    add_filter(command)
    add_count(command, 200)
    add_bounds(command)
    command.set_defaults(run=answering(run))


def run(arguments: argparse.Namespace, unread: Unread) -> None:
    """Print what is found."""
    ask, search, answer = ask_of(arguments), search_of(arguments), Answer()
    left = arguments.n
    with closing(search.newest_first(ask, skipped=unread)) as steps:
        for seq, line in steps:
            if line is None:
                continue
            answer.write(line)
            left -= 1
            if not left:
                answer.flush()
                if seq > 1:
                    print(
                        f"autoheal: that may not be all: go on with --before {seq}, or ask for more with -n",
                        file=sys.stderr,
                    )
                return
