"""What the audit log is told of keys that cannot be fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from autoheal.errors import JournalUnavailable
from autoheal.model import Draft
from autoheal.oidc import KeyTrouble, Oidc
from tests.support.clock import FakeClock, settle
from tests.support.identity import IdentityProvider, make, status, token, unreachable


class Noted:
    """A log that takes what it is told, or refuses it."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.refuses = False

    async def note(self, draft: Draft) -> None:
        if self.refuses:
            raise JournalUnavailable("disk full")
        self.drafts.append(draft)

    def told(self) -> list[str]:
        return [f"{draft.kind} {draft.reason}" if draft.reason else draft.kind.value for draft in self.drafts]


@asynccontextmanager
async def fetching(
    provider: IdentityProvider, clock: FakeClock, log: Noted, *, retries: bool = False, standing: bool = False
) -> AsyncIterator[Oidc]:
    """With its background task, first fetch done."""
    oidc = make(provider, clock, trouble=KeyTrouble(log.note, standing=lambda: standing, retries=retries))
    task = asyncio.create_task(oidc.run())
    await settle()
    try:
        yield oidc
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_it_is_told_once_until_it_is_over(provider: IdentityProvider, clock: FakeClock) -> None:
    """However often they are asked for in vain; with why."""
    log = Noted()
    provider.broken = unreachable
    async with fetching(provider, clock, log):
        await clock.advance(600)
        assert log.told() == ["keys_failed given_up"]
        assert "connection refused" in log.drafts[0].detail["error"]
        provider.broken = None
        await clock.advance(60)
        assert log.told() == ["keys_failed given_up", "keys_back"]
        await clock.advance(600)
        assert len(log.drafts) == 2


@pytest.mark.parametrize("retries", [True, False])
async def test_a_first_attempt_is_told_to_those_who_want_it(
    provider: IdentityProvider, clock: FakeClock, *, retries: bool
) -> None:
    """NOTIFY_RETRIES; the last one is told as well."""
    log = Noted()
    provider.broken = status(503)
    async with fetching(provider, clock, log, retries=retries):
        assert log.told() == (["keys_failed retry"] if retries else [])
        await clock.advance(5)
        assert log.told()[-1] == "keys_failed given_up"
        assert len(log.drafts) == 1 + retries


async def test_a_moment_is_nobodys_business(provider: IdentityProvider, clock: FakeClock) -> None:
    """Not that a retry helped, and not that a stranger's kid met a provider that was away."""
    log = Noted()
    async with fetching(provider, clock, log) as oidc:
        provider.broken = unreachable
        with pytest.raises(Exception, match="keys cannot be fetched"):
            await oidc.authenticate(token(clock, header={"kid": "new"}))
        provider.broken = None
        await clock.advance(600)
    assert log.drafts == []


async def test_the_life_before_may_have_told_it(provider: IdentityProvider, clock: FakeClock) -> None:
    """Then its end is told by this one."""
    log = Noted()
    async with fetching(provider, clock, log, standing=True):
        await settle()
    assert log.told() == ["keys_back"]


async def test_what_the_log_refused_is_told_later(provider: IdentityProvider, clock: FakeClock) -> None:
    """By the next fetch."""
    log = Noted()
    log.refuses = True
    provider.broken = unreachable
    async with fetching(provider, clock, log):
        await clock.advance(5)
        assert log.drafts == []
        log.refuses = False
        await clock.advance(60)
        assert log.told() == ["keys_failed given_up"]
