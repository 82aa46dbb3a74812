"""adaptive: the stated error rate holds exactly, rollouts go where they decide, and nothing finished is paid twice."""

from dataclasses import replace

import numpy as np
import pytest
from rollout_worlds import Chances, tree_of, verify

from stepcredit.core.change_point import Beliefs, first_error_prior, posterior
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Cost, Judgment, Outcome, Problem, Step, Tree
from stepcredit.credit.change_point import change_point
from stepcredit.credit.monte_carlo import counts
from stepcredit.policy.tabular import tabular
from stepcredit.rollout.adaptive import adaptive, beliefs_of, next_step, placed


def exact_errors(beliefs, value_ES, stated, depth=60, least=1e-6):
    """P(placed wrongly) for each first error e, by enumeration of every outcome; `value_ES[e, j]` is the exact value.

    What is rarer than `least`, or undecided after `depth` rollouts, counts as wrong: the numbers are bounds from above.
    """
    num = len(beliefs.prior_S)
    tokens_S, wrong_E = np.arange(num, 0, -1.0), np.zeros(num)
    alive = {((0,) * num, (0,) * num): np.ones(num)}  # (successes, rollouts): its probability for each e
    for _ in range(depth):
        more = {}
        for (hit, tried), p_E in alive.items():
            step = next_step(np.array(hit, float), np.array(tried, float), beliefs, tokens_S, stated)
            if step is None:
                said = int(np.argmax(posterior(hit, tried, beliefs)))
                wrong_E += p_E * (np.arange(num) != said)
                continue
            tried = tuple(n + (j == step) for j, n in enumerate(tried))
            won = tuple(n + (j == step) for j, n in enumerate(hit))
            for state, q_E in (((won, tried), p_E * value_ES[:, step]), ((hit, tried), p_E * (1 - value_ES[:, step]))):
                more[state] = more.get(state, 0.0) + q_E
        wrong_E += sum((p_E for p_E in more.values() if p_E.max() < least), np.zeros(num))
        alive = {state: p_E for state, p_E in more.items() if p_E.max() >= least}
    return wrong_E + sum(alive.values(), np.zeros(num))


def flat_values(num, sound, broken=0.0):
    """Value of the prefix that ends with step j when the first error is e: sound for j < e."""
    return np.array([[sound if j < e else broken for j in range(num)] for e in range(num)])


SURE = Beliefs(first_error_prior(5), 10**6, 10**6)  # r = 1/2


@pytest.mark.parametrize("stated", [0.2, 0.05])
def test_the_stated_rate_holds_where_it_is_hardest_and_is_not_empty(stated):
    """Sound prefixes exactly as good as the prompt: the mean over places is at most the rate, and no tenth of it."""
    found = exact_errors(SURE, flat_values(5, 0.5), stated).mean()
    assert stated / 10 < found <= stated


def test_the_stated_rate_holds_on_a_problem_that_nobody_solved():
    """r ~ Beta(1, 101): all n rollouts behind a sound first step fail with probability 101 / (101 + n); a success is proof.

    Wrong among those placed at the first step is x / (1 + x), x = 101 / (101 + n), at the n where the asking ends.
    """
    for stated in (0.2, 0.1):
        beliefs, num = Beliefs((0.5, 0.5), 0, 100), 0
        while next_step(np.zeros(2), np.array([num, 0.0]), beliefs, np.ones(2), stated) is not None:
            num += 1
        failing = 101 / (101 + num)
        assert 0.98 * stated < failing / (1 + failing) <= 1.005 * stated


def test_a_rule_that_stops_too_early_is_caught():
    """The same enumeration with four times the rate asked for: the bound of the smaller one must be broken."""
    assert exact_errors(SURE, flat_values(5, 0.5), 0.4).mean() > 0.1


def test_better_sound_prefixes_than_promised_make_it_surer():
    worst = exact_errors(SURE, flat_values(5, 0.5), 0.1).mean()
    assert exact_errors(SURE, flat_values(5, 0.8), 0.1).mean() < worst / 2


def test_worse_sound_prefixes_than_promised_break_it():
    """What must hold is not decoration."""
    assert exact_errors(SURE, flat_values(5, 0.25), 0.05).mean() > 0.05


def test_the_rate_of_a_single_place_is_bounded_by_its_prior():
    beliefs = Beliefs((0.7, 0.1, 0.1, 0.1), 10**6, 10**6)
    prior = np.array(beliefs.prior_S)
    found = exact_errors(beliefs, flat_values(4, 0.5), 0.1)
    assert found @ prior <= 0.1 and np.all(found <= 0.1 / 0.9 * (1 - prior) / prior)


def broken_at(policy, problem, num, error):
    """Exact values of the prefixes of an attempt that slips at line `error` and carries it forward."""
    value, *words = problem.split()
    value, text, found = int(value), problem + "\n", []
    for line, word in enumerate(words):
        result = {"+": value + int(word[1:]), "-": value - int(word[1:])}[word[0]] % policy.world.modulus
        result = (result + (line == error)) % policy.world.modulus
        text += f"{value}{word}={result}\n"
        value = result
        found.append(float(policy.value([text])[0]))
    return found


def values_of(policy, problem, num):
    return np.array([broken_at(policy, problem, num, error) for error in range(num)])


HABITS = ("8 -5 +7 +20 -3", "4 -5 +2 +17 +18")  # hardly any broken prefix comes right, sound ones differ


def test_the_rate_holds_against_the_exact_values_of_a_world_with_habits():
    """Values differ from step to step: some facts slip often. The prompt's value is told as 16 attempts would tell it."""
    policy = tabular(modulus=23, random_slip=0.03, num_slips=250)
    for problem in HABITS:
        value = float(policy.value([problem + "\n"])[0])
        right = int(np.floor(16 * value))
        beliefs = Beliefs(first_error_prior(4), right, 16 - right)
        values_ES = values_of(policy, problem, 4)
        sound = values_ES[-1, :-1]  # of an attempt that breaks at its last line
        assert np.ptp(sound) > 0.2 and value <= sound.min() and np.triu(values_ES)[:, :-1].max() < 0.02
        assert exact_errors(beliefs, values_ES, 0.1, least=1e-4).mean() <= 0.1


def test_recovery_is_a_knob_and_ignoring_it_breaks_the_rate():
    """Modulo 2 a slip of .05 repairs a broken prefix as often as it breaks a sound one."""
    policy = tabular(modulus=2, random_slip=0.05, num_slips=0)
    problem = "1 +1 +0 -1"
    values_ES = values_of(policy, problem, 3)
    assert values_ES[0, 0] == pytest.approx(2 * 0.05 * 0.95)  # broken, two lines to go
    right = round(10**4 * float(policy.value([problem + "\n"])[0]))
    prior = first_error_prior(3)
    told = Beliefs(prior, right, 10**4 - right, recovery=0.05, profile="chain")
    deaf = Beliefs(prior, right, 10**4 - right, profile="chain")
    assert exact_errors(told, values_ES, 0.05, least=1e-5).mean() <= 0.05 < exact_errors(deaf, values_ES, 0.05).mean()


def test_one_success_ends_the_asking_where_it_happened():
    """Only "can it still succeed" matters: behind a sound step nothing more is asked once one rollout succeeded."""
    for error in range(8):
        tree = tree_of([error], num_right=3)
        (grown,) = adaptive([tree], policy=Chances(8, sound=0.8), verify=verify, rng=rng(error))
        success_N, rollouts_N = counts(grown)
        path = grown.path(8)[:-1]
        assert max(success_N[node] for node in path) <= 1
        assert all(success_N[node] == 0 for node in path[error:])
        after = max((place for place, node in enumerate(path) if success_N[node]), default=-1)
        belief = placed(grown, 8, beliefs_of(tree, 8))
        assert belief[: after + 1].sum() == 0 and belief.max() >= 0.95
        assert sum(rollouts_N[node] for node in path) < 8 * 7


def test_errors_are_found_in_sure_worlds_and_costs_are_measured():
    trees = [tree_of([error], num_right=7, name=str(error)) for error in range(8)]
    policy = Chances(8)
    grown = adaptive(trees, policy=policy, verify=verify, rng=rng(0))
    for error, (before, after) in enumerate(zip(trees, grown, strict=True)):
        assert int(np.argmax(placed(after, 8, beliefs_of(before, 8)))) == error
    assert sum(tree.cost.verifier_calls for tree in grown) == len(policy.asked) > policy.num_calls
    assert sum(tree.cost.generated_tokens for tree in grown) == sum(9 - prefix.count("\n") for prefix in policy.asked)


def judge_of(step, num=8):
    def judge(pairs):
        return [Judgment(0.1, [0.95] * step + [0.05] * (num - step)) for _ in pairs]

    return judge


def test_a_judge_moves_the_first_rollout_to_the_suspect_and_saves_rollouts_when_right():
    for error in (1, 4, 6):
        policy, alone = Chances(8), Chances(8)
        (grown,) = adaptive(
            [tree_of([error], num_right=7)], policy=policy, verify=verify, rng=rng(0), judge=judge_of(error)
        )
        adaptive([tree_of([error], num_right=7)], policy=alone, verify=verify, rng=rng(0))
        asked = policy.asked[0].count("\n") - 2
        assert abs(asked - error) <= 1 and len(policy.asked) < len(alone.asked)
        assert int(np.argmax(placed(grown, 8, beliefs_of(tree_of([error], num_right=7), 8)))) == error


def test_a_judge_that_is_wrong_costs_rollouts_and_not_the_answer():
    tree = tree_of([6], num_right=7)
    (grown,) = adaptive([tree], policy=Chances(8), verify=verify, rng=rng(0), judge=judge_of(1))
    assert int(np.argmax(placed(grown, 8, beliefs_of(tree, 8)))) == 6


def test_a_tree_that_was_grown_before_goes_on_with_the_rollouts_it_has():
    tree = tree_of([5], num_right=3)
    (once,) = adaptive([tree], policy=Chances(8, sound=0.8), verify=verify, rng=rng(0), max_rollouts=4)
    assert once.cost.verifier_calls == 4 and placed(once, 8, beliefs_of(tree, 8)).max() < 0.95
    (grown,) = adaptive([once], policy=Chances(8, sound=0.8), verify=verify, rng=rng(1))
    # Old nodes keep their numbers and outcomes, the counts go on from four, and the decision reads all of them.
    assert grown.steps[: once.num_nodes] == once.steps and grown.cost.verifier_calls > 4
    assert placed(grown, 8, beliefs_of(tree, 8)).max() >= 0.95
    (again,) = adaptive([grown], policy=Chances(8, fail_after=0), verify=verify, rng=rng(2))
    assert again.num_nodes == grown.num_nodes


def test_a_judge_is_asked_once_about_all_trees_and_its_cost_is_theirs():
    calls, counted = [], Cost(judge_calls=2, generated_tokens=500, seconds=1.0)

    def judge(pairs):
        calls.append([problem.id for problem, _ in pairs])
        return [Judgment(0.1, [0.9] * 4 + [0.1] * 4, cost=counted if p.id == "b" else Cost()) for p, _ in pairs]

    trees = [tree_of([4, 5], num_right=7, name="a"), tree_of([], name="none"), tree_of([4], num_right=7, name="b")]
    grown = adaptive(trees, policy=Chances(8), verify=verify, rng=rng(0), judge=judge, max_rollouts=0)
    # A judge that keeps no count was called once an attempt.
    assert calls == [["a", "a", "b"]] and [tree.cost for tree in grown] == [Cost(judge_calls=2), Cost(), counted]
    (more,) = adaptive([trees[2]], policy=Chances(8), verify=verify, rng=rng(0), judge=judge)
    assert more.cost.judge_calls == 2 and more.cost.generated_tokens > 500 and more.cost.verifier_calls > 0
    with pytest.raises(ValueError, match="2 attempts need as many judgments, got 1"):
        adaptive(trees[:1], policy=Chances(8), verify=verify, rng=rng(0), judge=lambda pairs: judge(pairs)[:1])


def test_the_credit_of_the_same_judge_is_what_was_decided():
    def judge(pairs):
        return [Judgment(0.1, [0.95] * 4 + [0.05] * 4, cost=Cost(judge_calls=1, forwarded_tokens=9)) for _ in pairs]

    tree = tree_of([4], num_right=7)
    (grown,) = adaptive([tree], policy=Chances(8), verify=verify, rng=rng(0), judge=judge, error_rate=0.1, doubt=0.2)
    score_S = judge([0])[0].step_scores_S
    believed = placed(grown, 8, beliefs_of(tree, 8, score_S, doubt=0.2))
    credit = change_point(grown, judge=judge, doubt=0.2)
    assert credit.values_N[1:8] == pytest.approx(1 - np.cumsum(believed)[:7])
    assert credit.cost == Cost(judge_calls=1, forwarded_tokens=9)
    assert np.abs(change_point(grown).values_N[1:8] - credit.values_N[1:8]).max() > 0.05


def test_max_rollouts_is_never_overshot_nor_paid_again_by_a_second_run():
    for num, limit, expected in ((8, 10, 8), (3, 10, 9), (5, 4, 0)):
        (grown,) = adaptive([tree_of([5])], policy=Chances(8, sound=0.0), verify=verify, rng=rng(0), num=num,
                            max_rollouts=limit, error_rate=1e-6)  # fmt: skip
        assert grown.cost.verifier_calls == expected

    def unscored(problem, solutions):
        return [Outcome(status="timeout", verifier="test") for _ in solutions]

    (once,) = adaptive([tree_of([5])], policy=Chances(8), verify=unscored, rng=rng(0), max_rollouts=6)
    (twice,) = adaptive([once], policy=Chances(8), verify=unscored, rng=rng(0), max_rollouts=6)
    assert once.cost.verifier_calls == twice.cost.verifier_calls == 6


def test_an_attempt_that_the_policy_did_not_write_is_left_alone():
    steps = (Step("q", kind="prompt", sampled=False), Step("saw", kind="tool_result", sampled=False))
    tree = Tree(Problem("p", "q"), steps, [-1, 0], (None, Outcome(0.0, False)))
    judge = judge_of(1)
    policy = Chances(8)
    assert adaptive([tree], policy=policy, verify=verify, rng=rng(0), judge=judge)[0] is tree and not policy.asked


def test_rollouts_behind_a_call_have_read_its_result():
    result = Step("RESULT", kind="tool_result", sampled=False)
    attempt = [Step("a"), Step("call", kind="tool_call"), result, Step("b"), Step("bad")]
    tree = star(Problem("p", "q"), [attempt, [Step("good")]], [Outcome(0.0, False), Outcome(1.0, True)])
    policy = Chances(5)
    (grown,) = adaptive([tree], policy=policy, verify=verify, rng=rng(0))
    behind = [prefix for prefix in policy.asked if "call" in prefix]
    assert behind and all(prefix.startswith("q\na\ncall\nRESULT\n") for prefix in behind)
    # One success behind "b" proves it sound: the last step is left.
    assert int(np.argmax(placed(grown, 5, beliefs_of(tree, 5)))) == 3


def test_unscored_rollouts_are_paid_count_for_nothing_and_end_at_the_limit():
    def unscored(problem, solutions):
        return [Outcome(status="timeout", verifier="test") for _ in solutions]

    (grown,) = adaptive([tree_of([5])], policy=Chances(8), verify=unscored, rng=rng(0), max_rollouts=6)
    assert grown.cost.verifier_calls == 6 and placed(grown, 8, beliefs_of(grown, 8)) == pytest.approx([1 / 8] * 8)


def test_what_needs_no_rollouts_gets_none():
    for tree in (tree_of([0], num_steps=1), tree_of([], num_right=2), replace(tree_of([3]), outcomes=(None,) * 17)):
        policy = Chances(8)
        (grown,) = adaptive([tree], policy=policy, verify=verify, rng=rng(0))
        assert policy.asked == [] and grown is tree
    policy = Chances(8)
    adaptive([tree_of([2, 5])], policy=policy, verify=verify, rng=rng(0), leaves=[[16]])
    assert all(prefix.split("\n")[3:4] != ["bad"] for prefix in policy.asked)  # of the second attempt alone


def test_same_seed_same_tree():
    one, two = (
        adaptive([tree_of([3], num_right=2)], policy=Chances(8, sound=0.6), verify=verify, rng=rng(7))[0] for _ in "ab"
    )
    assert one.steps == two.steps and np.array_equal(one.parent_N, two.parent_N)
    assert replace(one.cost, seconds=0.0) == replace(two.cost, seconds=0.0)


def test_mistakes_are_named():
    for knobs, said in (
        ({"error_rate": 0.0}, "error_rate 0"),
        ({"num": 0}, "num 0"),
        ({"leaves": [[16]]}, "node 16 ends no wrong attempt"),
        ({"doubt": 0.0}, "doubt is 0"),
        ({"recovery": 1.0}, "recovery 1"),
    ):
        with pytest.raises(ValueError, match=said):
            adaptive([tree_of([2])], policy=Chances(), verify=verify, rng=rng(0), **knobs)
