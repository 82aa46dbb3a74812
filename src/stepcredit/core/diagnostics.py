"""What says whether step credit learnt from outcomes is identified at all: numbers printed with every fit.

One outcome per attempt constrains one number, P(ok at the end); the rates of the steps before it are free. Credit is
identified only by what steps share across attempts and by what the judge cannot see, so a better outcome likelihood
is not better credit: it may be better at reading the verdict off the last step. Each function takes plain arrays of
fitted attempts and returns numbers with `lines()`, sentences that also say what the numbers cannot show.

The chain is RSP's (arXiv:2609.39220), whose own fit shows the loss of memory `kappa` looks for; the diagnostics are
ours. `core/link_choice` holds those that concern the choice of link, `core/filter_state` that of the self-supervised filter.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core import chain
from stepcredit.core.protocols import Rng
from stepcredit.core.stats import clustered_rate, paired_difference, rate
from stepcredit.core.types import Estimate, Floats

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
NO_MATTER = 0.02  # a change of a step's score that is too small to act on


@dataclass(frozen=True)
class LastStepBlame:
    """How often the last step takes the blame (or, for a chain that starts broken, the credit)."""

    share: Estimate
    base_rate: float
    what: str

    @property
    def suspicious(self) -> bool:
        """Whether the interval of the share lies above twice the base rate (above .9, for attempts of one or two steps)."""
        return bool(self.share.low > min(2 * self.base_rate, 0.9)) and self.base_rate < 1

    def lines(self) -> list[str]:
        """The finding in sentences."""
        found = [
            f"The last step takes the {self.what} in {_interval(self.share)} of {self.share.n} attempts; "
            f"a step drawn at random would in {self.base_rate:.2f}."
        ]
        if self.suspicious:
            found.append(
                "WARNING: the judge may read the verdict off the last step. Hide the answer step from it, or score "
                "truncated attempts, before its step scores are believed; late errors alone would look the same."
            )
        return found


def last_step_blame(
    keep: Sequence[Floats],
    fix: Sequence[Floats],
    right: Sequence[bool],
    *,
    start: float = 1.0,
    fp: float = 0.0,
    fn: float = 0.0,
    clusters: Sequence[Hashable] | None = None,
    rng: Rng | None = None,
) -> LastStepBlame | None:
    """Share of attempts whose posterior puts the decisive step last, beside the mean of 1 / S.

    start > 0: wrong attempts, argmax of the first-error posterior. start = 0: right attempts, argmax of the posterior
    of the fix. Ties go to the earliest step. The interval is Wilson's for independent attempts; with `clusters`, the
    problem of each, it is over problems (`clustered_rate`). Degenerate: None where no attempt has the outcome to be
    explained. Raises ValueError for clusters without `rng`, or not one an attempt.
    """
    sizes = [len(keep), len(fix), len(right), *([] if clusters is None else [len(clusters)])]
    if len(set(sizes)) > 1:
        raise ValueError(f"keep, fix, right and clusters: expected one entry an attempt, got {sizes}")
    if clusters is not None and rng is None:
        raise ValueError("an interval over clusters is bootstrapped: it needs rng")
    explained = [index for index, is_right in enumerate(right) if is_right == (start == 0)]
    if not explained:
        return None
    last, base = [], []
    for index in explained:
        smoothed = chain.posterior(keep[index], fix[index], bool(right[index]), start=start, fp=fp, fn=fn)
        blame_S = smoothed.fixed_S if start == 0 else smoothed.first_error_S
        last.append(bool(np.argmax(blame_S) == len(blame_S) - 1))
        base.append(1.0 / len(blame_S))
    what = "credit" if start == 0 else "blame"
    unit = f"share of {what} on the last step"
    if clusters is None or rng is None:
        share = rate(sum(last), len(last), unit)
    else:
        share = clustered_rate(last, [clusters[index] for index in explained], unit, rng=rng)
    return LastStepBlame(share, float(np.mean(base)), what)


@dataclass(frozen=True)
class Kappa:
    """Distribution of kappa = keep - fix over steps: how much of the state survives a step."""

    quantiles: tuple[float, ...]
    share_below_half: float
    share_negative: float
    num_steps: int

    @property
    def forgets(self) -> bool:
        """Whether the median step loses more than half of what the chain knew before it."""
        return self.quantiles[LEVELS.index(0.5)] < 0.5

    def lines(self) -> list[str]:
        """The finding in sentences."""
        quantiles = " / ".join(f"{value:.2f}" for value in self.quantiles)
        found = [
            f"keep - fix over {self.num_steps} steps: {quantiles} (5, 25, 50, 75, 95 %); "
            f"{self.share_below_half:.0%} below one half, {self.share_negative:.1%} negative."
        ]
        if self.forgets:
            found.append(
                "WARNING: the median is below one half: the chain forgets in a step or two, and is in effect a "
                "classifier of the prefix. Tie the recovery rate to a constant, or penalise it."
            )
        if self.share_negative > 0.01:
            found.append("WARNING: keep < fix on some steps: there the two states have changed places.")
        return found


def kappa(keep: Sequence[Floats], fix: Sequence[Floats]) -> Kappa:
    """Quantiles of keep - fix over all steps of all attempts. Raises ValueError where there is no step."""
    if not len(keep) or not sum(len(keep_S) for keep_S in keep):
        raise ValueError("kappa needs at least one step")
    kappa_S = np.concatenate([np.asarray(k) - np.asarray(f) for k, f in zip(keep, fix, strict=True)])
    quantiles = tuple(float(q) for q in np.quantile(kappa_S, LEVELS))
    return Kappa(quantiles, float(np.mean(kappa_S < 0.5)), float(np.mean(kappa_S < 0)), kappa_S.size)


@dataclass(frozen=True)
class RankAgreement:
    """How alike two fits, of different seeds, rank the same steps."""

    spearman: float
    kendall: float
    pooled_spearman: float
    num_attempts: int
    num_undefined: int

    def lines(self) -> list[str]:
        """The finding in sentences."""
        found = [
            f"Two seeds rank the steps of an attempt alike by Spearman {self.spearman:.2f}, Kendall "
            f"{self.kendall:.2f} (mean over {self.num_attempts} attempts; {self.num_undefined} more have one step, "
            f"or no step that stands out); over all steps at once by {self.pooled_spearman:.2f}."
        ]
        if self.num_attempts == 0:
            found.append("Undecided: no attempt has two steps that both fits tell apart.")
        elif self.spearman < 0.5:
            found.append(
                "WARNING: the step scores are not identified, whatever the likelihood: seeds disagree on them."
            )
        return found


def rank_agreement(first: Sequence[Floats], second: Sequence[Floats], *, resolution: float = 0.05) -> RankAgreement:
    """Mean within-attempt Spearman and Kendall (tau-b) of two fits' step scores, and Spearman over all steps.

    Scores are first rounded to multiples of `resolution`: the order of .998 and .999 is noise, and two perfect judges
    would be said to disagree on it (oracle judges of the chain world: .41 without rounding, 1.00 with it).

    Only the within-attempt numbers speak of step credit: two fits that agree on which *attempts* are bad already
    agree over all steps. Give what is said of each step by itself (`keep`, `fix`, `ok`): the filtered state of a chain
    without repair falls along every attempt, so that any two fits agree on it. Where a step stands out for one fit and none
    for the other, they agree by 0. Degenerate: attempts of one step, or with no step that stands out for either fit, are
    counted and left out.
    """
    spearmans, kendalls = [], []
    for first_S, second_S in zip(first, second, strict=True):
        a, b = _rounded(first_S, resolution), _rounded(second_S, resolution)
        if a.shape != b.shape:
            raise ValueError(f"two fits score the same steps: got {a.shape} and {b.shape}")
        if a.size > 1 and np.ptp(a) > 0 and np.ptp(b) > 0:
            spearmans.append(_correlation(_ranks(a), _ranks(b)))
            kendalls.append(_correlation(np.sign(a[:, None] - a).ravel(), np.sign(b[:, None] - b).ravel()))
        elif a.size > 1 and (np.ptp(a) > 0 or np.ptp(b) > 0):
            spearmans.append(0.0)
            kendalls.append(0.0)
    flat = [np.concatenate([_rounded(s, resolution) for s in fit]) if len(fit) else np.zeros(0)
            for fit in (first, second)]  # fmt: skip
    pooled = _correlation(_ranks(flat[0]), _ranks(flat[1]))
    nan = float("nan")
    num = len(spearmans)
    means = (float(np.mean(spearmans)), float(np.mean(kendalls))) if num else (nan, nan)
    return RankAgreement(*means, pooled, num, len(first) - num)


@dataclass(frozen=True)
class Contamination:
    """How a sound step's rate changes when an error is planted before it."""

    difference: Estimate

    @property
    def contaminated(self) -> bool:
        """Whether the interval lies below 0, and reaches past what matters: the prefix is held against the step."""
        return bool(self.difference.high < 0 and self.difference.low < -NO_MATTER)

    def lines(self) -> list[str]:
        """The finding in sentences."""
        found = [f"After a corrupted prefix a sound step's score changes by {_interval(self.difference)}."]
        if self.contaminated:
            found.append("WARNING: the score of a step follows its prefix, not the step alone (prefix contamination).")
        elif max(abs(self.difference.low), abs(self.difference.high)) <= NO_MATTER:
            found.append(f"No contamination of more than {NO_MATTER}.")
        elif not self.difference.low > 0:
            found.append("Undecided: the interval includes 0, or there is none.")
        return found


def prefix_contamination(
    after_clean: Floats, after_corrupted: Floats, clusters: Sequence[Hashable], *, rng: Rng
) -> Contamination:
    """Score (keep, for a chain) of the same sound step after a corrupted prefix, minus after a clean one; paired.

    The probe is the caller's: the same step text after both prefixes, and sound after both. [n] each, clustered by
    task.
    """
    unit = "change of a sound step's score"
    return Contamination(paired_difference(after_corrupted, after_clean, unit, clusters, rng=rng))


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _rounded(score_S: Floats, resolution: float) -> Floats:
    score = np.asarray(score_S, dtype=np.float64)
    return np.round(score / resolution) if resolution > 0 else score


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, ties at their mean."""
    _, inverse, num = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(num) - (num + 1) / 2)[inverse]


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean() if a.size else a, b - b.mean() if b.size else b
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")
