"""Finds the application that ``module:attribute`` names."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from .._core.frames import own_traceback


def load_app(name: str, *, factory: bool, app_dir: str, what: str = "APP") -> Any:
    """Import the application or other object that ``module:attribute`` names.

    :param name: ``module:attribute``; the attribute may be dotted
    :param factory: whether to call the object, and return the result
    :param app_dir: the directory to look in first
    :param what: the name of the argument, for error messages
    :raises click.UsageError: if the object cannot be imported, or the factory cannot be called or
        raises an exception
    """
    module_name, _, attributes = name.partition(":")
    if not module_name or not attributes:
        raise click.UsageError(
            f"{what} must be MODULE:ATTRIBUTE, for example main:{what.lower()}, got {name!r}."
        )
    found: Any = _import(module_name, app_dir)
    path = module_name
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise click.UsageError(_no_attribute(found, path, attribute)) from None
        path += f".{attribute}"
    if not factory:
        return found
    if not callable(found):
        raise click.UsageError(f"{path} is no factory: {type(found).__name__} cannot be called.")
    try:
        return found()
    except Exception as exc:
        raise click.UsageError(f"The factory {path} raised:\n{own_traceback(exc)}") from exc


def _import(name: str, app_dir: str) -> ModuleType:
    directory = str(Path(app_dir).resolve())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise click.UsageError(_import_failed(name, exc)) from exc
        raise click.UsageError(
            f"There is no module {exc.name}, looking in {directory} (--app-dir) and in the "
            f"installed packages of {sys.executable}."
        ) from exc
    except Exception as exc:
        raise click.UsageError(_import_failed(name, exc)) from exc


def _import_failed(name: str, exc: Exception) -> str:
    return f"Importing the module {name} failed:\n{own_traceback(exc)}"


def _no_attribute(owner: object, path: str, attribute: str) -> str:
    names = [one for one in dir(owner) if not one.startswith("_")]
    close = get_close_matches(attribute, names, n=3) or [
        one for one in names if one in ("app", "application", "asgi", "create_app")
    ]
    hint = f"; is it {' or '.join(close)}?" if close else "."
    where = getattr(owner, "__file__", None)
    return f"{path}{f' ({where})' if where else ''} has no attribute {attribute}{hint}"
