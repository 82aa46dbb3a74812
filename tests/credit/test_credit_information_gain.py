"""information_gain: gains that are exact advantages, the paper's ratio and what it does, and the released code's defects."""

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit._gain_forms import clipped_z, ratio, truncated_mean
from stepcredit.credit.information_gain import information_gain, surprise_weights
from stepcredit.policy.tabular import Tabular, tabular
from stepcredit.tasks.chain import chain

NAN = np.nan
PROBLEM = Problem("p", "?", answer="5")


class Told:
    """A policy that finds the answer as likely as told behind the text that ends with this step; it counts its calls."""

    def __init__(self, likelihood, start=0.5, size=None):
        self.likelihood, self.start, self.size = {f"{text}\nAnswer: ": p for text, p in likelihood.items()}, start, size
        self.calls = []

    def logprob(self, prefixes, continuations):
        self.calls.append(("logprob", len(prefixes)))
        assert set(continuations) <= {"5"}
        ends = [[p for end, p in self.likelihood.items() if text.endswith("\n" + end)] for text in prefixes]
        return np.log([own[0] if own else self.start for own in ends])

    def score_vector(self, prefixes, continuations, *, dim, seed):
        self.calls.append(("score_vector", len(prefixes)))
        g_nR = np.zeros((len(prefixes), dim))
        g_nR[:, 0] = [(self.size or {}).get(text.strip(), 1.0) for text in continuations]
        return g_nR

    def sample(self, *given, **more):
        raise AssertionError("nothing is sampled")


class Answering(Tabular):
    """The chain's policy, which says the answer behind a prefix with the chance that the attempt ends right: J is V."""

    def logprob(self, prefixes, continuations):
        with np.errstate(divide="ignore"):
            return np.log(self.value(prefixes))


def group(attempts, rewards, length=None):
    """A star; an attempt is a list of step names, each of one token or of `length[name]`, equally likely."""

    def step(name):
        num = (length or {}).get(name, 1)
        return Step(name, token_ids=tuple(range(num)), logprobs=(-1.0,) * num)

    outcomes = [Outcome(status="truncated") if np.isnan(r) else Outcome(reward=r) for r in rewards]
    return star(PROBLEM, [[step(name) for name in attempt] for attempt in attempts], outcomes)


def credit(tree, policy, **knobs):
    return information_gain([tree], policy=policy, **{"beta": 0.0, **knobs})[0]


def test_the_gain_is_the_exact_advantage_where_the_answer_is_as_likely_as_success():
    """J = V by construction, so dI = Q - V; rewards are outcome / 2 + .8 dI for chains of two lines."""
    task, own = chain(min_ops=2, max_ops=2), Answering(tabular().world)
    (problem,) = task.problems(1, rng(1, "gain"))
    attempts = [task.demonstrate(problem, rng(seed, "gain")) for seed in range(6)]
    tree = star(problem, attempts, task.verify(problem, attempts))
    values_N = information_gain([tree], policy=own, beta=0.0, form="reward", suffix="")[0].values_N
    texts = [problem.prompt + "\n"] + [
        problem.prompt + "\n" + "".join(s.text + "\n" for s in tree.solution(n)) for n in range(1, tree.num_nodes)
    ]
    v_N, outcome_N = own.value(texts), np.zeros(tree.num_nodes)
    for leaf in tree.leaves:
        outcome_N[list(tree.path(leaf))] = tree.reward_N[leaf]
    expected = outcome_N / 2 + 0.8 * (v_N - v_N[np.maximum(tree.parent_N, 0)])
    assert values_N[1:] == pytest.approx(expected[1:], abs=1e-12) and np.ptp(expected[1:]) > 0.5


@pytest.mark.parametrize("measure", ["probability", "log_probability"])
def test_gains_telescope_whatever_the_number_of_steps(measure):
    """Sum of R_k = outcome + .8 (J(end) - J(prompt)): .9 - .5 for one step or for four."""
    told = Told({"a": 0.6, "b": 0.2, "c": 0.7, "d": 0.9, "e": 0.9})
    tree = group(["abcd", "e"], [1.0, 1.0])
    values_N = credit(tree, told, form="reward", measure=measure).values_N
    whole = 0.9 - 0.5 if measure == "probability" else np.log(0.9 / 0.5)
    assert values_N[1:5].sum() == pytest.approx(1 + 0.8 * whole) == values_N[5]


def test_the_first_step_gets_its_gain_too():
    """The released code starts at the second (D4): from .5 to .9 at once is .4, kept as .8 * .4 beside half the outcome."""
    told = Told({"a": 0.9, "b": 0.9})
    assert credit(group(["ab"], [1.0]), told, form="reward").values_N[1:] == pytest.approx([0.5 + 0.32, 0.5])


def test_what_a_call_finds_out_is_its_own_gain():
    """Behind "ask" .5, behind its result .8: the call gains .3, the answer .1."""
    told = Told({"ask": 0.5, "rows": 0.8, "so": 0.9})
    steps = [Step("ask", kind="tool_call"), Step("rows", kind="tool_result", sampled=False), Step("so", kind="answer")]
    values_N = credit(star(PROBLEM, [steps], [Outcome(reward=0.0)]), told, form="reward", alpha=1.0).values_N
    assert values_N == pytest.approx([NAN, 0.3, NAN, 0.1], nan_ok=True)


def test_the_paper_turns_the_sign_of_a_bad_step_round():
    """The sheet's example, Ahat = -1, r = -.1, rbar = .2: +.5. And in a group, by tokens of one each:

    right: gains .4, 0: R = .5 + .32, .5, rbar = .66. Wrong: gains .4, -.1: R = .32, -.08, rbar = .12. Ahat = +-1 / sqrt 2,
    so the step that lost .1 of the answer, in the attempt that was wrong, has -.707 * -.08 / .12 = +.471.
    """
    assert ratio(-1.0, np.array([-0.1]), 0.2).tolist() == [0.5]
    told = Told({"a": 0.9, "b": 0.9, "c": 0.9, "d": 0.8})
    tree = group(["ab", "cd"], [1.0, 0.0])
    assert credit(tree, told).values_N[1:] == pytest.approx(
        np.sqrt(0.5) * np.array([0.82 / 0.66, 0.5 / 0.66, -0.32 / 0.12, 0.08 / 0.12])
    )
    # Repaired: the gains' mean is .175 and their deviation .2278, so z is .988, -.768, .988, -1.207, and outcomes +-.707.
    z = np.array([0.225, -0.175, 0.225, -0.275]) / np.sqrt((0.225**2 + 0.175**2 + 0.225**2 + 0.275**2) / 4)
    repaired = credit(tree, told, form="repaired").values_N
    assert repaired[1:] == pytest.approx(np.sqrt(0.5) * np.array([1, 1, -1, -1]) + 0.8 * z)
    assert repaired[4] < -1.6 and repaired[4] < repaired[3] < repaired[2] < repaired[1]


def test_the_paper_has_no_bound_where_the_mean_reward_is_near_0():
    """The sheet's example: -1 * .1 / 1e-4 = -1000. In a group: a wrong attempt that gains .2, and loses .2 - 1e-6."""
    assert ratio(-1.0, np.array([0.1]), 1e-4) == pytest.approx([-1000])
    told = Told({"a": 0.9, "c": 0.7, "d": 0.5 + 1e-6})
    tree = group(["a", "cd"], [1.0, 0.0])
    assert np.abs(credit(tree, told).values_N[1:]).max() > 1e5
    assert np.abs(credit(tree, told, form="repaired").values_N[1:]).max() < 4


def test_a_ratio_over_exactly_0_is_unassigned_and_no_advantage_over_it_is_0():
    assert np.isnan(ratio(-1.0, np.array([0.1, -0.1]), 0.0)).all()
    assert ratio(0.0, np.array([0.1, -0.1]), 0.0).tolist() == [0, 0]


def test_the_mean_over_tokens_falls_with_length_and_the_repaired_form_does_not():
    """Both right, both gain .4 in one step, but 40 tokens against 80: rbar is 1.32 / 40 against 1.32 / 80."""
    told = Told({"a": 0.9, "b": 0.9})
    tree = group(["a", "b"], [1.0, 1.0], {"a": 40, "b": 80})
    assert credit(tree, told).values_N[1:] == pytest.approx([40 / np.sqrt(2), -80 / np.sqrt(2)])
    assert credit(tree, told, form="repaired").values_N[1:].tolist() == [0.0, 0.0]


def test_the_released_code_rewards_length_and_the_repaired_form_does_not():
    """D3: a gain of .05 on each of 60 tokens is 3, which beats a right answer; with 10 tokens it is .5."""
    told = Told({"a": 0.5, "long": 0.55, "b": 0.5, "short": 0.55, "c": 0.5, "right": 0.5})
    tree = group([["a", "long"], ["b", "short"], ["c", "right"]], [0.0, 0.0, 1.0], {"long": 60, "short": 10})
    released = credit(tree, told, form="released").values_N
    sum_G = np.array([60 * 0.05, 10 * 0.05, 1.0])
    assert released[[2, 4, 6]] == pytest.approx((sum_G - sum_G.mean()) / sum_G.std(ddof=1))
    assert released[2] > released[6] > released[4]
    repaired = credit(tree, told, form="repaired").values_N
    assert repaired[2] == pytest.approx(repaired[4]) and repaired[6] > repaired[2]


def test_filler_is_worth_less_than_what_gains():
    """Right in one step, or with three that add nothing: the fillers are below 0 beside it, and no longer attempt is better."""
    told = Told({"a": 0.9, "b": 0.9, "f": 0.9, "g": 0.9, "h": 0.9})
    values_N = credit(group(["a", "bfgh"], [1.0, 1.0]), told, form="repaired").values_N
    assert values_N[1] == values_N[2] > 0 and np.all(values_N[3:] < 0) and values_N[2:].sum() < values_N[1]


def test_with_the_penalty_filler_that_costs_little_is_paid_above_what_gains():
    """What the docstring warns of, on the paper's beta: C goes by the fourth power of the gradient, and cheap is a bonus."""
    told = Told({"a": 0.9, "f": 0.9, "g": 0.9, "h": 0.9}, size={"a": 2.0, "f": 0.1, "g": 0.1, "h": 0.1})
    values_N = credit(group(["a", "afgh"], [1.0, 1.0]), told, form="repaired", beta=0.6).values_N
    assert values_N[1] == values_N[2] < 0 and np.all(values_N[3:] > 0)


def test_charged_filler_has_less_however_little_it_costs_and_what_gains_has_most():
    """The same attempts. C is 16 for "a" and 1e-4 a filler, 16.00015 a mean attempt; a step is charged for those behind it too.

    Gains are (.4) and (.4, 0, 0, 0), of which each attempt counts once: the mean is .4 * .625.
    """
    told = Told({"a": 0.9, "f": 0.9, "g": 0.9, "h": 0.9}, size={"a": 2.0, "f": 0.1, "g": 0.1, "h": 0.1})
    tree = group(["a", "afgh"], [1.0, 1.0])
    none, values_N = (credit(tree, told, form="charged", beta=beta).values_N for beta in (0.0, 0.6))
    mean, deviation = 0.4 * 0.625, 0.4 * np.sqrt((0.375**2 + (0.375**2 + 3 * 0.625**2) / 4) / 2)
    assert none[1:] == pytest.approx(0.8 * (np.array([0.4, 0.4, 0, 0, 0]) - mean) / deviation)
    unit = (16 + 16 + 3e-4) / 2
    charge = np.array([16, 16 + 3e-4, 3e-4, 2e-4, 1e-4]) / unit
    assert values_N[1:] == pytest.approx(none[1:] - 0.8 * 0.6 * charge, abs=1e-12)
    assert values_N[3] < values_N[4] < values_N[5] < 0 and values_N[2] < values_N[1]


@pytest.mark.parametrize("seed", range(40))
def test_charged_filler_never_gains_and_never_raises_an_attempts_return(seed):
    """Whatever steps gain and cost, and however little or much a filler at the end does, which leaves the answer as likely.

    1. no credit is above what it is without the penalty; 2. the charge of no step of that attempt falls, and none of another
    attempt rises; 3. so with returns, sums of R_k.
    """
    draw = rng(seed, "filler")
    sizes = [int(num) for num in draw.integers(1, 5, int(draw.integers(2, 5)))]
    attempts = [[f"s{i}t{k}" for k in range(num)] for i, num in enumerate(sizes)]
    likely = {name: float(draw.random()) for attempt in attempts for name in attempt}
    size = {name: float(draw.lognormal(0, 1.5)) for name in [*likely, "filler"]}
    told = Told({**likely, "filler": likely[attempts[0][-1]]}, size=size)
    rewards = draw.integers(0, 2, len(attempts)).astype(float)
    short, long = (group([attempts[0] + more, *attempts[1:]], rewards) for more in ([], ["filler"]))
    new = sizes[0] + 1
    kept = [node for node in range(1, long.num_nodes) if node != new]
    free, charged = (
        [credit(tree, told, form="charged", beta=beta).values_N for tree in (short, long)] for beta in (0.0, 0.6)
    )
    assert np.all(charged[1][1:] < free[1][1:])
    less_short, less_long = free[0][1:] - charged[0][1:], (free[1] - charged[1])[kept]
    assert np.all(less_long[: sizes[0]] >= less_short[: sizes[0]] - 1e-12)
    assert np.all(less_long[sizes[0] :] <= less_short[sizes[0] :] + 1e-12)
    paid = [credit(tree, told, form="reward", beta=0.6, standardise="attempt").values_N for tree in (short, long)]
    assert paid[1][1 : new + 1].sum() <= paid[0][1:new].sum() + 1e-12
    assert paid[1][new + 1 :].sum() >= paid[0][new:].sum() - 1e-12


def test_the_papers_standardising_pays_for_filler_in_such_worlds():
    """The guard of the test above: it can fail. A filler of hardly any cost, in a right attempt beside another."""
    told = Told({"a": 0.9, "b": 0.8, "f": 0.9}, size={"a": 2.0, "b": 1.0, "f": 0.1})
    short, long = group(["a", "b"], [1.0, 1.0]), group(["af", "b"], [1.0, 1.0])
    paid = [credit(tree, told, form="reward", beta=0.6).values_N for tree in (short, long)]
    assert paid[1][1:3].sum() > paid[0][1]
    free, full = (credit(long, told, form="repaired", beta=beta).values_N for beta in (0.0, 0.6))
    assert full[2] > free[2]


def test_shared_steps_are_charged_once_for_each_attempt_through_them():
    """C is 1 for all of three steps, "a" shared by two attempts: sums 2 and 2, so each step is charged .5, "a" 1 with what follows."""
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), Step("c"))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1], (None, None, Outcome(reward=1.0), Outcome(reward=1.0)))
    told = Told({"a": 0.6, "b": 0.6, "c": 0.6})
    free, charged = (credit(tree, told, form="charged", beta=beta, alpha=1.0).values_N[1:] for beta in (0.0, 1.0))
    assert free - charged == pytest.approx([1.0, 0.5, 0.5])


def test_charges_have_no_baseline_but_an_attempt_alone_carries_nothing():
    """Equal outcomes, gains and costs: each attempt's one step is charged alpha beta = .48, the mean attempt's cost being 1."""
    told = Told({"a": 0.6, "b": 0.6})
    equal = credit(group(["a", "b"], [1.0, 1.0]), told, form="charged", beta=0.6).values_N[1:]
    assert equal == pytest.approx([-0.48, -0.48])
    for tree in (group(["a"], [1.0]), group(["a", "b"], [1.0, np.nan])):
        assert credit(tree, told, form="charged", beta=0.6).values_N[1] == 0.0


def test_steps_count_by_attempt_and_at_most_so_many_deviations():
    """Gains (1, 0) and (0, 0, 0, 0): means .5 and 0, so .25; squares (.5625 + .0625) / 2 and .0625, deviation .4330."""
    one, other = clipped_z([np.array([1.0, 0.0]), np.zeros(4)], 3.0)
    assert one == pytest.approx([np.sqrt(3), -1 / np.sqrt(3)]) and other == pytest.approx([-1 / np.sqrt(3)] * 4)
    assert clipped_z([np.array([1.0, 0.0]), np.zeros(4)], 1.0)[0][0] == 1.0
    assert clipped_z([np.array([1.0, 0.0])], 3.0)[0].tolist() == [0.0, 0.0]
    assert clipped_z([np.array([0.1, 0.1]), np.array([0.1])], 3.0)[1].tolist() == [0.0]


def test_nobody_is_asked_but_the_policy_and_all_prefixes_at_once():
    """D1: the released gain is a judge's. One call for the answer behind every distinct prefix, one for score vectors."""
    assert registry.get("credit", "information_gain").resources == {"policy": "Policy"}
    told = Told({"a": 0.6, "b": 0.7, "c": 0.8})
    information_gain([group(["ab", "ac"], [1.0, 0.0]), group(["b"], [1.0])], policy=told)
    # ?, ?a, ?ab, ?ac and ?b; five steps in three attempts.
    assert told.calls == [("logprob", 5), ("score_vector", 5)]


@pytest.mark.parametrize("form", ["paper", "repaired", "charged", "reward"])
def test_the_penalty_has_an_effect(form):
    """D2: the released code computes it and drops it. "a" moves the parameters most, so less is left of it."""
    told = Told({"a": 0.6, "b": 0.7, "c": 0.8, "d": 0.9}, size={"a": 2.0})
    tree = group(["ab", "cd"], [1.0, 0.0])
    none, some, more = (credit(tree, told, form=form, beta=beta).values_N for beta in (0.0, 0.3, 0.6))
    assert not np.allclose(none[1:], some[1:]) and not np.allclose(some[1:], more[1:])
    if form != "paper":
        assert more[1] < some[1] < none[1]


def test_the_penalty_is_the_squared_square_of_the_score_and_is_standardised_over_all_trees():
    """|g| = 2 in the first tree, 1 three times: C = eta^2 (16, 1, 1, 1). Mean 4.75, deviation sqrt(3 * 3.75^2 + 11.25^2) / 2,
    which is 6.495: z = (1.732, -.577, -.577, -.577), whatever eta. By the mean: (3.368, .2105, ...)."""
    told = Told({}, size={"a": 2.0})
    trees = [group(["a"], [0.0]), group(["b", "cd"], [0.0, 0.0])]

    def rewards(**knobs):
        found = information_gain(trees, policy=told, alpha=1.0, beta=1.0, form="reward", **knobs)
        return np.concatenate([one.values_N[1:] for one in found])

    z = np.array([np.sqrt(3), *([-1 / np.sqrt(3)] * 3)])
    assert rewards() == pytest.approx(-z) == rewards(eta=0.1)
    # Three attempts, 16, 1 and 1 + 1: their mean is 19 / 3.
    assert rewards(standardise="attempt", eta=7.0) == pytest.approx(-np.array([16, 1, 1, 1]) * 3 / 19)
    assert rewards(standardise="mean", eta=7.0) == pytest.approx(-np.array([16, 1, 1, 1]) / 4.75)
    assert rewards(standardise="none", eta=0.5) == pytest.approx(-np.array([16, 1, 1, 1]) / 4)
    told.size = {}
    assert np.all(rewards() == 0.0)


def test_without_beta_no_score_vector_is_needed_and_with_it_one_is_named():
    class Plain:
        logprob = Told({"a": 0.6}).logprob

    tree = group(["a"], [1.0])
    assert np.isfinite(credit(tree, Plain()).values_N[1])
    with pytest.raises(ValueError, match=r"Plain has no score_vector.*allowed: beta=0"):
        credit(tree, Plain(), beta=0.6)


def test_surprising_tokens_carry_more_of_their_step():
    assert surprise_weights([-0.5, -1.5, 0.0], epsilon=0.0) == pytest.approx([0.25, 0.75, 0.0])
    assert surprise_weights([-0.1, -0.3], epsilon=0.1) == pytest.approx([1 / 3, 2 / 3])
    assert surprise_weights([0.0, 0.0], epsilon=0.0).tolist() == [0.5, 0.5]
    assert surprise_weights([-1.0, -2.0, 0.0]).sum() == pytest.approx(1) and surprise_weights([]).shape == (0,)


def test_the_truncated_mean_leaves_out_the_extremes_of_forty():
    """Of 40 tokens 2.5 % at either end is one: all the surprise of an attempt in one token is then cut away."""
    assert truncated_mean(np.array([9.0, *[0.0] * 39])) == 0.0
    assert truncated_mean(np.array([9.0, *[0.0] * 38])) == pytest.approx(9 / 39)
    steps = [Step("a", logprobs=(-9.0, *[0.0] * 39)), Step("b", logprobs=(-1.0,) * 40)]
    tree = star(PROBLEM, [[step] for step in steps], [Outcome(reward=1.0)] * 2)
    told = Told({"a": 0.5, "b": 0.5})
    # R = 1 for both; the first's rbar is that of its certain tokens, nearly 0, the second's 1/40.
    by_surprise = credit(tree, told, epsilon=0.0).values_N
    assert np.isnan(by_surprise[1]) and by_surprise[2] == pytest.approx(40 / np.sqrt(2))
    assert credit(tree, told, weights="even").values_N[1:].tolist() == [0.0, 0.0]


def test_what_is_unknown_takes_no_part():
    told = Told({"a": 0.9, "b": 0.8, "c": 0.7}, size={"c": 3.0})
    whole, cut = group(["a", "b"], [1.0, 0.0]), group(["a", "b", "c"], [1.0, 0.0, NAN])
    for form in ("paper", "repaired", "charged", "released", "reward"):
        expected = credit(whole, told, form=form, beta=0.6).values_N
        assert np.array_equal(credit(cut, told, form=form, beta=0.6).values_N, [*expected, NAN], equal_nan=True), form
    without = star(Problem("q", "?"), [[Step("a")]], [Outcome(reward=1.0)])
    assert np.isnan(credit(without, told, beta=0.6).values_N).all()
    never = Told({"a": 0.0, "b": 0.8})
    with np.errstate(divide="ignore"):
        found = credit(group(["a", "b"], [1.0, 1.0]), never, form="reward", measure="log_probability")
    assert np.array_equal(np.isnan(found.values_N), [True, True, False])


def test_shared_steps_have_the_mean_of_their_attempts():
    """R of "a" is 1 / 2 + .8 * .1 in one attempt and 0 + .08 in the other."""
    steps = (prompt_step(PROBLEM), Step("a"), Step("b"), Step("c"))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1], (None, None, Outcome(reward=1.0), Outcome(reward=0.0)))
    values_N = credit(tree, Told({"a": 0.6, "b": 0.6, "c": 0.6}), form="reward").values_N
    assert values_N == pytest.approx([NAN, 0.33, 0.5, 0.0], nan_ok=True)


def test_a_step_with_a_context_is_measured_behind_it():
    """Folded: "b" was written behind "short", where the answer was .7; what it leads to has .8."""
    told = Told({"a": 0.6, "short": 0.7, "b": 0.8})
    steps = [Step("a"), Step("b", context="?\nshort\n")]
    values_N = credit(star(PROBLEM, [steps], [Outcome(reward=0.0)]), told, form="reward", alpha=1.0).values_N
    assert values_N[1:] == pytest.approx([0.1, 0.1])


def test_wrong_knobs_are_named():
    tree, told = group(["a"], [1.0]), Told({})
    for knob in ("form", "measure", "weights", "standardise"):
        with pytest.raises(ValueError, match=f"{knob} is 'x'; allowed: "):
            credit(tree, told, **{knob: "x"})
    with pytest.raises(ValueError, match="standardise is 'z' with form 'charged'; allowed: mean, attempt, none"):
        credit(tree, told, form="charged", standardise="z")
    with pytest.raises(ValueError, match=r"alpha -1.* allowed: 0 or more"):
        credit(tree, told, alpha=-1.0)
    with pytest.raises(ValueError, match=r"for a Tree; .*sequence of trees"):
        information_gain(tree, policy=told)
    with pytest.raises(ValueError, match="answer of type dict; allowed: text, a number, None"):
        credit(star(Problem("p", "?", answer={}), [[Step("a")]], [None]), told)
    mixed = star(PROBLEM, [[Step("a", logprobs=(-1.0,)), Step("b")]], [Outcome(reward=1.0)])
    with pytest.raises(ValueError, match="some steps have recorded tokens and some have not"):
        credit(mixed, told)


def test_a_language_model_is_probed_by_the_mean_over_the_answers_tokens():
    """J = exp(1/T sum log p); T is two for "4 2", by the policy's own tokenizer. Score vectors are its own too."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaForCausalLM

    from stepcredit.policy.hf import HFPolicy
    from stepcredit.train.tiny import build_tokenizer, tiny_config

    tokenizer = build_tokenizer(["3 +4 = 7\nAnswer: 4 2\n"], kind="word")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=64)
        config.initializer_range = 0.5
        own = HFPolicy(LlamaForCausalLM(config), tokenizer)
    problem = Problem("p", "3 +4", answer="4 2")
    tree = star(problem, [[Step("3 = 7"), Step("4")], [Step("7")]], [Outcome(reward=1.0), Outcome(reward=0.0)])
    found = information_gain([tree], policy=own, beta=0.0, form="reward", alpha=1.0)[0]
    texts = ["3 +4\n", "3 +4\n3 = 7\n", "3 +4\n3 = 7\n4\n", "3 +4\n7\n"]
    # Behind the space, the answer is tokenised alone.
    num = len(tokenizer("4 2", add_special_tokens=False)["input_ids"])
    j = np.exp(own.logprob([text + "Answer: " for text in texts], ["4 2"] * 4) / num)
    assert num > 1 and found.values_N[1:] == pytest.approx(
        [0.5 + j[1] - j[0], 0.5 + j[2] - j[1], j[3] - j[0]], abs=1e-6
    )
    assert found.cost.forwarded_tokens > 0
    with_penalty = information_gain([tree], policy=own, form="reward", alpha=1.0)[0]
    assert not np.allclose(with_penalty.values_N[1:], found.values_N[1:])
    assert with_penalty.cost.forwarded_tokens > found.cost.forwarded_tokens


def test_the_papers_token_advantages_stand_in_the_trainers_rows():
    """A_t = Ahat w_t R_k / rbar for each token, by train/policy_samples with spread="surprise".

    right: gain .4, tokens -1, -3: w = 1/4, 3/4 of R = 1.32, rbar .66. Wrong: gain .1, then -.3, one token each: R = .08 and -.24,
    rbar -.08; Ahat +-1 / sqrt 2.
    """
    from stepcredit.train.policy_samples import Rules, policy_samples

    steps = [[Step("a", token_ids=(5, 6), logprobs=(-1.0, -3.0))],
             [Step("b", token_ids=(7,), logprobs=(-2.0,)), Step("c", token_ids=(8,), logprobs=(-2.0,))]]  # fmt: skip
    tree = star(PROBLEM, steps, [Outcome(reward=1.0), Outcome(reward=0.0)])
    told = Told({"a": 0.9, "b": 0.6, "c": 0.3})
    found = credit(tree, told, epsilon=0.0)
    by_hand = np.sqrt(0.5) * np.array([1.32 / 0.66, -0.08 / -0.08, -0.24 / 0.08])
    assert found.values_N[1:] == pytest.approx(by_hand)

    def characters(texts, add_special_tokens=True, verbose=True):
        return {"input_ids": [[1] * add_special_tokens + list(map(ord, text)) for text in texts]}

    characters.bos_token_id = characters.eos_token_id = 1
    one, other = policy_samples([tree], [found], characters, rules=Rules(spread="surprise"))
    shares = surprise_weights([-1.0, -3.0])
    assert one.advantage_T[-2:] == pytest.approx(by_hand[0] * shares) and other.advantage_T[-2:] == pytest.approx(
        by_hand[1:]
    )
