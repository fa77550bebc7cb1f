"""Spans and events for OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from traceback import format_exception
from typing import Any

from opentelemetry import _logs as logs
from opentelemetry import context, trace

from .._core.hooks import LifespanDetails
from .._core.options import check_seconds
from ._fields import facts_of, prefixed

_GOOD = ("complete", "unsupported")


class OpenTelemetryHook:
    """Traces each startup and each shutdown as a span, and reports each crash as an event.

    The spans are ``lifespan startup`` and ``lifespan shutdown``. Each span is current while the
    application runs that phase, so the application's own spans become its children. The span ends
    with the phase: no span stays open while the application is serving, and no span becomes the
    parent of requests. A failure sets the span's status to error, and the exception is recorded. A
    crash is reported as the log record ``lifespan.crash``, with severity FATAL.

    The attributes are ``lifespan.application``, ``lifespan.backend``, ``lifespan.outcome``,
    ``lifespan.number`` (in this process) and, after a timeout, ``lifespan.where``.

    When a lifespan is over, the providers export the data that they still hold. The event loop
    waits for the export, since the process may be about to end, perhaps because of a signal.

    The hook needs opentelemetry-api 1.35 or newer.

    :param tracer_provider: the provider for spans; by default the global one
    :param logger_provider: the provider for events; by default the global one
    :param flush_timeout: seconds that each provider may take to export its data when a lifespan is
        over; 0 to skip the export
    :raises TypeError, ValueError: if ``flush_timeout`` is not a number of seconds
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        logger_provider: logs.LoggerProvider | None = None,
        flush_timeout: float = 5.0,
    ) -> None:
        self._tracer_provider = tracer_provider
        self._logger_provider = logger_provider
        self._flush_timeout = check_seconds("flush_timeout", flush_timeout)
        self._spans: dict[int, trace.Span] = {}  # by the number of the lifespan

    def __call__(self, details: LifespanDetails) -> AbstractContextManager[None] | None:
        if details.phase == "serving" and details.error is not None:
            self._report_crash(details, details.error)
        elif details.outcome is None:
            tracer = trace.get_tracer("anylifespan", tracer_provider=self._tracer_provider)
            span = tracer.start_span(f"lifespan {details.phase}", attributes=_attributes(details))
            self._spans[details.number] = span
            return _current(span)
        else:
            self._end(self._spans.pop(details.number), details)
        is_over = details.phase == "shutdown" or details.outcome != "complete"
        if is_over and details.part_of is None:
            self._flush()
        return None

    def _end(self, span: trace.Span, details: LifespanDetails) -> None:
        span.set_attributes(_attributes(details))
        if details.outcome not in _GOOD:
            span.set_status(trace.StatusCode.ERROR, str(details.error or details.outcome))
        if details.error is not None:
            span.record_exception(details.error)
        span.end()

    def _report_crash(self, details: LifespanDetails, error: BaseException) -> None:
        logger = logs.get_logger("anylifespan", logger_provider=self._logger_provider)
        logger.emit(
            logs.LogRecord(
                event_name="lifespan.crash",
                severity_number=logs.SeverityNumber.FATAL,
                severity_text="FATAL",
                body=str(error),
                attributes={**_attributes(details), **_exception(error)},
            )
        )

    def _flush(self) -> None:
        if not self._flush_timeout:
            return
        for provider in (
            self._tracer_provider or trace.get_tracer_provider(),
            self._logger_provider or logs.get_logger_provider(),
        ):
            flush: Any = getattr(provider, "force_flush", None)  # which the SDK's have
            if flush is not None:
                flush(int(min(self._flush_timeout, 3600) * 1000))


@contextmanager
def _current(span: trace.Span) -> Iterator[None]:
    # No tokens are used, since the block may be left in a different task from the one that entered.
    before = context.get_current()
    context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.attach(before)


def _exception(error: BaseException) -> dict[str, str]:
    """Return an exception's attributes for a log record, following the semantic conventions."""
    return {
        "exception.type": f"{type(error).__module__}.{type(error).__qualname__}",
        "exception.message": str(error),
        "exception.stacktrace": "".join(format_exception(error)),
    }


def _attributes(details: LifespanDetails) -> dict[str, str | int]:
    facts = facts_of(details)
    if details.outcome is not None:
        facts["outcome"] = details.outcome
    return prefixed(facts)
