"""Metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from .._core.hooks import LifespanDetails


class PrometheusHook:
    """Records how long startups and shutdowns took, and how they ended.

    - ``anylifespan_startup_seconds``, ``anylifespan_shutdown_seconds``: how long the latest startup
      or shutdown took, whatever its outcome; labels ``application`` and ``backend``. With several
      worker processes, this is the slowest worker's time
    - ``anylifespan_phases_total``: how many startups and shutdowns have ended, and how many
      applications have crashed; labels ``application``, ``backend``, ``phase`` and ``outcome``, as
      in :class:`~anylifespan.instrumentation.LifespanDetails`

    :param registry: the registry for the metrics; by default ``prometheus_client``'s global one
    :raises ValueError: if the registry already has metrics with these names
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._seconds = {
            phase: Gauge(
                f"anylifespan_{phase}_seconds",
                f"Seconds that the latest {phase} of the application took.",
                ["application", "backend"],
                registry=registry,
                multiprocess_mode="max",
            )
            for phase in ("startup", "shutdown")
        }
        self._phases = Counter(
            "anylifespan_phases",
            "Startups and shutdowns that have ended, and crashes.",
            ["application", "backend", "phase", "outcome"],
            registry=registry,
        )

    def __call__(self, details: LifespanDetails) -> None:
        if details.outcome is None:
            return
        labels = (details.application, details.backend)
        self._phases.labels(*labels, details.phase, details.outcome).inc()
        if details.phase in self._seconds:
            self._seconds[details.phase].labels(*labels).set(details.seconds)
