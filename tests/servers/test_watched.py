"""Health and a start in the background, as somebody sees them who asks a server all the time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import httpx
import pytest
from released_servers import SERVERS, Server
from scenarios import let_slow_requests_end, shutdowns

from anylifespan.conformance._process import LIMIT, Processes
from anylifespan.conformance._server import Server as Running

pytestmark = pytest.mark.processes

PATHS = ("/", "/live", "/ready")
RATE = 50  # requests a second
REFUSED = 0


# One of each kind; all in the session "exhaustive", since they run no other lines of the library.
ALWAYS = ("uvicorn", "hypercorn, trio", "daphne")
MORE = [pytest.mark.exhaustive, pytest.mark.exhaustible]


@pytest.fixture(
    params=[pytest.param(name, marks=[] if name in ALWAYS else MORE) for name in SERVERS]
)
def server(request: pytest.FixtureRequest) -> Server:
    server = SERVERS[request.param]
    if not server.installed:
        pytest.skip(f"{server.package} is not installed")
    return server


class Watch:
    """Asks for each path, again and again.

    :ivar answers: by path, the statuses one after another
    """

    def __init__(self, running: Running) -> None:
        self._url = f"http://127.0.0.1:{running.port}"
        self.answers: dict[str, list[int]] = {path: [] for path in PATHS}

    def until(self, is_over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT
        with httpx.Client(base_url=self._url, timeout=LIMIT) as client:
            while not is_over() and time.monotonic() < deadline:
                for path in PATHS:
                    self.answers[path].append(_status(client, path))
                    time.sleep(1 / RATE)

    def last(self, path: str, status: int, times: int = 1) -> bool:
        """Whether a path has been answered so lately, so often."""
        return self.answers[path][-times:] == [status] * times

    def in_order(self, path: str) -> list[int]:
        """Its statuses, each once, however often it came in a row."""
        return [status for status, _ in groupby(self.answers[path])]


def _status(client: httpx.Client, path: str) -> int:
    try:
        return client.get(path, headers={"connection": "close"}).status_code
    except httpx.HTTPError:
        return REFUSED


@pytest.fixture
def running(server: Server, request: pytest.FixtureRequest) -> Iterator[Running]:
    """The server, which takes connections."""
    command = server.around("around:watched").command
    with Running(command, request.param, patience=LIMIT, among=Processes()) as running:
        running.wait_until(running.takes_connections)
        yield running


@pytest.mark.parametrize("running", ["starts slowly"], indirect=True)
def test_a_start_and_a_stop(server: Server, running: Running) -> None:
    watch = Watch(running)
    watch.until(lambda: watch.last("/", 503, times=15))
    running.set("go")
    watch.until(lambda: watch.last("/", 200, times=15))
    assert watch.in_order("/") == [503, 200]
    assert watch.in_order("/live") == [200]
    assert watch.in_order("/ready") == [503, 200]

    watch = Watch(running)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(httpx.get, f"http://127.0.0.1:{running.port}/slow", timeout=LIMIT)
        running.wait_noted("request", path="/slow")
        running.signal(signal.SIGTERM)
        pool.submit(let_slow_requests_end, running)
        watch.until(lambda: watch.last("/ready", REFUSED))
        if server.knows_lifespan:  # Daphne cancels its requests
            assert slow.result().status_code == 200
    # Most servers take no connection any more; but one that does is not sent more requests.
    assert [one for one in watch.in_order("/ready") if one != 200] in (
        [REFUSED],
        [503, REFUSED],
    )
    assert 200 not in watch.in_order("/ready")[1:]
    running.wait_ended()
    assert running.record.ended
    assert shutdowns(running) == 1


@pytest.mark.parametrize("running", ["crashes"], indirect=True)
def test_a_crash(running: Running) -> None:
    watch = Watch(running)
    watch.until(lambda: watch.last("/ready", 200))
    running.set("crash")
    watch.until(lambda: watch.last("/ready", 503, times=10))
    assert watch.last("/", 200)  # it serves on
    assert watch.in_order("/live") == [200, 503]
    assert watch.in_order("/ready")[-2:] == [200, 503]
