"""Cases about the lifespan call, and about the scopes of the lifespan and of requests."""

from __future__ import annotations

from .._case import (
    Source,
    Strength,
    answered,
    asgi_spec,
    called,
    case,
    expect,
    http_spec,
    lifespan_spec,
    served,
    with_websocket,
)
from .._record import Record
from .._scenarios import WELL

REQUIRED, ADVISED, _ = Strength


@case("lifespan.runs", REQUIRED, lifespan_spec("Lifespan Protocol", "should"), WELL)
def runs(record: Record) -> None:
    """The application is called with the lifespan scope."""
    if not record.lifespans:
        answered(record)
    expect(record.lifespans, "the application was never called with the lifespan scope")


@case("lifespan.once", REQUIRED, lifespan_spec("Lifespan Protocol", "should"), WELL)
def once(record: Record) -> None:
    """The lifespan is run once per event loop, however many requests there are."""
    served(record)
    expect(len(record.lifespans) == 1, f"the lifespan was run {len(record.lifespans)} times")


@case("lifespan.same-event-loop", REQUIRED, lifespan_spec("Lifespan Protocol"), WELL)
def same_event_loop(record: Record) -> None:
    """Requests are run in the same event loop as the lifespan."""
    served(record)
    elsewhere = [note["path"] for note in record.noted("request") if not note["same_loop"]]
    expect(not elsewhere, f"these were run in another event loop: {', '.join(elsewhere)}")


@case("lifespan.two-events", REQUIRED, lifespan_spec("Lifespan Protocol"), WELL)
def two_events(record: Record) -> None:
    """While requests are served, the lifespan receives no events other than lifespan.startup and
    lifespan.shutdown."""
    served(record)
    known = ("lifespan.startup", "lifespan.shutdown")
    # The first event has a case of its own.
    others = [event for event in record.events[1:] if event not in known]
    expect(not others, f"it received {', '.join(map(repr, others))}")


@case("lifespan.scope-type", REQUIRED, lifespan_spec("Scope"), WELL)
def scope_type(record: Record) -> None:
    """The type of the scope is "lifespan"."""
    called(record)
    types = {note["type"] for note in record.lifespans}
    expect(types == {"lifespan"}, f"it was {', '.join(map(repr, types))}")


@case("lifespan.scope-asgi-version", REQUIRED, asgi_spec("Connection Scope"), WELL)
def scope_asgi_version(record: Record) -> None:
    """scope["asgi"]["version"] is the version of ASGI, "3.0"."""
    called(record)
    asgi = record.lifespans[0]["asgi"]
    expect(isinstance(asgi, dict) and asgi.get("version") == "3.0", f'scope["asgi"] was {asgi!r}')


@case("lifespan.scope-spec-version", REQUIRED, lifespan_spec("Scope"), WELL)
def scope_spec_version(record: Record) -> None:
    """scope["asgi"]["spec_version"] is a version of the lifespan protocol ("1.0" or "2.0"), or is
    missing."""
    called(record)
    asgi = record.lifespans[0]["asgi"]
    version = asgi.get("spec_version", "1.0") if isinstance(asgi, dict) else None
    expect(asgi is None or version in ("1.0", "2.0"), f"it was {version!r}")


@case(
    "lifespan.context-variables", ADVISED, Source("anylifespan, docs/semantics.md, Requests"), WELL
)
def context_variables(record: Record) -> None:
    """Requests see the context variables that the lifespan set during its startup."""
    served(record)
    unseen = [note["path"] for note in record.noted("request") if not note["variable"]]
    expect(not unseen, f"they are not seen by {', '.join(unseen)}")


@case(
    "requests.http-asgi-version", REQUIRED, http_spec("HTTP Connection Scope"), WELL, drivers=False
)
def http_asgi_version(record: Record) -> None:
    """In the scope of an HTTP request, scope["asgi"]["version"] is "3.0"."""
    answered(record)
    _has_version(record, "request")


@case(
    "requests.http-spec-version", REQUIRED, http_spec("HTTP Connection Scope"), WELL, drivers=False
)
def http_spec_version(record: Record) -> None:
    """In the scope of an HTTP request, scope["asgi"]["spec_version"] is a version of the ASGI HTTP
    protocol ("2.0" to "2.5"), or is missing."""
    answered(record)
    _has_spec_version(record, "request")


@case(
    "requests.websocket-asgi-version",
    REQUIRED,
    http_spec("WebSocket Connection Scope"),
    WELL,
    drivers=False,
)
def websocket_asgi_version(record: Record) -> None:
    """In the scope of a WebSocket, scope["asgi"]["version"] is "3.0"."""
    with_websocket(record)
    _has_version(record, "websocket")


@case(
    "requests.websocket-spec-version",
    REQUIRED,
    http_spec("WebSocket Connection Scope"),
    WELL,
    drivers=False,
)
def websocket_spec_version(record: Record) -> None:
    """In the scope of a WebSocket, scope["asgi"]["spec_version"] is a version of the ASGI
    WebSocket protocol ("2.0" to "2.5"), or is missing."""
    with_websocket(record)
    _has_spec_version(record, "websocket")


def _has_version(record: Record, what: str) -> None:
    for note in record.noted(what):
        asgi = note["asgi"]
        found = isinstance(asgi, dict) and asgi.get("version") == "3.0"
        expect(found, f'for {note["path"]}, scope["asgi"] was {asgi!r}')


def _has_spec_version(record: Record, what: str) -> None:
    known = [f"2.{minor}" for minor in range(6)]
    for note in record.noted(what):
        asgi = note["asgi"]
        version = asgi.get("spec_version", "2.0") if isinstance(asgi, dict) else "2.0"
        expect(version in known, f"for {note['path']}, it was {version!r}")
