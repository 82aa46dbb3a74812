"""r3: what is read off start values by hand, every border method on sure pools, and the recipe at its smallest."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Outcome, Problem, Step
from stepcredit.recipes import r3 as recipe
from stepcredit.recipes._r3_arms import kind_of, lucky_arms, run_cell
from stepcredit.recipes._r3_border import Dial, adaback, bisection, dials, everywhere, is_right, revealed
from stepcredit.recipes._r3_cell import grown
from stepcredit.recipes._r3_critical import averaged, concentration, first_errors, hardest, measured, signal
from stepcredit.recipes._r3_places import at_random_places
from stepcredit.recipes._r3_run import gap
from stepcredit.recipes._r3_starts import Pool, first, started, values
from stepcredit.recipes._r3_values import accuracy, against_binomial, by_length, constant, half_of_starts
from stepcredit.recipes._r3_world import Ground, Plan, demonstrated, ground, num_steps, prefixes
from stepcredit.report import write_report
from stepcredit.tasks.chain import chain

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
PLAN = Plan(12, 16, 8, (4, 6), num_lucky=6)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return ground("lucky", PLAN, 3, tmp_path_factory.mktemp("r3"))


@pytest.fixture(scope="module")
def cell(own):
    return grown(own, PLAN)


def test_readings_of_a_demonstration_whose_policy_slips_at_known_steps():
    """Slips .5, 0, .2 and nothing recovers: V(s_2) = .8, V(s_1) = .8, V(s_0) = .4. First errors: .5, 0, .5 * .2 = .1."""
    value_S = np.array([0.4, 0.8, 0.8, 1.0])
    assert signal(value_S) == pytest.approx([0.4, 0.0, 0.2])
    assert signal(value_S, "relative") == pytest.approx([0.5, 0.0, 0.2])
    reciprocal = signal(value_S, "reciprocal")
    assert reciprocal / reciprocal.sum() == pytest.approx(np.array([0.5, 0.0, 0.1]) / 0.6)


def test_rates_of_zero_have_a_reciprocal_and_unknown_ones_do_not():
    """Of 4, none: (0 + .5) / 5 = .1; all: 4.5 / 5 = .9."""
    assert signal(np.array([0.0, 1.0]), "reciprocal", 4) == pytest.approx([10 - 1 / 0.9])
    unknown = signal(np.array([np.nan, 0.5, 0.75, 1.0]))
    assert np.isnan(unknown[0]) and hardest(unknown) == 1  # .25 twice: the earlier
    assert hardest(np.full(3, np.nan)) == 0
    with pytest.raises(ValueError, match="reading is 'best'"):
        signal(np.ones(2), "best")


def test_first_errors_are_those_of_wrong_attempts_and_problems_weigh_alike():
    task = chain(modulus=5)
    problem = Problem("p", "3 +4 +1", "3")  # 3+4=2, 2+1=3
    attempts = [["3+4=2", "2+1=3"], ["3+4=1", "1+1=2"], ["3+4=2", "2+1=0"], ["3+4=1", "1+1=3"]]
    solutions = [[Step(line) for line in one] for one in attempts]
    tree = star(problem, solutions, task.verify(problem, solutions))
    assert first_errors(tree, task, 2).tolist() == [1, 1]  # the last ends right: no wrong attempt
    assert first_errors(tree, task, 2, slice(2)).tolist() == [1, 0]
    told = measured([0, 1], [np.array([3.0, 1.0]), np.array([3.0, 1.0])])
    assert told["errors found"].value == 0.5 and told["most frequent"].value == 0.5
    half = averaged([np.array([0.5, 0.5])] * 2, [np.array([3.0, 1.0]), np.zeros(2)])
    assert half["errors found"].value == 0.5 and half["errors found"].n == 1
    assert concentration([np.array([0.3, -0.1, 0.1]), np.array([-0.1, 0.0, 0.0])]).value == pytest.approx(0.75)


def test_errors_of_values_and_the_reference_s_own_noise():
    """Errors .1, -.3: mean square .05. True values .5, of 26 rollouts each: .25 / 25 = .01 of it is theirs."""
    found, true = [np.array([0.6, 0.2, 1.0])], [np.array([0.5, 0.5])]
    assert accuracy(found, true)["value error"].value == pytest.approx(np.sqrt(0.05))
    assert accuracy(found, true)["bias"].value == pytest.approx(-0.1)
    assert accuracy(found, true, 26)["value error"].value == pytest.approx(np.sqrt(0.04))
    # Due of 4 continuations: .25 / 4; the ratio is sqrt(.05 / .0625). Wilson at 2.4 of 4 holds .5, so does .8 of 4.
    told = against_binomial(found, [np.array([4.0, 4.0])], true)
    assert told["error over binomial"].value == pytest.approx(np.sqrt(0.8)) and told["covered"].value == 1.0
    assert "covered" not in against_binomial(found, [np.array([4.0, 4.0])], true, 26)
    narrow = against_binomial(found, [np.array([400.0, 400.0])], true)
    assert narrow["covered"].value == 0.0


def test_the_length_of_the_rest_is_learned_from_other_demonstrations():
    found = [np.array([0.2, 0.6, 1.0]), np.array([0.1, 0.4, 0.8, 1.0]), np.array([0.9, 1.0])]
    guessed = by_length(found)
    assert guessed[0] == pytest.approx([0.4, (0.8 + 0.9) / 2])
    # Nobody else has three steps to go: the mean of all the others' starts.
    assert guessed[1] == pytest.approx([(0.2 + 0.6 + 0.9) / 3, 0.2, (0.6 + 0.9) / 2])
    assert constant(found)[2] == pytest.approx([(0.2 + 0.6 + 0.1 + 0.4 + 0.8) / 5])


def test_half_of_the_starts_leaves_the_others_on_a_line():
    few, twice = np.zeros(5), np.array([0.0, 0.2, 0.4, 0.6, 1.0])
    (line,) = half_of_starts([few], [twice], rng(0))
    chosen = np.sort(rng(0).choice(4, size=2, replace=False))
    assert line[chosen] == pytest.approx(twice[chosen])
    assert line == pytest.approx(np.interp(range(4), [*chosen, 4], [*twice[chosen], 1.0]))
    missing = np.array([np.nan, np.nan, 1.0])
    assert half_of_starts([missing], [missing], rng(0))[0] == pytest.approx([1.0, 1.0])  # only the end is known


def sure_pool(at, num=6, size=16):
    """Starts that succeed always from `at` steps on and never before; a continuation costs the steps to go."""
    reward_SK = np.repeat((np.arange(num) >= at).astype(float)[:, None], size, axis=1)
    return Pool(reward_SK, np.repeat(np.arange(num, 0, -1.0)[:, None], size, axis=1))


@pytest.mark.parametrize("at", range(7))
def test_every_method_finds_a_border_that_is_sure(at):
    one = sure_pool(at)
    assert everywhere(one, 2) == (at, 2 * 21.0) and bisection(one, 3)[0] == at
    said, tokens = revealed(one, 0.05)
    assert said == at and tokens < 4 * 21
    assert adaback(sure_pool(at, size=400), 60, rng(at))[0] == at


def test_bisection_pays_for_the_starts_it_looks_at():
    """Border 1 of 6: middle 3 succeeds, then 1 succeeds, then 0 fails: 3, 5 and 6 steps, twice each."""
    assert bisection(sure_pool(1), 2) == (1, 28.0)


def test_a_pool_that_ends_leaves_the_border_undecided():
    unscored = Pool(np.full((3, 2), np.nan), np.ones((3, 2)))
    said, tokens = revealed(unscored, 0.05)
    assert (said, tokens) == (0, 2.0) and everywhere(unscored, 8) == (0, 6.0)


def test_a_border_is_right_where_the_policy_begins_to_succeed():
    value_S = np.array([0.1, 0.5, 0.9])
    assert [is_right(at, value_S) for at in range(4)] == [False, True, True, False]
    assert is_right(3, np.array([0.1, 0.2, 0.3])) and is_right(0, np.array([0.8, 0.9, 0.9]))


def test_the_cheapest_setting_that_is_right_often_enough_stands_for_a_method():
    dial = Dial((1, 2, 3), (0.5, 0.9, 0.95), (10.0, 30.0, 20.0))
    assert dial.cheapest(0.9) == 20.0 and dial.cheapest(0.5) == 10.0 and np.isnan(dial.cheapest(0.99))
    found = dials([sure_pool(1), sure_pool(4)], [np.array([0.0] + [1.0] * 5), np.array([0.0] * 4 + [1.0] * 2)], rng(0))
    assert max(found["everywhere"].settings) == 16 and max(found["adaback"].settings) == 4  # the pool has 16 a start
    assert found["everywhere"].right == (1.0,) * 8 and found["everywhere"].tokens[:2] == (21.0, 42.0)
    assert found["reveal"].cheapest(1.0) < 42.0


def test_demonstrations_end_right_and_lucky_ones_have_a_wrong_step(own):
    for tree in own.demonstrations:
        steps = tree.solution(num_steps(tree))
        assert own.task.verify(tree.problem, [steps])[0].correct and num_steps(tree) == len(steps)
    assert own.lucky
    for tree in own.lucky:
        labels = own.task.label_steps(tree.problem, tree.solution(num_steps(tree)))
        assert tree.reward_N[num_steps(tree)] == 1.0 and (labels == 0).any()
    with pytest.raises(ValueError, match="5 demonstrations asked, 0 of 0"):
        demonstrated(own.task, [], 5, rng(0))
    with pytest.raises(ValueError, match="no world 'flat'; there are: habits"):
        ground("flat", PLAN, 0, Path("."))


def test_starts_are_the_prompt_and_every_step_but_the_last(own):
    tree = own.demonstrations[0]
    texts = prefixes(tree)
    assert len(texts) == num_steps(tree) and texts[0] == tree.problem.prompt + "\n"
    assert texts[2] == texts[1] + tree.steps[2].text + "\n"


def test_the_first_continuations_of_each_start_are_a_tree_again(own, cell):
    for tree, one in zip(cell.grown, cell.pools, strict=True):
        num = num_steps(tree)
        assert one.reward_SK.shape == (num, 8)
        # A continuation of a chain writes every line that is left, one token each.
        assert one.tokens_SK.tolist() == [[num - k] * 8 for k in range(num)]
        for few in (1, 3, 8):
            value_S, counts_S = values(first(tree, few))
            assert counts_S.tolist() == [few] * num and value_S[-1] == 1.0
            assert value_S[:-1] == pytest.approx(one.reward_SK[:, :few].mean(axis=1))
        assert tree.cost.verifier_calls == 8 * num


def test_values_are_unbiased_for_the_exact_ones_and_their_intervals_hold_them():
    plan = Plan(24, 2, 32, (5, 7))
    own = ground("habits", plan, 5, Path("."))
    trees = started(own, own.demonstrations, 32, "test")
    read = [values(tree) for tree in trees]
    found, counts = [value for value, _ in read], [num for _, num in read]
    true = [own.exact(tree) for tree in own.demonstrations]
    told = {**accuracy(found, true), **against_binomial(found, counts, true)}
    # About 140 starts of 32: the mean error has a standard error under .5 / sqrt(32 * 140) = .0075.
    assert abs(told["bias"].value) < 0.03 and 0.8 < told["error over binomial"].value < 1.2
    assert told["covered"].value > 0.88


def test_a_cell_has_every_arm_and_says_what_each_is(own, cell, tmp_path):
    found = run_cell("lucky", PLAN, 3, tmp_path)
    assert kind_of("border: reveal") == "label-free" and kind_of("true values, rise") == "oracle"
    assert {kind_of(arm) for arm in found} == {"label-free", "control", "null", "oracle"}
    ours, length = found["r3, 8 a start"], found["null: length of the rest"]
    assert ours.cost["verifier_calls"] == np.mean([8 * num_steps(tree) for tree in own.demonstrations])
    assert not length.cost and {"value error", "errors found", "border right"} <= set(length.estimates)
    assert 0 <= found["lucky demonstrations"].estimates["fall at a wrong step"].value <= 1
    assert found["sound demonstrations"].estimates["lucky share"].value < 0.5
    assert found["border: rollout/reveal at 0.05"].cost["verifier_calls"] > 0
    any_step = found["null: any step"].estimates["errors found"]
    assert 1 / 6 <= any_step.value <= 1 / 4 and any_step.n <= len(cell.true)
    assert ours.attempts and ours.attempts[0]["steps"][0]["score"] is not None


def test_without_lucky_demonstrations_there_is_nothing_to_say_of_them(own):
    found = lucky_arms(replace(own, lucky=[]), PLAN)
    assert found["lucky demonstrations"].estimates == {} and found["sound demonstrations"].estimates
    assert lucky_arms(replace(own, exact=None), PLAN) == {}


class Always:
    """Ends right from wherever it is asked, writing what is left of the one solution it knows."""

    def __init__(self, text, right=True):
        self.text, self.right, self.asked = text, right, []

    def sample(self, prefixes, num, draw, *, stop=(), max_new_tokens=256):
        self.asked.extend(prefixes)
        given = [prefix.partition("\n")[2] for prefix in prefixes]
        return [[Completion(self.text[len(one) :] if self.right else "no") for _ in range(num)] for one in given]


def test_random_places_cut_anywhere_and_are_read_at_the_step_borders():
    task = chain(modulus=5)
    problem = Problem("p", "3 +4 +1 +1", "4")
    lines = ["3+4=2", "2+1=3", "3+1=4"]
    tree = star(problem, [[Step(line) for line in lines]], [Outcome(1.0, True)])
    policy = Always("".join(f"{line}\n" for line in lines))
    value_S, tokens = at_random_places(Ground("x", 0, task, policy, [tree], []), tree, 4)
    assert value_S.tolist() == [1.0, 1.0, 1.0] and tokens == 4 * 3
    assert len(policy.asked) == 3 and policy.asked[0] == problem.prompt + "\n"
    # Nothing it writes can be read: only the end is known.
    silent = Ground("x", 0, task, Always("", right=False), [tree], [])
    assert at_random_places(silent, tree, 2)[0].tolist() == [1.0, 1.0, 1.0]


def test_the_recipe_resumes_and_its_run_can_be_shown(tmp_path, monkeypatch):
    given = {"size": "quick", "seeds": (3, 4), "worlds": ("habits", "even"), "out": str(tmp_path)}
    done = recipe.r3(**given)
    assert len(list(tmp_path.glob("cells/*/*.json"))) == 4

    def never(*args, **knobs):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(recipe, "run_cell", never)
    again = recipe.r3(**given)
    assert [row["value"] for row in again["results"]] == pytest.approx(
        [row["value"] for row in done["results"]], nan_ok=True
    )
    write_report(done, tmp_path / "report.html")
    names = {row["arm"] for row in done["table"]["rows"]}
    assert {"habits: r3, 8 a start", "even: null: length of the rest", "habits: border: reveal"} <= names
    assert any("minus" in row["name"] and row["n"] == 2 for row in done["results"])
    assert len(done["summary"]) == 8 and done["expectation"].startswith("Written before")


@pytest.mark.slow
def test_a_network_is_cut_at_random_places_too(tmp_path):
    done = recipe.r3(size="quick", seeds=(3,), worlds=("network",), out=str(tmp_path))
    names = [row["arm"] for row in done["table"]["rows"]]
    assert "network: random places, 8 each" in names and not any("lucky" in name for name in names)


def test_claims_are_paired_and_a_missing_number_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.delitem(sys.modules, "r3", raising=False)
    claims = importlib.import_module("r3")
    assert {claim.seeds for claim in claims.CLAIMS} == {(660, 661, 662, 663, 664)}
    for claim in claims.CLAIMS:
        found, cost = claims.measure(replace(claim, seeds=(3, 4)), "quick", str(tmp_path))
        wanted = set() if claim.slug == "luck_is_paid" else {"generated_tokens", "verifier_calls"}
        assert found.n == 2 and set(cost) >= wanted
    first = replace(claims.CLAIMS[0], seeds=(3, 4))
    arms = recipe.cells("quick", (3, 4), ["habits"], out=str(tmp_path))["habits"]
    own, any_step = (arms[name] for name in ("r3, 8 a start", "null: any step"))
    by_hand = [
        a.estimates["errors found"].value - 2 * b.estimates["errors found"].value
        for a, b in zip(own, any_step, strict=True)
    ]
    assert gap(arms, "r3, 8 a start", "null: any step", "errors found", 2.0).value == pytest.approx(np.mean(by_hand))
    second = claims.measure(replace(claims.CLAIMS[1], seeds=(3, 4)), "quick", str(tmp_path))[0]
    assert second.value == pytest.approx(np.mean(by_hand))
    # The control's error minus ours.
    length = gap(arms, "null: length of the rest", "r3, 8 a start", "value error").value
    assert claims.measure(first, "quick", str(tmp_path))[0].value == pytest.approx(length)
    assert np.isnan(gap(arms, "r3, 8 a start", "null: any step", "border right").value)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": "huge"}, "no size 'huge'; there are: quick, small"),
        ({"seeds": ()}, "seeds is empty"),
        ({"worlds": ("flat",)}, "no world 'flat'; there are: habits, lucky, wiped, even, network"),
    ],
)
def test_wrong_knobs_are_named(knobs, said):
    with pytest.raises(ValueError, match=said):
        recipe.r3(**knobs)
