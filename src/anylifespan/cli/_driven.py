"""Runs a driver in a process of its own, and judges the cases of one scenario."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ..conformance import Case, Verdict, cases
from ..conformance._client import TICK
from ..conformance._kit import CannotRun
from ..conformance._play import drive
from ..conformance._process import LIMIT, Process, Processes
from ..conformance._record import Record
from ._load import load_app
from ._target import run_on

_NOT_LOADED = 2  # the status of the process if there is no such driver
_END = 2.0  # seconds that the process has to end, once the driver was given up


@dataclass(frozen=True)
class DriverProcess:
    """Judges a scenario's cases in another process, in case the driver ends or blocks its process.

    :ivar driver: ``"package.module:attribute"``
    :ivar app_dir: the directory to import the driver from
    :ivar patience: seconds that the driver may take
    """

    driver: str
    app_dir: str
    backend: str
    patience: float
    names: tuple[str, ...] = ()

    def __call__(self, together: Sequence[Case], among: Processes) -> list[Verdict]:
        order = replace(self, names=tuple(case.name for case in together))
        with TemporaryDirectory(prefix="anylifespan-") as directory:
            results = Path(directory, "results")
            command = [sys.executable, "-m", __name__, json.dumps(asdict(order)), str(results)]
            path = os.pathsep.join(filter(None, sys.path))
            process = Process(command, {"PYTHONPATH": path}, among)
            try:
                status = self._wait(process, Path(directory, "loaded"))
            finally:
                process.kill()
            output = "\n".join(process.output)
            if status == _NOT_LOADED:
                raise CannotRun(output)
            if status == 0:
                found = json.loads(results.read_text())
                return [Verdict(case, **found[case.name]) for case in together]
        how = "had to be killed" if status is None else f"ended with status {status}"
        return [Verdict(case, "failed", f"the process {how}", output) for case in together]

    def _wait(self, process: Process, loaded: Path) -> int | None:
        """Wait for the process, and return its exit status; None if it does not end in time."""
        deadline = time.monotonic() + LIMIT
        while not loaded.exists() and not process.has_ended and time.monotonic() < deadline:
            time.sleep(TICK)  # there is nothing to wait for
        return process.wait_ended(self.patience + _END)

    def main(self, results: Path) -> None:
        """Run the driver, and write the verdicts to a file. Call this in the new process."""
        try:
            driver = load_app(self.driver, factory=False, app_dir=self.app_dir, what="DRIVER")
        except click.UsageError as exc:
            print(exc.message)
            sys.exit(_NOT_LOADED)
        results.with_name("loaded").touch()
        together = [case for case in cases if case.name in self.names]

        async def run() -> Record:
            return await drive(driver, together[0].scenario, self.patience)

        record = run_on(self.backend, run)
        verdicts = {case.name: case.verdict(record) for case in together}
        results.write_text(
            json.dumps(
                {
                    name: {"outcome": one.outcome, "seen": one.seen, "output": one.output}
                    for name, one in verdicts.items()
                }
            )
        )


if __name__ == "__main__":
    DriverProcess(**json.loads(sys.argv[1])).main(Path(sys.argv[2]))
