"""Released servers do what is known of them, by themselves and with this library.

The files in ``expected`` list the cases that fail; ``nox -s conformance`` writes them.
"""

from __future__ import annotations

import pytest
from released import chosen, of_servers, verdicts
from released_servers import BY_ITSELF, OTHER_SERVERS, SERVERS, expected, unsteady

from anylifespan.conformance import Strength

pytestmark = pytest.mark.processes

EVERY = of_servers()


@pytest.mark.exhaustive
@pytest.mark.exhaustible
@pytest.mark.parametrize(("name", "way"), EVERY)
def test_what_fails_is_what_is_expected_to(name: str, way: str) -> None:
    if not (SERVERS | OTHER_SERVERS)[name].installed:
        pytest.skip(f"{name} is not installed")
    failed = {
        one.case.name
        for one in verdicts(name, way, EVERY[name, way])
        if one.outcome in ("failed", "error")
    }
    assert (failed ^ expected(name, way)) - unsteady(name) == set()


@pytest.mark.parametrize(("name", "way"), [one for one in EVERY if one[1] != BY_ITSELF])
def test_with_this_library_all_that_is_required_passes(name: str, way: str) -> None:
    required = [one.name for one in chosen(name, way) if one.strength is Strength.REQUIRED]
    assert len(required) > 40
    failed = sorted(set(required) & expected(name, way))
    if name in OTHER_SERVERS:
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
