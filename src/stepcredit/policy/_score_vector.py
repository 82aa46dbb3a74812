"""Gradients of log-probabilities, each seen in a few fixed random directions: what learning a step would do to a model.

    g_n    = d log p(continuation_n | prefix_n) / dW = sum_t (e_(y_t) - p_t) h_t'        W [V, D]: the output embedding
    out_nr = <g_n, a_r b_r'> / sqrt(dim)        a_r [V], b_r [D]: random signs, so that E |out_n|^2 = |g_n|^2

Random sign projections: Achlioptas, Journal of Computer and System Sciences 66 (2003); of gradients: TRAK, arXiv:2303.14186.
The score of L2T, arXiv:2505.10425, theorem 4.2. Departs: the gradient in one matrix, not in all parameters, whose closed form
needs a forward pass alone; and directions of rank one, which fit in memory for any vocabulary. Where W is the input embedding
too, its part as that is left out. Texts are read as `logprob` reads them: the steps of an attempt, asked in one call, cost one
pass. Nothing of the model is written: neither `.grad` nor `requires_grad`.
Raises ValueError for `dim` below 1, as `logprob` does, and for a model that scales or caps its logits behind W.
Degenerate: an empty continuation has the gradient 0. No torch here: tensors are touched through their own methods alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepcredit.core.rng import rng
from stepcredit.core.types import Bools, Cost, Floats, Ints

Signs = NDArray[np.int8]


def score_vectors(own: Any, prefixes: Sequence[str], continuations: Sequence[str], *, dim: int, seed: int) -> Floats:
    """The projected gradients, [len(prefixes), dim], by a policy that can `_forward`; the same seed has the same directions."""
    if dim < 1:
        raise ValueError(f"dim {dim}; allowed: 1 or more")
    start = time.perf_counter()
    texts, start_n, asked_of = own._asked(prefixes, continuations)
    layer = own.model.get_output_embeddings()
    num_tokens, hidden_size = layer.weight.shape
    signs_VR, signs_DR = directions(num_tokens, hidden_size, dim, seed)
    weight_VR, weight_DR = (layer.weight.new_tensor(signs).float() for signs in (signs_VR, signs_DR))
    whole, forwarded = sorted(asked_of), 0
    out = np.zeros((len(prefixes), dim))
    for batch in own._by_length([len(texts[text]) for text in whole]):
        rows = [whole[place] for place in batch]
        ids_BT = np.zeros((len(rows), len(texts[rows[-1]])), dtype=np.int64)
        real_BT = np.zeros(ids_BT.shape, dtype=np.bool_)
        for place, row in enumerate(rows):
            ids_BT[place, : len(texts[row])], real_BT[place, : len(texts[row])] = texts[row], True
        forwarded += int(real_BT.sum())
        hidden_BTD, logits_BTV = _read(own, layer, ids_BT, real_BT)
        for place, row in enumerate(rows):
            for question in asked_of[row]:
                # The token at t is predicted at t - 1.
                at = slice(int(start_n[question]) - 1, len(texts[question]) - 1)
                p_TV = logits_BTV[place, at].float().softmax(-1)
                written_TR = weight_VR.new_tensor(signs_VR[texts[question][start_n[question] :]])
                product_TR = (written_TR - p_TV @ weight_VR) * (hidden_BTD[place, at].float() @ weight_DR)
                out[question] = product_TR.double().sum(0).cpu().numpy() / np.sqrt(dim)
    own.cost += Cost(forwarded_tokens=forwarded, seconds=time.perf_counter() - start)
    return out


def directions(num_tokens: int, hidden_size: int, dim: int, seed: int) -> tuple[Signs, Signs]:
    """The signs a [V, dim] and b [D, dim]: direction r is the outer product of their columns r."""
    shapes = {"tokens": num_tokens, "hidden": hidden_size}
    found = [
        rng(seed, "score_vector", name).integers(0, 2, (size, dim), dtype=np.int8) for name, size in shapes.items()
    ]
    return 2 * found[0] - 1, 2 * found[1] - 1


def _read(own: Any, layer: Any, ids_BT: Ints, real_BT: Bools) -> tuple[Any, Any]:
    """What enters the output embedding and what leaves it, at every token."""
    seen: list[tuple[Any, Any]] = []
    handle = layer.register_forward_hook(lambda _, given, made: seen.append((given[0], made)))
    try:
        logits_BTV = own._forward(ids_BT, real_BT, [], **({"logits_to_keep": 0} if own._keep_last else {})).logits
    finally:
        handle.remove()
    if len(seen) != 1 or not bool((seen[0][1].float() == logits_BTV.float()).all()):
        raise ValueError(f"the logits of {type(own.model).__name__} are not what its output embedding gives; allowed: "
                         "models that neither scale nor cap them")  # fmt: skip
    return seen[0]
