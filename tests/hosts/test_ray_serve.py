"""On Ray Serve, by the recipe of examples/ray_serve.py: `nox -s hosts` installs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from json import loads
from pathlib import Path
from typing import Any

import pytest

from anylifespan.conformance._process import Port

SCRIPT = Path(__file__).with_name("on_ray.py")


@pytest.fixture(scope="module")
def seen() -> Any:
    """What was seen, and ``log``, what Ray has logged meanwhile."""
    port = Port()
    done = subprocess.run(
        [sys.executable, SCRIPT, str(port.number)],
        capture_output=True,
        text=True,
        timeout=300,
        # Ray would send in how it is used, and drop lines that were logged before.
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"},
    )
    port.give_back()
    assert done.returncode == 0, done.stderr
    return {**loads(done.stdout.splitlines()[-1]), "log": done.stdout + done.stderr}


def test_no_request_is_lost_while_a_crashed_replica_is_replaced(seen: Any) -> None:
    assert seen["crashes"]["failure"] == ""
    assert seen["crashes"]["replicas"] == 3
    assert list(seen["crashes"]["answers"]) == ['{"state": "open", "tenant": "main"}']
    assert (
        "the application's lifespan crashed while serving: RuntimeError: the consumer"
        in (seen["log"])
    )


def test_replicas_are_shut_down(seen: Any) -> None:
    """But for the one that has crashed."""
    assert len(set(re.findall(r"shut down (\d+)", seen["log"]))) == 2


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("fails", "the application failed to start: RuntimeError: no database"),
        ("hangs", "the application did not finish its startup within 1 second"),
    ],
)
def test_a_startup_that_does_not_succeed(case: str, message: str, seen: Any) -> None:
    """The deployment fails, and the log of the replica says why, with the line."""
    assert "Deploying application default failed" in seen[case]["failure"]
    assert message in seen["log"]
    assert re.search(r'ray_apps\.py", line \d+, in lifespan', seen["log"])
