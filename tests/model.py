"""docs/semantics.md once more, for comparison: not a table of transitions, but a list of what has
happened and questions about it.

It shares nothing with the library but the names of states and phases, and the errors.
"""

from __future__ import annotations

from anylifespan import (
    LifespanCrashed,
    LifespanUnsupported,
    Phase,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)

COMPLETE = "lifespan.startup.complete"
FAILED = "lifespan.startup.failed"
STOPPED = "lifespan.shutdown.complete"
NOT_STOPPED = "lifespan.shutdown.failed"
FOREIGN = "http.response.start"
NONSENSE = "lifespan.nonsense"

MESSAGES = [COMPLETE, FAILED, STOPPED, NOT_STOPPED, FOREIGN, NONSENSE]
ENDS = ["returned", "raised", "exited"]
CUTS = ["ran out of time", "nobody waits"]
PART_CRASHED = "a part crashed"
FACTS = ["received", "asked", PART_CRASHED, *(f"sent {kind}" for kind in MESSAGES), *ENDS, *CUTS]


class Model:
    """What is known of one application.

    :ivar heard: whether it has received its startup
    :ivar said: what it has sent of what it might send, in order
    :ivar asked: whether it was asked to shut down while it served
    :ivar asked_late: whether it was asked to shut down when it had ended already
    :ivar part_crashed: whether a lifespan that is a part of it crashed while it served
    :ivar cut: why it was cancelled, or ""
    :ivar end: how it has ended, or ""
    """

    def __init__(self) -> None:
        self.heard = False
        self.said: list[str] = []
        self.asked = False
        self.asked_late = False
        self.part_crashed = False
        self.cut = ""
        self.end = ""

    def copy(self) -> Model:
        other = Model.__new__(Model)
        other.__dict__.update(self.__dict__, said=[*self.said])
        return other

    # What may happen

    def is_possible(self, fact: str) -> bool:
        """Whether whoever drives the application can ever bring this about now."""
        if fact == "received":
            return not self.heard and not self.end
        if fact in ENDS:
            return not self.end
        if fact in CUTS:
            # While it serves, it is let alone.
            return not self.serves and not self.cut and not self.end
        return True

    def may_say(self, kind: str) -> bool:
        """Whether the application may send this now."""
        if self.end or self.cut:
            return False
        if kind in (COMPLETE, FAILED):
            return not self.said
        if kind == STOPPED:
            return self.said == [COMPLETE] and (self.asked or self.serves)
        return kind == NOT_STOPPED and self.said == [COMPLETE]

    # What has happened

    def happens(self, fact: str) -> bool:
        """Take note.

        :return: whether the application did what it may do
        """
        if fact == "received":
            self.heard = True
        elif fact == "asked":
            self.asked = self.asked or self.serves
            self.asked_late = self.asked_late or bool(self.end)
        elif fact == PART_CRASHED:
            self.part_crashed = self.part_crashed or self.serves
        elif fact in ENDS:
            # What an application does that was cancelled makes no difference, but for its exit.
            self.end = "returned" if self.cut and fact == "raised" else fact
        elif fact in CUTS:
            self.cut = fact
        else:
            kind = fact.removeprefix("sent ")
            allowed = self.may_say(kind)
            if kind == STOPPED and self.serves:  # which nobody has asked for
                return True
            first_mistake = kind == FOREIGN and not self.said and not self.end and not self.cut
            if allowed or first_mistake:
                self.said.append(kind)
            return allowed or bool(self.cut)
        return True

    # What that means

    @property
    def started(self) -> bool:
        return COMPLETE in self.said

    @property
    def serves(self) -> bool:
        return self.said == [COMPLETE] and not (self.asked or self.part_crashed or self.end)

    @property
    def has_said_its_last_word(self) -> bool:
        return bool(self.said) and self.said != [COMPLETE]

    @property
    def broke(self) -> bool:
        """Whether it has said that it cannot go on, with nobody asking it to stop."""
        return self.part_crashed or (NOT_STOPPED in self.said and not self.asked)

    @property
    def supported(self) -> bool | None:
        if self.started or FAILED in self.said:
            return True
        if FOREIGN in self.said or (self.end in ("returned", "raised") and not self.cut):
            return False
        return None

    @property
    def state(self) -> str:
        """The name of the State."""
        if self.end == "exited":
            return "EXITED"
        if self.started:
            return self._state_once_started()
        if FAILED in self.said:
            return "START_FAILED" if self.end else "DECLINED"
        if FOREIGN in self.said:
            return self._without_lifespan("UNSUPPORTED") if self.end else "MISTAKEN"
        if self.cut:
            late = self.cut == "ran out of time"
            if self.end:
                return "START_TIMED_OUT" if late else "START_CANCELLED"
            return "START_LATE" if late else "START_CANCELLING"
        if not self.end:
            return "STARTING" if self.heard else "CALLED"
        raised_in_startup = self.end == "raised" and self.heard
        return self._without_lifespan("START_RAISED" if raised_in_startup else "UNSUPPORTED")

    def _without_lifespan(self, state: str) -> str:
        return "STOPPED" if self.asked_late else state

    def _state_once_started(self) -> str:
        if self.broke:
            breaks = "BREAKING" if NOT_STOPPED in self.said else "PART_CRASHED"
            return "CRASHED" if self.end else breaks
        if not self.asked:
            if self.end == "returned":
                return "STOPPED" if self.asked_late else "RETURNED"
            return "CRASHED" if self.end else "SERVING"
        if NOT_STOPPED in self.said:
            return "STOP_FAILED" if self.end else "SAID_NOT_STOPPED"
        if STOPPED in self.said:
            if not self.end:
                return "SAID_STOPPED"
            return "STOPPED" if self.end == "returned" else "STOP_FAILED"
        if self.cut == "ran out of time":
            return "STOP_TIMED_OUT" if self.end else "STOP_LATE"
        if self.cut:
            return "STOP_FAILED" if self.end else "STOP_CANCELLING"
        if not self.end:
            return "STOPPING"
        return "STOPPED_SILENTLY" if self.end == "returned" else "STOP_FAILED"

    @property
    def phase(self) -> Phase:
        """What the manager's callers see, in mode "auto"."""
        if self.end == "exited" or self.broke or self.failed_to_start or self.failed_to_stop:
            return Phase.FAILED
        if self.started:
            if not self.asked:
                if self.end == "raised":
                    return Phase.FAILED
                return Phase.STOPPED if self.asked_late else Phase.SERVING
            return Phase.STOPPED if self.end else Phase.STOPPING
        if self.cut and FOREIGN not in self.said:
            return Phase.STOPPED if self.end else Phase.STOPPING
        if not self.end:
            return Phase.STARTING
        return Phase.STOPPED if self.asked_late else Phase.SERVING

    @property
    def failed_to_start(self) -> bool:
        timed_out = self.cut == "ran out of time" and not self.said
        return FAILED in self.said or timed_out

    @property
    def failed_to_stop(self) -> bool:
        cut_short = self.cut and self.said == [COMPLETE]
        return self.asked and bool(NOT_STOPPED in self.said or self.end == "raised" or cut_short)

    def error(self, mode: str) -> type[Exception] | None:
        """What the caller is told in the end; an exit aside, which is raised as it is."""
        if self.started:
            if self.broke or (self.end == "raised" and not self.asked):
                return LifespanCrashed
            if not self.failed_to_stop:
                return None
            if self.said == [COMPLETE]:
                return ShutdownTimeout if self.cut == "ran out of time" else ShutdownFailed
            return ShutdownFailed if self.end else ShutdownTimeout
        if FAILED in self.said:
            return StartupFailed if self.end else StartupTimeout
        if not self.end or (self.cut == "ran out of time" and FOREIGN not in self.said):
            return StartupTimeout
        if self.supported is None or mode == "auto":
            return None
        raised_in_startup = self.end == "raised" and self.heard and FOREIGN not in self.said
        return StartupFailed if raised_in_startup else LifespanUnsupported
