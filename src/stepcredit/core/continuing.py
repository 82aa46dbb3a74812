"""Whether a backbone goes on from keys and values as if it had read the tokens itself: asked once, before it is relied on.

First what it says of itself: a recurrent state, or attention in chunks, cannot be cut anywhere; an encoder looks ahead.
Then a trial through `KeyValues`: two texts, padded on both sides of the border between past and new tokens, must have
the hidden states they have when read whole. Attention windows longer than the texts follow from positions: distances
within a row are true ones. No torch here.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from stepcredit.core.key_values import KeyValues

ARGUMENTS = {"past_key_values", "position_ids", "use_cache"}
LAYERS = {"full_attention", "sliding_attention"}
TOLERANCE = {"torch.float32": 1e-4}  # of the largest hidden state; half precision: 5e-2


def can_continue(reader: Any) -> bool:
    """True where keys and values can stand for tokens; call it where no gradients are kept.

    `reader` has a `model`, its `parameters()`, `past(pairs)` (an empty cache where there are none) and
    `hidden(token_ids_BT, attention_BT, past)`: what is to be compared at each token, [B, T, D], in numpy.
    """
    return _says_so(reader.model) and _does_so(reader)


def _says_so(model: Any) -> bool:
    config = model.config.get_text_config()
    return (
        all(set(inspect.signature(module.forward).parameters) >= ARGUMENTS for module in (model, model.base_model))
        and not getattr(model, "_is_stateful", False)
        and set(getattr(config, "layer_types", None) or []) <= LAYERS
        and all(getattr(module, "is_causal", True) for module in model.modules())
    )


def _does_so(reader: Any) -> bool:
    """Two texts; 5 tokens of the first and 3 of the second are past, 3 and 2 are new."""
    token_ids_BT = (7 * np.arange(16).reshape(2, 8) + 3) % reader.model.config.get_text_config().vocab_size
    real_BT = np.ones((2, 8), dtype=np.bool_)
    whole_BTD = reader.hidden(token_ids_BT, real_BT)
    past = reader.past([])
    reader.hidden(token_ids_BT[:, :5], real_BT[:, :5], past)
    if any(type(layer).__name__ != "DynamicLayer" or layer.get_seq_length() != 5 for layer in past.layers):
        return False
    store = KeyValues()
    first_P = store.put(past, np.zeros(5, dtype=np.int64), np.arange(5))
    second_P = store.put(past, np.ones(3, dtype=np.int64), np.arange(3))
    past = reader.past(store.take(np.stack([first_P, np.concatenate([[0, 0], second_P])])))
    real_BT[1, [0, 1, 7]] = False
    new_BT = np.stack([token_ids_BT[0, 5:], [*token_ids_BT[1, 3:5], 0]])
    found_BTD = reader.hidden(new_BT, real_BT, past)
    apart = max(np.abs(found_BTD[0] - whole_BTD[0, 5:]).max(), np.abs(found_BTD[1, :2] - whole_BTD[1, 3:5]).max())
    tolerance = TOLERANCE.get(str(next(reader.parameters()).dtype), 5e-2)
    return bool(apart <= tolerance * np.abs(whole_BTD).max())
