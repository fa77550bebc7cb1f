"""The hooks that come with the library, each with what it is made for."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from apps import Boom, app, hangs, raises, receives, sends, sleeps, started, well_behaved
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from anylifespan import LifespanError, LifespanManager, LifespanMiddleware, combine
from anylifespan.instrumentation import set_hooks
from anylifespan.instrumentation.logging import LoggingHook
from anylifespan.instrumentation.opentelemetry import OpenTelemetryHook
from anylifespan.instrumentation.prometheus import PrometheusHook
from anylifespan.instrumentation.structlog import StructlogHook
from anylifespan.testing import asgi_client

pytestmark = pytest.mark.anyio

crashes = app(receives, started, sleeps(1), raises(Boom("boom")))
fails = app(receives, sends("lifespan.startup.failed", "no database"))


@pytest.fixture(autouse=True)
def _no_hooks_afterwards() -> Iterator[None]:
    yield
    set_hooks(None)


async def drive(application: Any) -> BaseException | None:
    try:
        async with LifespanManager(application, startup_timeout=5):
            await anyio.sleep(2)
    except LifespanError as exc:
        return exc
    return None


def test_the_snippets_of_the_page(log: Any) -> None:
    """Each of them sets hooks, which raise nothing."""
    page = (Path(__file__).parents[1] / "docs" / "instrumentation.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(snippets) == 5
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in snippets:
        exec(snippet, names)
        assert anyio.run(drive, well_behaved) is None
    assert log.records == []


class Telemetry:
    """What OpenTelemetry gets.

    :param batch: whether it is kept until somebody asks for it
    """

    def __init__(self, *, batch: bool = False) -> None:
        self._spans = InMemorySpanExporter()
        self._logs = InMemoryLogRecordExporter()
        self.tracer_provider = TracerProvider()
        self.logger_provider = LoggerProvider()
        if batch:
            self.tracer_provider.add_span_processor(
                BatchSpanProcessor(self._spans, schedule_delay_millis=600_000)
            )
            self.logger_provider.add_log_record_processor(
                BatchLogRecordProcessor(self._logs, schedule_delay_millis=600_000)
            )
        else:
            self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
            self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

    def set_hook(self, **options: Any) -> None:
        hook = OpenTelemetryHook(
            tracer_provider=self.tracer_provider, logger_provider=self.logger_provider, **options
        )
        set_hooks([hook])

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._spans.get_finished_spans()}

    @property
    def crashes(self) -> list[Any]:
        return [one.log_record for one in self._logs.get_finished_logs()]


@pytest.fixture
def telemetry() -> Telemetry:
    telemetry = Telemetry()
    telemetry.set_hook()
    return telemetry


@pytest.fixture
def traced(telemetry: Telemetry) -> Starlette:
    """An application with spans of its own."""
    tracer = telemetry.tracer_provider.get_tracer("app")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        with tracer.start_as_current_span("connect"):
            await anyio.sleep(3)
        yield
        with tracer.start_as_current_span("disconnect"):
            await anyio.sleep(1)

    async def hello(request: Any) -> PlainTextResponse:
        with tracer.start_as_current_span("query"):
            return PlainTextResponse("hello")

    return Starlette(routes=[Route("/", hello)], lifespan=lifespan)


async def test_one_span_for_each_phase(
    telemetry: Telemetry, traced: Starlette, anyio_backend_name: str
) -> None:
    async with asgi_client(traced) as client:
        assert list(telemetry.spans) == ["connect", "lifespan startup"]
        assert (await client.get("/")).text == "hello"
    spans = telemetry.spans
    assert list(spans)[2:] == ["query", "disconnect", "lifespan shutdown"]
    for inner, outer in [("connect", "lifespan startup"), ("disconnect", "lifespan shutdown")]:
        assert spans[inner].parent == spans[outer].context
        assert spans[outer].parent is None
        assert spans[outer].status.is_unset
        assert spans[outer].attributes == {
            "lifespan.application": "starlette.applications.Starlette",
            "lifespan.backend": anyio_backend_name,
            "lifespan.number": spans["lifespan startup"].attributes["lifespan.number"],
            "lifespan.outcome": "complete",
        }
    assert spans["query"].parent is None


async def test_a_span_has_the_callers_as_its_parent(telemetry: Telemetry) -> None:
    tracer = telemetry.tracer_provider.get_tracer("caller")
    with tracer.start_as_current_span("serve") as serve:
        await drive(well_behaved)
        assert trace.get_current_span() is serve
    spans = telemetry.spans
    assert spans["lifespan startup"].parent == serve.get_span_context()
    assert spans["lifespan shutdown"].parent == serve.get_span_context()


async def test_a_request_keeps_the_servers_span(telemetry: Telemetry, traced: Starlette) -> None:
    """As an instrumented server has it, around the application."""
    tracer = telemetry.tracer_provider.get_tracer("server")
    async with asgi_client(traced) as client:
        with tracer.start_as_current_span("request") as request:
            await client.get("/")
    assert telemetry.spans["query"].parent == request.get_span_context()


@pytest.mark.parametrize(
    ("application", "outcome"), [(fails, "failed"), (app(hangs), "timeout")], ids=["fails", "hangs"]
)
async def test_a_failure_is_an_error_of_the_span(
    telemetry: Telemetry, application: Any, outcome: str
) -> None:
    error = await drive(application)
    (span,) = telemetry.spans.values()
    assert span.attributes["lifespan.outcome"] == outcome
    assert (span.status.status_code, span.status.description) == (
        trace.StatusCode.ERROR,
        str(error),
    )
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == f"anylifespan.errors.{type(error).__name__}"
    if outcome == "timeout":
        assert span.attributes["lifespan.where"].endswith("in hangs: await anyio.sleep_forever()")


async def test_a_cancelled_startup_is_an_error_without_an_exception(telemetry: Telemetry) -> None:
    with anyio.move_on_after(1):
        await drive(app(receives, hangs))
    (span,) = telemetry.spans.values()
    assert (span.status.description, span.events) == ("cancelled", ())


async def test_an_application_without_a_lifespan_is_no_error(telemetry: Telemetry) -> None:
    await drive(app())
    (span,) = telemetry.spans.values()
    assert span.status.is_unset
    assert span.attributes["lifespan.outcome"] == "unsupported"


async def test_a_crash_is_a_fatal_event(telemetry: Telemetry) -> None:
    error = await drive(crashes)
    (record,) = telemetry.crashes
    assert (record.event_name, record.severity_text) == ("lifespan.crash", "FATAL")
    assert record.severity_number.name == "FATAL"
    assert record.body == str(error)
    assert record.attributes["lifespan.outcome"] == "crashed"
    assert record.attributes["exception.message"] == str(error)
    assert list(telemetry.spans) == ["lifespan startup"]


@pytest.mark.parametrize("application", [well_behaved, crashes, fails])
@pytest.mark.parametrize("timeout", [5, 0])
async def test_what_is_kept_is_exported_in_the_end(application: Any, timeout: float) -> None:
    """The process may end by a signal, and nothing else would export it then."""
    telemetry = Telemetry(batch=True)
    telemetry.set_hook(flush_timeout=timeout)
    await drive(application)
    exported = [*telemetry.spans, *telemetry.crashes]
    assert bool(exported) == bool(timeout)
    telemetry.tracer_provider.shutdown()
    telemetry.logger_provider.shutdown()


@pytest.mark.parametrize(
    ("timeout", "milliseconds"), [(2, 2_000), (0.5, 500), (math.inf, 3_600_000)]
)
async def test_it_is_exported_once_when_the_whole_is_over(
    timeout: float, milliseconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[int] = []
    telemetry = Telemetry()
    for provider in (telemetry.tracer_provider, telemetry.logger_provider):
        monkeypatch.setattr(provider, "force_flush", exported.append)
    telemetry.set_hook(flush_timeout=timeout)
    async with LifespanManager(combine(well_behaved, well_behaved)):
        assert exported == []
    assert exported == [milliseconds, milliseconds]


async def test_the_global_providers_are_the_default() -> None:
    """They do nothing where OpenTelemetry has not been set up."""
    set_hooks([OpenTelemetryHook()])
    assert isinstance(await drive(crashes), LifespanError)


@pytest.mark.parametrize(("timeout", "error"), [("5", TypeError), (-1, ValueError)])
def test_an_odd_flush_timeout(timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="flush_timeout must be"):
        OpenTelemetryHook(flush_timeout=timeout)


async def test_structlog(anyio_backend_name: str) -> None:
    with structlog.testing.capture_logs() as events:
        set_hooks([StructlogHook()])
        error = await drive(crashes)
    number = events[0].pop("number")
    facts = {"application": "apps.app.<locals>.application", "backend": anyio_backend_name}
    assert events.pop(0) == {
        "event": "lifespan.startup.begins",
        "log_level": "info",
        **facts,
    }
    assert [event.pop("seconds") for event in events] == pytest.approx([0, 1], abs=1e-3)
    assert events == [
        {
            "event": "lifespan.startup.complete",
            "log_level": "info",
            "number": number,
            **facts,
        },
        {
            "event": "lifespan.serving.crashed",
            "log_level": "critical",
            "number": number,
            "exc_info": error,
            **facts,
        },
    ]


async def test_structlog_with_a_logger_of_ones_own() -> None:
    with structlog.testing.capture_logs() as events:
        set_hooks([StructlogHook(structlog.get_logger().bind(service="shop"))])
        await drive(well_behaved)
    assert {event["service"] for event in events} == {"shop"}


async def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "anylifespan.events")
    set_hooks([LoggingHook()])
    error = await drive(app(hangs))
    begins, ends = [one for one in caplog.records if one.name == "anylifespan.events"]
    assert (begins.getMessage(), begins.levelname) == ("lifespan.startup.begins", "INFO")
    assert not hasattr(begins, "lifespan.seconds")
    assert (ends.getMessage(), ends.levelname) == ("lifespan.startup.timeout", "ERROR")
    assert vars(ends)["lifespan.seconds"] == pytest.approx(5, abs=1e-3)
    assert vars(ends)["lifespan.application"] == "apps.app.<locals>.application"
    assert vars(ends)["lifespan.number"] == vars(begins)["lifespan.number"]
    assert vars(ends)["lifespan.where"].endswith("in hangs: await anyio.sleep_forever()")
    assert ends.exc_info is not None
    assert ends.exc_info[1] is error


async def test_logging_of_parts(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("shop")
    caplog.set_level(logging.INFO, "shop")
    set_hooks([LoggingHook(logger)])
    await drive(LifespanMiddleware(well_behaved))
    numbers = {vars(one)["lifespan.application"]: vars(one) for one in caplog.records}
    whole = numbers["anylifespan.middleware.LifespanMiddleware"]
    part = numbers["apps.app.<locals>.application"]
    assert part["lifespan.part_of"] == whole["lifespan.number"] != part["lifespan.number"]
    assert "lifespan.part_of" not in whole


async def test_prometheus(anyio_backend_name: str) -> None:
    registry = CollectorRegistry()
    set_hooks([PrometheusHook(registry)])
    labels = {"application": "apps.app.<locals>.application", "backend": anyio_backend_name}

    def value(name: str, **more: str) -> float | None:
        return registry.get_sample_value(f"anylifespan_{name}", {**labels, **more})

    await drive(app(receives, sleeps(3), started, receives, sleeps(1)))
    assert value("startup_seconds") == pytest.approx(3)
    assert value("shutdown_seconds") == pytest.approx(1)
    await drive(crashes)
    await drive(fails)
    counted = {
        (phase, outcome): value("phases_total", phase=phase, outcome=outcome)
        for phase in ("startup", "serving", "shutdown")
        for outcome in ("complete", "failed", "crashed")
    }
    assert {case: number for case, number in counted.items() if number} == {
        ("startup", "complete"): 2,
        ("startup", "failed"): 1,
        ("serving", "crashed"): 1,
        ("shutdown", "complete"): 1,
    }


def test_prometheus_twice_in_one_registry() -> None:
    registry = CollectorRegistry()
    PrometheusHook(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusHook(registry)
