"""Tools that are set up beside this library, as docs/with-other-tools.md has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import nicegui
import pytest
import sentry_sdk
import socketio
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import FastAPI
from hosted_shop import Shop
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator

from anylifespan import LifespanMiddleware
from anylifespan.instrumentation import set_hooks
from anylifespan.instrumentation.prometheus import PrometheusHook
from anylifespan.testing import asgi_client

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("default")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # several of them know no other


async def visit(shop: Shop, app: Any, path: str = "/") -> Any:
    """Ask once, in a lifespan of its own. Several tools keep tasks and threads for ever."""
    async with asgi_client(app, leaks="off") as client:
        assert shop.history == ["up"]
        assert (await client.get("/")).json() == {"database": "open"}
        response = await client.get(path)
    assert shop.history == ["up", "down"]
    return response


def wrapped(app: FastAPI) -> Any:
    return LifespanMiddleware(app)


def added(app: FastAPI) -> Any:
    app.add_middleware(LifespanMiddleware)
    return app


both_ways = pytest.mark.parametrize("finish", [wrapped, added])


@both_ways
async def test_instrumentation_of_opentelemetry(finish: Any) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    shop = Shop()
    FastAPIInstrumentor.instrument_app(shop.app, tracer_provider=provider)
    await visit(shop, finish(shop.app))
    requests = [span for span in exporter.get_finished_spans() if span.name == "GET /"]
    assert [span.parent for span in requests] == [None, None]


async def test_sentry_gets_a_crash() -> None:
    events: list[Any] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async def consume() -> None:
            raise ValueError("the consumer died")

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(consume)
            yield

    sentry_sdk.init(
        dsn="https://nobody@127.0.0.1/1", before_send=lambda event, hint: events.append(event)
    )
    with pytest.raises(Exception, match="crashed while serving: ValueError"):
        async with asgi_client(LifespanMiddleware(FastAPI(lifespan=lifespan), on_crash="log")):
            await anyio.sleep(0.1)
    sentry_sdk.init()
    (event,) = [event for event in events if event.get("logger") == "anylifespan"]
    assert event["logentry"]["formatted"] == "The application's lifespan crashed while serving."
    assert [one["type"] for one in event["exception"]["values"]] == ["ValueError"]


@both_ways
async def test_prometheus_fastapi_instrumentator(finish: Any) -> None:
    registry = CollectorRegistry()
    shop = Shop()
    Instrumentator(registry=registry).instrument(shop.app).expose(shop.app)
    set_hooks([PrometheusHook(registry)])
    metrics = (await visit(shop, finish(shop.app), "/metrics")).text
    set_hooks(None)
    assert 'handler="/"' in metrics
    assert 'anylifespan_startup_seconds{application="fastapi.applications.FastAPI"' in metrics


async def test_what_needs_the_application_itself_says_so() -> None:
    with pytest.raises(AttributeError, match="set that up first, and wrap it last"):
        Instrumentator().instrument(LifespanMiddleware(Shop().app))


@both_ways
async def test_asgi_correlation_id(finish: Any) -> None:
    shop = Shop()

    @shop.app.get("/id")
    async def current_id() -> str:
        return str(correlation_id.get())

    shop.app.add_middleware(CorrelationIdMiddleware)
    app = finish(shop.app)
    assert (await visit(shop, app, "/id")).json() != "None"
    shop.history.clear()
    assert (await visit(shop, CorrelationIdMiddleware(app), "/id")).json() != "None"


@pytest.mark.parametrize("wrapped_first", [False, True], ids=["around", "inside"])
async def test_python_socketio(wrapped_first: bool) -> None:
    shop = Shop()
    server = socketio.AsyncServer(async_mode="asgi")
    if wrapped_first:
        app = socketio.ASGIApp(server, other_asgi_app=LifespanMiddleware(shop.app))
    else:
        app = LifespanMiddleware(socketio.ASGIApp(server, other_asgi_app=shop.app))
    polling = await visit(shop, app, "/socket.io/?EIO=4&transport=polling")
    assert polling.text.startswith('0{"sid":')


async def test_nicegui() -> None:
    """Which can be set up once in a process."""
    shop = Shop()
    started: list[str] = []
    nicegui.app.on_startup(lambda: started.append("NiceGUI"))

    @nicegui.ui.page("/hello")
    def page() -> None:
        nicegui.ui.label("hello")

    nicegui.ui.run_with(shop.app, storage_secret="secret")
    response = await visit(shop, LifespanMiddleware(shop.app), "/hello")
    assert "hello" in response.text
    assert started
