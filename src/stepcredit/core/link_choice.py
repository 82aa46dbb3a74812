"""What outcomes may say about the link (derivation or retry), and when they must not be asked.

The link is declared by the domain. Where success ends an episode, short means right: a wrong link then reads the
verdict off the length and *wins* on likelihood (checked on synthetic retry data: .42 against .95 nats for the right
one), and the successful turn is the last turn, so that the trivial label "outcome on the last turn, 0 elsewhere" is
next to the oracle. A comparison is therefore made at matched length only, and otherwise answers "undecided".
Harder problems are longer too, and their attempts more often wrong: so lengths are compared within a problem.

Ours; the model family is that of `core/chain`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.protocols import Rng
from stepcredit.core.stats import cluster_sums, clustered_bootstrap, ratio
from stepcredit.core.types import Bools, Estimate, Floats, Ints

MARGIN = 0.05  # of the mean number of steps


@dataclass(frozen=True)
class StopOnSuccess:
    """Whether the number of steps tells the outcomes of one problem's attempts apart.

    `difference`: length of wrong attempts minus that of right ones at the same problem, NaN where no problem has both;
    `num_mixed`: problems that have both. `share_at_limit`: wrong attempts that have the greatest length there is.
    `share_matched`: attempts of a length that both outcomes have.
    """

    difference: Estimate
    num_mixed: int
    share_at_limit: float
    share_matched: float
    mean_steps: float = 1.0

    @property
    def dependent(self) -> bool:
        """Whether right attempts at a problem are shorter: by surely more than 5 % of a mean attempt, or always.

        A hundredth of a step, as where a malformed line is lost now and then, tells no outcome, however sure it is.
        """
        clearly = self.difference.low > MARGIN * self.mean_steps
        return bool(clearly or (self.difference.value > 0 and self.share_matched == 0))

    def lines(self) -> list[str]:
        """The finding in sentences."""
        gap = self.difference
        said = (
            f"Wrong attempts are {gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}] steps longer than right ones, of {self.mean_steps:.1f}, at the same "
            f"problem ({self.num_mixed} problems with both)"
        )
        if not self.num_mixed:
            said = "No problem has right and wrong attempts, so lengths cannot tell whether success ends an episode"
        found = [
            f"{said}; {self.share_at_limit:.0%} of wrong attempts have the greatest length, and {self.share_matched:.0%} "
            "of all attempts have a length that occurs with both outcomes."
        ]
        if self.dependent:
            found.append(
                "Length tells the outcome, as where success ends an episode: which link is right is undecided here, "
                "and 'outcome on the last step, 0 elsewhere' belongs in every table."
            )
        return found


def stop_on_success(num_steps: Ints, right: Bools, clusters: Sequence[Hashable], *, rng: Rng) -> StopOnSuccess | None:
    """Does length depend on the outcome at the same problem, [n] attempts clustered by it.

        difference = sum_c w_c (mean wrong length - mean right length) / sum_c w_c,   w_c = wrong right / (wrong + right)

    These are the weights of a regression with an intercept for each problem. None where only one outcome occurs.
    """
    length, is_right = np.asarray(num_steps, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    if length.shape != is_right.shape or length.ndim != 1:
        raise ValueError(f"lengths and outcomes: expected one [n], got {length.shape} and {is_right.shape}")
    if is_right.all() or not is_right.any():
        return None
    columns = np.stack([length * ~is_right, ~is_right, length * is_right, is_right], axis=1)
    wrong_length_C, wrong_C, right_length_C, right_C = cluster_sums(clusters, columns).T
    num_C = wrong_C + right_C
    mixed_C = (wrong_C > 0) & (right_C > 0)
    gap_C = (
        wrong_length_C * right_C - right_length_C * wrong_C
    ) / num_C  # with its weight; 0 where an outcome is missing
    difference = clustered_bootstrap(
        lambda t: ratio(t[..., 0], t[..., 1]), np.stack([gap_C, wrong_C * right_C / num_C], axis=1), "steps",
        rng=rng, n=int(num_C[mixed_C].sum()),
    )  # fmt: skip
    at_limit = float(np.mean(length[~is_right] == length.max()))
    matched = float(np.mean(matched_weights(num_steps, right) > 0))
    return StopOnSuccess(difference, int(mixed_C.sum()), at_limit, matched, float(length.mean()))


def matched_weights(num_steps: Ints, right: Bools) -> Floats:
    """Weights under which length says nothing about the outcome, [n].

    Within each length both outcomes weigh as much as the rarer one has attempts; a length with one outcome weighs 0.
    """
    length, is_right = np.asarray(num_steps), np.asarray(right, dtype=np.bool_)
    weight = np.zeros(length.shape, dtype=np.float64)
    for value in np.unique(length):
        of = [(length == value) & (is_right == outcome) for outcome in (True, False)]
        rarer = min(int(rows.sum()) for rows in of)
        for rows in of:
            if rarer:
                weight[rows] = rarer / rows.sum()
    return weight


@dataclass(frozen=True)
class LinkComparison:
    """Held-out log-likelihood of one link over another at matched length, and the answer it allows."""

    first: str
    second: str
    gap: Estimate
    raw_gap: float
    stop: StopOnSuccess | None
    answer: str

    def lines(self) -> list[str]:
        """The finding in sentences."""
        found = [
            f"{self.first} over {self.second}: {self.gap.value:+.3f} [{self.gap.low:+.3f}, {self.gap.high:+.3f}] nats "
            f"an attempt at matched length ({self.raw_gap:+.3f} without matching). Answer: {self.answer}."
        ]
        return found + (self.stop.lines() if self.stop else ["Only one outcome occurs: no link can be told apart."])


def compare_links(
    log_likelihood: Mapping[str, Floats],
    num_steps: Ints,
    right: Bools,
    clusters: Sequence[Hashable],
    *,
    rng: Rng,
    min_matched: float = 0.5,
) -> LinkComparison:
    """Which of two links the held-out outcomes prefer: a name, or "undecided". Never a measure of credit quality.

    `log_likelihood` holds two links' log P(outcome) per held-out attempt, [n]; bootstrap over task `clusters`.
    "undecided" unless the matched-length interval excludes 0, and always where fewer than `min_matched` of the attempts
    can be matched, for whatever reason: length then tells most outcomes.
    """
    if len(log_likelihood) != 2:
        raise ValueError(f"compare two links; got {', '.join(log_likelihood) or 'none'}")
    (first, a), (second, b) = log_likelihood.items()
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if difference.shape != np.shape(num_steps):
        raise ValueError(f"log-likelihoods: expected {list(np.shape(num_steps))}, got {list(difference.shape)}")
    weight = matched_weights(num_steps, right)
    gap = clustered_bootstrap(
        lambda t: ratio(t[..., 0], t[..., 1]),
        cluster_sums(clusters, np.stack([weight * difference, weight], axis=1)), "nats per attempt",
        rng=rng, n=int((weight > 0).sum()),
    )  # fmt: skip
    stop = stop_on_success(num_steps, right, clusters, rng=rng)
    blind = stop is None or stop.share_matched < min_matched
    decided = not blind and bool(gap.low > 0 or gap.high < 0)
    answer = (first if gap.value > 0 else second) if decided else "undecided"
    return LinkComparison(first, second, gap, float(difference.mean()), stop, answer)
