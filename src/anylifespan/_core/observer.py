"""Call hooks when a lifespan's phases start and end."""

from __future__ import annotations

from . import outcome
from .application import name_of
from .ctrl_c import protected
from .hooks import HookPhase, Hooks, Outcome
from .lifespan import Lifespan
from .log import Log
from .protocol import ENDED, WITHOUT_LIFESPAN, State


@protected
class Observer:
    """Calls hooks when a lifespan's phase starts or ends, after the lifespan itself has acted.

    The observer moves on from a phase before it reports the phase's end, since a hook may start the
    next phase.

    :param part_of: the observer of the lifespan that this lifespan is part of
    :param startup_timeout, shutdown_timeout: the time limits, in seconds
    """

    def __init__(
        self,
        lifespan: Lifespan,
        *,
        part_of: Observer | None,
        startup_timeout: float,
        shutdown_timeout: float,
        log: Log,
    ) -> None:
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._phase: HookPhase | None = "startup"
        self._error: BaseException | None = None  # that was reported last
        self._hooks = Hooks(
            log,
            application=name_of(lifespan.app),
            backend="trio" if lifespan.event_loop.is_trio else "asyncio",
            part_of=None if part_of is None else part_of.number,
        )
        self._hooks.begin("startup")

    @property
    def number(self) -> int:
        """The lifespan's number."""
        return self._hooks.number

    def enter(self) -> None:
        """Enter the hooks' context managers before the application's task continues."""
        self._hooks.enter()

    def as_reported(self, error: BaseException | None) -> BaseException | None:
        """Replace an error with the object that the hooks received for it, if any.

        So the hooks and the caller receive the same object.
        """
        return self._error if type(self._error) is type(error) else error

    def update(self, lifespan: Lifespan) -> None:
        """Report the phases that have started or ended since the last call."""
        now = lifespan.event_loop.time()
        is_over = lifespan.protocol.state in ENDED or lifespan.is_given_up
        if self._phase == "startup" and (lifespan.protocol.served or is_over):
            error = None
            if not lifespan.protocol.served:
                error = outcome.startup_error(lifespan, timeout=self._startup_timeout)
            decided_at = now if lifespan.decided_at is None else lifespan.decided_at
            self._phase = "serving" if lifespan.protocol.served else None
            self._end(
                "startup", _how_it_started(lifespan, error), decided_at - lifespan.started_at, error
            )
        if self._phase == "serving" and lifespan.crashed and not lifespan.is_over_with_loop:
            self._phase = None
            self._end(
                "serving", "crashed", _since(lifespan.decided_at, now), outcome.crash(lifespan)
            )
        if self._phase == "serving" and lifespan.protocol.state is State.STOPPING:
            self._phase = "shutdown"
            self._hooks.begin("shutdown")
        if self._phase == "shutdown" and is_over:
            error = outcome.shutdown_error(lifespan, timeout=self._shutdown_timeout)
            self._phase = None
            self._end("shutdown", _how(error), _since(lifespan.stopping_at, now), error)

    def _end(
        self, phase: HookPhase, how: Outcome, seconds: float, error: BaseException | None
    ) -> None:
        self._error = error
        self._hooks.end(phase, how, seconds, error)


def _since(moment: float | None, now: float) -> float:
    return 0.0 if moment is None else now - moment


def _how_it_started(lifespan: Lifespan, error: BaseException | None) -> Outcome:
    if error is not None or lifespan.protocol.served:
        return _how(error)
    return "unsupported" if lifespan.outcome in WITHOUT_LIFESPAN else "cancelled"


def _how(error: BaseException | None) -> Outcome:
    if error is None:
        return "complete"
    return "timeout" if isinstance(error, TimeoutError) else "failed"
