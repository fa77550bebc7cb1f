"""What is shown of a stack: the user's own frames and the innermost one."""

from __future__ import annotations

import json
import sys
import sysconfig
from traceback import FrameSummary, StackSummary
from typing import Any

import click
import pytest

import anylifespan
from anylifespan._core.frames import (
    CutStack,
    own_frames,
    own_traceback,
    show,
    users_frames,
)

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

PACKAGES = sysconfig.get_paths()["purelib"]
SCRIPTS = sysconfig.get_paths()["scripts"]


def stack(*files: str) -> StackSummary:
    return StackSummary.from_list([FrameSummary(file, 1, "f", line="code") for file in files])


def files(shown: StackSummary) -> list[str]:
    return [frame.filename.rpartition("/")[2] for frame in shown]


USER = "/home/me/main.py"
FRAMEWORK = f"{PACKAGES}/framework/routing.py"
DATABASE = f"{PACKAGES}/database/connect.py"
OURS = anylifespan.__file__


@pytest.mark.parametrize(
    ("given", "expected", "left_out"),
    [
        ([FRAMEWORK, FRAMEWORK, USER, DATABASE, DATABASE], ["main.py", "connect.py"], 3),
        ([FRAMEWORK, USER], ["main.py"], 1),
        ([USER, FRAMEWORK, USER], ["main.py", "main.py"], 1),
        ([USER], ["main.py"], 0),
        ([USER, DATABASE], ["main.py", "connect.py"], 0),
        ([USER, DATABASE, OURS], ["main.py", "connect.py"], 0),
        ([USER, "<frozen importlib>"], ["main.py", "<frozen importlib>"], 0),
        ([FRAMEWORK, DATABASE], ["routing.py", "connect.py"], 0),
        ([OURS], [], 0),
        ([], [], 0),
    ],
)
def test_which_frames_are_shown(given: list[str], expected: list[str], left_out: int) -> None:
    shown = own_frames(stack(*given))
    assert files(shown) == expected
    assert shown.left_out == left_out


@pytest.mark.parametrize(
    ("others", "note"),
    [
        (1, "\n  (1 frame of installed packages not shown)"),
        (2, "\n  (2 frames of installed packages not shown)"),
        (0, ""),
    ],
)
def test_how_many_others_there_are(others: int, note: str) -> None:
    shown = show(stack(*[FRAMEWORK] * others, USER))
    assert shown == f'  File "{USER}", line 1, in f\n    code{note}'


def test_nothing_is_left_out_of_a_stack_that_was_not_cut() -> None:
    assert CutStack(stack(USER)).format() == stack(USER).format()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([FRAMEWORK, USER, DATABASE, USER], ["main.py", "main.py"]),
        ([FRAMEWORK, FRAMEWORK, DATABASE, "<frozen importlib>"], ["connect.py"]),
        (["<frozen importlib>"], []),
    ],
)
def test_the_users_frames(given: list[str], expected: list[str]) -> None:
    """Without any, the innermost one of installed packages."""
    assert files(StackSummary.from_list(users_frames(stack(*given)))) == expected


def test_a_directory_with_a_longer_name_is_another_one() -> None:
    assert own_frames(stack(f"{SCRIPTS}-of-mine/main.py", DATABASE, DATABASE)).left_out == 1


def raises() -> None:
    json.loads("{")


def test_a_traceback_keeps_the_innermost_frame_of_each_exception() -> None:
    try:
        try:
            raises()
        except ValueError as exc:
            raise RuntimeError("no configuration") from exc
    except RuntimeError as error:
        text = own_traceback(error)
    assert "raise_errmsg" not in text
    assert text.count("Traceback (most recent call last):") == 2
    assert ", in raises\n" in text
    assert "json/decoder.py" in text
    assert "frames of installed packages not shown)\njson.decoder.JSONDecodeError: " in text
    assert text.endswith("RuntimeError: no configuration")


def test_a_traceback_of_a_group_is_cut_in_each_of_its_exceptions() -> None:
    def callback(*_: Any) -> None:
        raise ValueError("in a callback")

    with pytest.raises(ValueError, match="in a callback") as info:
        click.Command("command", callback=callback).main([], standalone_mode=False)
    text = own_traceback(ExceptionGroup("several", [info.value]))
    assert "in callback" in text
    assert "/click/" not in text
    assert "frames of installed packages not shown)" in text


def raised_in_a_library(code: str) -> Exception:
    """What the function ``f`` of that code raises, without a frame of its caller."""
    namespace: dict[str, Any] = {"__name__": "library"}
    exec(compile(code, DATABASE, "exec"), namespace)
    with pytest.raises((OSError, ZeroDivisionError)) as info:
        namespace["f"]()
    return info.value.with_traceback(info.tb.tb_next)


def test_what_a_library_has_raised_before_is_shown_by_its_last_line() -> None:
    """Where the line of the user's comes later, in the exception that was made of it."""
    before = raised_in_a_library("def h(): 1 / 0\ndef g(): h()\ndef f(): g()")
    with pytest.raises(OSError, match="no connection") as info:
        raise OSError("no connection") from before
    text = own_traceback(info.value)
    assert f'File "{DATABASE}", line 1, in h\n  (2 frames of installed packages not s' in text
    assert ", in f\n" not in text
    assert ", in test_what_a_library" in text


def test_without_any_frame_of_the_users_all_are_shown() -> None:
    text = own_traceback(raised_in_a_library("def g(): 1 / 0\ndef f(): g()"))
    assert f'File "{DATABASE}", line 1, in g\n' in text
    assert f'File "{DATABASE}", line 2, in f\n' in text
