"""Requests to a Starlette application that Uvicorn serves, with the middleware and without.

Each server is a process of its own, and they take turns: a short burst each. A burst is sent at
once, through one connection, so that the server has no pause and the client next to nothing to do.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from socket import AF_INET, create_server

import anyio
from anyio.abc import SocketStream
from interleaved import Values, seconds_in_rounds

HERE = Path(__file__).parent
SERVED = {
    "without the middleware": "alone",
    "with the middleware": "with_middleware",
    "with the middleware and drain_timeout": "with_drain",
}
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"Hello, world!"
BURST = 50


async def measure(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds for one request."""
    async with AsyncExitStack() as stack:
        contestants: dict[str, Callable[[], Awaitable[object]]] = {}
        for name, attribute in SERVED.items():
            port = stack.enter_context(_served(attribute, backend))
            stream = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
            length = await _length_of_a_response(stream)
            contestants[name] = partial(_burst, stream, length * BURST)
        rounds, calls = (3, 2) if quick else (100, 2)
        bursts = await seconds_in_rounds(contestants, rounds=rounds, calls=calls)
    return {
        "a request under Uvicorn": {
            name: [seconds / BURST for seconds in values] for name, values in bursts.items()
        }
    }


@contextmanager
def _served(attribute: str, backend: str) -> Iterator[int]:
    """A server; its port."""
    with create_server(("127.0.0.1", 0), family=AF_INET, backlog=16) as socket:
        command = [sys.executable, "-m", "uvicorn", f"served_applications:{attribute}"]
        command += ["--fd", str(socket.fileno()), "--loop", backend, "--http", "h11"]
        command += ["--log-level", "error", "--no-access-log", "--app-dir", str(HERE)]
        process = subprocess.Popen(command, pass_fds=[socket.fileno()])
        try:
            yield socket.getsockname()[1]
        finally:
            process.terminate()
            process.wait()


async def _length_of_a_response(stream: SocketStream) -> int:
    await stream.send(REQUEST)
    response = b""
    with anyio.fail_after(10):
        while not response.endswith(BODY):
            response += await stream.receive()
    return len(response)


async def _burst(stream: SocketStream, length: int) -> None:
    """Send the requests, and read their responses."""
    await stream.send(REQUEST * BURST)
    while length > 0:
        length -= len(await stream.receive())
