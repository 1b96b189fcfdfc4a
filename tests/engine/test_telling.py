"""Whose turn it is and what is said: pure."""

from __future__ import annotations

import pytest

from autoheal.engine.telling import AT_ONCE, HELD_SECONDS, HOUR, Turn, digest, notice, said, turn
from autoheal.model import Kind
from autoheal.notify import Severity, What
from autoheal.state import Owed

NOW = 1_790_000_000.0


def owed(number: int = 1, *, ago: float = 0.0, kind: str = "breaker_opened", **facts: str) -> Owed:
    return Owed(f"{number}-0", "x", number, "trigger", "warning", kind, NOW - ago, ["slack"], facts)


def test_nothing_owed_is_nothing_to_do() -> None:
    """However much there is room for."""
    assert turn([], 0, [], 10, NOW) == turn([], 0, [NOW] * 10, 10, NOW) == Turn()


def test_without_a_limit_each_comes_by_itself() -> None:
    """The oldest first, and then the number of what was left out."""
    some = [owed(number, ago=9999) for number in range(50)]
    assert turn(some, 3, [NOW] * 1000, None, NOW) == Turn((some[0],))
    assert turn([], 3, [], None, NOW) == Turn(digest=True)


@pytest.mark.parametrize(("limit", "sent"), [(10, 8), (1000, 0)])
def test_what_is_fresh_comes_by_itself_while_there_is_room(limit: int, sent: int) -> None:
    """Two places are room for one and a digest."""
    some = [owed(number) for number in range(50)]
    assert turn(some, 0, [NOW - 1] * sent, limit, NOW) == Turn((some[0],))


@pytest.mark.parametrize(("limit", "sent"), [(10, 9), (1, 0)])
def test_the_last_place_is_for_all_that_waits(limit: int, sent: int) -> None:
    """One alone needs no digest."""
    some = [owed(number) for number in range(50)]
    assert turn(some, 0, [NOW - 1] * sent, limit, NOW) == Turn(tuple(some), digest=True)
    assert turn(some[:1], 0, [NOW - 1] * sent, limit, NOW) == Turn((some[0],))


def test_what_was_held_back_comes_together() -> None:
    """Though there is room again for more."""
    some = [owed(ago=HELD_SECONDS + 1), owed(2)]
    assert turn(some, 0, [], 10, NOW) == Turn(tuple(some), digest=True)


def test_a_full_hour_is_waited_for() -> None:
    """Until enough of it has passed for one message, and not for longer than an hour, whatever clocks say."""
    sent = [NOW - 3000, NOW - 2000, NOW - 1000]
    assert turn([owed()], 0, sent, 3, NOW) == Turn(wait=600)
    assert turn([owed()], 0, sent, 2, NOW) == Turn(wait=1600)
    assert turn([owed()], 0, [NOW + 90_000], 1, NOW) == Turn(wait=HOUR)


def test_a_digest_is_bounded() -> None:
    """What it settles must fit a record; the others follow in the next."""
    found = turn([owed(number, ago=99) for number in range(5000)], 0, [], 10, NOW)
    assert len(found.of) == AT_ONCE


def test_a_digest_is_as_bad_as_the_worst_of_it() -> None:
    """It says what was left out, too."""
    worst = owed(2)
    worst.severity = "error"
    over = owed(3)
    over.what = "resolve"
    told = digest([owed(1, rule="r", failures="3"), worst, over], 7, "00ff", "https://a", NOW)
    assert told.severity is Severity.ERROR
    assert told.summary == "3 notices at once, and 7 of which only the audit log tells"
    assert told.lines[0] == "[warning] r rests: it has failed 3 times in a row"
    assert told.lines[2].startswith("[resolve] ")
    assert (told.id, told.link) == ("autoheal-00ff-digest-3-0", "https://a/console")


def test_facts_are_put_in_and_not_read() -> None:
    """Braces in a label mean nothing, and what is not known is a question mark."""
    assert said(owed(kind=Kind.ESCALATED, run="r1", rule="{alert}", alert="{0.__class__}", target="t")) == (
        "{alert} leaves {0.__class__} on t to people: ?"
    )


def test_a_kind_without_a_sentence_is_told_by_its_name() -> None:
    """One line in the table of kinds is enough for a new one."""
    told = notice(owed(kind="log_repaired", error="x"), "00ff", None)
    assert (told.summary, told.context, told.link, told.what) == (
        "log repaired",
        (("error", "x"),),
        None,
        What.TRIGGER,
    )
