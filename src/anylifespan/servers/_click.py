"""Two additional options for commands built with click, such as Uvicorn's and Anycorn's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import click

from ._command import HELP, seconds


def with_timeouts(
    theirs: click.Command,
    default: float,
    configured: Callable[[float | None, float | None], AbstractContextManager[None]],
) -> click.Command:
    """Return a copy of a command with additional options for the two timeouts.

    :param theirs: the original command
    :param default: the default for both timeouts, in seconds
    :param configured: called with the timeouts; returns a context manager in which the original
        command runs
    """

    def callback(
        startup_timeout: float | None, shutdown_timeout: float | None, **options: Any
    ) -> None:
        with configured(startup_timeout, shutdown_timeout):
            theirs.callback(**options)  # type: ignore[misc]

    own: list[click.Parameter] = [
        click.Option(
            [f"--{phase}-timeout"],
            type=seconds,
            metavar="SECONDS",
            default=str(default),
            show_default=True,
            help=text,
        )
        for phase, text in HELP.items()
    ]
    return type(theirs)(
        name=theirs.name,
        params=[*theirs.params, *own],
        callback=callback,
        help=theirs.help,
        context_settings=theirs.context_settings,
    )
