"""What a server is put through: the scenarios of the kit, and a few of the same kind.

The cases of the kit judge what each application may expect. These are also about what this library
promises beyond it: limits of time, places in the log, requests under load.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import httpx
from load import Load
from released_servers import Server
from websockets.exceptions import InvalidHandshake

from anylifespan.conformance import _scenarios
from anylifespan.conformance._client import connection_to
from anylifespan.conformance._play import play as play_by_command
from anylifespan.conformance._process import Processes
from anylifespan.conformance._record import Record
from anylifespan.conformance._scenario import Scenario
from anylifespan.conformance._server import Server as Running

# Seconds that a server gets to end, after which it counts as hanging.
PATIENCE = 8.0
# Seconds in which one worker after another crashes, and from one crash to the next.
STORM, CALM = 5.0, 0.5
# Seconds that a startup blocks the event loop: longer than its limit, and than a watchdog waits.
BLOCKS = 1.7
# Seconds for the startup and the shutdown; an hour stands for no limit.
TIMEOUT, WITHOUT_LIMIT = 1.0, 3600.0
# Seconds for open requests at the stop.
DRAIN = 2.0
# Seconds that slow requests go on at the stop.
SLOW = 0.6


def _does_not_start(server: Running) -> None:
    """Wait until the server gives up; the middleware answers if the server sends no lifespan."""
    _scenarios.wait_called(server)
    begun = time.monotonic()
    server.get("/first", "/second")
    if server.record.answers["/first"] is None:
        server.wait_ended()
        server.record.seen["seconds"] = time.monotonic() - begun
    else:
        server.stop()


def _stop_under_load(server: Running) -> None:
    def act() -> None:
        server.signal(signal.SIGTERM)
        let_slow_requests_end(server)
        server.wait_ended()

    _under_load(server, act)


def _crash_under_load(server: Running) -> None:
    def starts() -> int:
        return len(server.noted("lifespan"))

    def act() -> None:
        before = starts()
        server.set("crash")
        let_slow_requests_end(server)
        server.wait_until(lambda: starts() > before)
        if server.has_ended:
            server.wait_ended()
            return
        asked = len(server.noted("request", path="/quick"))
        server.wait_until(lambda: len(server.noted("request", path="/quick")) > asked)
        server.stop()  # or the requests to other workers would never end

    _under_load(server, act)


def let_slow_requests_end(server: Running) -> None:
    server.wait_until(lambda: False, SLOW)
    server.set("answer")


def _under_load(server: Running, act: Callable[[], object]) -> None:
    load = Load(server)
    try:
        load.across(act)
    except (httpx.HTTPError, InvalidHandshake) as exc:
        server.record.broken_off = repr(exc)
    server.record.seen["load"] = load.counted


def _crash_again_and_again(server: Running) -> None:
    until = time.monotonic() + STORM
    while time.monotonic() < until and not server.has_ended:
        server.set("crash")
        server.wait_until(lambda: False, CALM)
    if server.has_ended:
        server.wait_ended()
    else:
        server.stop()


def _stop_with_thread(server: Running) -> None:
    with closing(connection_to(server.port, PATIENCE)) as connection:
        connection.request("GET", "/thread")
        server.wait_noted("thread")
        server.signal(signal.SIGTERM)
        server.wait_until(lambda: shutdowns(server))


HANGS_IN_STARTUP = Scenario("hangs in startup", early=_does_not_start)
BLOCKS_IN_STARTUP = Scenario("behaves well", play=_scenarios.ask_once)
HANGS_IN_SHUTDOWN = Scenario("hangs in shutdown", play=Running.stop)
STOPS_UNDER_LOAD = Scenario("behaves well", play=_stop_under_load)
CRASHES_UNDER_LOAD = Scenario("crashes", play=_crash_under_load)


def _when_both_have_started(scenario: Scenario) -> Scenario:
    return replace(scenario, early=_scenarios.wait_for_both, workers=2)


SCENARIOS = {
    "behaves well": _scenarios.WELL,
    "hangs in startup": HANGS_IN_STARTUP,
    "is interrupted in startup": _scenarios.INTERRUPTED_IN_STARTUP,
    "is terminated in startup": _scenarios.TERMINATED_IN_STARTUP,
    "blocks in startup": BLOCKS_IN_STARTUP,
    "fails to start": _scenarios.FAILS,
    "crashes": _scenarios.CRASHES,
    "hangs in shutdown": HANGS_IN_SHUTDOWN,
    "stops with a stream": _scenarios.STOPS_WITH_STREAM,
    "stops with a WebSocket": _scenarios.STOPS_WITH_WEBSOCKET,
    "stops with a slow request": _scenarios.STOPS_WITH_REQUEST,
    "stops under load": STOPS_UNDER_LOAD,
    "crashes under load": CRASHES_UNDER_LOAD,
}
# For several workers, under each supervisor.
OF_WORKERS = {
    "two stop with a stream": _when_both_have_started(_scenarios.STOPS_WITH_STREAM),
    "one of two crashes under load": _when_both_have_started(CRASHES_UNDER_LOAD),
    "each crashes again and again": Scenario("crashes", play=_crash_again_and_again, workers=2),
}
_EVERY = {
    **SCENARIOS,
    **OF_WORKERS,
    "is terminated while it is imported": Scenario("hangs in startup", early=Running.wait_ended),
    "stops with a request in a thread": Scenario("behaves well", play=_stop_with_thread),
    "two behave well": _scenarios.WORKERS,
    "two fail to start": _scenarios.WORKERS_FAIL,
}
_ENVIRONMENT = {
    "STARTUP_TIMEOUT": f"{TIMEOUT}",
    "SHUTDOWN_TIMEOUT": f"{TIMEOUT}",
    "DRAIN_TIMEOUT": f"{DRAIN}",
}
# What is different in a scenario.
_ENVIRONMENTS = {
    "is terminated in startup": {"STARTUP_TIMEOUT": f"{WITHOUT_LIMIT}"},
    "is terminated while it is imported": {
        "STARTUP_TIMEOUT": f"{WITHOUT_LIMIT}",
        "TERMINATED": "1",
    },
    "blocks in startup": {"BLOCKS": f"{BLOCKS}"},
    "stops with a request in a thread": {"DRAIN_TIMEOUT": "0"},
}
STOPS_WITH_REQUESTS = (
    "stops with a stream",
    "stops with a WebSocket",
    "stops with a slow request",
    "stops under load",
)
WITH_REQUESTS = (*STOPS_WITH_REQUESTS, "crashes under load")


def play(server: Server, target: str, name: str) -> Record:
    """Put a server through a scenario.

    :param target: what it serves: ``"around:app"`` under the middleware, ``"around:bare"`` without
    :param name: the name of the scenario
    """
    environment = _ENVIRONMENT | _ENVIRONMENTS.get(name, {})
    command = server.around(target, **environment).command
    return play_by_command(command, _EVERY[name], PATIENCE, Processes())


def shutdowns(seen: Record | Running) -> int:
    """Count the shutdowns that the application has completed."""
    return len(seen.noted("sent", type="lifespan.shutdown.complete"))
