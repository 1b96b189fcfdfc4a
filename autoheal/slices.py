"""Long work on the event loop, cut up so that others get their turn.

A generator says where: it yields (nothing) between two slices, and returns what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Iterator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Slices: TypeAlias = Generator[None, None, T]


def every(count: int, items: Iterable[T]) -> Iterator[tuple[bool, T]]:
    """Each of `items`, and whether it is time to yield before it: after each `count` of them."""
    return ((index % count == 0 and index > 0, item) for index, item in enumerate(items))


def at_once(work: Slices[T]) -> T:
    """What comes of `work`, done in one go."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


async def in_turns(work: Slices[T]) -> T:
    """What comes of `work`; others on the event loop get their turn between its slices."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        await asyncio.sleep(0)
