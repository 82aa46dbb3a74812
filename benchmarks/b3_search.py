"""B3: what a beam search pays for its judge, reading every candidate whole at each level or only what is new.

A recorded search: width 8, four children each, depth 12; which children survive is drawn beforehand, so both arms score
the same candidates. `whole` is our own one-pass scoring of the level's candidates, beginnings shared; `padded` is one
padded pass over the level, as the beam searches of its_hub and search-and-learn do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from _measure import Row, exact, interleaved, ratio, row
from _pool import MARKER, Sizes, encoded, num_parameters, random_scorer
from b1_scoring import padded

from stepcredit.core.layout import Encoded
from stepcredit.core.rng import rng
from stepcredit.judge._scoring import score
from stepcredit.judge.head import IncrementalScorer


def levels(sizes: Sizes, width: int = 8, children: int = 4, depth: int = 12) -> list[list[Encoded]]:
    """The candidates of each level of one search."""
    draw = rng(0, "search")

    def tokens(least: int, most: int) -> list[int]:
        return draw.integers(MARKER + 1, sizes.vocabulary, draw.integers(least, most + 1)).tolist()

    beam, found = [[tokens(*sizes.prompt_tokens)]], []
    for _ in range(depth):
        level = [[*one, [*tokens(*sizes.step_tokens)[1:], MARKER]] for one in beam for _ in range(children)]
        found.append(encoded(level))
        beam = [level[place] for place in draw.permutation(len(level))[:width]]
    return found


def incremental(scorer: Any, found: list[list[Encoded]]) -> tuple[list[Any], int]:
    """Logits of every level, and the tokens forwarded."""
    judge = IncrementalScorer(scorer)
    with scorer.reading():
        rows = [each for level in found for each in judge._read(level)]
    return [each.logit_SC for each in rows], sum(each.tokens for each in rows)


def whole(scorer: Any, found: list[list[Encoded]]) -> tuple[list[Any], int]:
    """The same, each level from its beginnings."""
    with scorer.reading():
        rows = [each for level in found for each in score(scorer, level, 16384)]
    return [each.logit_SC for each in rows], sum(each.tokens for each in rows)


def run(sizes: Sizes, rounds: int, threads: int) -> tuple[list[Row], dict[str, object]]:
    """The rows, and what they rest on."""
    torch.set_num_threads(threads)
    scorer, found = random_scorer(sizes), levels(sizes)
    incremental(scorer, found[:2])
    seconds, gave = interleaved(
        {
            "incremental": lambda: incremental(scorer, found),
            "whole": lambda: whole(scorer, found),
            "padded": lambda: [p_S for level in found for p_S in padded(scorer, level, len(level))],
        },
        rounds,
    )
    p = {name: 1 / (1 + np.exp(-np.concatenate(gave[name][0])[:, 0])) for name in ("incremental", "whole")}
    p["padded"] = np.concatenate(gave["padded"])
    apart = float(np.ptp(list(p.values()), axis=0).max())
    padded_tokens = sum(len(level) * max(len(one.token_ids_T) for one in level) for level in found)
    unit = f"times the speed ({num_parameters(scorer):.0f}M parameters, float32)"
    rows = [
        row("b3_padded_ratio", ratio(seconds["padded"], seconds["incremental"], unit)),
        row("b3_whole_ratio", ratio(seconds["whole"], seconds["incremental"], unit)),
        row("b3_max_abs_diff", exact(apart, len(p["padded"]), "probability, float32")),
        row("b3_incremental_tokens", exact(gave["incremental"][1], len(found), "tokens forwarded")),
        row("b3_whole_tokens", exact(gave["whole"][1], len(found), "tokens forwarded")),
        row("b3_padded_tokens", exact(padded_tokens, len(found), "tokens forwarded")),
    ]
    return rows, {"levels": len(found), "candidates_per_level": len(found[-1]), "rounds": rounds, "threads": threads,
                  "parameters_in_millions": round(num_parameters(scorer), 1)}  # fmt: skip
