"""Fixtures for tests that pytest-asyncio runs, for each event loop scope."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from ._options import scope
from ._up import client_for, lifespan_up

if TYPE_CHECKING:
    from .._core.application import ASGIApp
    from .._core.manager import LifespanManager
    from ..testing import ASGIClient


def _lifespan_in(loop_scope: Any) -> Any:
    @pytest_asyncio.fixture(
        scope=scope, loop_scope=loop_scope, name=f"_asgi_lifespan_by_asyncio_{loop_scope}"
    )
    async def lifespan(
        asgi_app: ASGIApp, pytestconfig: pytest.Config
    ) -> AsyncIterator[LifespanManager]:
        async with lifespan_up(asgi_app, pytestconfig) as manager:
            yield manager

    return lifespan


def _client_in(loop_scope: Any) -> Any:
    @pytest_asyncio.fixture(
        scope=scope, loop_scope=loop_scope, name=f"_asgi_client_by_asyncio_{loop_scope}"
    )
    async def client(
        asgi_lifespan: LifespanManager, pytestconfig: pytest.Config
    ) -> AsyncIterator[ASGIClient]:
        async with client_for(asgi_lifespan, pytestconfig) as client:
            yield client

    return client


for _scope in ("function", "class", "module", "package", "session"):
    globals()[f"_lifespan_in_{_scope}"] = _lifespan_in(_scope)
    globals()[f"_client_in_{_scope}"] = _client_in(_scope)
