"""The result of the lifespans on one backend, as plain data to send to another process."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from traceback import FrameSummary, StackSummary, walk_tb
from typing import Any

from .. import LifespanError, ShutdownTimeout, StartupTimeout
from .._core.exceptions import describe
from .._core.frames import own_frames, own_traceback, users_frames
from .._diagnosis.leaks import Leak

Place = dict[str, Any]


@dataclass
class Phase:
    """The outcome of a startup or a shutdown.

    :ivar outcome: ``"complete"``, ``"failed"``, ``"timed out"``, ``"blocked"``, ``"crashed"``,
        ``"ended the process"``, ``"unsupported"``, or ``"not run"``
    """

    outcome: str = "not run"
    seconds: float | None = None


@dataclass
class Failure:
    """A description of a lifespan's failure.

    :ivar where: the frames in which the application was waiting or blocked
    :ivar at: the innermost line of the user's own code at which the failure occurred, if any
    """

    error: str
    message: str
    traceback: str | None = None
    where: list[Place] = field(default_factory=list)
    at: Place | None = None

    @classmethod
    def of(cls, raised: BaseException) -> Failure:
        cause = raised.__cause__ if isinstance(raised, LifespanError) else raised
        message = str(raised)
        if cause is raised:
            message = f"the application raised {describe(raised)}"
        stack = where = StackSummary()
        if isinstance(raised, (StartupTimeout, ShutdownTimeout)):
            stack = where = raised.where
        elif cause is not None:
            stack = StackSummary.extract(walk_tb(cause.__traceback__), lookup_lines=False)
        return cls(
            type(raised).__name__,
            message.partition(" It was waiting at:")[0],
            own_traceback(cause) if cause is not None else None,
            _places(own_frames(where)),
            _innermost(stack),
        )

    @classmethod
    def blocked(cls, where: StackSummary) -> Failure:
        return cls(
            "EventLoopBlocked",
            "the application blocks the event loop, so it could not be cancelled; it should "
            "await, or run long calls in a thread.",
            where=_places(own_frames(where)),
            at=_innermost(where),
        )

    @property
    def in_a_line(self) -> str:
        """A description of the failure in one line."""
        text = self.message.partition("\n")[0]
        if self.at is None:
            return text
        return f"{text}, at {self.at['file']}:{self.at['line']} in {self.at['function']}"


@dataclass
class LeftBehind:
    """A leak, and how many times it occurred.

    :ivar times: how many times the leak occurred in all lifespans together
    """

    kind: str
    name: str
    times: int
    where: list[Place]

    @classmethod
    def of(cls, leaks: list[Leak]) -> list[LeftBehind]:
        alike: dict[Any, list[Leak]] = {}
        for leak in leaks:
            alike.setdefault((leak.kind, leak.places or leak.name), []).append(leak)
        return [
            cls(
                first.kind,
                first.name,
                len(rest) + 1,
                [
                    {"file": file, "line": line, "function": name}
                    for file, line, name in first.places
                ],
            )
            for first, *rest in alike.values()
        ]


@dataclass
class Result:
    """The result of the lifespans on one backend, with the phases of the last lifespan.

    :ivar lifespans: how many lifespans were started
    :ivar only_once: why the application cannot be started twice in a process; None if it can be
    :ivar needs: the backends that the application needs, if it may fail on this backend
    :ivar logged: the errors logged in the startup, each with its logger and message
    :ivar held_up: whether the application kept the process from ending, so the process was killed
    :ivar profile: for each phase, the lines where the last lifespan spent its time
    """

    backend: str
    lifespans: int = 0
    startup: Phase = field(default_factory=Phase)
    shutdown: Phase = field(default_factory=Phase)
    supported: bool | None = None
    why_unsupported: str | None = None
    only_once: str | None = None
    needs: str | None = None
    state: list[str] = field(default_factory=list)
    failure: Failure | None = None
    left_behind: list[LeftBehind] | None = None
    logged: list[dict[str, str]] = field(default_factory=list)
    held_up: bool = False
    profile: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether the application ran on this backend, or did not need to."""
        return self.failure is None or self.needs is not None

    @property
    def phase(self) -> Phase:
        """The phase that the lifespan is in, or ended in."""
        return self.startup if self.startup.outcome == "not run" else self.shutdown

    def begin_another(self) -> None:
        self.lifespans += 1
        self.startup, self.shutdown = Phase(), Phase()
        self.logged.clear()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _places(frames: list[FrameSummary]) -> list[Place]:
    return [
        {"file": frame.filename, "line": frame.lineno, "function": frame.name} for frame in frames
    ]


def _innermost(stack: StackSummary) -> Place | None:
    return next(reversed(_places(users_frames(stack))), None)
