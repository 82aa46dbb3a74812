"""Implicit rewards beside the network judges of `recipes/scaling`: their starting language model, tuned on the same outcomes.

    step score = sigmoid(r_1 + ... + r_j) or sigmoid(r_j),   r_j = beta log pi(step j | before) / pi_ref(step j | before)

ImplicitPRM, arXiv:2412.01981, section 3; PRIME, arXiv:2502.01456: `train/implicit` and `judge/implicit`. Updates, batch size
and start are those of the other network judges, and so is the cut at one half. Departs: the learning rate, chosen on seed 1 by the
Brier score of outcomes (gradients carry beta, so that it is ten times the others'); and a policy reads the problem, of which the judges with a head see the attempt's lines alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcredit.core.protocols import Judge, Policy
from stepcredit.core.types import Record
from stepcredit.judge.implicit import Read, implicit
from stepcredit.recipes._fit import Budget, _dtype
from stepcredit.recipes._pools import DEMONSTRATION_END

READS: dict[str, Read] = {"implicit_value": "value", "implicit_reward": "reward"}  # by a rival's source


@dataclass(frozen=True)
class Implicit:
    """What decides an implicit reward beside the budget; beta is the paper's."""

    beta: float = 0.05
    learning_rate: float = 1e-2


@dataclass(frozen=True, eq=False)
class Tuned:
    """The two policies, what training says of itself, and the tokens it forwarded, the reference's pass among them."""

    policy: Policy
    reference: Policy
    lines: list[str]
    forwarded_tokens: float


def tuned(
    records: Sequence[Record], start: Path, *, knobs: Implicit, budget: Budget, delimiter: str, seed: int,
    progress: bool = False,
) -> Tuned:  # fmt: skip
    """Tune a copy of the model in folder `start` on the records' outcomes. Raises ValueError for data that cannot teach."""
    from stepcredit.policy.hf import hf
    from stepcredit.train.implicit import fit

    with tempfile.TemporaryDirectory() as scratch:
        done = fit(
            records, start, Path(scratch) / "tuned", beta=knobs.beta, num_updates=budget.num_updates,
            batch_size=budget.batch_size, token_budget=budget.token_budget, max_tokens=budget.max_tokens,
            on_long=budget.on_long, learning_rate=knobs.learning_rate, dtype=_dtype(budget), seed=seed,
            prompt_end=DEMONSTRATION_END, delimiter=delimiter, progress=progress,
        )  # fmt: skip
        policy = hf(str(done.folder))
    (first, before), (last, after) = done.loss[0], done.loss[-1]
    line = (
        f"Cross-entropy of the training outcomes: {before:.3f} up to update {first}, {after:.3f} up to update {last}."
    )
    return Tuned(policy, hf(str(start)), [line], float(done.cost.forwarded_tokens))


def judge_of(found: Tuned, read: Read, *, knobs: Implicit, delimiter: str) -> Judge:
    """The two policies as a judge, with the texts they were trained on."""
    return implicit(policy=found.policy, reference=found.reference, beta=knobs.beta, read=read,
                    prompt_end=DEMONSTRATION_END, delimiter=delimiter)  # fmt: skip
