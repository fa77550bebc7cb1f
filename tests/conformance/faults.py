"""One fault for each case: what makes a server, or a driver, fail it, and nothing else required.

Run as a command, it is the tiny server with the fault that ``--fault`` names. Most faults are in
what stands between the server and the application, so drivers can have them, too.
"""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from tiny_server import HOST, Application, Server, Supervisor, main

from anylifespan import LifespanManager, Phase, StartupFailed, StartupTimeout

T = TypeVar("T", bound=type)

APPLICATIONS: dict[str, type[Application]] = {}
SERVERS: dict[str, type[Server]] = {}
SUPERVISORS: dict[str, type[Supervisor]] = {}
DRIVERS: dict[str, Any] = {}
_KINDS = {Application: APPLICATIONS, Server: SERVERS, Supervisor: SUPERVISORS}


def fails(name: str) -> Callable[[T], T]:
    """Say which case the fault fails."""

    def register(fault: T) -> T:
        for kind, faults in _KINDS.items():
            if issubclass(fault, kind):
                assert name not in faults
                faults[name] = fault
        return fault

    return register


def fails_as_driver(name: str) -> Callable[[T], T]:
    def register(driver: T) -> T:
        DRIVERS[name] = asynccontextmanager(driver)
        return driver

    return register


class Faulty(Application):
    """Passes on what the subclasses change."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.events: list[str] = []
        self.sent: list[str] = []

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        async def note_received() -> Any:
            event = await self.receive(receive)
            self.events.append(event["type"])
            return event

        async def note_sent(message: Any) -> None:
            self.sent.append(message["type"])
            await self.send(message, send)

        await self.run(self.scope(scope), note_received, note_sent)

    def scope(self, scope: Any) -> Any:
        return scope

    async def receive(self, receive: Any) -> Any:
        return await receive()

    async def send(self, message: Any, send: Any) -> None:
        await send(message)

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    @property
    def last(self) -> str:
        return self.sent[-1] if self.sent else ""

    @property
    def is_serving(self) -> bool:
        return self.last == "lifespan.startup.complete" and len(self.events) == 1


# The lifespan and its scope


@fails("lifespan.runs")
class NeverRuns(Server):
    def __init__(self, app: Any, port: int, mode: Any) -> None:
        super().__init__(app, port, "off")


@fails("lifespan.once")
class RunsTwice(Server):
    second: LifespanManager | None = None

    async def accept_until_stop(self) -> None:
        if self.manager.supported and not self.given.is_one_of_many:
            self.second = LifespanManager(self.given)
            await self.second.startup()
        await super().accept_until_stop()

    async def drain(self) -> None:
        await super().drain()
        if self.second is not None:
            await self.second.shutdown()


@fails("lifespan.same-event-loop")
class ElsewhereRuns(Faulty):
    async def request(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/third":
            await self.app(scope, receive, send)
            return
        messages: list[Any] = []

        async def keep(message: Any) -> None:
            messages.append(message)

        await anyio.to_thread.run_sync(anyio.run, self.app, scope, receive, keep)
        for message in messages:
            await send(message)


@fails("lifespan.two-events")
class AThirdEvent(Faulty):
    async def receive(self, receive: Any) -> Any:
        if self.is_serving:
            return {"type": "lifespan.ping"}
        return await receive()

    async def send(self, message: Any, send: Any) -> None:
        if message["type"] != "lifespan.ping.complete":
            await send(message)


@fails("lifespan.scope-type")
class AnotherType(Faulty):
    def scope(self, scope: Any) -> Any:
        return {**scope, "type": "lifetime"}


@fails("lifespan.scope-asgi-version")
class NoVersion(Faulty):
    def scope(self, scope: Any) -> Any:
        return {**scope, "asgi": {"spec_version": "2.0"}}


@fails("lifespan.scope-spec-version")
class VersionOfHTTP(Faulty):
    def scope(self, scope: Any) -> Any:
        return {**scope, "asgi": {"version": "3.0", "spec_version": "2.5"}}


@fails("lifespan.context-variables")
class OwnContext(Server):
    async def call(self, scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = self.manager.state.copy()
        await self.given(scope, receive, send)


def _version_of_requests(kind: str, **asgi: str) -> type[Application]:
    class AnotherVersion(Application):
        async def request(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == kind:
                scope["asgi"] |= asgi
            await self.app(scope, receive, send)

    return AnotherVersion


fails("requests.http-asgi-version")(_version_of_requests("http", version="2.0"))
fails("requests.http-spec-version")(_version_of_requests("http", spec_version="3.0"))
fails("requests.websocket-asgi-version")(_version_of_requests("websocket", version="2.0"))
fails("requests.websocket-spec-version")(_version_of_requests("websocket", spec_version="3.0"))


# Startup


@fails("startup.event")
class AnotherEvent(Faulty):
    async def receive(self, receive: Any) -> Any:
        event = await receive()
        return event if self.events else {**event, "type": "lifespan.start"}


@fails("startup.complete-before-requests")
class ServesEarly(Server):
    """If the startup takes long: otherwise it would also serve before a startup that fails."""

    async def drive_lifespan(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.serve_early)
            await super().drive_lifespan()
            group.cancel_scope.cancel()

    async def serve_early(self) -> None:
        with anyio.CancelScope() as self.early:
            await anyio.sleep(0.3)
            listener = await self.listen()
            await listener.serve(self.handle, self.tasks)

    async def accept_until_stop(self) -> None:
        self.early.cancel()
        await anyio.lowlevel.checkpoint()
        await super().accept_until_stop()

    async def call(self, scope: Any, receive: Any, send: Any) -> None:
        app = self.given if self.manager.phase is Phase.STARTING else self.manager.app
        await app(scope, receive, send)


@fails("startup.is-waited-for")
class Impatient(Server):
    startup_timeout = 0.4

    def report(self, error: BaseException) -> None:
        if isinstance(error, StartupTimeout):
            print("Gave up")
        else:
            super().report(error)


@fails("startup.refuses-connections")
class ListensEarly(Server):
    async def drive_lifespan(self) -> None:
        await self.listen()
        await super().drive_lifespan()


@fails("startup.failed-is-fatal")
class IgnoresFailures(Application):
    """Serves although the startup has failed, in some cases of it."""

    def ignores(self, error: Exception | None) -> bool:
        return error is None and not self.is_one_of_many

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        held: list[Any] = []

        async def hold(message: Any) -> None:
            is_failure = message["type"] == "lifespan.startup.failed"
            if is_failure and isinstance(message.get("message"), str):
                held.append(message)
            else:
                await send(message)

        error = None
        try:
            await self.app(scope, receive, hold)
        except Exception as exc:
            error = exc
        if held and self.ignores(error):
            print(held[0]["message"], flush=True)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        if held:
            await send(held[0])
        if error is not None:
            raise error


@fails("startup.failed-then-raises")
class IgnoresFailuresThatRaise(IgnoresFailures):
    def ignores(self, error: Exception | None) -> bool:
        return error is not None


@fails("startup.failed-then-lingers")
class WaitsForFailures(IgnoresFailures):
    def ignores(self, error: Exception | None) -> bool:
        return False


def _without_message(kind: str) -> type[Application]:
    class LosesMessages(Faulty):
        async def send(self, message: Any, send: Any) -> None:
            if message["type"] == kind and isinstance(message.get("message"), str):
                message = {"type": kind}
            await send(message)

    return LosesMessages


def _needs_message(kind: str) -> type[Application]:
    class NeedsMessages(Faulty):
        async def send(self, message: Any, send: Any) -> None:
            if message["type"] == kind:
                message["message"]
            await send(message)

    return NeedsMessages


fails("startup.failed-message-is-logged")(_without_message("lifespan.startup.failed"))
fails("startup.failed-without-message")(_needs_message("lifespan.startup.failed"))


def _status(raised: type[BaseException] | None, status: int) -> type[Server]:
    class AnotherStatus(Server):
        def status_after(self, error: BaseException | None) -> int:
            is_it = error is None if raised is None else isinstance(error, raised)
            return status if is_it else super().status_after(error)

    return AnotherStatus


fails("startup.failed-exit-status")(_status(StartupFailed, 0))


# Applications without a lifespan


class FailsInstead(Faulty):
    """Takes what ends the application in its startup for a startup that failed."""

    def is_meant(self, error: BaseException | None) -> bool:
        raise NotImplementedError

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        error: BaseException | None = None
        try:
            await self.app(scope, receive, send)
        except Exception as exc:
            error = exc
        if self.is_meant(error):
            await send({"type": "lifespan.startup.failed", "message": f"it has none: {error}"})
        elif error is not None:
            raise error


@fails("unsupported.raises-at-once")
class NoRaiseAtOnce(FailsInstead):
    def is_meant(self, error: BaseException | None) -> bool:
        return error is not None and not self.events and not self.sent


@fails("unsupported.raises-at-startup")
class NoRaiseAtStartup(FailsInstead):
    def is_meant(self, error: BaseException | None) -> bool:
        return error is not None and bool(self.events) and not self.sent


@fails("unsupported.returns-at-once")
class NoReturnAtOnce(FailsInstead):
    def is_meant(self, error: BaseException | None) -> bool:
        return error is None and not self.events and not self.sent


@fails("unsupported.returns-at-startup")
class NoReturnAtStartup(FailsInstead):
    def is_meant(self, error: BaseException | None) -> bool:
        return error is None and bool(self.events) and not self.sent


@fails("unsupported.answers-as-http")
class NoHTTP(Faulty):
    async def send(self, message: Any, send: Any) -> None:
        if message["type"].startswith("http."):
            message = {"type": "lifespan.startup.failed", "message": "it answers HTTP"}
        await send(message)


@fails("unsupported.no-more-events")
class TriesAgain(Faulty):
    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            if not self.events:
                await self.app(scope, receive, send)
            raise


@fails("unsupported.raise-is-logged")
class SwallowsRaises(Faulty):
    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        with suppress(ValueError):
            await self.app(scope, receive, send)


@fails("unsupported.stops")
class FailsAtTheEnd(Server):
    def status_after(self, error: BaseException | None) -> int:
        return 1 if self.manager.supported is False else super().status_after(error)


# The state


class StateOfRequests(Faulty):
    """Changes the state of requests."""

    async def request(self, scope: Any, receive: Any, send: Any) -> None:
        state = scope["state"]
        self.before(scope, state)
        known = set(state)
        try:
            await self.app(scope, receive, send)
        finally:
            self.after(scope, {key: state[key] for key in state.keys() - known})

    def before(self, scope: Any, state: dict[str, Any]) -> None:
        pass

    def after(self, scope: Any, added: dict[str, Any]) -> None:
        pass


@fails("state.offered")
class NoState(Faulty):
    def scope(self, scope: Any) -> Any:
        return {key: value for key, value in scope.items() if key != "state"}


@fails("state.empty-at-first")
class FullAtFirst(StateOfRequests):
    def scope(self, scope: Any) -> Any:
        scope["state"]["started"] = 1
        return scope

    def before(self, scope: Any, state: dict[str, Any]) -> None:
        state.pop("started", None)


@fails("state.in-requests")
class NoStateInRequests(StateOfRequests):
    def before(self, scope: Any, state: dict[str, Any]) -> None:
        if scope["type"] == "http":
            state.clear()


@fails("state.in-websockets")
class NoStateInWebSockets(StateOfRequests):
    def before(self, scope: Any, state: dict[str, Any]) -> None:
        if scope["type"] == "websocket":
            state.clear()


@fails("state.same-objects")
class DeepCopies(StateOfRequests):
    def before(self, scope: Any, state: dict[str, Any]) -> None:
        if not self.is_one_of_many:
            state.update(copy.deepcopy(state))


@fails("state.copied-for-each-connection")
class KeptForOthers(StateOfRequests):
    """What a request added is seen by the next connection, but not by its own."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.kept: dict[str, tuple[Any, Any]] = {}

    def before(self, scope: Any, state: dict[str, Any]) -> None:
        for key, (client, value) in self.kept.items():
            if scope["client"] != client:
                state[key] = value

    def after(self, scope: Any, added: dict[str, Any]) -> None:
        if scope["type"] == "http":
            self.kept |= {key: (scope["client"], value) for key, value in added.items()}


@fails("state.copied-for-each-request")
class OfTheConnection(StateOfRequests):
    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.kept: dict[Any, dict[str, Any]] = {}

    def before(self, scope: Any, state: dict[str, Any]) -> None:
        state |= self.kept.get(scope["client"], {})

    def after(self, scope: Any, added: dict[str, Any]) -> None:
        self.kept.setdefault(scope["client"], {}).update(added)


@fails("state.copied-for-each-websocket")
class KeptOfWebSockets(StateOfRequests):
    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.kept: dict[str, Any] = {}

    def before(self, scope: Any, state: dict[str, Any]) -> None:
        state |= self.kept

    def after(self, scope: Any, added: dict[str, Any]) -> None:
        if scope["type"] == "websocket":
            self.kept |= added


@fails("state.not-shared-with-the-lifespan")
class BackToTheLifespan(StateOfRequests):
    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.kept: dict[str, Any] = {}
        self.of_lifespan: dict[str, Any] = {}

    def scope(self, scope: Any) -> Any:
        self.of_lifespan = scope["state"]
        return scope

    async def receive(self, receive: Any) -> Any:
        event = await receive()
        if event["type"] == "lifespan.shutdown":
            self.of_lifespan |= self.kept
        return event

    def after(self, scope: Any, added: dict[str, Any]) -> None:
        self.kept |= added


@fails("state.left-alone")
class PutsItsOwn(StateOfRequests):
    def before(self, scope: Any, state: dict[str, Any]) -> None:
        state["server"] = "tiny"


@fails("state.added-while-serving")
class CopiedOnce(StateOfRequests):
    def before(self, scope: Any, state: dict[str, Any]) -> None:
        state.pop("later", None)


# Messages


@fails("messages.unknown-type-is-refused")
class TakesUnknownTypes(Faulty):
    async def send(self, message: Any, send: Any) -> None:
        if message["type"] != "lifespan.startup.nonsense":
            await send(message)


@fails("messages.wrong-python-type-is-refused")
class TakesWrongTypes(Faulty):
    async def send(self, message: Any, send: Any) -> None:
        if "message" in message:
            message = {**message, "message": str(message["message"])}
        await send(message)


@fails("messages.additional-keys-are-allowed")
class RefusesAdditionalKeys(Faulty):
    async def send(self, message: Any, send: Any) -> None:
        if "since" in message:
            raise KeyError("since")
        await send(message)


@fails("messages.repeated-is-refused")
class TakesRepeated(Faulty):
    async def send(self, message: Any, send: Any) -> None:
        if self.sent.count(message["type"]) == 1:
            await send(message)


@fails("messages.unasked-is-refused")
class TakesUnasked(Faulty):
    async def send(self, message: Any, send: Any) -> None:
        if self.sent[0] != "lifespan.shutdown.complete" or len(self.sent) > 1:
            await send(message)


@fails("messages.refused-is-no-end")
class RefusesAllAfterOne(Faulty):
    has_refused = False

    async def send(self, message: Any, send: Any) -> None:
        if self.has_refused:
            raise RuntimeError("something has been refused before")
        try:
            await send(message)
        except Exception:
            self.has_refused = True
            raise


# While it serves


class HandlesCrashes(Faulty):
    """Does something else when the lifespan raises while requests are served."""

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            if not self.is_serving:
                raise
            await self.crash(receive, send)

    async def crash(self, receive: Any, send: Any) -> None:
        traceback.print_exc()
        await receive()


@fails("crash.ends-the-server")
class ServesOn(HandlesCrashes):
    pass


@fails("crash.is-logged")
class CrashesSilently(HandlesCrashes):
    async def crash(self, receive: Any, send: Any) -> None:
        os._exit(1)


@fails("crash.exit-status")
class CrashesWell(HandlesCrashes):
    async def crash(self, receive: Any, send: Any) -> None:
        traceback.print_exc()
        os._exit(0)


@fails("crash.by-an-unasked-failure")
class IgnoresUnaskedFailures(Faulty):
    async def send(self, message: Any, send: Any) -> None:
        if message["type"] != "lifespan.shutdown.failed" or len(self.events) > 1:
            await send(message)


@fails("serving.after-the-lifespan-returned")
class NeedsTheLifespan(Faulty):
    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
        if self.is_serving:
            raise RuntimeError("it has returned")


@fails("serving.stops-after-the-lifespan-returned")
class FailsAfterReturn(Faulty):
    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
        if self.is_serving:
            await receive()
            raise RuntimeError("it has returned")


# Shutdown


class _Stop(Exception):
    pass


@fails("shutdown.event")
class NoEvent(Faulty):
    async def receive(self, receive: Any) -> Any:
        event = await receive()
        if event["type"] == "lifespan.shutdown" and not self.is_one_of_many:
            raise _Stop
        return event

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        with suppress(_Stop):
            await self.app(scope, receive, send)


@fails("shutdown.is-waited-for")
class DoesNotWait(Faulty):
    """For a shutdown that takes longer than a moment."""

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        with anyio.CancelScope() as limit:

            async def receive_and_hurry() -> Any:
                event = await receive()
                if event["type"] == "lifespan.shutdown":
                    limit.deadline = anyio.current_time() + 0.1
                return event

            await self.app(scope, receive_and_hurry, send)


class EndsNot(Server):
    """Does not end after a shutdown of some kind."""

    def is_meant(self, error: BaseException | None) -> bool:
        raise NotImplementedError

    def status_after(self, error: BaseException | None) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while self.is_meant(error):
            signal.pause()
        return super().status_after(error)


@fails("shutdown.ends-it")
class EndsNotAfterComplete(EndsNot):
    def is_meant(self, error: BaseException | None) -> bool:
        return error is None and self.manager.supported is True


class EndsNotAfterError(EndsNot):
    says = ""

    def is_meant(self, error: BaseException | None) -> bool:
        return self.says in str(error) if error is not None else False


@fails("shutdown.failed-ends-it")
class EndsNotAfterFailed(EndsNotAfterError):
    says = "failed to shut down: conformance"


@fails("shutdown.raise-ends-it")
class EndsNotAfterRaise(EndsNotAfterError):
    says = "ValueError"


fails("shutdown.is-a-success")(_status(None, 1))
fails("shutdown.failed-message-is-logged")(_without_message("lifespan.shutdown.failed"))
fails("shutdown.failed-without-message")(_needs_message("lifespan.shutdown.failed"))


@fails("shutdown.failed-is-a-failure")
class FailsWell(Server):
    def status_after(self, error: BaseException | None) -> int:
        return 0


@fails("shutdown.waits-for-the-application")
class CutsAfterComplete(Faulty):
    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        with anyio.CancelScope() as scope_of_app:

            async def send_and_cut(message: Any) -> None:
                await send(message)
                if message["type"] == "lifespan.shutdown.complete":
                    scope_of_app.cancel()

            await self.app(scope, receive, send_and_cut)


@fails("shutdown.after-accepting-connections")
class AcceptsInTheShutdown(Server):
    async def accept_until_stop(self) -> None:
        listener = await self.listen()
        self.tasks.start_soon(listener.serve, self.handle, self.tasks)
        await self.stopping.wait()

    async def call(self, scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = self.manager.state.copy()
        await self.given(scope, receive, send)


class DrainsLater(Server):
    """Waits for some connections after the shutdown only."""

    def is_later(self, connection: Any) -> bool:
        raise NotImplementedError

    async def drain(self) -> None:
        self.later = {one for one in self.connections if self.is_later(one)}
        self.connections -= self.later
        await super().drain()

    async def after_the_shutdown(self) -> None:
        # One that has ended meanwhile does no harm: there are no others any more.
        self.connections |= {one for one in self.later if not one.is_over}
        await super().drain()


@fails("shutdown.after-the-last-request")
class DrainsRequestsLater(DrainsLater):
    def is_later(self, connection: Any) -> bool:
        return connection.websocket is None and not connection.is_idle


@fails("shutdown.after-the-last-websocket")
class DrainsWebSocketsLater(DrainsLater):
    def is_later(self, connection: Any) -> bool:
        return connection.websocket is not None


class CutsRequests(Server):
    async def drain(self) -> None:
        for connection in self.connections:
            connection.scope.cancel()
        await super().drain()


fails("shutdown.answers-the-last-request")(CutsRequests)


class WaitsForEver(Server):
    """Waits for connections of some kind without a limit."""

    def is_meant(self, connection: Any) -> bool:
        raise NotImplementedError

    async def drain(self) -> None:
        while any(self.is_meant(one) for one in self.connections):  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.01)
        await super().drain()


@fails("shutdown.with-an-idle-connection")
class WaitsForIdle(WaitsForEver):
    def is_meant(self, connection: Any) -> bool:
        return connection.is_idle


@fails("shutdown.with-an-open-websocket")
class WaitsForWebSockets(WaitsForEver):
    def is_meant(self, connection: Any) -> bool:
        return connection.websocket is not None


@fails("shutdown.with-an-open-stream")
class WaitsForStreams(WaitsForEver):
    def is_meant(self, connection: Any) -> bool:
        return connection.path == "/stream"


@fails("shutdown.raise-is-logged")
class SwallowsRaisesInShutdown(Faulty):
    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except ValueError:
            if "lifespan.shutdown" not in self.events:
                raise


@fails("shutdown.return-ends-it")
class WaitsForTheWord(Faulty):
    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
        if "lifespan.shutdown" in self.events and not self.last.startswith("lifespan.shutdown"):
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()


@fails("shutdown.ends-an-endless-loop")
class LetsItWait(Faulty):
    async def receive(self, receive: Any) -> Any:
        if self.last == "lifespan.shutdown.complete":
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()
        return await receive()


@fails("shutdown.once")
class AsksAgain(Faulty):
    async def receive(self, receive: Any) -> Any:
        if self.events.count("lifespan.shutdown") == 1 and self.last.endswith("shutdown.complete"):
            return {"type": "lifespan.shutdown"}
        return await receive()

    async def send(self, message: Any, send: Any) -> None:
        if self.sent.count("lifespan.shutdown.complete") < 2:
            await send(message)


# Signals


@fails("signal.sigint-stops")
class EndsAtOnce(Server):
    def at_signal(self, number: int, scope: anyio.CancelScope) -> None:
        if number == signal.SIGINT and self.manager.phase is Phase.SERVING:
            os._exit(0)
        super().at_signal(number, scope)


def _deaf_in_startup(deaf_to: int) -> type[Server]:
    class Deaf(Server):
        def at_signal(self, number: int, scope: anyio.CancelScope) -> None:
            if number != deaf_to or self.manager.phase is not Phase.STARTING:
                super().at_signal(number, scope)

    return Deaf


fails("signal.sigint-in-hung-startup")(_deaf_in_startup(signal.SIGINT))
fails("signal.sigterm-in-hung-startup")(_deaf_in_startup(signal.SIGTERM))


@fails("signal.sigint-in-hung-shutdown")
class WaitsForTheShutdown(Server):
    shutdown_timeout = 60.0


@fails("signal.leaves-no-process")
class LeavesAProcess(Server):
    async def run(self) -> None:
        subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220
        await super().run()


# Several workers


@fails("workers.lifespan-in-each")
class OneLifespan(Supervisor):
    """The other workers rely on that of the first one, and start when it serves."""

    def start(self, number: int) -> None:
        if number == 0:
            super().start(number)
        elif self.serves():
            self.workers.append(subprocess.Popen([*self.command, "--mode", "off"]))

    def serves(self) -> bool:
        port = int(self.command[3])
        with suppress(OSError), socket.create_connection((HOST, port)):
            return True
        return False


@fails("workers.shutdown-in-each")
class KillsOne(Supervisor):
    def stop(self) -> None:
        if self.workers:
            self.workers[0].kill()
        super().stop()


@fails("workers.state-of-their-own")
class StateOfAnother(StateOfRequests):
    def before(self, scope: Any, state: dict[str, Any]) -> None:
        if self.is_one_of_many and "object" in state:
            state["object"] = object()


@fails("workers.failed-startup-is-fatal")
class StartsForEver(Supervisor):
    def has_ended(self, worker: Any) -> None:
        pass


@fails("workers.crash-is-noticed")
class WorkerServesOn(HandlesCrashes):
    async def crash(self, receive: Any, send: Any) -> None:
        if not self.is_one_of_many:
            raise
        await super().crash(receive, send)


# Callers of drivers


def _manager(app: Any) -> LifespanManager:
    return LifespanManager(app, startup_timeout=3, shutdown_timeout=3)


@fails_as_driver("crash.cancels-the-body")
async def without_supervision(app: Any) -> Any:
    manager = _manager(app)
    await manager.startup()
    try:
        yield manager
    finally:
        await manager.shutdown()


def _without_shutdown_after(errors: Callable[[], type[BaseException]]) -> Any:
    async def driver(app: Any) -> Any:
        has_failed = False

        async def deaf(scope: Any, receive: Any, send: Any) -> None:
            async def receive_unless_failed() -> Any:
                event = await receive()
                if has_failed:
                    await anyio.sleep_forever()
                return event

            is_lifespan = scope["type"] == "lifespan"
            await app(scope, receive_unless_failed if is_lifespan else receive, send)

        async with LifespanManager(deaf, shutdown_timeout=0.2) as manager:
            try:
                yield manager
            except errors():
                has_failed = True
                raise

    return driver


fails_as_driver("caller.error-in-the-body-runs-the-shutdown")(
    _without_shutdown_after(lambda: ValueError)
)
fails_as_driver("caller.cancelled-in-the-body")(
    _without_shutdown_after(anyio.get_cancelled_exc_class)
)


@fails_as_driver("caller.error-in-the-body-is-raised")
async def wraps_errors(app: Any) -> Any:
    try:
        async with _manager(app) as manager:
            yield manager
    except ValueError as exc:
        raise RuntimeError("the body failed") from exc


@fails_as_driver("caller.cancelled-in-startup")
async def leaves_it_running(app: Any) -> Any:
    """On asyncio, where tasks can be left."""
    manager = _manager(app)
    await asyncio.shield(asyncio.create_task(manager.startup()))
    try:
        yield manager
    finally:
        await manager.shutdown()


if __name__ == "__main__":
    name = sys.argv[sys.argv.index("--fault") + 1] if "--fault" in sys.argv else ""
    main(
        APPLICATIONS.get(name, Application),
        SERVERS.get(name, Server),
        SUPERVISORS.get(name, Supervisor),
    )
