"""Writing a trained scorer so that its folder is complete or absent."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any


def save_scorer(scorer: Any, folder: str | Path) -> Path:
    """Write a scorer so that its folder appears complete or not at all; an older scorer there is replaced.

    Only the first of several workers writes. Raises ValueError for a folder that holds something else.
    """
    target = Path(folder)
    if os.environ.get("RANK", "0") != "0":
        return target
    if target.exists() and not (target / "scorer.json").is_file() and (target.is_file() or any(target.iterdir())):
        raise ValueError(f"{str(target)!r} exists and is no scorer; remove it, or choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        made, old = Path(scratch) / "new", Path(scratch) / "old"
        scorer.save(made)
        if target.exists():
            os.replace(target, old)
        os.replace(made, target)
    return target
