from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """As the service has it."""
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
        yield http
