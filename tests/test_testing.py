"""``asgi_client``: a client for an application that is up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import signature
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from apps import Boom, app, raises, receives, sleeps, started, well_behaved
from clocks import LOOPS
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from fastapi import FastAPI, Request
from frameworks import django
from litestar import Litestar, get
from litestar.datastructures import State
from quart import Quart
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    LifespanUnsupported,
    with_lifespan,
)
from anylifespan.testing import ASGIClient, asgi_client

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "hello"}


# Frameworks, each with the state of its lifespan in a request


async def starlette_read(request: Any) -> PlainTextResponse:
    return PlainTextResponse(request.state.greeting)


def starlette() -> Any:
    return Starlette(lifespan=lifespan, routes=[Route("/", starlette_read)])


def fastapi() -> Any:
    fastapi = FastAPI(lifespan=lifespan)

    @fastapi.get("/", response_class=PlainTextResponse)
    async def read(request: Request) -> str:
        return str(request.state.greeting)

    return fastapi


@asynccontextmanager
async def litestar_lifespan(litestar: Litestar) -> AsyncIterator[None]:
    litestar.state.greeting = "hello"
    yield


@get("/", sync_to_thread=False)
def litestar_read(state: State) -> str:
    return str(state.greeting)


def litestar() -> Any:
    options: Any = {"openapi_config": None, "logging_config": None}
    return Litestar([litestar_read], lifespan=[litestar_lifespan], **options)


def quart(kind: type[Quart] = Quart) -> Any:
    quart = kind("tests")

    @quart.before_serving
    async def start() -> None:
        quart.config["GREETING"] = "hello"

    @quart.get("/")
    async def read() -> str:
        return str(quart.config["GREETING"])

    return quart


FRAMEWORKS = [starlette, fastapi, litestar, quart]


# Quart-Trio leaves the body of a request unread, of which httpx2 then leaves a generator.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx2:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_request_sees_the_state(framework: Any, backend: str) -> None:
    shop = quart(QuartTrio) if framework is quart and backend == "trio" else framework()
    async with asgi_client(shop) as client:
        assert isinstance(client, ASGIClient)
        assert client.lifespan.phase.value == "serving"
        response = await client.get("/")
        assert (response.status_code, response.text) == (200, "hello")


async def test_the_client_is_of_httpx2_if_there_is_one() -> None:
    async with asgi_client(starlette()) as client:
        assert isinstance(client, httpx2.AsyncClient)


def test_else_it_is_of_httpx() -> None:
    script = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from anylifespan.testing import ASGIClient\n"
        "import httpx; assert issubclass(ASGIClient, httpx.AsyncClient)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert httpx


def test_without_either_it_is_said_what_to_install() -> None:
    script = (
        "import sys; sys.modules['httpx2'] = sys.modules['httpx'] = None\n"
        "import anylifespan.testing"
    )
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=60)
    assert b"pip install 'anylifespan[testing]'" in done.stderr


async def test_an_application_without_a_lifespan_is_an_error() -> None:
    with pytest.raises(LifespanUnsupported):
        async with asgi_client(app(raises(Boom()))):
            raise AssertionError("it has not started")


async def test_unless_it_is_said_that_it_may() -> None:
    async with asgi_client(app(raises(Boom())), mode="auto") as client:
        assert client.lifespan.supported is False


async def test_options_pass_through() -> None:
    async def echo(request: Any) -> PlainTextResponse:
        scope = request.scope
        return PlainTextResponse(
            f"{scope['client']} {scope['root_path']} {request.url} {request.headers['x']} "
            f"{scope['state']}"
        )

    async with asgi_client(
        Starlette(lifespan=lifespan, routes=[Route("/", echo)]),
        state={"given": True},
        client=("192.0.2.1", 7),
        root_path="/api",
        base_url="https://shop.example",
        headers={"x": "y"},
    ) as client:
        assert (await client.get("/")).text == (
            "('192.0.2.1', 7) /api https://shop.example/api/ y {'given': True, 'greeting': 'hello'}"
        ).replace("/api https://shop.example/api/", "/api https://shop.example/")


@pytest.mark.parametrize("raised", [True, False])
async def test_what_a_request_raises(raised: bool) -> None:
    async def broken(request: Any) -> PlainTextResponse:
        raise Boom

    shop = Starlette(lifespan=lifespan, routes=[Route("/", broken)])
    async with asgi_client(shop, raise_app_exceptions=raised) as client:
        if raised:
            with pytest.raises(Boom):
                await client.get("/")
        else:
            assert (await client.get("/")).status_code == 500


async def test_a_crash_ends_the_body() -> None:
    with pytest.raises(LifespanCrashed, match="died"):
        async with asgi_client(app(receives, started, sleeps(1), raises(Boom("died")))):
            await anyio.sleep_forever()


async def test_an_exception_in_the_body_comes_as_it_is() -> None:
    boom = Boom()
    with pytest.raises(Boom) as info:
        async with asgi_client(well_behaved):
            raise boom
    assert info.value is boom


async def test_bad_options_are_told_before_the_application_is_started() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it was started")

    for options, error in [({"mode": "maybe"}, ValueError), ({"cookie": {}}, TypeError)]:
        wrong: Any = options
        with pytest.raises(error):
            async with asgi_client(never, **wrong):
                pass


def price(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


urlpatterns = [path("", price)]


@pytest.mark.parametrize("backend", LOOPS)  # Django answers requests on asyncio alone
async def test_django_with_a_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = with_lifespan(django(), lifespan)
    monkeypatch.setattr(settings, "ROOT_URLCONF", __name__)
    async with asgi_client(shop) as client:
        assert client.lifespan.state == {"greeting": "hello"}
        assert (await client.get("/")).text == "hello"


def test_its_defaults_are_those_of_its_parts() -> None:
    ours = signature(asgi_client).parameters
    theirs = signature(httpx2.ASGITransport).parameters
    for name in ("raise_app_exceptions", "root_path", "client"):
        assert ours[name].default == theirs[name].default
    manager = signature(LifespanManager).parameters
    for name in ("startup_timeout", "shutdown_timeout", "state", "logger"):
        assert ours[name].default == manager[name].default
