"""Health checks: respond to liveness and readiness probes."""

from __future__ import annotations

import json

from .._core.application import Scope, Send

# With these statuses, there is no point in waiting for the application any longer.
_DEAD = ("crashed", "failed")


class Health:
    """Responds to requests for two paths without calling the application.

    :param liveness_path: requests for this path receive 200 until the application has crashed or
        failed to start; None for no such path
    :param readiness_path: requests for this path receive 200 while the application is serving and
        the server is not being stopped; None for no such path
    :raises TypeError: if a path is not a str
    :raises ValueError: if a path does not begin with a slash, or both paths are the same
    """

    def __init__(self, liveness_path: str | None, readiness_path: str | None) -> None:
        paths = {"liveness_path": liveness_path, "readiness_path": readiness_path}
        for name, path in paths.items():
            if path is not None and not isinstance(path, str):
                raise TypeError(f"{name} must be a str or None, got {type(path).__name__}")
            if path is not None and not path.startswith("/"):
                raise ValueError(f'{name} must begin with a slash, as "/live", got {path!r}')
        if liveness_path is not None and liveness_path == readiness_path:
            raise ValueError(
                f"liveness_path and readiness_path are both {liveness_path!r}: an application that "
                "is starting is alive and not ready, so they must be two paths"
            )
        self._liveness_path = liveness_path
        self._readiness_path = readiness_path
        self._paths = {path for path in paths.values() if path is not None}

    def is_asked(self, scope: Scope) -> bool:
        """Return whether a request is for one of the paths."""
        return (
            bool(self._paths)
            and scope["type"] == "http"
            and scope.get("method") in ("GET", "HEAD")
            and _path_of(scope) in self._paths
        )

    def is_asked_for_readiness(self, scope: Scope) -> bool:
        """Return whether a request is for the readiness path."""
        return _path_of(scope) == self._readiness_path

    async def answer(self, scope: Scope, send: Send, status: str) -> None:
        """Respond to a request for one of the paths.

        :param status: the application's status
        """
        ready = self.is_asked_for_readiness(scope)
        is_well = status == "serving" if ready else status not in _DEAD
        body = json.dumps({"status": status}).encode() + b"\n"
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        start = {"type": "http.response.start", "status": 200 if is_well else 503}
        await send({**start, "headers": headers})
        sent = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": sent})


def _path_of(scope: Scope) -> str:
    """Return a request's path, relative to where the application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    below = path[len(root) :]
    return below if root and path.startswith(root) and below.startswith("/") else path
