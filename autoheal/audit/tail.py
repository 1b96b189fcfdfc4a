"""`autoheal audit tail`: the end of the log, and what comes next."""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from itertools import islice

from autoheal.audit.asking import Answer, Unread, add_count, add_filter, answering, ask_of, search_of
from autoheal.audit.places import Add
from autoheal.journal.search import Ask, Search

POLL_SECONDS = 0.25
_EXAMPLES = """\
  autoheal audit tail                           the last 10 records
  autoheal audit tail -f                        and those that come, until Ctrl-C
  autoheal audit tail -f 'kind~action_*' -n 50
  autoheal audit tail -f | jq -c '{kind, target}'

Rotation is followed, whether the file is renamed, copied and truncated, or compressed: no record is left out.
Exit code 0: done; 1: the log is damaged, or a part of it is encrypted and was left out; 2: wrong usage."""


def register(add: Add) -> None:
    """`autoheal audit tail [-f] [Q]`."""
    command = add("tail", "show the last records that a filter matches, and follow the log", _EXAMPLES)
    add_filter(command)
    add_count(command, 10)
    command.add_argument("-f", "--follow", action="store_true", help="go on with what is recorded from now on")
    command.set_defaults(run=answering(run))


def run(arguments: argparse.Namespace, unread: Unread) -> None:
    """Print the end of the log, oldest record first, and for `--follow` all that comes."""
    ask, search, answer = ask_of(arguments), search_of(arguments), Answer()
    head = _head(search)
    with closing(search.newest_first(Ask(query=ask.query, before=head + 1), skipped=unread)) as steps:
        last = list(islice((line for _, line in steps if line is not None), ask.limit))
    for line in reversed(last):
        answer.write(line)
    answer.flush()
    more = search.follow(Ask(query=ask.query), head, unread)
    while arguments.follow:
        for _, line in more():
            answer.write(line)
        answer.flush()
        time.sleep(POLL_SECONDS)


def _head(search: Search) -> int:
    """The last seq in the log; 0 when there is none."""
    with closing(search.newest_first(Ask(), skipped=lambda _: None)) as steps:
        return next((seq for seq, line in steps if line is not None), 0)
