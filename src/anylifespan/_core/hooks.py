"""Hooks that are called when something happens to a lifespan.

The design follows stamina's instrumentation. A hook is a callable that receives a frozen dataclass.
When a phase starts, the hook may return a context manager, which is exited when the phase has
ended. An exception in a hook does not affect the lifespan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from traceback import StackSummary
from typing import Any, Literal

from .ctrl_c import protected
from .log import Log

HookPhase = Literal["startup", "serving", "shutdown"]
Outcome = Literal["complete", "unsupported", "failed", "timeout", "cancelled", "crashed"]


@dataclass(frozen=True)
class LifespanDetails:
    """Details about the start or the end of a lifespan's phase.

    :ivar phase: ``"startup"``, ``"serving"`` or ``"shutdown"``. Startup and shutdown are reported
        when they start and when they have ended. Serving is reported only if it ends in a crash. A
        shutdown is not reported if the application is never asked to shut down, because it has no
        lifespan or has already ended
    :ivar outcome: None if the phase is starting; otherwise how the phase ended: ``"complete"``,
        ``"unsupported"`` (the startup of an application without a lifespan, in mode "auto"),
        ``"failed"``, ``"timeout"``, ``"cancelled"`` (a startup that nobody is waiting for any
        longer) or ``"crashed"``
    :ivar application: the module and the name of the application's function or class
    :ivar backend: ``"asyncio"`` or ``"trio"``
    :ivar seconds: how long the phase took; 0 if the phase is starting
    :ivar error: the exception that is raised for this outcome, with the application's exception as
        its cause; None if no exception is raised
    :ivar where: where the application was waiting when time ran out; empty in all other cases
    :ivar number: the lifespan's number in this process, the same in all details about the lifespan
    :ivar part_of: the number of the lifespan that this one is part of, or None
    """

    phase: HookPhase
    outcome: Outcome | None
    application: str
    backend: Literal["asyncio", "trio"]
    seconds: float
    error: BaseException | None
    where: StackSummary
    number: int
    part_of: int | None


Hook = Callable[[LifespanDetails], "AbstractContextManager[object] | None"]

_hooks: tuple[Hook, ...] = ()
_numbers = count(1)


def set_hooks(hooks: Iterable[Hook] | None) -> None:
    """Set the hooks for all lifespans that start from now on, replacing the previous hooks.

    Hooks are called in the event loop's thread, and block the event loop until they return. They
    are called when a startup or a shutdown starts, when it has ended, and when the application
    crashes. When a phase starts, a hook may return a context manager. The context manager is
    entered in the application's own task: before the task's first step in a startup, or when the
    application receives ``lifespan.shutdown`` in a shutdown. It is exited when the phase has ended,
    with the error if there is one. The exit may happen in another task, so restore context
    variables by setting their former values, not by resetting tokens. Context variables that hooks
    set are not passed on to requests.

    If a hook raises an exception, the exception is logged and has no other effect.

    :param hooks: callables that receive :class:`LifespanDetails`, in calling order; None for no
        hooks
    :raises TypeError: if one of the hooks is not callable, or is a class
    """
    global _hooks
    given = () if hooks is None else tuple(hooks)
    for hook in given:
        if isinstance(hook, type) or not callable(hook):
            raise TypeError(
                "a hook is called with LifespanDetails and returns a context manager or None, got "
                f"{hook!r}" + (": give an instance of it" if isinstance(hook, type) else "")
            )
    _hooks = given


def get_hooks() -> tuple[Hook, ...]:
    """Return the current hooks. To add a hook, call ``set_hooks([*get_hooks(), hook])``."""
    return _hooks


@protected
class Hooks:
    """The hooks that were set when a lifespan started.

    :ivar number: the lifespan's number
    """

    __slots__ = ("_entered", "_facts", "_hooks", "_log", "_to_enter", "number")

    def __init__(self, log: Log, *, application: str, backend: str, part_of: int | None) -> None:
        self.number = next(_numbers)
        self._hooks = _hooks
        self._log = log
        self._facts: dict[str, Any] = {
            "application": application,
            "backend": backend,
            "number": self.number,
            "part_of": part_of,
        }
        self._to_enter: list[AbstractContextManager[object]] = []
        self._entered: list[AbstractContextManager[object]] = []

    def begin(self, phase: HookPhase) -> None:
        for answer in self._call(phase, None, 0.0, None):
            if hasattr(answer, "__enter__") and hasattr(answer, "__exit__"):
                self._to_enter.append(answer)
            elif answer is not None:
                self._log.error(
                    "A hook returned %r, where it may return a context manager or None.", answer
                )

    def enter(self) -> None:
        """Enter the context managers that the hooks returned, in the application's task."""
        managers, self._to_enter = self._to_enter, []
        for manager in managers:
            with _Logged(self._log, manager):
                manager.__enter__()
                self._entered.append(manager)

    def end(
        self, phase: HookPhase, outcome: Outcome, seconds: float, error: BaseException | None
    ) -> None:
        self._call(phase, outcome, seconds, error)
        self.enter()  # what the application's task has not come to
        managers, self._entered = self._entered, []
        raised = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        for manager in reversed(managers):
            with _Logged(self._log, manager):
                manager.__exit__(*raised)

    def _call(
        self,
        phase: HookPhase,
        outcome: Outcome | None,
        seconds: float,
        error: BaseException | None,
    ) -> list[Any]:
        details = LifespanDetails(
            phase=phase,
            outcome=outcome,
            seconds=seconds,
            error=error,
            where=getattr(error, "where", None) or StackSummary(),
            **self._facts,
        )
        answers = []
        for hook in self._hooks:
            with _Logged(self._log, hook):
                answers.append(hook(details))
        return answers


class _Logged(AbstractContextManager[None]):
    """A context manager that logs and suppresses exceptions, except for KeyboardInterrupt."""

    def __init__(self, log: Log, hook: object) -> None:
        self._log = log
        self._hook = hook

    def __exit__(self, kind: object, raised: BaseException | None, traceback: object) -> bool:
        if raised is None or isinstance(raised, KeyboardInterrupt):
            return False
        self._log.error("The hook %r raised an exception.", self._hook, exc_info=raised)
        return True
