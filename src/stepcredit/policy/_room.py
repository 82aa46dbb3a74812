"""A key/value cache with room behind it: a new token is written where it belongs, and what was there is not moved.

The library's growing cache is copied whole for every token, which costs more than the model's own work once prefixes are
long and rows many. Here each layer's keys and values lie in tensors of `ROOM` more tokens than they need; the layer
shows the part that is filled, and they are copied when that room is used up, or when rows are chosen. Values are
untouched. Layers of any other kind (sliding windows, recurrent states) are left as they are. No torch here: tensors are
touched through their own methods alone.
"""

from __future__ import annotations

import weakref
from typing import Any

ROOM = 64


def give_room(cache: Any) -> None:
    """Let the plain layers of this cache grow in place from now on."""
    for layer in cache.layers:
        if type(layer).__name__ == "DynamicLayer" and layer.get_seq_length():
            _Room(layer)


class _Room:
    """Takes the place of a layer's own `update` and `reorder_cache`."""

    def __init__(self, layer: Any) -> None:
        self._layer: Any = weakref.proxy(layer)  # no cycle: a cache is freed as soon as it is let go
        self._held: list[Any] = [layer.keys, layer.values]  # [rows, heads, tokens and room, width]
        layer.update, layer.reorder_cache = self.update, self.reorder_cache

    def update(self, keys: Any, values: Any, *args: Any, **given: Any) -> tuple[Any, Any]:
        """Write the new tokens behind the others; all of them."""
        start = self._layer.get_seq_length()
        stop = start + keys.shape[-2]
        if stop > self._held[0].shape[-2]:
            self._held = [_moved(shown, stop + ROOM) for shown in (self._layer.keys, self._layer.values)]
        for held, new in zip(self._held, (keys, values), strict=True):
            held[:, :, start:stop] = new
        return self._show(stop)

    def reorder_cache(self, rows: Any) -> None:
        """Keep these rows, in this order, with new room."""
        length = self._layer.get_seq_length()
        for place, shown in enumerate((self._layer.keys, self._layer.values)):
            self._held[place] = _moved(shown.index_select(0, rows.to(shown.device)), length + ROOM)
        self._show(length)

    def _show(self, length: int) -> tuple[Any, Any]:
        self._layer.keys, self._layer.values = (held[:, :, :length] for held in self._held)
        return self._layer.keys, self._layer.values


def _moved(old: Any, size: int) -> Any:
    new = old.new_empty((*old.shape[:2], size, old.shape[-1]))
    new[:, :, : old.shape[-2]] = old
    return new
