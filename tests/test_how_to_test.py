"""The recipes of docs/testing-recipes.md: as they stand, shuffled, and by several workers."""

from __future__ import annotations

import pytest
from pages import PROJECT, snippets_of

FILES = {one.name: one.read_text() for one in (PROJECT / "examples/testing/how_to").glob("*.py")}
# How many tests there are in each. Asynchronous ones run on asyncio and on trio.
RECIPES = {
    "test_startup_fails.py": 3,
    "test_shutdown.py": 2,
    "test_overrides.py": 3,
    "test_state.py": 3,
    "test_clean_database.py": 3,
}

SHUFFLED = """
import random

def pytest_collection_modifyitems(items):
    random.Random({seed}).shuffle(items)
"""
CONFIGURATION = """
[pytest]
anylifespan_app = bookshop:app
anylifespan_leaks = error
anylifespan_scope = {scope}
pythonpath = .
filterwarnings = error
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p anyio -p anylifespan -p xdist -p no:cacheprovider")
    pytester.makeini(CONFIGURATION.format(scope="function"))
    for name, text in FILES.items():
        pytester.path.joinpath(name).write_text(text)
    return pytester


def test_the_page_shows_what_is_run() -> None:
    assert snippets_of("docs/testing-recipes.md") == FILES
    assert RECIPES.keys() | {"bookshop.py"} == FILES.keys()


@pytest.mark.parametrize("recipe", RECIPES)
def test_as_it_stands(session: pytest.Pytester, recipe: str) -> None:
    session.runpytest_inprocess(recipe).assert_outcomes(passed=RECIPES[recipe])


@pytest.mark.parametrize("seed", range(3))
def test_in_a_shuffled_order(session: pytest.Pytester, seed: int) -> None:
    session.makeconftest(SHUFFLED.format(seed=seed))
    session.runpytest_inprocess().assert_outcomes(passed=sum(RECIPES.values()))


def test_by_several_workers(session: pytest.Pytester) -> None:
    done = session.runpytest_subprocess("-n", "2")
    done.assert_outcomes(passed=sum(RECIPES.values()))


@pytest.mark.parametrize("scope", ["function", "session"])
def test_a_startup_that_fails_in_several_workers(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    """Each test that wanted the application says so, with what the application raised."""
    monkeypatch.setenv("DATABASE", "/nowhere/orders.db")
    session.makeini(CONFIGURATION.format(scope=scope))
    session.makepyfile(
        test_orders="""
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_orders(asgi_sync_client, number):
            raise AssertionError
        """
    )
    done = session.runpytest_subprocess("-n", "2", "test_orders.py")
    done.assert_outcomes(errors=4)
    done.stdout.fnmatch_lines(
        ["*sqlite3.OperationalError: unable to open database file", "*StartupFailed: *"]
    )
