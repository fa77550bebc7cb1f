"""All cases, with one module for each kind."""

from .._case import Case, registered
from . import (  # noqa: F401 - importing them makes their cases known
    callers,
    lifespan,
    messages,
    serving,
    shutdown,
    signals,
    startup,
    state,
    unsupported,
    workers,
)

# In the order in which a lifespan reaches these topics.
_TOPICS = [
    "lifespan",
    "requests",
    "startup",
    "unsupported",
    "state",
    "messages",
    "serving",
    "crash",
    "shutdown",
    "signal",
    "workers",
    "caller",
]


def in_order() -> tuple[Case, ...]:
    return tuple(sorted(registered(), key=lambda case: _TOPICS.index(case.topic)))
