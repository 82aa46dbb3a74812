"""Whether the optional extra `rl` is there, asked without importing it."""

from __future__ import annotations

from importlib.util import find_spec


def check_installed() -> None:
    """Raise RuntimeError, naming the extra, where TRL is missing."""
    if find_spec("trl") is None or find_spec("datasets") is None:
        raise RuntimeError("joint training runs on TRL, which is not installed: pip install 'stepcredit[rl]'")
