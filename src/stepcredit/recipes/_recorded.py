"""Where recorded data are: what the user names, else its place in the data folder, $STEPCREDIT_DATA or ../shared/data."""

from __future__ import annotations

import os
from pathlib import Path


def recorded(path: str | None, place: str | Path, what: str, hint: str) -> Path:
    """`path`, else `place` in the data folder. `what` it is and a `hint` what to give make the error.

    Raises ValueError where there is neither file nor folder.
    """
    data = Path(os.environ.get("STEPCREDIT_DATA") or Path("..") / "shared" / "data")
    given = Path(path) if path else data / place
    if not given.exists():
        how = "the knob path" if path else "empty path: $STEPCREDIT_DATA, or ../shared/data from the working directory"
        raise ValueError(f"no {what} at {str(given)!r} ({how}); give path=, {hint}")
    return given
