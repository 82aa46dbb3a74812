"""Where an attempt first breaks, from the rollouts counted behind its steps: a posterior over its steps.

    e = first wrong step, 0..S-1;   the prefix that ends with step j is sound iff j < e
    P(success | sound prefix) = u_j(r),   P(success | broken prefix) = w_j(r),   r = P(success | prompt)
    P(e | counts) ~ prior_e * E_r [ prod_(j<e) u_j^s_j (1 - u_j)^f_j  *  prod_(j>=e) w_j^s_j (1 - w_j)^f_j ]

r is not known: its prior is Beta(1 + right, 1 + wrong) of the problem's own attempts (r uniform before them), summed over a
grid of equal steps in log-odds that spans what the attempts leave possible, however close to 0 or 1: a problem that nobody
solved may have r = 1e-4, and then failures say little. Two profiles of u: "flat", u_j = r, is a bound wherever nothing
recovers (a sound prefix is at least as good as the prompt); "chain" is the two-state chain of `core/chain`, equal steps,
which says that less is left to go wrong. Of w: the same chain started broken, whose `recovery` is its constant fix; plus
`luck`, a verifier's false positives. Where both are 0, w = 0: one success proves its prefix sound. A sound step is at
least as likely to stay sound as a broken one to recover: r is never under luck + (1 - luck) * recovery.
Wald, Sequential Tests of Statistical Hypotheses (1945), for the tests inside; the mixture over positions is Baum and
Veeravalli (1994): stopping when the posterior of one place is 1 - d is wrong at most d of the time, over the prior.
The last step of a wrong attempt is finished, its prefix not in question: counts there are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from stepcredit.core.types import Floats

Profile = Literal["flat", "chain"]
GRID = 128
_SPAN = 25.0  # nats under the density's peak at which the grid ends
_NEVER = -1e9  # log of an impossible success: finite, so that zero times it is zero


@dataclass(frozen=True)
class Beliefs:
    """What is believed of an attempt of S steps before any rollout: prior of its first error, its problem's results.

    `right`, `wrong`: attempts at the problem, the attempt itself among them. Raises ValueError for a prior that is not
    S positive numbers, negative counts, an unknown profile, or a recovery or luck outside [0, 1).
    """

    prior_S: tuple[float, ...]
    right: int
    wrong: int
    recovery: float = 0.0
    luck: float = 0.0
    profile: Profile = "flat"

    def __post_init__(self) -> None:
        if not self.prior_S or not all(p > 0 and np.isfinite(p) for p in self.prior_S):
            raise ValueError(f"a prior over steps needs positive numbers, got {self.prior_S}")
        if self.right < 0 or self.wrong < 0 or not (0 <= self.recovery < 1 and 0 <= self.luck < 1):
            raise ValueError(f"right {self.right}, wrong {self.wrong}, recovery {self.recovery}, luck {self.luck}; "
                             "allowed: counts of 0 or more, probabilities in [0, 1)")  # fmt: skip
        if self.profile not in get_args(Profile):
            raise ValueError(f"profile is {self.profile!r}; allowed: {', '.join(get_args(Profile))}")


def success_rates(beliefs: Beliefs) -> tuple[Floats, Floats, Floats, Floats]:
    """A grid of r, [G], and what goes with it: log of its mass before any rollout, up to a constant, [G]; the success
    rates of sound prefixes, [G, S]; those of broken ones, [G, S].
    """
    num_steps = len(beliefs.prior_S)
    return _rates(
        num_steps, float(beliefs.recovery), float(beliefs.luck), beliefs.profile, beliefs.right, beliefs.wrong
    )


@lru_cache(maxsize=512)
def _rates(
    num_steps: int, recovery: float, luck: float, profile: Profile, right: int, wrong: int
) -> tuple[Floats, Floats, Floats, Floats]:
    keep_K = np.linspace(recovery, 1.0, 2001)  # below, a sound state would be worse than a broken one
    sound, broken = np.ones(keep_K.size), np.zeros(keep_K.size)
    ahead_sound, ahead_broken = [sound], [broken]  # P(ok at the end) with 0, 1, .. S steps to go
    for _ in range(num_steps):
        sound, broken = (keep_K * sound + (1 - keep_K) * broken, recovery * sound + (1 - recovery) * broken)
        ahead_sound.append(sound)
        ahead_broken.append(broken)
    lowest = float(sound[0])
    above_G, log_mass_G = _grid(luck + (1 - luck) * lowest, right, wrong)
    clean_G = lowest + (1 - lowest) * above_G
    keep_G = np.interp(clean_G, sound, keep_K)
    left_S = np.arange(num_steps - 1, -1, -1)
    broken_GS = np.stack([np.interp(keep_G, keep_K, ahead_broken[left]) for left in left_S], axis=1)
    if profile == "flat":
        sound_GS = np.repeat(clean_G[:, None], num_steps, axis=1)
    else:
        sound_GS = np.stack([np.interp(keep_G, keep_K, ahead_sound[left]) for left in left_S], axis=1)
    root_G, sound_GS, broken_GS = (luck + (1 - luck) * rates for rates in (clean_G, sound_GS, broken_GS))
    for array in (root_G, log_mass_G, sound_GS, broken_GS):
        array.setflags(write=False)
    return root_G, log_mass_G, sound_GS, broken_GS


def _grid(lowest: float, right: int, wrong: int) -> tuple[Floats, Floats]:
    """Where r = lowest + (1 - lowest) x has its mass: x, [G], at equal steps of log-odds, and the logarithm of the mass."""

    def log_density(odds: Floats) -> Floats:
        x, log_x, log_not_x = 1 / (1 + np.exp(-odds)), -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
        log_r = np.log(lowest + (1 - lowest) * x) if lowest else log_x
        return np.asarray(right * log_r + (wrong + 1) * log_not_x + log_x)  # dr ~ x (1 - x) d odds

    fine = np.linspace(-30.0, 30.0, 12001)
    density = log_density(fine)
    inside = np.flatnonzero(density > density.max() - _SPAN)
    first, last = max(int(inside[0]) - 1, 0), min(int(inside[-1]) + 1, fine.size - 1)
    odds_G = np.linspace(fine[first], fine[last], GRID + 1)
    return np.asarray(1 / (1 + np.exp(-odds_G))), log_density(odds_G)


def posterior(success_S: ArrayLike, rollouts_S: ArrayLike, beliefs: Beliefs) -> Floats:
    """P(first error = step | counts), [S]; sums to 1.

    Raises ValueError for counts of another length than the prior, or more successes than rollouts.
    Degenerate: no rollouts give the prior; one step gives 1.

    >>> beliefs = Beliefs((0.5, 0.5), right=10**6, wrong=10**6)  # r = 1/2: two failures behind the first of two steps
    >>> posterior([0, 0], [2, 0], beliefs).round(2)  # 1/2 against 1/2 * 1/4
    array([0.8, 0.2])
    """
    return np.asarray(_joint(success_S, rollouts_S, beliefs).sum(axis=0))


def posterior_and_gains(success_S: ArrayLike, rollouts_S: ArrayLike, beliefs: Beliefs) -> tuple[Floats, Floats]:
    """The posterior, and the nats by which one more rollout behind each step is expected to sharpen it, both [S].

        I(outcome; e) = H(E_e p_je) - E_e H(p_je),   p_je = P(success behind j | first error e, counts)

    A gain is never negative, and 0 at the last step, which is finished.
    """
    joint_GS = _joint(success_S, rollouts_S, beliefs)
    _, _, sound_GS, broken_GS = success_rates(beliefs)
    place_S = joint_GS.sum(axis=0)
    given_GS = joint_GS / np.maximum(place_S, 1e-300)
    order = np.arange(len(place_S))
    p_JE = np.where(order[:, None] < order, sound_GS.T @ given_GS, broken_GS.T @ given_GS)
    gain_S = _entropy(p_JE @ place_S) - _entropy(p_JE) @ place_S
    gain_S[-1] = 0.0
    return place_S, np.maximum(gain_S, 0.0)


def first_error_prior(num_steps: int, score_S: ArrayLike | None = None, doubt: float = 0.1) -> tuple[float, ...]:
    """Prior over the first wrong step of a wrong attempt, S numbers that sum to 1.

        prior_e = (1 - doubt) * (m_(e-1) - m_e) / (1 - m_S-1) + doubt / S,     m = running minimum of P(sound so far)

    Uniform without scores, with scores that are not all known, and with scores that never fall. `doubt` keeps any
    step possible, whatever the judge says. Raises ValueError for no steps, scores outside [0, 1], a length other than
    `num_steps`, or a doubt outside (0, 1].
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; allowed: 1 or more")
    if not 0 < doubt <= 1:
        raise ValueError(f"doubt is {doubt}; allowed: above 0, at most 1")
    uniform = np.full(num_steps, 1.0 / num_steps)
    if score_S is None:
        return tuple(uniform.tolist())
    given = np.asarray(score_S, dtype=np.float64)
    if given.shape != (num_steps,) or np.any((given < 0) | (given > 1)):
        raise ValueError(f"scores: expected [{num_steps}] in [0, 1], got {given.tolist()}")
    drop_S = -np.diff(np.minimum.accumulate(given), prepend=1.0)
    if np.isnan(given).any() or drop_S.sum() <= 0:
        return tuple(uniform.tolist())
    return tuple(((1 - doubt) * drop_S / drop_S.sum() + doubt * uniform).tolist())


def _joint(success_S: ArrayLike, rollouts_S: ArrayLike, beliefs: Beliefs) -> Floats:
    """P(r, e | counts), [G, S]."""
    hit_S, num_S = np.asarray(success_S, dtype=np.float64), np.asarray(rollouts_S, dtype=np.float64)
    num = len(beliefs.prior_S)
    if hit_S.shape != (num,) or num_S.shape != (num,) or np.any(hit_S > num_S) or np.any(hit_S < 0):
        raise ValueError(f"expected [{num}] successes among [{num}] rollouts, got {hit_S.tolist()} of {num_S.tolist()}")
    log_mass_G, log_u, log_not_u, log_w, log_not_w = _logs(
        num, float(beliefs.recovery), float(beliefs.luck), beliefs.profile, beliefs.right, beliefs.wrong
    )
    miss_S = num_S - hit_S
    u_GS, w_GS = hit_S * log_u + miss_S * log_not_u, hit_S * log_w + miss_S * log_not_w
    u_GS[:, -1] = w_GS[:, -1] = 0.0
    before_GS = np.cumsum(u_GS, axis=1) - u_GS
    after_GS = np.cumsum(w_GS[:, ::-1], axis=1)[:, ::-1]
    log_GS = before_GS + after_GS + np.log(beliefs.prior_S) + log_mass_G[:, None]
    joint_GS = np.exp(log_GS - log_GS.max())
    return np.asarray(joint_GS / joint_GS.sum())


@lru_cache(maxsize=512)
def _logs(num_steps: int, recovery: float, luck: float, profile: Profile, right: int, wrong: int) -> tuple[Floats, ...]:
    _, log_mass_G, sound_GS, broken_GS = _rates(num_steps, recovery, luck, profile, right, wrong)
    with np.errstate(divide="ignore"):
        logs = [np.log(sound_GS), np.log1p(-sound_GS), np.log(broken_GS), np.log1p(-broken_GS)]
    return (log_mass_G, *(np.maximum(log, _NEVER) for log in logs))


def _entropy(p: Floats) -> Floats:
    """Of a coin, in nats."""
    p = np.clip(p, 1e-300, 1 - 1e-16)
    return np.asarray(-p * np.log(p) - (1 - p) * np.log1p(-p))
