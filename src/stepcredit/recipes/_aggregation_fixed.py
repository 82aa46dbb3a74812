"""The fixed rules: a judge, an aggregation and best-of-N or a weighted majority; majority; and the choice among them.

A rule gives each attempt of a drawn pool the chance that it is picked. Ties share: equal best scores, tied answers, and
the voters of the winning answer. Majority: self-consistency, arXiv:2203.11171; weighted: DiVeRSe, arXiv:2206.02336.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stepcredit.core.types import Floats, Ints
from stepcredit.recipes._aggregation_rows import drawn
from stepcredit.recipes._bon32 import AGGREGATIONS, Pools


@dataclass(frozen=True)
class Rule:
    """A judge (none for majority), an aggregation and how a pick is made of the scores."""

    judge: str
    aggregation: str
    how: Literal["best of N", "weighted majority", "majority"]

    def __str__(self) -> str:
        return "majority" if self.how == "majority" else f"{self.judge}, {self.aggregation}, {self.how}"


def rules_of(pools: Pools) -> list[Rule]:
    """Majority, then every judge and aggregation under best-of-N, then under a weighted majority."""
    both = [(judge, aggregation) for judge in pools.judges for aggregation in AGGREGATIONS]
    return [
        Rule("", "", "majority"),
        *(Rule(judge, aggregation, "best of N") for judge, aggregation in both),
        *(Rule(judge, aggregation, "weighted majority") for judge, aggregation in both),
    ]


def picks(pools: Pools, draw_PN: Ints) -> Floats:
    """Chance that each drawn attempt is picked by each rule, [P, N, rules], summing to 1 over the attempts."""
    num_problems, size = draw_PN.shape
    score_PNS = drawn(pools.score_PGJA, draw_PN[None])[0].reshape(num_problems, size, -1)
    top_PNS = (score_PNS == score_PNS.max(axis=1, keepdims=True)).astype(np.float64)
    answer_PN = drawn(pools.answer_PG, draw_PN[None])[0]
    said_PNA = (answer_PN[..., None] == np.arange(int(pools.answer_PG.max()) + 1)).astype(np.float64)
    weight_PNV = np.concatenate([np.ones((num_problems, size, 1)), score_PNS], axis=-1)
    total_PAV = said_PNA.transpose(0, 2, 1) @ weight_PNV
    count_PA1 = said_PNA.sum(axis=1)[..., None]
    best_P1V = np.where(count_PA1 > 0, total_PAV, -np.inf).max(axis=1, keepdims=True)
    # Sums of the same weights in another order may differ in the last bit: that is a tie.
    won_PAV = (count_PA1 > 0) & (total_PAV >= best_P1V - 1e-9 * np.abs(best_P1V))
    share_PAV = won_PAV / won_PAV.sum(axis=1, keepdims=True) / np.maximum(count_PA1, 1)
    voted_PNV = said_PNA @ share_PAV
    best_of = top_PNS / top_PNS.sum(axis=1, keepdims=True)
    return np.concatenate([voted_PNV[..., :1], best_of, voted_PNV[..., 1:]], axis=-1)


def rule_worth(pools: Pools, draw_DPN: Ints) -> Floats:
    """Chance that each rule picks a right attempt, mean over draws, [rules, P]."""
    right_DPN = drawn(pools.right_PG, draw_DPN)
    found = [
        np.einsum("pnr,pn->rp", picks(pools, draw), right) for draw, right in zip(draw_DPN, right_DPN, strict=True)
    ]
    return np.asarray(np.mean(found, axis=0))


def choose(worth_RP: Floats) -> Floats:
    """Share of each rule in the choice that is best on the given problems; equally good rules share."""
    mean_R = worth_RP.mean(axis=1)
    best_R = (mean_R >= mean_R.max() - 1e-12).astype(np.float64)
    return np.asarray(best_R / best_R.sum())
