"""The application that all cases use, in plain ASGI without dependencies, for asyncio and trio.

A server imports a copy of this file, so the file must work on its own, in whatever environment the
server has. The application's behaviour is chosen by name. Where the kit decides when the
application continues, the application waits for a flag. The application writes a note about
everything that happens to it.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

TICK = 0.01  # seconds between two looks at a flag
FAILURE = "conformance: the database is down"
CRASH = "conformance: the connection was lost"

variable: ContextVar[str] = ContextVar("variable", default="")


class Files:
    """Notes and flags in a directory that all of a server's workers share."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def note(self, what: str, **details: Any) -> None:
        line = json.dumps({"what": what, "process": os.getpid(), **details}) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        file = os.open(os.path.join(self._directory, "notes"), flags, 0o600)
        try:
            os.write(file, line.encode())  # in one piece, so that two workers do not mix theirs
        finally:
            os.close(file)

    def is_set(self, flag: str) -> bool:
        return os.path.exists(os.path.join(self._directory, flag))

    def take(self, flag: str) -> bool:
        """Clear a flag and return whether it was set, so that only one worker takes the flag."""
        try:
            os.unlink(os.path.join(self._directory, flag))
        except FileNotFoundError:
            return False
        return True


class Application:
    """An ASGI 3 application whose lifespan has one of several behaviours.

    :param behaviour: a key of :data:`LIFESPANS`
    :param files: the application's notes and flags
    """

    def __init__(self, behaviour: str, files: Any) -> None:
        self._lifespan = LIFESPANS[behaviour]
        self.files = files
        self.loop: Any = None
        self.state: Any = None
        self.object = object()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._http(scope, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._run_lifespan(scope, receive, send)

    async def _run_lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        self.loop = _event_loop()
        state = self.state = scope.get("state")
        keys = sorted(map(repr, state)) if isinstance(state, dict) else repr(state)
        self.files.note(
            "lifespan",
            type=scope.get("type"),
            asgi=_plain(scope.get("asgi")),
            state=keys if "state" in scope else None,
        )
        try:
            await self._lifespan(Lifespan(self, scope, receive, send))
        except BaseException as exc:
            self.files.note("left", how=type(exc).__name__)
            raise
        self.files.note("left", how="returned")

    async def _http(self, scope: Any, send: Any) -> None:
        path = scope["path"]
        self._see("request", scope, path)
        try:
            if path == "/slow":
                while not self.files.is_set("answer"):
                    await sleep(TICK)
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while path == "/stream":
                await send({"type": "http.response.body", "body": b"more\n", "more_body": True})
                await sleep(10 * TICK)
            await send({"type": "http.response.body", "body": b"answered\n"})
        finally:
            self.files.note("request is over", path=path)

    async def _websocket(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        await receive()
        self._see("websocket", scope, path)
        try:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "accepted"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            self.files.note("websocket is over", path=path)

    def _see(self, what: str, scope: Any, path: str) -> None:
        state = scope.get("state")
        self.files.note(
            what,
            path=path,
            asgi=_plain(scope.get("asgi")),
            state=sorted(state) if isinstance(state, dict) else None,
            same_object=isinstance(state, dict) and state.get("object") is self.object,
            same_loop=self.loop is _event_loop(),
            variable=variable.get(),
        )
        if isinstance(state, dict):
            state[f"of {path}"] = True


class Lifespan:
    """A call of the application with the lifespan scope, which records all events and messages."""

    def __init__(self, app: Application, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.files = app.files
        self._app = app
        self._receive = receive
        self._send = send

    async def receive(self) -> Any:
        event = await self._receive()
        self.files.note("received", event=_plain(event))
        return event

    async def send(self, kind: str, **more: Any) -> None:
        self.files.note("sent", type=kind)
        try:
            await self._send({"type": kind, **more})
        except BaseException as exc:
            self.files.note("refused", type=kind, error=type(exc).__name__)
            raise

    async def try_to_send(self, kind: str, **more: Any) -> None:
        """Send a message that the server should refuse, and continue if the server does so."""
        with suppress(Exception):  # it was noted
            await self.send(kind, **more)

    async def until(self, flag: str) -> None:
        while not self.files.is_set(flag):
            await sleep(TICK)

    async def start(self) -> None:
        await self.receive()
        variable.set("set in the startup")
        if isinstance(self._app.state, dict):
            self._app.state["object"] = self._app.object
        await self.send("lifespan.startup.complete")

    async def receive_shutdown(self) -> None:
        """Receive events until the shutdown event arrives."""
        while await self.receive() != {"type": "lifespan.shutdown"}:
            pass

    async def stop(self) -> None:
        await self.receive_shutdown()
        if isinstance(self._app.state, dict):
            self.files.note("state in the shutdown", state=sorted(map(str, self._app.state)))
        await self.send("lifespan.shutdown.complete")


async def behaves_well(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.stop()


async def starts_slowly(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.until("go")
    await lifespan.send("lifespan.startup.complete")
    await lifespan.stop()


async def hangs_in_startup(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.until("never")


async def fails_to_start(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.send("lifespan.startup.failed", message=FAILURE)


async def fails_to_start_without_a_message(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.send("lifespan.startup.failed")


async def fails_to_start_and_raises(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.send("lifespan.startup.failed", message=FAILURE)
    raise ValueError(FAILURE)


async def fails_to_start_and_lingers(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.send("lifespan.startup.failed", message=FAILURE)
    await lifespan.until("never")


async def raises_at_once(lifespan: Lifespan) -> None:
    raise ValueError(FAILURE)


async def raises_at_startup(lifespan: Lifespan) -> None:
    await lifespan.receive()
    raise ValueError(FAILURE)


async def returns_at_once(lifespan: Lifespan) -> None:
    pass


async def returns_at_startup(lifespan: Lifespan) -> None:
    await lifespan.receive()


async def answers_as_if_it_were_http(lifespan: Lifespan) -> None:
    await lifespan.send("http.response.start", status=404, headers=[])
    await lifespan.send("http.response.body", body=b"")


async def sends_an_unknown_message(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.try_to_send("lifespan.startup.nonsense")
    await lifespan.send("lifespan.startup.complete")
    await lifespan.stop()


async def sends_a_message_that_is_no_string(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.try_to_send("lifespan.startup.failed", message=42)


async def sends_additional_keys(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.send("lifespan.startup.complete", since=42)
    await lifespan.receive_shutdown()
    await lifespan.send("lifespan.shutdown.complete", since=42)


async def repeats_that_it_has_started(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.try_to_send("lifespan.startup.complete")
    await lifespan.stop()


async def completes_the_shutdown_unasked(lifespan: Lifespan) -> None:
    await lifespan.receive()
    await lifespan.try_to_send("lifespan.shutdown.complete")
    await lifespan.send("lifespan.startup.complete")
    await lifespan.stop()


async def adds_to_the_state_while_serving(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.until("add")
    if isinstance(lifespan.scope.get("state"), dict):
        lifespan.scope["state"]["later"] = True
    lifespan.files.note("added")
    await lifespan.stop()


async def crashes(lifespan: Lifespan) -> None:
    await lifespan.start()
    while not lifespan.files.take("crash"):
        await sleep(TICK)
    raise ValueError(CRASH)


async def fails_unasked(lifespan: Lifespan) -> None:
    await lifespan.start()
    while not lifespan.files.take("crash"):
        await sleep(TICK)
    await lifespan.send("lifespan.shutdown.failed", message=CRASH)


async def returns_while_serving(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.until("return")


async def stops_slowly(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.receive_shutdown()
    await lifespan.until("stop")
    await lifespan.send("lifespan.shutdown.complete")


async def cleans_up_after_its_shutdown(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.stop()
    await sleep(0.5)
    lifespan.files.note("cleaned up")


async def fails_to_stop(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.receive_shutdown()
    await lifespan.send("lifespan.shutdown.failed", message=FAILURE)


async def fails_to_stop_without_a_message(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.receive_shutdown()
    await lifespan.send("lifespan.shutdown.failed")


async def raises_in_shutdown(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.receive_shutdown()
    raise ValueError(FAILURE)


async def returns_in_shutdown(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.receive_shutdown()


async def receives_for_ever(lifespan: Lifespan) -> None:
    while True:
        event = await lifespan.receive()
        await lifespan.send(f"{event['type']}.complete")


async def hangs_in_shutdown(lifespan: Lifespan) -> None:
    await lifespan.start()
    await lifespan.receive_shutdown()
    await lifespan.until("never")


LIFESPANS = {
    function.__name__.replace("_", " "): function
    for function in (
        behaves_well,
        starts_slowly,
        hangs_in_startup,
        fails_to_start,
        fails_to_start_without_a_message,
        fails_to_start_and_raises,
        fails_to_start_and_lingers,
        raises_at_once,
        raises_at_startup,
        returns_at_once,
        returns_at_startup,
        answers_as_if_it_were_http,
        sends_an_unknown_message,
        sends_a_message_that_is_no_string,
        sends_additional_keys,
        repeats_that_it_has_started,
        completes_the_shutdown_unasked,
        adds_to_the_state_while_serving,
        crashes,
        fails_unasked,
        returns_while_serving,
        stops_slowly,
        cleans_up_after_its_shutdown,
        fails_to_stop,
        fails_to_stop_without_a_message,
        raises_in_shutdown,
        returns_in_shutdown,
        receives_for_ever,
        hangs_in_shutdown,
    )
}


async def sleep(seconds: float) -> None:
    await _backend().sleep(seconds)


def _backend() -> Any:
    """Return the library whose event loop is running."""
    trio = sys.modules.get("trio")
    if trio is not None and _is_run_by(trio):
        return trio
    import asyncio

    return asyncio


def _is_run_by(trio: Any) -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def _event_loop() -> Any:
    """Return an object that identifies the running event loop.

    An id would not be enough, because another event loop may have the same id later.
    """
    backend = _backend()
    if backend.__name__ == "trio":
        return backend.lowlevel.current_trio_token()
    return backend.get_running_loop()


def _plain(value: Any) -> Any:
    """Return a value in a form that JSON can represent."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
