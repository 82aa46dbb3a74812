"""Records flattened into attempts: what was judged, what is true, whose problem it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.tree import first_error
from stepcredit.core.types import Floats, Judgment, Outcome, Record, Step


class NothingToMeasure(ValueError):
    """The data lack what a number needs (truth, outcomes, several attempts): a reason to skip, not a mistake in them."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """One attempt: its sampled steps, recorded truth [S] (NaN unknown), outcome and judgment.

    `judgment` is None where there is none or where it is not `scored`: both are misses, counted by `invalid_rate`.
    """

    problem_id: str
    record: int
    leaf: int
    steps: tuple[Step, ...]
    truth_S: Floats
    outcome: Outcome | None
    judgment: Judgment | None

    @property
    def first_error(self) -> int | None:
        """0-based first wrong step, -1 for none, None where the truth does not decide (an unknown step before it)."""
        first = first_error(self.truth_S)
        decided = self.truth_S[:first] if first >= 0 else self.truth_S
        return None if self.truth_S.size == 0 or np.isnan(decided).any() else first

    @property
    def right(self) -> bool | None:
        """Whether the answer is right: `correct` where recorded, else full reward; None where nobody knows.

        An attempt without a readable answer (unparsed, truncated) is wrong: it cannot be handed out. A verifier that
        failed (timeout, error) or abstained has said nothing of the attempt.
        """
        if self.outcome is None or self.outcome.status in ("timeout", "error", "abstained"):
            return None
        if self.outcome.status != "scored":
            return False
        if self.outcome.correct is not None:
            return bool(self.outcome.correct)
        return bool(self.outcome.reward >= 1.0 - 1e-9)

    @property
    def step_scores_S(self) -> Floats | None:
        """Step scores, None without a judgment or where the judge scores whole attempts only."""
        if self.judgment is None or self.judgment.step_scores_S.size != len(self.steps):
            return None
        return self.judgment.step_scores_S

    @property
    def unbroken_S(self) -> Floats | None:
        """`unbroken` of the judgment, None where the judge scores no steps."""
        if self.judgment is None or self.step_scores_S is None:
            return None
        return unbroken(self.judgment)


def unbroken(judgment: Judgment) -> Floats:
    """P(no error so far), [S]: what "first error" truth is about.

    The running product of `keep` where a chain judge has it: its step score is P(sound now), and a state that was
    repaired is sound again after an error. The step scores of any other judge.
    """
    keep_S = judgment.channels.get("keep")
    return judgment.step_scores_S if keep_S is None else np.cumprod(keep_S, dtype=np.float64)


def attempts(records: Sequence[Record]) -> list[Attempt]:
    """All attempts of the records, in order. Truth below 1/2 is wrong, from 1/2 on right.

    Raises ValueError where step scores do not line up with the sampled steps (a judge of whole attempts gives none),
    or where the recorded truth is not a label.
    """
    found = []
    for number, record in enumerate(records):
        tree, truth = record.tree, record.credits.get("truth")
        if truth is not None and truth.kind != "label":
            raise ValueError(f"problem {tree.problem.id!r}: recorded truth is a {truth.kind}; allowed: label")
        truth_N = np.full(tree.num_nodes, np.nan)
        if truth is not None:
            known_N = ~np.isnan(truth.values_N)
            truth_N[known_N] = truth.values_N[known_N] >= 0.5
        sampled_N = [step.sampled for step in tree.steps]
        for position, leaf in enumerate(tree.leaves):
            nodes = [n for n in tree.path(leaf) if sampled_N[n]]
            judgment = record.judgments[position] if record.judgments else None
            if judgment is not None and judgment.status != "scored":
                judgment = None
            if judgment is not None and judgment.step_scores_S.size not in (0, len(nodes)):
                raise ValueError(
                    f"problem {tree.problem.id!r}, attempt {position}: {len(nodes)} sampled steps"
                    f" but {judgment.step_scores_S.size} step scores"
                )
            steps = tuple(tree.steps[n] for n in nodes)
            found.append(Attempt(tree.problem.id, number, leaf, steps, truth_N[nodes], tree.outcomes[leaf], judgment))
    return found


def by_problem(given: Sequence[Attempt]) -> dict[str, list[int]]:
    """Positions of the attempts at each problem, over all records, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for index, attempt in enumerate(given):
        groups.setdefault(attempt.problem_id, []).append(index)
    return groups
