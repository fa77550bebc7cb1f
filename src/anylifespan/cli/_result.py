"""What came of the lifespans on one backend, as plain data that one process sends to another."""

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
    """How one phase went.

    :ivar outcome: ``"complete"``, ``"failed"``, ``"timed out"``, ``"blocked"``, ``"crashed"``,
        ``"ended the process"``, ``"unsupported"``, or ``"not run"``
    """

    outcome: str = "not run"
    seconds: float | None = None


@dataclass
class Failure:
    """Why a lifespan failed, in words.

    :ivar where: the frames where it was waiting, or blocked
    :ivar at: the user's own line that it is about
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
            "the application blocks the event loop, so that it could not be cancelled; it should "
            "await, or run what takes long in a thread.",
            where=_places(own_frames(where)),
            at=_innermost(where),
        )

    @property
    def in_a_line(self) -> str:
        """The gist of it."""
        text = self.message.partition("\n")[0]
        if self.at is None:
            return text
        return f"{text}, at {self.at['file']}:{self.at['line']} in {self.at['function']}"


@dataclass
class LeftBehind:
    """What the application left behind, and how often.

    :ivar times: in how many lifespans, all taken together
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
    """How the lifespans on one backend went; the phases are those of the last one.

    :ivar lifespans: how many were begun
    :ivar only_once: why it can be started only once in a process, if it is so
    :ivar needs: the backend that it needs, if it is no failure that it does not run on this one
    :ivar logged: what it logged as an error in its startup: the logger and the message
    :ivar held_up: whether it held up the end of its process, which had to be killed
    :ivar profile: by phase, the lines where the time of the last lifespan has gone
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
        """Whether it ran here, or need not."""
        return self.failure is None or self.needs is not None

    @property
    def phase(self) -> Phase:
        """The one that it is in, or ended in."""
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
