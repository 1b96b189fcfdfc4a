"""Work in slices: what it comes to, and who gets a turn between them."""

from __future__ import annotations

import asyncio

import pytest

from autoheal.slices import Slices, at_once, every, in_turns


def counting(seen: list[str], name: str) -> Slices[int]:
    for number in range(3):
        seen.append(f"{name}{number}")
        yield
    return len(seen)


async def test_two_works_take_turns() -> None:
    """Neither waits for the other's end; each has its own result."""
    seen: list[str] = []
    assert await asyncio.gather(in_turns(counting(seen, "a")), in_turns(counting(seen, "b"))) == [6, 6]
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_in_one_go_it_comes_to_the_same() -> None:
    """Without an event loop, and with nobody in between."""
    seen: list[str] = []
    assert at_once(counting(seen, "a")) == 3
    assert seen == ["a0", "a1", "a2"]


@pytest.mark.parametrize("drive", [at_once, lambda work: asyncio.run(in_turns(work))])
def test_what_a_slice_raises_is_raised(drive: object) -> None:
    """However the work is driven."""

    def broken() -> Slices[None]:
        yield
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive(broken())  # type: ignore[operator]


def test_every_pauses_between_slices_only() -> None:
    """Neither before the first item nor after the last: small work is one slice."""
    assert [pause for pause, _ in every(2, "abcde")] == [False, False, True, False, True]
    assert [item for _, item in every(2, "abcde")] == list("abcde")
