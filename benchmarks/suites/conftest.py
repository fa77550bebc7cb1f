"""How many tests there are, on which backend, and whether for leaks: from the environment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "hello"}


async def greet(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.greeting)


@pytest.fixture(scope="session")
def app() -> Starlette:
    return Starlette(routes=[Route("/", greet)], lifespan=lifespan)


@pytest.fixture
def anyio_backend() -> str:
    return os.environ["BACKEND"]


@pytest.fixture
def leaks() -> str:
    return os.environ["LEAKS"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("number", range(int(os.environ["TESTS"])))
