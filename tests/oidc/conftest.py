"""A clock, an identity provider and an Oidc that has its keys."""

from __future__ import annotations

import pytest

from autoheal.metrics import Metrics
from autoheal.oidc import Oidc
from tests.support.clock import FakeClock
from tests.support.identity import IdentityProvider, make


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider() -> IdentityProvider:
    return IdentityProvider()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def oidc(provider: IdentityProvider, clock: FakeClock, metrics: Metrics) -> Oidc:
    made = make(provider, clock, metrics)
    assert await made.refresh() == 1
    provider.asked.clear()
    return made
