"""One start policy for all seeds of a study, or each seed's own: what intervals over seeds are over.

With "one" they are over problems and reinforcement alone; with "each", over start policies too. Arms of "one" are kept under the
name that they had before there was a choice.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Literal, get_args

Starts = Literal["one", "each"]


def decides(size: Any, starts: Starts) -> dict[str, Any]:
    """What the numbers of a study's arms depend on (`_rl.Cells`); ValueError for another kind of starts."""
    if starts not in get_args(Starts):
        raise ValueError(f"starts is {starts!r}; allowed: {', '.join(get_args(Starts))}")
    return asdict(size) if starts == "one" else {**asdict(size), "starts": starts}


def own_scale(scale: Any, starts: Starts, seed: int) -> Any:
    """The scale whose `policy_seed` makes this seed's start policy."""
    return scale if starts == "one" else replace(scale, policy_seed=seed)
