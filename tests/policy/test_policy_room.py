"""A cache with room gives what the library's own gives, moves nothing while there is room, and is freed when let go."""

import gc
import weakref

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicSlidingWindowLayer

from stepcredit.policy import _room


def states(num_tokens, rows=3):
    return torch.randn(rows, 2, num_tokens, 4), torch.randn(rows, 2, num_tokens, 4)


@pytest.mark.parametrize("room", [1, 3, 64])
def test_it_grows_and_is_reordered_as_the_librarys_own(room, monkeypatch):
    monkeypatch.setattr(_room, "ROOM", room)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = [states(5), states(5)]
        own, library = DynamicCache(first), DynamicCache(first)
        _room.give_room(own)
        rows = 3
        for place in range(9):
            if place in (0, 4):
                chosen = torch.tensor([2, 0, 0, 1] if place == 0 else [3, 1])
                own.reorder_cache(chosen), library.reorder_cache(chosen)
                rows = len(chosen)
            for layer in range(2):
                new = states(1, rows)
                for given, kept in zip(own.update(*new, layer), library.update(*new, layer), strict=True):
                    assert torch.equal(given, kept)
            assert own.get_seq_length() == library.get_seq_length() == 6 + place


def test_nothing_is_moved_while_there_is_room():
    cache = DynamicCache([states(5)])
    _room.give_room(cache)
    cache.reorder_cache(torch.arange(3))
    before = cache.layers[0].keys.data_ptr()
    for _ in range(_room.ROOM):
        cache.update(*states(1), 0)
    assert cache.layers[0].keys.data_ptr() == before
    cache.update(*states(1), 0)
    assert cache.layers[0].keys.data_ptr() != before


def test_other_kinds_of_layers_are_left_as_they_are():
    cache = DynamicCache()
    cache.layers = [DynamicSlidingWindowLayer(sliding_window=4)]
    cache.update(*states(3), 0)
    _room.give_room(cache)
    assert "update" not in vars(cache.layers[0])


def test_a_cache_is_freed_when_it_is_let_go():
    cache = DynamicCache([states(5)])
    _room.give_room(cache)
    cache.update(*states(1), 0)
    seen = weakref.ref(cache.layers[0])
    gc.disable()
    try:
        del cache
        assert seen() is None
    finally:
        gc.enable()
