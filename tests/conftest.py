from __future__ import annotations

import gc
import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import httpx
import httpx2
import pytest
from anyio import current_time
from clocks import LOOPS
from drives import DRIVES, Drive
from trio.testing import MockClock

pytest_plugins = ["pytester"]
# Where what `nox -s hosts` installs is missing, its tests are not there.
hosts = ["hosts/test_ray_serve.py", "hosts/test_other_tools.py"]
collect_ignore = [] if find_spec("ray") else hosts

# A first client imports httpcore. If that were in a session of pytester's, which forgets what was
# imported in it, there would be a second httpcore later, whose errors httpx does not know.
for one in (httpx.Client, httpx2.Client):
    one(verify=False).close()

BACKENDS: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
    "trio": lambda: ("trio", {"clock": MockClock(autojump_threshold=0)}),
    **{name: partial(tuple, ["asyncio", {"loop_factory": loop}]) for name, loop in LOOPS.items()},
}


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """Every asynchronous test runs on each of these, with the same assertions."""
    return request.param


@pytest.fixture(params=sorted(BACKENDS.keys() - {"trio"}))
def asyncio_backend(request: pytest.FixtureRequest) -> str:
    """For what only asyncio can do."""
    return request.param


@pytest.fixture
def anyio_backend(backend: str) -> tuple[str, dict[str, Any]]:
    return BACKENDS[backend]()


@pytest.fixture
def passed() -> Callable[[float, float], bool]:
    """``passed(since, seconds)``: whether exactly so much time has passed on the virtual clock."""

    def passed(since: float, seconds: float) -> bool:
        return current_time() - since == pytest.approx(seconds, abs=1e-3)

    return passed


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Its processes would rewrite the assertions of all plugins again and again."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    return pytester


@pytest.fixture(params=DRIVES)
def drive(request: pytest.FixtureRequest) -> Drive:
    """Each way into the lifespan: ``await drive(manager, body)``."""
    return DRIVES[request.param]


@pytest.fixture(params=["async with", "serve"])
def structured_drive(request: pytest.FixtureRequest) -> Drive:
    """The ways in that are part of the caller's tree of tasks."""
    return DRIVES[request.param]


@pytest.fixture(params=["auto", "on"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="anylifespan")
    return caplog


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Counter[str]:
    """What was tried, to be counted and told in the end."""
    return request.config.stash.setdefault(FIGURES, Counter())


@pytest.fixture(scope="module")
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def tidy(_thawed: None) -> None:
    """For tests that look at all there is in the process: without what others have left."""
    gc.collect()
    gc.freeze()


FIGURES = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("anylifespan")
    group.addoption(
        "--exhaustive",
        action="store_true",
        help="try far more: other event loops, more schedules, longer sequences of messages",
    )
    group.addoption("--seed", type=int, help="run the schedule of this seed only")


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell it is ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "exhaustive: runs with --exhaustive only")
    config.addinivalue_line("markers", "processes: starts many processes, and so takes its time")
    config.addinivalue_line("markers", "exhaustible: tries more with --exhaustive")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--exhaustive"):
        kept: list[pytest.Item] = []
        left_out: list[pytest.Item] = []
        for item in items:
            (left_out if item.get_closest_marker("exhaustive") else kept).append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of the processes of pytest-xdist
        session.config.workeroutput["figures"] = dict(session.config.stash.get(FIGURES, {}))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    figures = node.config.stash.setdefault(FIGURES, Counter())
    figures.update(getattr(node, "workeroutput", {}).get("figures", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for name, number in config.stash.get(FIGURES, Counter()).items():
        terminalreporter.line(f"{name}: {number:,}")
