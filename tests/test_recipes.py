"""The recipes of docs/testing.md: each as it stands, and with tests that do not end well."""

from __future__ import annotations

import pytest
from pages import PROJECT, snippets_of
from test_pytest_plugin import SHOP

RECIPES = {path.name: path for path in sorted((PROJECT / "examples" / "testing").glob("test_*.py"))}
ASYNCHRONOUS = [name for name in RECIPES if name != "test_synchronous.py"]

# How often the tests are run, and the application is started, if there are four of them.
RUNS = {"anyio": 2, "asyncio": 1, "trio": 1}

MORE = """

import anyio

{mark}
async def test_fails({client}):
    assert 1 == 2

{mark}
async def test_is_skipped({client}):
    pytest.skip("not today")

{mark}
async def test_runs_out_of_time({client}):
    with anyio.fail_after(0.01):
        await anyio.sleep_forever()
"""
CRASH = """

import shop

{mark}
async def test_crashes({client}):
    shop.at[0].set()
    await {client}.lifespan.wait_crashed()
"""


def plugin_of(recipe: str) -> str:
    return recipe.split("_")[1]


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # Those of others take most of the time.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p anylifespan -p no:cacheprovider -s")
    pytester.makepyfile(shop=SHOP)
    pytester.makeini(
        "[pytest]\nanylifespan_app = shop:app\npythonpath = .\n"
        "asyncio_default_fixture_loop_scope = function"
    )
    return pytester


def run(session: pytest.Pytester, recipe: str, more: str = "") -> pytest.RunResult:
    plugin = plugin_of(recipe)
    client = "asgi_client" if "fixtures" in recipe else "client"
    mark = "@pytest.mark.trio" if plugin == "trio" else ""
    text = RECIPES[recipe].read_text() + more.format(client=client, mark=mark)
    session.makepyfile(**{recipe.removesuffix(".py"): text})
    names = {"anyio": "anyio", "asyncio": "pytest_asyncio.plugin", "trio": "trio"}
    return session.runpytest_inprocess("-p", names.get(plugin, "anyio"))


def test_the_page_shows_what_is_run() -> None:
    shown = snippets_of("docs/testing.md")
    assert shown == {name: path.read_text() for name, path in RECIPES.items()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_as_it_stands(session: pytest.Pytester, recipe: str) -> None:
    done = run(session, recipe)
    runs = RUNS.get(plugin_of(recipe), 1)
    done.assert_outcomes(passed=runs)
    assert done.stdout.str().count("SHUT DOWN") == runs


@pytest.mark.parametrize("recipe", ASYNCHRONOUS)
def test_with_tests_that_do_not_end_well(session: pytest.Pytester, recipe: str) -> None:
    done = run(session, recipe, MORE)
    runs = RUNS[plugin_of(recipe)]
    done.assert_outcomes(passed=runs, failed=2 * runs, skipped=runs)
    shared = "module" in recipe or "session" in recipe
    assert done.stdout.str().count("SHUT DOWN") == runs * (1 if shared else 4)
    done.stdout.fnmatch_lines(["*assert 1 == 2", "*TimeoutError"])
    done.stdout.no_fnmatch_line("*anylifespan/_*")  # nothing of the library's own is in the way


@pytest.mark.parametrize("recipe", ASYNCHRONOUS)
def test_with_an_application_that_dies(session: pytest.Pytester, recipe: str) -> None:
    done = run(session, recipe, CRASH)
    runs = RUNS[plugin_of(recipe)]
    shared = "module" in recipe or "session" in recipe
    if "fixtures" in recipe or "trio" in recipe:
        done.assert_outcomes(passed=runs, failed=runs)
    elif "anyio" in recipe and shared:
        # That of the first backend is left when the first test of the second is set up.
        done.assert_outcomes(passed=3, errors=2)
    else:
        done.assert_outcomes(passed=2 * runs, errors=runs)
    done.stdout.fnmatch_lines(["*ValueError: lost the database", "*LifespanCrashed: *"])
