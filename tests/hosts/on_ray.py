"""Applications on a real, local Ray Serve: what requests get, and what the logs say, as JSON.

Ray keeps much of what it does in the process, so that this is one of its own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve

PROJECT = Path(__file__).parents[2]
sys.path[:0] = [str(PROJECT), str(Path(__file__).parent)]

import ray_apps  # noqa: E402

from examples.ray_serve import WithLifespan  # noqa: E402

REPLICAS, CLIENTS = 2, 4


class Load:
    """Clients that ask as long as it is entered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self.answers: Counter[str] = Counter()
        self.replicas: dict[int, float] = {}  # when each has answered last

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._over.is_set():
                try:
                    response = client.get(self._url)
                    response.raise_for_status()
                except httpx.HTTPError as exc:
                    self.answers[repr(exc)] += 1
                    continue
                answer = response.json()
                self.replicas[answer.pop("replica")] = time.monotonic()
                self.answers[json.dumps(answer)] += 1


def deploy(build: Callable[[], Any], **options: Any) -> str:
    """Run it.

    :return: what the deployment has failed with; empty if it serves
    """
    deployment = WithLifespan.options(
        health_check_period_s=0.5, ray_actor_options={"num_cpus": 0.1}, num_replicas=REPLICAS
    )
    try:
        serve.run(deployment.bind(build, **options))
    except RuntimeError as exc:
        return str(exc)
    return ""


def crash_under_load(url: str) -> dict[str, Any]:
    failure = deploy(ray_apps.serves)
    with Load(url) as load:
        wait_until(lambda: len(load.replicas) == REPLICAS)
        httpx.get(f"{url}crash", timeout=30).raise_for_status()
        wait_until(lambda: len(load.replicas) == REPLICAS + 1)
        crashed_at = time.monotonic()
        # The two that are there now go on answering; the crashed one is gone.
        wait_until(lambda: sum(at > crashed_at for at in load.replicas.values()) == REPLICAS)
    return {"failure": failure, "answers": load.answers, "replicas": len(load.replicas)}


def wait_until(condition: Callable[[], bool], limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it has not come about")
        time.sleep(0.1)  # there is nothing that would tell


def main(port: str) -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path[:2])}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    seen = {
        "crashes": crash_under_load(f"http://127.0.0.1:{port}/"),
        "fails": {"failure": deploy(ray_apps.fails)},
        "hangs": {"failure": deploy(ray_apps.hangs, startup_timeout=1)},
    }
    serve.shutdown()
    ray.shutdown()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
