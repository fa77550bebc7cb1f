"""Fixtures for tests that pytest-trio runs. pytest-trio supports only function-scoped fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from ._up import client_for, lifespan_up

if TYPE_CHECKING:
    from .._core.application import ASGIApp
    from .._core.manager import LifespanManager
    from ..testing import ASGIClient


@pytest.fixture
async def _asgi_lifespan_by_trio(
    asgi_app: ASGIApp, pytestconfig: pytest.Config
) -> AsyncIterator[LifespanManager]:
    async with lifespan_up(asgi_app, pytestconfig) as manager:
        yield manager


@pytest.fixture
async def _asgi_client_by_trio(
    asgi_lifespan: LifespanManager, pytestconfig: pytest.Config
) -> AsyncIterator[ASGIClient]:
    async with client_for(asgi_lifespan, pytestconfig) as client:
        yield client
