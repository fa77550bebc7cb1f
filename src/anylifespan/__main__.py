"""Entry point of ``python -m anylifespan`` and of the ``anylifespan`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command. Exit with a message if a package that the command needs is not installed."""
    try:
        from .cli import command
    except ModuleNotFoundError as exc:
        missing = (exc.name or "").partition(".")[0]
        if missing not in ("click", "rich"):
            raise
        sys.exit(
            f"The anylifespan command needs {missing}, which is not installed: "
            "pip install 'anylifespan[cli]'"
        )
    command(prog_name="anylifespan")


if __name__ == "__main__":
    main()
