"""Where what `nox -s hosts` installs is missing, its tests are not there."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("ray") is None:
    collect_ignore = ["test_ray_serve.py", "test_other_tools.py"]
