"""Cases about the application's shutdown."""

from __future__ import annotations

from .._application import FAILURE
from .._case import (
    Source,
    Strength,
    answered,
    case,
    ends,
    expect,
    lifespan_spec,
    nothing_is_refused,
    row,
    served,
    stopped,
    with_websocket,
)
from .._record import Record
from .._scenarios import (
    CLEANS_UP,
    FAILS_TO_STOP,
    FAILS_TO_STOP_WITHOUT_MESSAGE,
    RAISES_IN_SHUTDOWN,
    RECEIVES_FOR_EVER,
    RETURNS_IN_SHUTDOWN,
    STOPS_SLOWLY,
    STOPS_WITH_IDLE_CONNECTION,
    STOPS_WITH_REQUEST,
    STOPS_WITH_STREAM,
    STOPS_WITH_WEBSOCKET,
    WELL,
)

REQUIRED, ADVISED, _ = Strength
RECEIVE = lifespan_spec("Shutdown - receive event")
COMPLETE = lifespan_spec("Shutdown Complete - send event", "must")
FAILED = lifespan_spec("Shutdown Failed - send event", "should")
STREAMS = Source("asked for in asgiref #588, uvicorn #451, granian #796, hypercorn #308")


@case("shutdown.event", REQUIRED, RECEIVE, WELL)
def event(record: Record) -> None:
    """When the server or driver stops, the application receives {"type": "lifespan.shutdown"}."""
    served(record)
    expect(record.was_asked_to_shut_down, f"it received {record.events[1:] or 'nothing'}")


@case("shutdown.is-waited-for", REQUIRED, COMPLETE, STOPS_SLOWLY)
def is_waited_for(record: Record) -> None:
    """The server or driver waits until the application sends shutdown.complete."""
    stopped(record)
    expect(record.sent("lifespan.shutdown.complete"), f"it did not: {_how_it_left(record)}")


@case("shutdown.ends-it", REQUIRED, COMPLETE, WELL)
def ends_it(record: Record) -> None:
    """After shutdown.complete, the server or driver exits."""
    stopped(record)
    ends(record)


@case("shutdown.is-a-success", ADVISED, row(10), WELL)
def is_a_success(record: Record) -> None:
    """After shutdown.complete, a server exits with status 0 or with the status of the signal that
    stopped it, and a driver does not raise."""
    stopped(record)
    expect(not record.failed, f"it {record.how}")


@case("shutdown.waits-for-the-application", ADVISED, row(15), CLEANS_UP)
def waits_for_the_application(record: Record) -> None:
    """After shutdown.complete, the application still has time to return."""
    stopped(record)
    expect(record.noted("cleaned up"), f"it has not: {_how_it_left(record)}")


@case("shutdown.after-accepting-connections", REQUIRED, RECEIVE, STOPS_SLOWLY, drivers=False)
def after_accepting_connections(record: Record) -> None:
    """Once the application has received lifespan.shutdown, no new request is processed."""
    stopped(record)
    expect(not record.noted("request", path="/late"), "one was")


@case("shutdown.after-the-last-request", REQUIRED, RECEIVE, STOPS_WITH_REQUEST)
def after_the_last_request(record: Record) -> None:
    """The application receives lifespan.shutdown only after the last HTTP request has finished."""
    stopped(record)
    _came_after(record, "request is over", path="/slow")


@case("shutdown.after-the-last-websocket", REQUIRED, RECEIVE, STOPS_WITH_WEBSOCKET)
def after_the_last_websocket(record: Record) -> None:
    """The application receives lifespan.shutdown only after the last WebSocket has been closed."""
    with_websocket(record)
    stopped(record)
    _came_after(record, "websocket is over", path="/socket")


@case("shutdown.answers-the-last-request", ADVISED, Source("a graceful stop"), STOPS_WITH_REQUEST)
def answers_the_last_request(record: Record) -> None:
    """A request that stays open for one more second after the server is asked to stop is still
    answered."""
    answered(record)
    answer = record.answers.get("/slow")
    expect(answer == 200, f"it was not ({record.seen.get('broken', answer)})")


@case(
    "shutdown.with-an-idle-connection",
    ADVISED,
    Source("a graceful stop"),
    STOPS_WITH_IDLE_CONNECTION,
)
def with_an_idle_connection(record: Record) -> None:
    """A connection without a request does not keep the server from stopping."""
    _stops(record)


@case("shutdown.with-an-open-websocket", ADVISED, STREAMS, STOPS_WITH_WEBSOCKET)
def with_an_open_websocket(record: Record) -> None:
    """A WebSocket that the client leaves open does not keep the server from stopping."""
    with_websocket(record)
    _stops(record)


@case("shutdown.with-an-open-stream", ADVISED, STREAMS, STOPS_WITH_STREAM)
def with_an_open_stream(record: Record) -> None:
    """A response that never ends does not keep the server from stopping."""
    _stops(record)


@case("shutdown.failed-message-is-logged", REQUIRED, FAILED, FAILS_TO_STOP)
def failed_message_is_logged(record: Record) -> None:
    """The message of shutdown.failed is logged, printed or raised."""
    stopped(record)
    expect(FAILURE in record.output, f"{FAILURE!r} was nowhere in its output")


@case("shutdown.failed-ends-it", REQUIRED, FAILED, FAILS_TO_STOP)
def failed_ends_it(record: Record) -> None:
    """After shutdown.failed, the server or driver exits."""
    stopped(record)
    ends(record)


@case("shutdown.failed-is-a-failure", ADVISED, row(11), FAILS_TO_STOP)
def failed_is_a_failure(record: Record) -> None:
    """After shutdown.failed, a server's exit status indicates a failure, and a driver raises."""
    stopped(record)
    expect(record.failed, f"it {record.how}")


@case("shutdown.failed-without-message", REQUIRED, FAILED, FAILS_TO_STOP_WITHOUT_MESSAGE)
def failed_without_message(record: Record) -> None:
    """send() accepts shutdown.failed without a message, and the server or driver exits."""
    stopped(record)
    nothing_is_refused(record)
    ends(record)


@case("shutdown.raise-ends-it", ADVISED, row(12), RAISES_IN_SHUTDOWN)
def raise_ends_it(record: Record) -> None:
    """If the application raises during its shutdown, the server or driver exits."""
    stopped(record)
    ends(record)


@case("shutdown.raise-is-logged", ADVISED, row(12), RAISES_IN_SHUTDOWN)
def raise_is_logged(record: Record) -> None:
    """An exception that the application raises during its shutdown is logged, printed or raised."""
    stopped(record)
    expect(FAILURE in record.output, "nothing of it was in the output")


@case("shutdown.return-ends-it", ADVISED, row(13), RETURNS_IN_SHUTDOWN)
def return_ends_it(record: Record) -> None:
    """If the application returns from its shutdown without sending shutdown.complete, the server or
    driver exits."""
    stopped(record)
    ends(record)


@case("shutdown.ends-an-endless-loop", ADVISED, row(16), RECEIVES_FOR_EVER)
def ends_an_endless_loop(record: Record) -> None:
    """If the application calls receive() again after shutdown.complete, the server or driver still
    exits."""
    stopped(record)
    ends(record)


@case("shutdown.once", ADVISED, row(16), RECEIVES_FOR_EVER)
def once(record: Record) -> None:
    """The application receives lifespan.shutdown only once, even if it calls receive() again."""
    stopped(record)
    times = record.events.count("lifespan.shutdown")
    expect(times == 1, f"it received it {times} times")


def _how_it_left(record: Record) -> str:
    left = record.noted("left")
    return f"the application was left with {left[0]['how']}" if left else "the process was gone"


def _came_after(record: Record, what: str, **details: str) -> None:
    over = record.position(what, **details)
    asked = record.position("received", event={"type": "lifespan.shutdown"})
    expect(
        over is not None and asked is not None and over < asked,
        "it received it while one was open",
    )


def _stops(record: Record) -> None:
    answered(record)
    ends(record)
    if record.lifespans:
        expect(record.sent("lifespan.shutdown.complete"), "it ended without a shutdown")
