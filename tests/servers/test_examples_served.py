"""The examples that are about servers, served."""

from __future__ import annotations

import signal
import socket
import sys

import httpx
import pytest
from processes import LIMIT, running
from released_servers import SERVERS, Server


@pytest.mark.parametrize("name", ["daphne", "uvicorn"])
def test_django_has_its_lifespan_run(name: str) -> None:
    """Under a server that sends none, too."""
    server = SERVERS[name]
    if not server.installed:
        pytest.skip(f"{server.package} is not installed")
    with running(server, "examples.django_with_lifespan:app") as process:
        process.wait_listening()
        answer = httpx.get(f"http://127.0.0.1:{process.port}/prices/tea", timeout=LIMIT)
        assert answer.json() == {"price": 3}
        process.signal(signal.SIGTERM)
        status = process.wait_ended(LIMIT)
    assert status in (0, -signal.SIGTERM)
    assert "Traceback" not in "\n".join(process.output)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_tiny_server_with_a_framework(backend: str) -> None:
    """As its first lines say."""
    options = ["{app}", "--port", "{port}", "--backend", backend]
    command = [sys.executable, "-m", "examples.tiny_server", *options]
    with running(Server("h11", command), "examples.bookshop:app") as process:
        process.wait_for("Serving on")
        with socket.create_connection(("127.0.0.1", process.port), LIMIT) as connection:
            connection.sendall(b"what is this?\r\n\r\n")
            assert connection.recv(1) == b""  # nobody else is concerned
        with httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=LIMIT) as client:
            books = {book["title"]: book for book in client.get("/books").json()}
            sold = client.post(f"/books/{books['Solaris']['id']}/sell")
            assert (sold.status_code, sold.json()["copies"]) == (200, 0)
            assert client.post("/books/1/nonsense", content=bytes(2**20)).status_code == 404
        process.signal(signal.SIGTERM)
        status = process.wait_ended(LIMIT)
    assert (status, process.output[1:]) == (0, [])
