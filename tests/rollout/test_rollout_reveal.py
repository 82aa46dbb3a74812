"""reveal: the stated error rate holds exactly, rollouts go to the border, and nothing else of the tree is touched."""

from dataclasses import replace

import numpy as np
import pytest

from stepcredit.core.restarts import attempts
from stepcredit.core.rng import rng
from stepcredit.core.tree import merge, star
from stepcredit.core.truth import verified
from stepcredit.core.types import Completion, Outcome, Problem, Record, Step
from stepcredit.credit.reverse_curriculum import reverse_curriculum
from stepcredit.policy.tabular import tabular
from stepcredit.rollout.chains import chains
from stepcredit.rollout.reveal import border, next_cut, reveal, start_counts
from stepcredit.tasks.chain import chain

LOW, HIGH = 0.3, 0.7


def exact_errors(value_ES, stated, allowed, depth=80, least=1e-6):
    """P(another border than `allowed[e]` is said) for each row of exact values, by enumeration of every outcome.

    With a band that is symmetric all that counts of a start is right minus wrong. What is rarer than `least`, or undecided
    after `depth` rollouts, counts as wrong: bounds from above.
    """
    value_ES = np.asarray(value_ES)
    num = value_ES.shape[1]
    tokens_S, wrong_E = np.arange(num, 0, -1.0) + 2, np.zeros(len(value_ES))
    alive = {(0,) * num: np.ones(len(value_ES))}
    for _ in range(depth):
        more = {}
        for net, p_E in alive.items():
            counts = np.maximum(net, 0), np.maximum(np.negative(net), 0)
            cut = next_cut(*counts, tokens_S, stated)
            if cut is None:
                said = int(np.argmax(border(*counts)))
                wrong_E += p_E * [said not in own for own in allowed]
                continue
            for step, q_E in ((1, p_E * value_ES[:, cut]), (-1, p_E * (1 - value_ES[:, cut]))):
                state = tuple(n + step * (k == cut) for k, n in enumerate(net))
                more[state] = more.get(state, 0.0) + q_E
        wrong_E += sum((p_E for p_E in more.values() if p_E.max() < least), np.zeros(len(value_ES)))
        alive = {state: p_E for state, p_E in more.items() if p_E.max() >= least}
    return wrong_E + sum(alive.values(), np.zeros(len(value_ES)))


def stairs(num, low, high):
    """Values of the starts of `num` steps, one row a border 0..num."""
    return np.array([[high if k >= e else low for k in range(num)] for e in range(num + 1)])


EACH = [[e] for e in range(4)]


@pytest.mark.parametrize("stated", [0.2, 0.05])
def test_the_stated_rate_holds_at_the_edges_of_the_band_and_is_not_empty(stated):
    found = exact_errors(stairs(3, LOW, HIGH), stated, EACH).mean()
    assert stated / 10 < found <= stated


def test_a_rule_that_stops_too_early_is_caught():
    """The same enumeration with four times the rate asked for: the bound of the smaller one must be broken."""
    assert exact_errors(stairs(3, LOW, HIGH), 0.4, EACH).mean() > 0.1


def test_values_farther_out_make_it_surer():
    edge, far = (exact_errors(stairs(3, low, 1 - low), 0.1, EACH).mean() for low in (LOW, 0.1))
    assert far < edge / 2


def test_values_inside_the_band_break_it():
    """What must hold is not decoration: borders between .4 and .6 are told apart, and wrongly too often."""
    assert exact_errors(stairs(3, 0.4, 0.6), 0.1, EACH, least=1e-5).mean() > 0.15


def test_a_start_inside_the_band_may_be_given_to_either_side():
    """V = .1, .5, .9: the second start is neither; borders 1 and 2 are both right, 0 and 3 are not."""
    found = exact_errors([[0.1, 0.5, 0.9]], 0.05, [[1, 2]], least=1e-5)[0]
    assert found <= 0.05 < exact_errors([[0.1, 0.5, 0.9]], 0.05, [[1]], least=1e-5)[0]


def test_a_demonstration_that_gets_worse_on_the_way_has_no_such_border():
    """V = .9, .1, .1, .9: given nothing it succeeds. Borders 0 and 3 are both crossings; what is said depends on the asking."""
    value = [[0.9, 0.1, 0.1, 0.9]]
    assert exact_errors(value, 0.05, [[0]], least=1e-5)[0] > 0.05


def test_the_border_by_hand():
    """One right from s_1: borders up to 1 gain high, those above it low: .7 .7 .3 of 1.7."""
    assert border([0, 1], [0, 0]) == pytest.approx(np.array([0.7, 0.7, 0.3]) / 1.7)
    assert border([0, 0], [0, 0]) == pytest.approx([1 / 3] * 3)
    # Certain enough: 10 wrong from the prompt, 10 right from s_1; each other border is (3/7)^10 as likely.
    assert border([0, 10], [10, 0])[1] == pytest.approx(1 / (1 + 2 * (3 / 7) ** 10))


def test_the_next_rollout_halves_what_is_believed_and_minds_what_it_costs():
    """Four starts, five borders, equal prices: behind s_1 and s_2 alike 2 or 3 of 5 lie above; the fewest given is asked."""
    assert next_cut([0] * 4, [0] * 4, [1.0] * 4) == 1
    assert next_cut([0] * 4, [0] * 4, [4.0, 3.0, 2.0, 1.0]) == 3  # half the price of s_2 for a third less told
    assert next_cut([0] * 4, [0] * 4, [1.0] * 4, error_rate=0.9) is None  # one in five is sure enough


class Needs:
    """Finishes with "good" if at least `given` steps stand there, else with "bad"; every prefix is kept in `asked`."""

    def __init__(self, given, num_steps=6, sure=1.0):
        self.given, self.num_steps, self.sure, self.asked = given, num_steps, sure, []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked.extend(prefixes)
        return [[self._one(prefix, rng) for _ in range(num)] for prefix in prefixes]

    def _one(self, prefix, rng):
        done = prefix.count("\n") - 1
        able = (done >= self.given) == (rng.random() < self.sure)
        lines = ["step"] * (self.num_steps - done - 1) + ["good" if able else "bad"]
        return Completion("\n".join(lines) + "\n", logprobs=(-0.1,) * len(lines))


def verify(problem, solutions):
    return [Outcome(float(steps[-1].text == "good"), verifier="test") for steps in solutions]


def shown(num_steps=6, name="p"):
    steps = [*(Step("step") for _ in range(num_steps - 1)), Step("good")]
    return star(Problem(name, "q"), [steps], [Outcome(1.0, True)])


def test_every_border_is_found_and_the_costs_are_measured():
    for given in range(7):
        policy = Needs(given)
        (grown,) = reveal([shown()], policy=policy, verify=verify, rng=rng(given))
        right_S, wrong_S = start_counts(grown, 6)
        assert border(right_S, wrong_S).max() >= 0.95 and int(np.argmax(border(right_S, wrong_S))) == given
        assert grown.cost.verifier_calls == len(policy.asked) == (right_S + wrong_S).sum() < 30
        assert grown.cost.generated_tokens == sum(7 - prefix.count("\n") for prefix in policy.asked)
        assert grown.steps[:7] == shown().steps


def test_rollouts_stand_next_to_the_border():
    policy = Needs(3, num_steps=12)
    (grown,) = reveal([shown(12)], policy=policy, verify=verify, rng=rng(0))
    right_S, wrong_S = start_counts(grown, 12)
    num_S = right_S + wrong_S
    assert num_S[2] + num_S[3] >= num_S.sum() / 2 and (num_S == 0).any()


def test_from_the_prompt_the_policy_s_own_attempts_count_and_no_rollout_is_one_of_the_demonstration():
    own = chains([Problem("p", "q")], policy=Needs(4), rng=rng(0), num=5)[0]
    whole = merge([shown(), verified(Record(own), verify).tree])
    assert [count.tolist() for count in start_counts(whole, 6)] == [[0.0] * 6, [5.0] + [0.0] * 5]
    (grown,) = reveal([whole], policy=Needs(0), verify=verify, rng=rng(0), max_rollouts=3)
    assert attempts(grown)[0] == 6 and grown.cost.verifier_calls == 3


def test_rollouts_from_the_prompt_are_attempts_the_others_are_read_as_starts():
    (grown,) = reveal([shown(2)], policy=Needs(1, num_steps=2, sure=0.9), verify=verify, rng=rng(3))
    right_S, wrong_S = start_counts(grown, 2)
    assert len(attempts(grown)) == 1 + right_S[0] + wrong_S[0] > 1
    assert reverse_curriculum(grown).values_N[1] == right_S[1] / (right_S[1] + wrong_S[1])


def test_what_is_sure_already_is_not_asked_again():
    trees = [shown(name="a"), shown(name="b")]
    grown = reveal(trees, policy=Needs(2), verify=verify, rng=rng(0))
    policy = Needs(2)
    again = reveal(grown, policy=policy, verify=verify, rng=rng(1))
    assert not policy.asked and [tree.num_nodes for tree in again] == [tree.num_nodes for tree in grown]


def test_max_rollouts_is_not_overshot_and_unscored_ones_are_paid():
    def unscored(problem, solutions):
        return [Outcome(status="timeout", verifier="test") for _ in solutions]

    for num, limit, expected in ((1, 6, 6), (4, 6, 4), (8, 6, 0)):
        (grown,) = reveal([shown()], policy=Needs(3), verify=unscored, rng=rng(0), num=num, max_rollouts=limit)
        assert grown.cost.verifier_calls == expected
        assert border(*start_counts(grown, 6)) == pytest.approx([1 / 7] * 7)


def test_a_rollout_behind_a_call_has_read_its_result():
    result = Step("RESULT", kind="tool_result", sampled=False)
    tree = star(
        Problem("p", "q"), [[Step("a"), Step("call", kind="tool_call"), result, Step("good")]], [Outcome(1.0, True)]
    )
    policy = Needs(3, num_steps=4)
    (grown,) = reveal([tree], policy=policy, verify=verify, rng=rng(0))
    assert {prefix for prefix in policy.asked if "call" in prefix} == {"q\na\ncall\nRESULT\n"}
    # Three steps are the policy's: given two of them and the result it succeeds, given one it does not.
    assert int(np.argmax(border(*start_counts(grown, 4)))) == 2


def test_in_a_world_of_exact_values_borders_are_right_as_often_as_stated():
    knobs = {"random_slip": 0.02, "num_slips": 10}
    task, policy = chain(min_ops=6, max_ops=6, zero_share=0.0, **knobs), tabular(**knobs)
    problems = task.problems(60, rng(0, "reveal"))
    trees = [star(p, [[Step(line) for line in p.reference]], [Outcome(1.0, True)]) for p in problems]
    wrong = 0
    for tree in reveal(trees, policy=policy, verify=task.verify, rng=rng(0, "rollouts"), error_rate=0.1):
        said = int(np.argmax(border(*start_counts(tree, 6))))
        texts = [tree.problem.prompt, *(step.text for step in tree.solution(6))]
        value_S = policy.value(["\n".join(texts[: k + 1]) + "\n" for k in range(6)])
        wrong += (said > 0 and value_S[said - 1] >= HIGH) or (said < 6 and value_S[said] <= LOW)
    assert wrong <= 12  # a tenth of 60 and three standard errors, 6 + 3 * sqrt(5.4) = 13, from above


def test_same_seed_same_tree():
    one, two = (reveal([shown()], policy=Needs(3, sure=0.8), verify=verify, rng=rng(7))[0] for _ in ("first", "second"))
    assert one.steps == two.steps and np.array_equal(one.parent_N, two.parent_N)
    assert replace(one.cost, seconds=0.0) == replace(two.cost, seconds=0.0)


def test_the_first_right_attempt_is_shown_and_a_tree_without_one_stays_as_it_is():
    failed = star(Problem("p", "q"), [[Step("step"), Step("bad")]], [Outcome(0.0, False)])
    later = merge([failed, shown(2)])  # nodes 1 and 2 are wrong, 3 and 4 right
    trees = [failed, later, shown(2, name="r")]
    grown = reveal(trees, policy=Needs(1, num_steps=2), verify=verify, rng=rng(0))
    assert grown[0] is failed and grown[1].num_nodes > later.num_nodes and grown[2].num_nodes > 3
    # The wrong one is an attempt of the policy's, and counts as a rollout from the prompt.
    assert start_counts(later, 4)[1].tolist() == [1.0, 0.0]
    for tree, leaf in zip(grown[1:], (4, 2), strict=True):
        assert int(np.argmax(border(*start_counts(tree, leaf)))) == 1
    policy = Needs(1, num_steps=2)
    assert reveal(grown, policy=policy, verify=verify, rng=rng(1)) == grown and not policy.asked


def test_mistakes_are_named():
    wrong = replace(shown(), outcomes=(None,) * 6 + (Outcome(0.0, False),))
    for trees, knobs, said in (
        ([shown()], {"error_rate": 0.0}, "error_rate 0"),
        ([shown()], {"low": 0.8}, "low 0.8"),
        ([shown()], {"num": 0}, "num 0"),
        ([shown()], {"demonstrations": [3]}, "node 3 ends no right attempt; allowed: 6; choose among these"),
        ([shown()], {"demonstrations": []}, "1 trees need as many demonstrations, got 0"),
        ([wrong], {"demonstrations": [6]}, "node 6 ends no right attempt; allowed: none"),
    ):
        with pytest.raises(ValueError, match=said):
            reveal(trees, policy=Needs(2), verify=verify, rng=rng(0), **knobs)
    with pytest.raises(ValueError, match="counts of 0 or more"):
        border([-1], [0])
