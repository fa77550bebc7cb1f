"""Hooks that are called with what happens to a lifespan.

This is the way of stamina's instrumentation: a hook is a callable that gets a frozen record, and it
may return a context manager, here for the phase that begins. What a hook does, well or badly,
changes nothing about the lifespan.
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
    """What has happened to a lifespan.

    :ivar phase: ``"startup"``, ``"serving"`` or ``"shutdown"``. A startup and a shutdown are
        reported when they begin and when they have ended. Serving is reported only if it ends in a
        crash. A shutdown that the application is never asked for, since it has no lifespan or has
        ended already, is not reported
    :ivar outcome: None if the phase begins; otherwise how it has ended: ``"complete"``,
        ``"unsupported"`` (a startup in mode "auto" of an application without a lifespan),
        ``"failed"``, ``"timeout"``, ``"cancelled"`` (a startup that nobody waits for any longer) or
        ``"crashed"``
    :ivar application: the module and the name of the application's function or class
    :ivar backend: ``"asyncio"`` or ``"trio"``
    :ivar seconds: how long the phase took; 0 if it begins
    :ivar error: what is raised about it, with what the application raised as its cause; None if
        nothing is
    :ivar where: where the application was waiting when its time was over; else empty
    :ivar number: the number of the lifespan in this process, which all that is reported of it has
        in common
    :ivar part_of: the number of the lifespan that it is a part of, or None
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
    """Have hooks called for every lifespan that begins from now on, in the place of those before.

    A hook is called in the thread of the event loop, which waits for it, when a startup or a
    shutdown begins, when it has ended, and when the application crashes. For the beginning it may
    return a context manager. That is entered in the application's own task, before its first step
    or as it receives ``lifespan.shutdown``, and left when the phase has ended, with the error if
    there is one. It need not be the same task then, so reset context variables to their former
    value, rather than by a token. What hooks set is not passed on to requests.

    Whatever a hook raises is logged, and changes nothing else.

    :param hooks: what is called with :class:`LifespanDetails`, in this order; None for none
    :raises TypeError: if they are not callables
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
    """The hooks that are set, so that others can be added: ``set_hooks([*get_hooks(), hook])``."""
    return _hooks


@protected
class Hooks:
    """The hooks that were set when a lifespan began.

    :ivar number: that of the lifespan
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
        """Enter what the hooks returned, in the application's task."""
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
    """Logs what is raised inside."""

    def __init__(self, log: Log, hook: object) -> None:
        self._log = log
        self._hook = hook

    def __exit__(self, kind: object, raised: BaseException | None, traceback: object) -> bool:
        if raised is None or isinstance(raised, KeyboardInterrupt):
            return False
        self._log.error("The hook %r raised an exception.", self._hook, exc_info=raised)
        return True
