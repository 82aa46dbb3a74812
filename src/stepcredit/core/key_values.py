"""Keys and values of tokens already read, one slot a token: attempts with a common beginning hold the same slots.

An attempt's past is its slots in order, so a branch costs one array of integers and nothing is copied until it is read.
Tensors are touched through their own methods alone; use it where no gradients are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepcredit.core.types import Ints

Pairs = list[tuple[Any, Any]]  # keys and values of each layer, [B, heads, tokens, width]


class KeyValues:
    """Slots for tokens; slot 0 is zero for ever: padding, so that no attempt ever touches another's numbers."""

    def __init__(self) -> None:
        self._layers: Pairs = []
        self._free: Ints = np.zeros(0, dtype=np.int64)
        self._size = 1

    @property
    def num_tokens(self) -> int:
        """Slots in use."""
        return self._size - 1 - len(self._free)

    def take(self, slot_BP: Ints) -> Pairs:
        """Keys and values of these slots, a copy; nothing where there are none to take."""
        if not slot_BP.shape[1]:
            return []
        return [(keys[slot_BP].transpose(1, 2), values[slot_BP].transpose(1, 2)) for keys, values in self._layers]

    def put(self, past: Any, row_N: Ints, column_N: Ints) -> Ints:
        """Keep the tokens at (row, column) of a cache's layers; their slots, in order."""
        given = [(layer.keys[row_N, :, column_N], layer.values[row_N, :, column_N]) for layer in past.layers]
        if not self._layers:
            self._layers = [(_zeros(keys, 1), _zeros(values, 1)) for keys, values in given]
        if len(self._free) < len(row_N):
            self._grow(len(row_N) - len(self._free))
        slots, self._free = self._free[: len(row_N)], self._free[len(row_N) :]
        for (keys, values), (new_keys, new_values) in zip(self._layers, given, strict=True):
            keys[slots], values[slots] = new_keys, new_values
        return slots

    def keep(self, held: Sequence[Ints]) -> None:
        """Free every slot that is in none of these."""
        used = np.zeros(self._size, dtype=np.bool_)
        used[0] = True
        for slots in held:
            used[slots] = True
        self._free = np.flatnonzero(~used)

    def _grow(self, num: int) -> None:
        num = max(num, self._size)  # doubling: a token is moved a constant number of times
        for layer, (keys, values) in enumerate(self._layers):
            more = _zeros(keys, self._size + num), _zeros(values, self._size + num)
            more[0][: self._size], more[1][: self._size] = keys, values
            self._layers[layer] = more
        self._free = np.concatenate([self._free, np.arange(self._size, self._size + num)])
        self._size += num


def _zeros(like: Any, num: int) -> Any:
    return like.new_zeros((num, *like.shape[1:]))
