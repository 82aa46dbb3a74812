"""What rollouts add to outcomes, a token: a small language model that writes, slips and completes its own prefixes.

Math-Shepherd (arXiv:2312.08935) labels every step by eight rollouts and beats an outcome-supervised judge on GSM8K and MATH;
OmegaPRM (arXiv:2406.06592) says that binary search labels 75 times as many steps for the same budget. Neither charges the
outcome-supervised judge for tokens it did not spend. Here 300,000 parameters write arithmetic chains modulo 7, step truth is
exact, judges are tables of lines, and every arm has the same generated tokens (`recipes/math_shepherd`, `recipes/omegaprm`).
What can transfer is the order of mechanisms and their cost, not a number.
Written before seeds 600 to 604 were run; settings and code were tuned on seeds below 100 alone.
"""

from __future__ import annotations

from _claim import Claim

from stepcredit.core.stats import over_seeds
from stepcredit.core.types import Estimate
from stepcredit.recipes._arms import ArmResult

SEEDS = (600, 601, 602, 603, 604)
BUDGET = "recipes/omegaprm and math_shepherd --size small: equal generated tokens, attempts and rollouts together; equal updates"
F1 = "processbench_f1"
PLACED, TOKENS = "label_error_accuracy", "restart_tokens_an_attempt"
OURS, SHEPHERD, CHAIN = "adaptive", "math_shepherd_hard", "latent_chain"
MARGIN = 0.02  # what "no less" leaves to chance, in first errors found
CLAIMS = (
    Claim("eighth_of_the_tokens", "ours", "A sequential test at the loose rate .4 takes at most 1/8 of the tokens of eight rollouts a step.",
          SHEPHERD, "1/8 of the control's rollout tokens an attempt minus the arm's", "on the edge: broken chains recover in two of a hundred lines (at the rate .05, a third on seed 1)", SEEDS, BUDGET),
    Claim("eighth_places_no_fewer", "ours", "For those tokens it places no fewer of the first errors.",
          SHEPHERD, PLACED, "above or level: it knows of luck, the hard label does not", SEEDS, BUDGET, -MARGIN),
    Claim("adaptive_teaches_no_worse", "ours", "At equal tokens its labels teach a judge that is no worse than Math-Shepherd's.",
          SHEPHERD, F1, "above: it labels several times the attempts", SEEDS, BUDGET, -MARGIN),
    Claim("rollouts_beat_broadcast", "arXiv:2312.08935", "At equal tokens rollout labels teach a better judge than outcome broadcast.",
          "outcome_broadcast", F1, "two-sided at these budgets: a label costs 25 times its attempt (paper: above, at equal attempts)", SEEDS, BUDGET),
    Claim("outcomes_against_rollouts", "ours", "At equal tokens a latent chain of outcomes beats Math-Shepherd's labels.",
          SHEPHERD, F1, "two-sided; expected above, where lines recur as they do for a table", SEEDS, BUDGET),
)  # fmt: skip
ARM = {"rollouts_beat_broadcast": SHEPHERD, "outcomes_against_rollouts": CHAIN}


def measure(claim: Claim, size: str = "small", out: str = "runs/rollout_labels") -> tuple[Estimate, dict[str, float]]:
    """The claim's difference at the largest budget, paired by seed, t-interval over seeds; and the mean cost of its arm.

    A seed whose labels taught nothing has no number: the difference is NaN, and the verdict inconclusive.
    """
    same = claim.slug.startswith("eighth")
    arm = "adaptive_loose" if same else ARM.get(claim.slug, OURS)
    metric = {"eighth_of_the_tokens": TOKENS, "eighth_places_no_fewer": PLACED}.get(claim.slug, F1)
    found = _same(size, claim.seeds, out) if same else _judges(size, claim.seeds, (arm, claim.control), out)
    pairs = list(zip(found[arm], found[claim.control], strict=True))
    gaps = [_value(own, metric) - _value(control, metric) for own, control in pairs]
    if metric == TOKENS:
        gaps = [_value(control, metric) / 8 - _value(own, metric) for own, control in pairs]
    costs = [one.cost for one in found[arm] if one.cost]
    cost = {key: sum(each[key] for each in costs) / len(costs) for key in costs[0]} if costs else {}
    if same:
        cost = {TOKENS: sum(_value(one, TOKENS) for one in found[arm]) / len(pairs)}
    return over_seeds(gaps, f"{claim.metric}, {arm} minus {claim.control}"), cost


def _value(result: ArmResult, metric: str) -> float:
    return result.estimates[metric].value if metric in result.estimates else float("nan")


def _same(size: str, seeds: tuple[int, ...], out: str) -> dict[str, list[ArmResult]]:
    from stepcredit.recipes._rollout_labels_run import studies_of
    from stepcredit.recipes.math_shepherd import SIZES

    return _by_name([study.same() for study in studies_of(SIZES, size, seeds, (), (), out, False)])


def _judges(size: str, seeds: tuple[int, ...], arms: tuple[str, ...], out: str) -> dict[str, list[ArmResult]]:
    from stepcredit.recipes._rollout_labels_run import studies_of
    from stepcredit.recipes.math_shepherd import SIZES

    most = max(SIZES[size].budgets)
    return _by_name(
        [
            {arm: study.result(arm, most) for arm in arms}
            for study in studies_of(SIZES, size, seeds, arms, (), out, False)
        ]
    )


def _by_name(each: list[dict[str, ArmResult]]) -> dict[str, list[ArmResult]]:
    return {name: [one[name] for one in each] for name in each[0]}
