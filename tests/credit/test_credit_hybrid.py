"""hybrid: unbiased by enumeration of every draw and by simulation with known truth; what breaks the assumption."""

import itertools

import numpy as np
import pytest

from stepcredit import Credit, Problem, Step, Tree
from stepcredit.core.tree import star
from stepcredit.credit.hybrid import corrected, draw_labels, hybrid, pseudo_labels

NAN = np.nan


def credit(values, kind="label"):
    values = np.asarray(values, dtype=float)
    return Credit(values, kind, (~np.isnan(values)).astype(float), "given")


def attempts(f_AS, h_AS, kind="label"):
    """One tree an attempt, with its structural and its human labels."""
    trees = [star(Problem(f"p{a}", "?"), [[Step(f"{a}.{j}") for j in range(len(f))]]) for a, f in enumerate(f_AS)]
    return {
        "trees": trees,
        "structural": [credit([NAN, *f], kind) for f in f_AS],
        "human": [credit([NAN, *h]) for h in h_AS],
    }


def run(given, rng=None, **knobs):
    trees = given["trees"]
    found = hybrid(
        trees, structural=given["structural"], human=given["human"], rng=rng or np.random.default_rng(0), **knobs
    )
    return np.concatenate([one.values_N[1:] for one in found]), np.concatenate([one.weight_N[1:] for one in found])


def every_draw(h_n, num):
    """The human labels left by each choice of `num` steps."""
    for chosen in itertools.combinations(range(len(h_n)), num):
        left_n = np.full(len(h_n), NAN)
        left_n[list(chosen)] = h_n[list(chosen)]
        yield left_n


F = np.array([0.5, 0.6, 0.6, 0.7, 0.8, 0.9])  # says .683 on average
H = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])  # one half


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num", [2, 3, 5])
def test_over_every_draw_the_mean_label_is_the_mean_truth(num, power):
    means = []
    for left_n in every_draw(H, num):
        rest, among = np.isnan(left_n), ~np.isnan(left_n)
        wanted = power * F[rest].mean() + (H[among] - power * F[among]).mean()
        label_n = corrected(F, left_n, power=power, num_strata=1)
        if 0 <= wanted <= 1:
            assert label_n[rest].mean() == pytest.approx(wanted)  # the prediction-powered mean itself
        means.append((H[among].sum() + rest.sum() * wanted) / len(H))
        assert np.all((label_n >= 0) & (label_n <= 1)) and np.array_equal(label_n[among], H[among])
    assert np.mean(means) == pytest.approx(0.5)
    if power == 0:  # its means never leave [0, 1]: the labels themselves are unbiased
        assert np.mean(
            [corrected(F, left_n, power=0.0, num_strata=1).mean() for left_n in every_draw(H, num)]
        ) == pytest.approx(0.5)


def test_one_draw_by_hand():
    """Labelled: .2 wrong, .6 right. Rest .4, .8: t = .6, m = .6 + (.5 - .4) = .7, above t: 1 - (1 - f) .3 / .4."""
    label_n = corrected(np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.0, NAN, 1.0, NAN]), num_strata=1)
    assert np.allclose(label_n, [0, 1 - 0.6 * 0.75, 1, 1 - 0.2 * 0.75])
    # labelled .4 wrong, .8 right: t = .4, m = .4 + (.5 - .6) = .3, below t: f .3 / .4
    label_n = corrected(np.array([0.2, 0.4, 0.6, 0.8]), np.array([NAN, 0.0, NAN, 1.0]), num_strata=1)
    assert np.allclose(label_n, [0.15, 0, 0.45, 1])


def test_hard_labels_become_the_human_rate_behind_each():
    """Structural 1: human 1, 0, so .5; structural 0: human 1, 0, 0, 0, so .25. Two strata, whatever their sizes."""
    f = np.repeat([1.0, 0.0], [4, 8])
    h = np.array([1.0, 0.0, NAN, NAN, 1.0, 0.0, 0.0, 0.0, NAN, NAN, NAN, NAN])
    assert np.allclose(corrected(f, h, min_labels=2)[np.isnan(h)], [0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_the_order_of_the_structural_labels_stays():
    rng = np.random.default_rng(1)
    f, h = rng.uniform(size=200), np.where(rng.uniform(size=200) < 0.2, rng.integers(0, 2, 200), NAN)
    rest = np.isnan(h)
    label_n = corrected(f, h, num_strata=1)[rest]
    assert np.array_equal(np.argsort(label_n), np.argsort(f[rest])) and np.all((label_n >= 0) & (label_n <= 1))


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_pseudo_labels_are_unbiased_on_every_single_step_and_leave_the_unit_interval(power):
    """Each of six steps is labelled in half of the twenty draws of three."""
    found = np.array([pseudo_labels(F, left_n, 0.5, power=power) for left_n in every_draw(H, 3)])
    assert np.allclose(found.mean(axis=0), H)
    assert found.max() > 1 and (power == 0 or found.min() < 0)


def test_no_label_in_the_unit_interval_is_unbiased_on_a_single_step_but_the_human_one():
    """E[y] = 0 for y >= 0 means y = 0 in every draw, labelled or not, so that f could not be used at all."""
    mean_n = np.mean([corrected(F, left_n, power=0.0, num_strata=1) for left_n in every_draw(H, 3)], axis=0)
    assert np.all(np.abs(mean_n - H) > 0.1) and mean_n.mean() == pytest.approx(0.5)


def simulated(seed, num_attempts=80, num_steps=5, informative=True):
    """Truth that breaks at a random step, human labels of it, and a structural label that is too kind by about .3."""
    rng = np.random.default_rng(seed)
    broken_AS = np.cumsum(rng.uniform(size=(num_attempts, num_steps)) < 0.2, axis=1) > 0
    h_AS = 1.0 - broken_AS
    f_AS = np.clip(0.45 + 0.4 * h_AS * informative + rng.uniform(-0.1, 0.1, h_AS.shape), 0, 1)
    return f_AS, h_AS


def drawn(h_AS, by, num, rng):
    """Human labels [n] of `num` random attempts or steps, as `draw_labels` draws them."""
    left_AS, flat = np.full(h_AS.shape, NAN), h_AS.ravel()
    chosen = rng.permutation(len(h_AS) if by == "attempt" else h_AS.size)[:num]
    if by == "attempt":
        left_AS[chosen] = h_AS[chosen]
        return left_AS.ravel()
    left_n = left_AS.ravel()
    left_n[chosen] = flat[chosen]
    return left_n


@pytest.mark.parametrize(("by", "num"), [("step", 40), ("attempt", 8)])
def test_in_simulation_the_mean_label_is_the_truth_where_the_structural_one_is_far_off(by, num):
    """500 draws of a tenth: the mean over draws lies within four of its standard errors; f is off by more than .1.

    By attempt the mean over labelled steps is a ratio, here of equal lengths and so unbiased as well.
    """
    f_AS, h_AS = simulated(0)
    rng = np.random.default_rng(1)
    means = [corrected(f_AS.ravel(), drawn(h_AS, by, num, rng), num_strata=1).mean() for _ in range(500)]
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - h_AS.mean()) < 4 * error
    assert abs(f_AS.mean() - h_AS.mean()) > max(0.1, 20 * error)


def test_the_credit_is_the_correction_of_what_was_drawn():
    f_AS, h_AS = simulated(7, num_attempts=30)
    given = attempts(f_AS, h_AS)
    used = draw_labels(given["trees"], given["human"], rng=np.random.default_rng(5), share=0.4)
    left_n = np.where(np.concatenate([use_N[1:] for use_N in used]), h_AS.ravel(), NAN)
    found, weight_n = run(given, np.random.default_rng(5), share=0.4, min_labels=20)
    assert np.array_equal(found, corrected(f_AS.ravel(), left_n, min_labels=20)) and np.all(weight_n == 1)
    assert np.sum(~np.isnan(left_n)) == 60


def test_every_stratum_is_unbiased():
    """400 steps, 60 labelled, three strata: within each the mean label is the mean truth of those steps."""
    f_AS, h_AS = simulated(2)
    f, h, rng = f_AS.ravel(), h_AS.ravel(), np.random.default_rng(3)
    stratum = np.minimum((3 * (np.argsort(np.argsort(f)) + 0.5) / len(f)).astype(int), 2)
    means = []
    for _ in range(300):
        label_n = corrected(f, drawn(h_AS, "step", 60, rng), num_strata=3)
        means.append([label_n[stratum == s].mean() for s in range(3)])
    error_s = np.std(means, axis=0) / np.sqrt(len(means))
    truth_s = [h[stratum == s].mean() for s in range(3)]
    # m is cut to [0, 1] where a stratum is nearly pure: a bias of at most one in a hundred
    assert np.all(np.abs(np.mean(means, axis=0) - truth_s) < 4 * error_s + 0.01)


def test_a_good_structural_label_takes_variance_away_and_a_useless_one_adds_little():
    """Against Var(h) = .23: f = .45 + .4 h + noise leaves .36 Var(h) + .2^2 / 12 = .086, .37 of it; noise alone adds .003."""
    for informative, low, high in ((True, 0.25, 0.5), (False, 0.8, 1.25)):
        f_AS, h_AS = simulated(4, informative=informative)
        f, rng = f_AS.ravel(), np.random.default_rng(5)
        spread = []
        for power in (1.0, 0.0):
            means = [corrected(f, drawn(h_AS, "step", 40, rng), power=power, num_strata=1).mean() for _ in range(300)]
            spread.append(np.var(means))
        assert low <= spread[0] / spread[1] < high


def test_all_steps_labelled_gives_the_human_labels_and_their_weight():
    given = attempts([[0.9, 0.9], [0.1, 0.2]], [[1, 0], [1, 1]])
    label_n, weight_n = run(given, human_weight=3.0)
    assert label_n.tolist() == [1, 0, 1, 1] and weight_n.tolist() == [3, 3, 3, 3]


def test_a_human_label_may_weigh_more_than_a_corrected_one():
    given = attempts([[0.9, 0.9], [0.9, 0.9]], [[1, 0], [NAN, NAN]])
    label_n, weight_n = run(given, human_weight=5.0)
    assert label_n.tolist() == pytest.approx([1, 0, 0.5, 0.5]) and weight_n.tolist() == [5, 5, 1, 1]


def test_labels_that_stop_at_the_first_error_are_completed_or_they_would_flatter():
    """Drawn attempt: sound, wrong, unlabelled. So far: 1, 0, 0, mean 1/3; as they stand: mean 1/2."""
    given = attempts([[0.9] * 3, [0.9] * 3], [[1, 0, NAN], [NAN] * 3])
    label_n, _ = run(given)
    assert np.allclose(label_n, [1, 0, 0, 1 / 3, 1 / 3, 1 / 3])
    as_they_stand, _ = run(given, so_far=False)
    assert np.allclose(as_they_stand[3:], 0.5)


def test_the_share_draws_whole_attempts_or_single_steps():
    f_AS, h_AS = simulated(6, num_attempts=20)
    given = attempts(f_AS, h_AS)
    human = given["human"]
    by_attempt = draw_labels(given["trees"], human, rng=np.random.default_rng(0), share=0.2)
    assert sorted(use_N.sum() for use_N in by_attempt) == [0] * 16 + [5] * 4
    by_step = draw_labels(given["trees"], human, rng=np.random.default_rng(0), share=0.2, by="step")
    assert sum(use_N.sum() for use_N in by_step) == 20 and max(use_N.sum() for use_N in by_step) < 5
    few = draw_labels(given["trees"], human, rng=np.random.default_rng(0), share=1e-6)
    assert sum(use_N.sum() for use_N in few) == 5  # at least one attempt
    again = draw_labels(given["trees"], human, rng=np.random.default_rng(0), share=0.2)
    assert all(np.array_equal(a, b) for a, b in zip(by_attempt, again, strict=True))


def test_only_labelled_attempts_are_drawn():
    given = attempts([[0.5, 0.5]] * 4, [[NAN, NAN], [1, 0], [NAN, NAN], [1, 1]])
    for seed in range(5):
        used = draw_labels(given["trees"], given["human"], rng=np.random.default_rng(seed), share=0.5)
        assert [use_N.sum() for use_N in used] in ([0, 2, 0, 0], [0, 0, 0, 2])


def test_a_stratum_without_a_human_label_takes_the_correction_of_all():
    """Only f = .9 was labelled (1/4 right): the rest, f = .2, gets .2 + (.25 - .9) cut to 0."""
    f, h = np.array([0.9] * 4 + [0.2] * 4), np.array([1.0, 0.0, 0.0, 0.0, NAN, NAN, NAN, NAN])
    assert corrected(f, h, min_labels=2)[4:].tolist() == [0.0] * 4


def test_a_step_with_neither_label_stays_unknown_and_one_with_a_human_label_alone_keeps_it():
    given = attempts([[NAN, NAN, 0.5], [0.5, 0.5, 0.5]], [[NAN, 1, NAN], [1, 0, NAN]])
    label_n, weight_n = run(given, so_far=False)
    assert np.array_equal(np.isnan(label_n), [True, False, False, False, False, False]) and weight_n[0] == 0
    assert label_n[1] == 1.0 and label_n[2] == pytest.approx(0.5)


def test_a_value_serves_as_structural_label():
    given = attempts([[0.8, 0.4]], [[1, 0]], kind="value")
    assert run(given)[0].tolist() == [1, 0]


def test_wrong_input_is_refused():
    given = attempts([[0.8, 0.4]], [[1, 0]])
    with pytest.raises(ValueError, match="there is none on any step"):
        run(attempts([[0.8, 0.4]], [[NAN, NAN]]))
    with pytest.raises(ValueError, match=r"expected a value or label \[3\], got a reward \[3\]"):
        run(attempts([[0.8, 0.4]], [[1, 0]], kind="reward"))
    for share in (0.0, 1.5, -0.1):
        with pytest.raises(ValueError, match=r"share lies in \(0, 1\]"):
            run(given, share=share)
    with pytest.raises(ValueError, match="by is 'problem'; allowed: attempt, step"):
        run(given, by="problem", share=0.5)
    for knobs in ({"power": 2.0}, {"num_strata": 0}, {"min_labels": 0}, {"human_weight": 0.0}):
        with pytest.raises(ValueError, match="allowed: in"):
            run(given, **knobs)
    with pytest.raises(ValueError, match="batch statistics"):
        hybrid(given["trees"], structural=[], human=given["human"], rng=np.random.default_rng(0))


def test_attempts_that_share_labelled_steps_are_not_drawn_whole():
    """A shared step would be drawn with any of its attempts, so that a sound beginning weighs too much."""
    steps = (Step("?", kind="prompt", sampled=False), Step("same"), Step("a"), Step("b"))
    tree = Tree(Problem("p", "?"), steps, np.array([-1, 0, 1, 1]), (None,) * 4)
    truth = credit([NAN, 1, 1, 0])
    with pytest.raises(ValueError, match="attempts share labelled steps"):
        draw_labels([tree], [truth], rng=np.random.default_rng(0), share=0.5)
    (used,) = draw_labels([tree], [truth], rng=np.random.default_rng(0), share=0.34, by="step")
    assert used.sum() == 1
