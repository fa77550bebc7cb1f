"""All scenarios, and the functions that they call with a server or inside a driver's block."""

from __future__ import annotations

import http.client
import signal
from contextlib import closing

from anyio import move_on_after, sleep, sleep_forever

from ._client import connection_to, get
from ._driver import Driven
from ._process import LIMIT
from ._scenario import Scenario
from ._server import Refused, Server

# Seconds to wait for something that should not happen.
MOMENT = 1.0


def _stop(server: Server) -> None:
    server.stop()


async def _nothing(driven: Driven) -> None:
    pass


def _both(behaviour: str) -> Scenario:
    """Return a scenario that starts a server or driver, and stops it if it has started."""
    return Scenario(behaviour, play=_stop, body=_nothing)


# The application behaves well, and there are requests of all kinds.


def _serve(server: Server) -> None:
    server.get("/first", "/second")
    server.get("/third")
    try:
        with server.websocket("/socket") as socket:
            socket.close()
    except Refused as exc:
        server.record.seen["websocket"] = str(exc)
    else:
        server.wait_noted("websocket is over")
    server.get("/last")
    server.stop()


async def _serve_in_driver(driven: Driven) -> None:
    await driven.get("/first", "/second")
    await driven.get("/third")
    await driven.websocket("/socket")
    await driven.get("/last")


WELL = Scenario("behaves well", play=_serve, body=_serve_in_driver)


# Startups


def wait_called(server: Server) -> None:
    """Wait until the application has received an event, or the server answers requests."""

    def is_up() -> bool:
        server.record.came_up = server.answers("/up", MOMENT / 2)
        return server.record.came_up

    server.wait_until(lambda: server.noted("received") or is_up(), LIMIT)


def _ask_too_early(server: Server) -> None:
    wait_called(server)
    server.record.seen["took connections"] = server.takes_connections()
    # A server that ends in the meantime is at fault, too.
    server.wait_until(lambda: server.answers("/early", MOMENT), MOMENT)
    server.set("go")
    server.wait_noted("sent", type="lifespan.startup.complete")


STARTS_SLOWLY = Scenario("starts slowly", early=_ask_too_early, play=_stop, body=_nothing)


def _signalled_in_startup(number: signal.Signals) -> Scenario:
    def play(server: Server) -> None:
        wait_called(server)
        server.signal(number)
        server.wait_ended()

    return Scenario("hangs in startup", early=play)


INTERRUPTED_IN_STARTUP = _signalled_in_startup(signal.SIGINT)
TERMINATED_IN_STARTUP = _signalled_in_startup(signal.SIGTERM)

FAILS = _both("fails to start")
FAILS_WITHOUT_MESSAGE = _both("fails to start without a message")
FAILS_AND_RAISES = _both("fails to start and raises")
FAILS_AND_LINGERS = _both("fails to start and lingers")


# Applications without a lifespan


def ask_once(server: Server) -> None:
    server.get("/")
    server.stop()


async def _ask_once_in_driver(driven: Driven) -> None:
    await driven.get("/")


def _asked(behaviour: str) -> Scenario:
    return Scenario(behaviour, play=ask_once, body=_ask_once_in_driver)


RAISES_AT_ONCE = _asked("raises at once")
RAISES_AT_STARTUP = _asked("raises at startup")
RETURNS_AT_ONCE = _asked("returns at once")
RETURNS_AT_STARTUP = _asked("returns at startup")
ANSWERS_HTTP = _asked("answers as if it were http")

# Messages that applications must not send, and messages that they may send

UNKNOWN_MESSAGE = _asked("sends an unknown message")
WRONG_MESSAGE = _both("sends a message that is no string")
ADDITIONAL_KEYS = _asked("sends additional keys")
STARTED_TWICE = _asked("repeats that it has started")
STOPPED_UNASKED = _asked("completes the shutdown unasked")


# While requests are served


def _add_to_state(server: Server) -> None:
    server.set("add")
    server.wait_noted("added")
    server.get("/later")
    server.stop()


async def _add_to_state_in_driver(driven: Driven) -> None:
    driven.set("add")
    await driven.wait_noted("added")
    await driven.get("/later")


ADDS_TO_STATE = Scenario(
    "adds to the state while serving", play=_add_to_state, body=_add_to_state_in_driver
)


def _crash(server: Server) -> None:
    server.set("crash")
    server.wait_until(lambda: len(server.noted("lifespan")) > 1)
    if server.has_ended:
        server.wait_ended()
    else:
        server.record.how = f"was still running after {server.patience:g} seconds"


async def _crash_in_driver(driven: Driven) -> None:
    driven.set("crash")
    await driven.wait_noted("left")
    with move_on_after(MOMENT):
        await sleep_forever()


CRASHES = Scenario("crashes", play=_crash, body=_crash_in_driver)
FAILS_UNASKED = Scenario("fails unasked", play=_crash, body=_crash_in_driver)


def _return(server: Server) -> None:
    server.set("return")
    server.wait_noted("left")
    server.wait_until(lambda: False, MOMENT / 2)  # as long as it may take to notice
    server.get("/after")
    server.stop()


async def _return_in_driver(driven: Driven) -> None:
    driven.set("return")
    await driven.wait_noted("left")
    await sleep(MOMENT / 2)  # as long as the driver may take to notice
    await driven.get("/after")


RETURNS = Scenario("returns while serving", play=_return, body=_return_in_driver)


# Shutdowns


def _ask_too_late(server: Server) -> None:
    server.signal(signal.SIGTERM)
    server.wait_noted("received", event={"type": "lifespan.shutdown"})
    server.answers("/late", MOMENT)
    server.wait_until(lambda: False, MOMENT / 2)  # that it ends meanwhile is a fault
    server.set("stop")
    server.wait_ended()


STOPS_SLOWLY = Scenario("stops slowly", play=_ask_too_late, body=_nothing)
CLEANS_UP = _both("cleans up after its shutdown")
FAILS_TO_STOP = _both("fails to stop")
FAILS_TO_STOP_WITHOUT_MESSAGE = _both("fails to stop without a message")
RAISES_IN_SHUTDOWN = _both("raises in shutdown")
RETURNS_IN_SHUTDOWN = _both("returns in shutdown")
RECEIVES_FOR_EVER = _both("receives for ever")


def _signal_again(server: Server) -> None:
    server.signal(signal.SIGTERM)
    server.wait_noted("received", event={"type": "lifespan.shutdown"})
    for _ in range(3):
        server.signal(signal.SIGINT)
        server.wait_until(lambda: False, MOMENT)
    server.wait_ended()


HANGS_IN_SHUTDOWN = Scenario("hangs in shutdown", play=_signal_again)


def _interrupt(server: Server) -> None:
    server.signal(signal.SIGINT)
    server.wait_ended()


INTERRUPTED = Scenario("behaves well", play=_interrupt)


# Shutdowns with an open request, connection or WebSocket


def _stop_with_request(server: Server) -> None:
    with closing(connection_to(server.port, server.patience)) as connection:
        connection.request("GET", "/slow")
        server.wait_noted("request", path="/slow")
        server.signal(signal.SIGTERM)
        server.wait_until(lambda: server.was_asked_to_shut_down, MOMENT)
        server.set("answer")
        try:
            server.record.answers["/slow"] = connection.getresponse().status
        except (OSError, http.client.HTTPException) as exc:
            server.record.seen["broken"] = repr(exc)
    server.wait_ended()


def _stop_with_stream(server: Server) -> None:
    with closing(connection_to(server.port, server.patience)) as connection:
        connection.request("GET", "/stream")
        response = connection.getresponse()
        response.read(1)
        server.stop()
        if server.record.ended:
            try:
                response.read()
            except (OSError, http.client.HTTPException) as exc:
                server.record.seen["broken"] = repr(exc)


def _stop_with_idle_connection(server: Server) -> None:
    with closing(connection_to(server.port, server.patience)) as connection:
        get(connection, "/")
        server.stop()


def _stop_with_websocket(server: Server) -> None:
    try:
        socket = server.websocket("/socket")
    except Refused as exc:
        server.record.seen["websocket"] = str(exc)
        server.stop()
        return
    with socket:
        server.signal(signal.SIGTERM)
        server.record.seen["closed with"] = socket.wait_closed()
        server.wait_ended()


STOPS_WITH_REQUEST = Scenario("behaves well", play=_stop_with_request)
STOPS_WITH_STREAM = Scenario("behaves well", play=_stop_with_stream)
STOPS_WITH_IDLE_CONNECTION = Scenario("behaves well", play=_stop_with_idle_connection)
STOPS_WITH_WEBSOCKET = Scenario("behaves well", play=_stop_with_websocket)


# Several workers


def wait_for_both(server: Server) -> None:
    def started() -> int:
        return len(server.noted("sent", type="lifespan.startup.complete"))

    server.wait_until(started, LIMIT)
    server.wait_until(lambda: started() > 1)


def _worker_crashes(server: Server) -> None:
    server.set("crash")
    server.wait_until(lambda: len(server.noted("lifespan")) > 2)
    server.record.seen["ended by itself"] = server.has_ended
    server.stop()


WORKERS = Scenario("behaves well", early=wait_for_both, play=ask_once, workers=2)
WORKERS_FAIL = Scenario("fails to start", play=_stop, workers=2)
WORKER_CRASHES = Scenario("crashes", early=wait_for_both, play=_worker_crashes, workers=2)


# Errors and cancellations in the code that enters a driver

ERROR = ValueError("conformance: the body failed")


async def _raise(driven: Driven) -> None:
    raise ERROR


async def _cancel(driven: Driven) -> None:
    driven.cancel()
    await sleep_forever()


BODY_RAISES = Scenario("behaves well", body=_raise)
CANCELLED_IN_BODY = Scenario("behaves well", body=_cancel)
CANCELLED_IN_STARTUP = Scenario("hangs in startup", body=_nothing, cancelled_after=MOMENT / 2)
