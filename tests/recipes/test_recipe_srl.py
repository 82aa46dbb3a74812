"""SRL: instances and their steps, dynamic sampling that ends, the world's answers, the whole run, its claims."""

import hashlib
import json

import numpy as np
import pytest
from claim_checks import WRONG_KNOBS, every_claim_is_measured, needs_trl

from stepcredit.core.rng import rng
from stepcredit.core.types import Completion, Cost, Problem, Step
from stepcredit.credit.expert_similarity import expert_similarity, rewards
from stepcredit.recipes import srl as recipe
from stepcredit.recipes._srl_rollout import Kept, dynamic, instances, next_steps
from stepcredit.recipes._srl_world import Scale, World, action_of, problem_of, trace, verify
from stepcredit.recipes._starts import decides, own_scale
from stepcredit.report import write_report
from stepcredit.train.groups import grouped

CHAIN = problem_of(Problem("p", "3 +4 *2", "0", ("3+4=0", "0*2=0"), {"modulus": 7}))


class Writes:
    """A policy of one token a line, which writes these lines in turn behind any prefix."""

    def __init__(self, *lines):
        self.lines, self.asked = lines, []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked += prefixes
        return [[Completion(self.lines[n % len(self.lines)], (n,), (-1.0,)) for n in range(num)] for _ in prefixes]

    def logprob(self, prefixes, continuations):
        return np.zeros(len(prefixes))


def grow(problems, policy, draw, num=2):
    return next_steps(problems, policy, draw, num=num)


def problems(num):
    return instances([Problem(f"p{n}", f"x{n}", reference=("first", "second")) for n in range(num)])


def test_an_instance_stands_behind_given_steps_that_nobody_trains():
    policy = Writes("<think>0</think>b*2=0.", "b*2=0.")
    (tree,) = next_steps(instances([CHAIN])[1:], policy, rng(0), num=2)
    assert policy.asked == ["3;a+4;b*2\na+4=0\n"]
    assert [step.text for step in tree.steps if not step.sampled] == [CHAIN.prompt, "a+4=0"]
    # The second sample has no monologue: -1. The first is the expert's action: 1. As z-scores +-1 / sqrt(2).
    assert rewards(tree).tolist() == [1.0, -1.0]
    credit = expert_similarity(tree)
    assert np.isnan(credit.values_N[:2]).all() and credit.values_N[2:] == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_two_steps_of_one_solution_are_two_groups():
    trees = next_steps(instances([CHAIN]), Writes("<think>3</think>a+4=0"), rng(0), num=2)
    assert len(grouped(trees)) == 2


def test_the_monologue_is_never_compared():
    """And autojunk (defect D14) would make half of one changed unit in 260."""
    expert, near = "x" * 130 + "y" * 130, "x" * 130 + "y" * 129 + "z"
    own = instances([Problem("p", "q", reference=(expert,))])
    texts = [f"<think>{said}</think>{near}" for said in ("short", "long " * 50)]
    (tree,) = next_steps(own, Writes(*texts), rng(0), num=2)
    assert rewards(tree) == pytest.approx([2 * 259 / 520] * 2)


def test_groups_that_do_not_vary_are_drawn_anew_and_paid_for():
    """Two of the four instances vary; a batch of two keeps just these."""
    pool = problems(2)

    def reward(tree):
        return np.array([0.0, 1.0]) if tree.problem.id in ("p0/1", "p1/1") else np.zeros(2)

    kept = Kept()
    found = dynamic(grow, reward, pool, kept=kept)([pool[0], pool[1]], Writes("a"), rng(0))
    assert sorted(tree.problem.id for tree in found) == ["p0/1", "p1/1"]
    # Every instance drawn has two samples of one token, and all are on the cost of the batch.
    assert sum((tree.cost for tree in found), Cost()).generated_tokens == 2 * kept.drawn
    assert kept.varied == 2 and kept.rate == 2 / kept.drawn


def test_a_world_of_equal_rewards_ends():
    pool, kept, policy = problems(20), Kept(), Writes("a")
    found = dynamic(grow, lambda tree: np.ones(2), pool, max_rounds=3, kept=kept)(pool[:4], policy, rng(0))
    # Three rounds of four, nothing kept: the last four are handed on, all equal, and all twelve are paid for.
    assert (kept.drawn, kept.varied, kept.rate, kept.rounds) == (12, 0, 0.0, [3])
    assert len(found) == 4 and sum((tree.cost for tree in found), Cost()).generated_tokens == 24
    assert all((expert_similarity(tree).values_N[1:] == 0).all() for tree in found if tree.problem.meta["given"] == 0)


def test_a_small_pool_is_not_drawn_from_twice():
    pool, policy = problems(1), Writes("a")
    dynamic(grow, lambda tree: np.ones(2), pool, max_rounds=9)(pool[:1], policy, rng(0))
    assert sorted(policy.asked) == ["x0\n", "x0\nfirst\n"]


def test_the_expert_thinks_otherwise_and_acts_alike():
    mine, other = trace(CHAIN)[1], trace(CHAIN, expert=True)[1]
    assert mine != other
    assert (
        [action_of(line) for line in mine.split("\n")]
        == [action_of(line) for line in other.split("\n")]
        == list(CHAIN.reference)
    )


@pytest.mark.parametrize(
    ("lines", "reward"),
    [
        (["<think>3</think>a+4=0", "<think>0</think>b*2=0."], 1.0),
        (["<think>3</think>b*2=0."], 0.0),  # the answer by luck: a line is missing
        (["<think>3</think>a+4=0", "<think>0</think>b*2=0"], 0.0),  # not closed
        (["<think>3</think>a+4=0.", "<think>0</think>b*2=0."], 0.0),  # closed twice
        (["<think>3</think>a+4=0", "<think>0</think>b*2=1."], 0.0),
    ],
)
def test_an_answer_is_right_with_a_line_an_operation_the_last_of_them_closed(lines, reward):
    assert verify(CHAIN, [[Step(line) for line in lines]])[0].reward == reward


def test_an_attempt_without_a_last_action_is_unparsed():
    assert verify(CHAIN, [[Step("<think>3")], []])[0].status == "unparsed"


def test_left_out_operations_leave_out_lines():
    every = [trace(CHAIN, skip=1.0, draw=rng(n))[1] for n in range(3)]
    assert every == ["<think>3</think>b*2=6."] * 3
    assert trace(CHAIN, given=1) == ("3;a+4;b*2\na+4=0\n", "<think>0</think>b*2=0.")


def test_no_prompt_of_the_test_is_trained_on(tmp_path):
    world = World(Scale(10, 10, 1, 1, 8, 8), 1, tmp_path)
    prompts = [{problem.prompt for problem in world.problems[name]} for name in ("expert", "hard")]
    assert not prompts[0] & prompts[1] and len(prompts[1]) == 8


def test_each_seed_has_its_own_start_policy_where_asked_and_arms_of_one_for_all_are_found_again():
    """The digest is the folder under which the first claims' arms were finished."""
    size = recipe.SIZES["small"]
    one, each = (json.dumps(decides(size, starts), sort_keys=True, default=str) for starts in ("one", "each"))
    assert hashlib.sha256(one.encode()).hexdigest()[:12] == "39d0b915d855" and one != each
    assert own_scale(size.scale, "one", 7) == size.scale and own_scale(size.scale, "each", 7).policy_seed == 7


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return str(tmp_path_factory.mktemp("srl"))


@pytest.fixture(scope="module")
def run(out, one_thread):
    needs_trl()
    return recipe.srl(size="quick", seeds=(3, 4), out=out)


@pytest.mark.slow
def test_the_run_has_every_arm_at_its_tokens_and_can_be_shown(run, tmp_path):
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    assert list(rows) == list(recipe.ARMS)
    budget = recipe.SIZES["quick"].plan.budget
    for name, row in rows.items():
        assert {"hard", "hard, any", "sound lines", "easy"} <= set(row["cells"])
        assert (
            row["cost"]["generated_tokens"] == 0
            if name in ("base", "sft")
            else row["cost"]["generated_tokens"] >= budget
        )
    assert "groups kept" in rows["srl"]["cells"] and "groups kept" not in rows["srl all"]["cells"]
    write_report(run, tmp_path / "report.html")


@pytest.mark.slow
def test_every_claim_names_numbers_that_the_recipe_measures(run, out, monkeypatch):
    every_claim_is_measured("srl", out, monkeypatch)


@pytest.mark.parametrize(("knobs", "said"), WRONG_KNOBS)
def test_wrong_knobs_are_named(knobs, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        recipe.srl(**{"size": "quick", "out": str(tmp_path), **knobs})


def test_dynamic_sampling_names_wrong_knobs():
    with pytest.raises(ValueError, match="max_rounds is 0"):
        dynamic(grow, rewards, [], max_rounds=0)
