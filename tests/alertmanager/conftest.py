"""What tests of Alertmanager's API share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that no proxy variable of this machine reaches."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client
