"""The lint that finds assertions which cannot fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from lint_assertions import main, mistakes

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("assertion", "text"),
    [
        ("assert a == b if c else d", "write `assert a == (b if condition else c)`"),
        ("assert (a == b, 'message')", "a tuple is always true"),
        ("assert 'a == b'", "'a == b' is always true"),
        ("assert True", "True is always true"),
    ],
)
def test_each_kind_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], assertion: str, text: str
) -> None:
    file = tmp_path / "sample.py"
    file.write_text(f"def test() -> None:\n    {assertion}\n")
    assert main([str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert output.startswith(f"{file}:2: ")
    assert text in output


@pytest.mark.parametrize(
    "code",
    [
        "assert a == (b if c else d)",
        "assert a == b, 'message'",
        "assert ()",
        "assert False",
        "with pytest.raises(Boom if c else OSError):\n    call(True, (a, b))",
    ],
)
def test_what_can_fail_is_left_alone(code: str) -> None:
    assert [*mistakes(code)] == []


def test_there_are_none_here(capsys: pytest.CaptureFixture[str]) -> None:
    status = main([str(PROJECT / name) for name in ("tests", "examples", "benchmarks")])
    assert (capsys.readouterr().out, status) == ("", 0)
