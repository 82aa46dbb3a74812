"""Diagnostics on synthetic fits: a leaked verdict, lost memory, disagreeing seeds, contamination."""

import numpy as np
import pytest

from stepcredit.core import chain, diagnostics


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def leaky_data(num_attempts, rng):
    """Attempts of five steps with a hazard of .13; noisy evidence on every step, the verdict readable on the last."""
    broken = rng.uniform(size=(num_attempts, 5)) < 0.13
    right = ~broken.any(axis=1)
    evidence = np.where(broken, -1.0, 1.0) + rng.normal(0, 1.0, broken.shape)
    verdict = np.zeros_like(evidence)
    verdict[:, -1] = np.where(right, 1.0, -1.0)
    return broken, right, evidence, verdict


def fit(right, features, num_updates=250):
    """Survival chain with keep = sigmoid(features @ w), by gradient of the outcome likelihood; returns keep [n, S]."""
    weights = np.zeros(features.shape[-1])
    weights[0] = 2.0
    for _ in range(num_updates):
        keep = np.clip(sigmoid(features @ weights), 1e-6, 1 - 1e-6)
        survive = keep.prod(axis=1, keepdims=True)
        # d log P / d logit: hazard on a success, -hazard * S / (1 - S) on a failure
        slope = (1 - keep) * np.where(right[:, None], 1.0, -survive / (1 - survive))
        weights = weights + 0.05 * np.einsum("ns,nsk->k", slope, features) / len(right) * 20
    return np.clip(sigmoid(features @ weights), 1e-6, 1 - 1e-6)


def test_a_leaked_verdict_improves_the_likelihood_ruins_the_credit_and_is_flagged():
    broken, right, evidence, verdict = leaky_data(400, np.random.default_rng(0))
    ones = np.ones_like(evidence)
    found = {}
    for name, columns in {"local": [ones, evidence], "leaky": [ones, evidence, verdict]}.items():
        keep = fit(right, np.stack(columns, axis=-1))
        none = np.zeros_like(keep)
        nll = -np.mean([chain.log_likelihood(k, f, r) for k, f, r in zip(keep, none, right, strict=True)])
        guess = [
            int(np.argmax(chain.posterior(k, f, False).first_error_S)) for k, f in zip(keep[~right], none, strict=False)
        ]
        accuracy = np.mean(np.array(guess) == broken[~right].argmax(axis=1))
        found[name] = nll, accuracy, diagnostics.last_step_blame(list(keep), list(none), right)
    assert found["leaky"][0] < found["local"][0]  # a better outcome likelihood ...
    assert found["leaky"][1] < found["local"][1] - 0.1  # ... and worse credit
    assert found["leaky"][2].suspicious and "WARNING" in " ".join(found["leaky"][2].lines())
    assert not found["local"][2].suspicious
    assert np.isclose(found["local"][2].base_rate, 0.2)


def test_blame_is_on_failures_and_credit_on_successes():
    keep = [np.array([0.9, 0.5]), np.array([0.2, 0.9]), np.array([0.1, 0.1])]
    none = [np.zeros(2)] * 3
    blame = diagnostics.last_step_blame(keep, none, [False, False, True])
    # blames .1 against .45 (last), .8 against .02 (first); the third attempt is right
    assert (blame.share.value, blame.share.n, blame.base_rate, blame.what) == (0.5, 2, 0.5, "blame")
    credit = diagnostics.last_step_blame([np.ones(2)] * 2, [np.array([0.1, 0.8])] * 2, [True, False], start=0.0)
    assert (credit.share.value, credit.share.n, credit.what) == (1.0, 1, "credit")
    assert diagnostics.last_step_blame(keep, none, [True, True, True]) is None


def test_several_attempts_of_a_problem_do_not_count_as_independent():
    """Half of 80 attempts put the blame last: of 8 problems 4 always do, or all do every second time."""
    last, first = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    none, wrong = [np.zeros(2)] * 80, [False] * 80
    keep = [last if index % 2 else first for index in range(80)]

    def share(clusters):
        return diagnostics.last_step_blame(keep, none, wrong, clusters=clusters, rng=np.random.default_rng(0)).share

    alone = diagnostics.last_step_blame(keep, none, wrong).share
    whole, even = share([index % 8 for index in range(80)]), share([index // 10 for index in range(80)])
    assert alone.value == whole.value == even.value == 0.5 and alone.n == whole.n == even.n == 80
    assert (even.low, even.high) == (0.5, 0.5)  # every problem has the share .5, so every resample has
    # sd of a mean of 8 fair coins .177: .5 -+ 1.96 * .177 = [.15, .85]; Wilson for 80 coins [.39, .61]
    assert whole.low < 0.25 and whole.high > 0.75 and alone.low > 0.38
    # only the attempts to be explained count, each with its own problem: the two wrong ones are of two problems
    some = diagnostics.last_step_blame([last, last, first], none[:3], [False, True, False],
                                       clusters=["p", "p", "q"], rng=np.random.default_rng(0)).share  # fmt: skip
    assert (some.value, some.n, some.low, some.high) == (0.5, 2, 0.0, 1.0)


def test_blame_needs_one_problem_an_attempt_and_an_rng():
    keep = [np.array([0.9, 0.5])] * 2
    with pytest.raises(ValueError, match="it needs rng"):
        diagnostics.last_step_blame(keep, keep, [False, False], clusters=["p", "q"])
    with pytest.raises(ValueError, match=r"one entry an attempt, got \[2, 2, 2, 1\]"):
        diagnostics.last_step_blame(keep, keep, [False, False], clusters=["p"], rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"got \[2, 2, 1\]"):
        diagnostics.last_step_blame(keep, keep, [False])


def test_kappa_warns_when_the_chain_forgets_or_swaps():
    good = diagnostics.kappa([np.array([0.9, 1.0])], [np.zeros(2)])
    assert good.quantiles[2] == 0.95 and not good.forgets and len(good.lines()) == 1
    bad = diagnostics.kappa([np.array([0.9, 0.2])], [np.array([0.8, 0.4])])  # kappa .1 and -.2
    assert bad.forgets and bad.share_negative == 0.5 and len(bad.lines()) == 3
    with pytest.raises(ValueError, match="at least one step"):
        diagnostics.kappa([], [])


def test_rank_agreement_is_measured_within_attempts():
    """Two fits that agree on which attempt is bad and disagree on every step of both: within -1, pooled positive."""
    first = [np.array([0.1, 0.2, 0.3]), np.array([0.7, 0.8, 0.9]), np.array([0.5])]
    second = [np.array([0.3, 0.2, 0.1]), np.array([0.9, 0.8, 0.7]), np.array([0.5])]
    found = diagnostics.rank_agreement(first, second)
    assert np.isclose(found.spearman, -1) and np.isclose(found.kendall, -1) and found.pooled_spearman > 0.5
    assert (found.num_attempts, found.num_undefined) == (2, 1)
    assert "not identified" in " ".join(found.lines())
    same = diagnostics.rank_agreement(first, first)
    assert np.isclose(same.spearman, 1) and len(same.lines()) == 1


def test_ties_share_their_mean_rank():
    """x = (1, 1, 2), y = (1, 2, 3): tau-b = 2 / sqrt(2 * 3); ranks (.5, .5, 2) give Spearman sqrt(3) / 2."""
    found = diagnostics.rank_agreement([np.array([1.0, 1.0, 2.0])], [np.array([1.0, 2.0, 3.0])])
    assert np.isclose(found.kendall, 2 / np.sqrt(6)) and np.isclose(found.spearman, np.sqrt(3) / 2)


def test_no_comparable_attempt_is_undecided_not_zero():
    found = diagnostics.rank_agreement([np.array([0.5, 0.5])], [np.array([0.2, 0.2])])
    assert np.isnan(found.spearman) and "Undecided" in found.lines()[1]


def test_prefix_contamination_is_a_paired_clustered_difference():
    rng = np.random.default_rng(0)
    clean = np.full(40, 0.9)
    clusters = [str(i // 4) for i in range(40)]
    fallen = diagnostics.prefix_contamination(clean, clean - 0.3 + rng.normal(0, 0.05, 40), clusters, rng=rng)
    assert fallen.contaminated and np.isclose(fallen.difference.value, -0.3, atol=0.05)
    steady = diagnostics.prefix_contamination(clean, clean + rng.normal(0, 0.05, 40), clusters, rng=rng)
    assert not steady.contaminated
    single = diagnostics.prefix_contamination(clean, clean - 0.3, ["one"] * 40, rng=rng)
    assert not single.contaminated and "Undecided" in single.lines()[1]  # one task has no interval
    tiny = diagnostics.prefix_contamination(clean, clean - 0.01, clusters, rng=rng)
    assert not tiny.contaminated and tiny.lines()[1] == "No contamination of more than 0.02."


def test_the_order_of_sound_steps_that_are_all_but_certain_is_no_disagreement():
    """Two judges that see the same one wrong step in four, and give the others .98 to 1 in any order."""
    rng = np.random.default_rng(0)
    wrong = np.eye(4)[rng.integers(4, size=100)]
    first, second = ([1 - w - rng.uniform(0, 0.02, 4) * (1 - w) for w in wrong] for _ in range(2))
    assert diagnostics.rank_agreement(first, second).spearman == 1.0
    blurred = diagnostics.rank_agreement(first, second, resolution=0.0).spearman
    assert 0.4 < blurred < 0.7  # only the wrong step's rank is shared: 3/4 ... 15 of 25 of the rank variance
    none = diagnostics.rank_agreement([np.array([0.99, 1.0])], [np.array([1.0, 0.98])])
    assert none.num_attempts == 0 and none.num_undefined == 1
    one_sided = diagnostics.rank_agreement([np.array([0.1, 1.0]), wrong[0]], [np.array([1.0, 1.0]), wrong[0]])
    assert (
        one_sided.num_attempts == 2 and one_sided.spearman == 0.5
    )  # a step stands out for one judge alone: agreement 0


def test_agreement_on_filtered_states_says_nothing():
    """Why `rank_agreement` is to be given local rates: without repair two unrelated fits agree on the states, not on keep."""
    rng = np.random.default_rng(0)
    keep = [[rng.uniform(0.05, 0.95, 6) for _ in range(200)] for _ in range(2)]
    states = [[chain.filtered(k, np.zeros(6)) for k in fit] for fit in keep]
    assert np.isclose(diagnostics.rank_agreement(*states, resolution=0.0).spearman, 1)
    assert diagnostics.rank_agreement(*states).spearman > 0.85  # the tails, all but 0, are ties
    assert abs(diagnostics.rank_agreement(*keep).spearman) < 0.15
