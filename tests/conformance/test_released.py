"""Released servers do what is known of them, by themselves and with this library.

The files in ``expected`` list the cases that fail; ``nox -s conformance`` writes them.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from released import BY_ITSELF, HERE, SERVERS, chosen, expected, of_servers, verdicts

from anylifespan.conformance import Strength

pytestmark = pytest.mark.processes

EVERY = of_servers()
# Whatever an application does, one of them runs its lifespan twice, and the other no shutdown.
OF_THEIR_OWN = ("pyvoy", "socketify")
# The status depends on which of the processes is the first to notice that the worker has ended.
OF_THE_STATUS = {
    "startup.failed-exit-status",
    "serving.stops-after-the-lifespan-returned",
    "crash.exit-status",
    "shutdown.failed-is-a-failure",
}
# Its process ends when it likes, whatever the application still does.
OF_THE_LAST_MOMENTS = {
    "shutdown.after-the-last-request",
    "shutdown.answers-the-last-request",
    "shutdown.is-waited-for",
    "shutdown.waits-for-the-application",
}
UNSTEADY = {
    "hypercorn": OF_THE_STATUS,
    "anycorn": OF_THE_STATUS,
    "pyvoy": OF_THE_LAST_MOMENTS,
}


@pytest.mark.exhaustive
@pytest.mark.exhaustible
@pytest.mark.parametrize(("name", "way"), EVERY)
def test_what_fails_is_what_is_expected_to(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(SERVERS[name].package) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    failed = {
        one.case.name
        for one in verdicts(name, way, EVERY[name, way])
        if one.outcome in ("failed", "error")
    }
    unsteady = UNSTEADY.get(name.partition(",")[0], set())
    assert (failed ^ expected(name, way)) - unsteady == set()


@pytest.mark.parametrize(("name", "way"), [one for one in EVERY if one[1] != BY_ITSELF])
def test_with_this_library_all_that_is_required_passes(name: str, way: str) -> None:
    required = [one.name for one in chosen(name, way) if one.strength is Strength.REQUIRED]
    assert len(required) > 40
    failed = sorted(set(required) & expected(name, way))
    if name in OF_THEIR_OWN:
        assert failed
    elif name == "daphne":  # there the first request starts the application
        assert failed == [
            "shutdown.after-accepting-connections",
            "startup.failed-is-fatal",
            "startup.failed-then-raises",
            "startup.failed-without-message",
        ]
    else:
        assert failed == []
