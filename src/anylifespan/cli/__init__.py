"""The ``anylifespan`` command and its options, which follow Uvicorn's conventions."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from .. import __version__
from ._load import load_app
from ._target import BACKENDS, Target

Command = Callable[..., None]


class _Seconds(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).lower() == "none":
            return None
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds, nor none for no limit", param, ctx)


def _app_dir_option(what: str) -> Callable[[Command], Command]:
    return click.option(
        "--app-dir",
        default=".",
        metavar="DIRECTORY",
        show_default=True,
        help=f"Directory to import {what} from.",
    )


def _backend_option(what: str) -> Callable[[Command], Command]:
    return click.option(
        "--backend",
        type=click.Choice(list(BACKENDS)),
        default="asyncio",
        show_default=True,
        help=f"Backend to run {what} on.",
    )


def _lifespan_options(function: Command) -> Command:
    options: list[Callable[[Command], Command]] = [
        click.argument("app", metavar="APP"),
        click.option("--factory", is_flag=True, help="APP is a function that returns it."),
        _app_dir_option("APP"),
        click.option(
            "--mode",
            type=click.Choice(["auto", "on", "off"]),
            default="auto",
            show_default=True,
            help="How to treat applications without lifespan support.",
        ),
        click.option(
            "--startup-timeout",
            type=_Seconds(),
            default=30.0,
            show_default=True,
            help="Startup timeout in seconds, or none.",
        ),
        click.option(
            "--shutdown-timeout",
            type=_Seconds(),
            default=30.0,
            show_default=True,
            help="Shutdown timeout in seconds, or none.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(["critical", "error", "warning", "info", "debug"]),
            default="info",
            show_default=True,
            help="Lowest level of log messages to show.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def command() -> None:
    """Drive the lifespan of an ASGI application.

    APP is given as MODULE:ATTRIBUTE, for example main:app.
    """


class _WithErrorsAsJson(click.Command):
    """A command whose ``--json`` option also applies to usage errors."""

    def make_context(self, info_name: Any, args: list[str], *more: Any, **extra: Any) -> Any:
        # Arguments after "--" belong to another command.
        as_json = "--json" in (args[: args.index("--")] if "--" in args else args)
        try:
            return super().make_context(info_name, args, *more, **extra)
        except click.UsageError as exc:
            self._write(exc, as_json)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as exc:
            self._write(exc, ctx.params["as_json"])
            raise

    def _write(self, exc: click.UsageError, as_json: bool) -> None:
        if as_json:
            click.echo(json.dumps({"ok": False, "error": exc.format_message()}, indent=2))


@command.command(cls=_WithErrorsAsJson)
@_lifespan_options
@click.option(
    "--backend",
    "backends",
    type=click.Choice(list(BACKENDS)),
    multiple=True,
    help="Backend that APP must run on; may be repeated.  [default: either asyncio or trio]",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N lifespans, one after the other, and list the tasks, threads, sockets, files and "
    "async generators that they leave behind.",
)
@click.option(
    "--max-startup",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Fail if the startup takes longer than this.",
)
@click.option(
    "--ignore-leak",
    "ignored",
    metavar="PATTERN",
    multiple=True,
    help="Ignore leaks with this name or place, such as */pool.py:42; may be repeated.",
)
@click.option("--profile", "profiles", is_flag=True, help="Show which lines the time was spent in.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if --repeat finds leaks.")
@click.option("--json", "as_json", is_flag=True, help="Write the result as JSON, and nothing else.")
@click.option(
    "--github", "for_github", is_flag=True, help="Also write annotations for GitHub Actions."
)
def check(
    app: str,
    backends: tuple[str, ...],
    repeat: int | None,
    max_startup: float | None,
    ignored: tuple[str, ...],
    profiles: bool,
    strict: bool,
    as_json: bool,
    for_github: bool,
    **options: Any,
) -> None:
    """Start APP and shut it down again, on each backend in a process of its own.

    Without --backend, the check passes if APP runs on asyncio or on trio. The exit status is 0 on
    success, 1 if a lifespan failed, and 2 if APP could not be loaded.
    """
    if strict and repeat is None:
        raise click.UsageError("--strict needs --repeat, which finds the leaks")
    if as_json and for_github:
        raise click.UsageError("--json and --github exclude each other")
    from ._check import Check, Verdict
    from ._order import Order

    _check_backends(backends)
    verdict = Verdict(everywhere=bool(backends), strict=strict, max_startup=max_startup)
    if not backends:
        backends = ("asyncio", "trio") if find_spec("trio") else ("asyncio",)
    order = Order(
        app,
        factory=options.pop("factory"),
        app_dir=options.pop("app_dir"),
        log_level=options.pop("log_level"),
        options=options,
        backend="",
        lifespans=1,
        looks_for_leaks=False,
        ignored=ignored,
        profiles=profiles,
    )
    check = Check(
        order,
        backends,
        verdict,
        repeat=repeat,
        as_json=as_json,
        for_github=for_github,
        messages=_Console(stderr=True),
    )
    sys.exit(check.run())


@command.command()
@_lifespan_options
@_backend_option("APP")
def run(app: str, backend: str, **options: Any) -> None:
    """Start APP, wait for SIGINT or SIGTERM, and shut it down.

    A second signal ends it at once. The exit status is 1 if the lifespan fails or crashes.
    """
    from ._run import run_until_signal

    console = _console(options.pop("log_level"))
    _check_backends((backend,))
    factory, app_dir = options.pop("factory"), options.pop("app_dir")
    target = Target(app, lambda: load_app(app, factory=factory, app_dir=app_dir), options)
    target.new_manager()  # so that whatever is wrong with it is said before anything is run
    sys.exit(run_until_signal(target, backend, messages=console))


@command.command(cls=_WithErrorsAsJson)
@click.argument("server", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option(
    "--driver",
    metavar="MODULE:ATTRIBUTE",
    help="Judge this driver: a function that takes an application, and returns an asynchronous "
    "context manager which yields an object with app and state.",
)
@_backend_option("the driver")
@_app_dir_option("the driver")
@click.option("--list", "lists", is_flag=True, help="List the cases, and judge none.")
@click.option(
    "--only",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Judge these cases, by name, topic or pattern, such as 'state.*'; may be repeated.",
)
@click.option("--strict", is_flag=True, help="Also fail for what is advised.")
@click.option(
    "--expected-failures",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Names of cases that are expected to fail, one a line; those that pass are a failure.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=8.0,
    metavar="SECONDS",
    show_default=True,
    help="Seconds after which a server or a driver counts as hanging.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=4,
    metavar="N",
    show_default=True,
    help="How many scenarios to run at a time.",
)
@click.option("--verbose", is_flag=True, help="Show details of every case that has not passed.")
@click.option("--json", "as_json", is_flag=True, help="Write the result as JSON, and nothing else.")
@click.option("--junit", type=click.File("w", lazy=True), help="Also write JUnit XML to this file.")
@click.option(
    "--markdown", type=click.File("w", lazy=True), help="Also write a Markdown table to this file."
)
def conform(
    server: tuple[str, ...],
    driver: str | None,
    backend: str,
    app_dir: str,
    lists: bool,
    patterns: tuple[str, ...],
    strict: bool,
    expected_failures: str | None,
    timeout: float,
    jobs: int,
    verbose: bool,
    as_json: bool,
    junit: Any,
    markdown: Any,
) -> None:
    """Judge how a server, or a driver, treats the lifespan of applications.

    COMMAND starts the server, for example

        anylifespan conform -- uvicorn {app} --host {host} --port {port}

    The fields {app}, {host}, {port} and {workers}, the number of processes, are filled in. Without
    {workers}, the cases with several workers are left out.

    The exit status is 0 if the server does all that the specification requires, 1 if it does not,
    and 2 if something could not be judged.
    """
    from ..conformance import cases
    from ..conformance._kit import of_server
    from ._conform import Conformance, check_command, choose, exit_status, read_expected
    from ._conform_reports import print_list, print_report, to_json, to_junit, to_markdown
    from ._driven import DriverProcess

    if lists:
        print_list(Console(), cases)
        return
    if bool(server) == (driver is not None):
        raise click.UsageError(
            "Give the command that starts a server, after --, or a driver; for example: "
            "anylifespan conform -- uvicorn {app} --host {host} --port {port}"
        )
    if sys.platform == "win32":  # pragma: no cover
        raise click.UsageError("Servers and drivers are judged on Linux and macOS only.")
    if driver is None:
        if find_spec("wsproto") is None:
            raise click.UsageError("wsproto is not installed: pip install 'anylifespan[cli]'")
        check_command(server)
        what, judge = " ".join(server), of_server(server, patience=timeout)
    else:
        _check_backends((backend,))
        what, judge = driver, DriverProcess(driver, app_dir, backend, timeout)
    conformance = Conformance(
        judge,
        choose(patterns, server),
        read_expected(expected_failures),
        strict=strict,
        jobs=jobs,
    )
    results = conformance.results(_Console(stderr=True))
    status = exit_status(results)
    if as_json:
        click.echo(json.dumps(to_json(what, results, ok=status == 0), indent=2))
    else:
        print_report(Console(), results, all_details=verbose)
    for file, text in ((junit, to_junit), (markdown, to_markdown)):
        if file is not None:
            file.write(text(what, results))
    sys.exit(status)


class _Console(Console):
    """A console that does not end the process when a pipe breaks.

    The process must keep running until the application has been shut down.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _ConsoleHandler(logging.Handler):
    """Writes the log to the console that also shows the spinner, so that the two do not mix."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.console.print(Text(self.format(record)), soft_wrap=True)
        except Exception:  # noqa: BLE001 - as the handlers of logging do
            self.handleError(record)


def _console(log_level: str) -> Console:
    """Create a console for messages, and send the log to the console."""
    console = _Console(stderr=True)
    logging.basicConfig(
        level=log_level.upper(),
        handlers=[_ConsoleHandler(console)],
        format="%(levelname)s: %(message)s",
    )
    return console


def _check_backends(backends: tuple[str, ...]) -> None:
    for backend in backends:
        if find_spec(backend) is None:
            raise click.UsageError(
                f"The backend {backend} is not installed: pip install 'anylifespan[{backend}]'"
            )
