"""AlphaLLM's ladder and loop: the task, critics in a verifier's place, budgets, what a rung may see, and the whole run."""

import importlib
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Cost, Estimate, Judgment, Outcome, Problem, Step
from stepcredit.recipes import _alphallm_ladder
from stepcredit.recipes import alphallm as recipe
from stepcredit.recipes._alphallm_cells import LUCKY, UNLUCKY, kept, worth
from stepcredit.recipes._alphallm_critics import CRITIC, Foreseen, Remembered, as_verifier, attempt_of
from stepcredit.recipes._alphallm_ladder import RUNGS, Ladder, answer, ended
from stepcredit.recipes._alphallm_run import climbs_of, difference, told
from stepcredit.recipes._alphallm_task import either_way, text_of
from stepcredit.recipes._alphallm_world import World, affordable
from stepcredit.recipes._arms import ArmResult
from stepcredit.report import write_report
from stepcredit.rollout.mcts import mcts

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
PROBLEM = Problem("p", "3 +4 *2", answer="4")  # (3 + 4) * 2 = 14 = 4 modulo 5


def lines(*texts):
    return [Step(text) for text in texts]


# The task


def test_lines_are_sound_either_way_round():
    task = either_way()
    for attempt in (lines("3+4=2", "2*2=4"), lines("4+3=2", "2*2=4")):
        assert task.label_steps(PROBLEM, attempt).tolist() == [1, 1]
        assert task.verify(PROBLEM, [attempt])[0].correct is True


@pytest.mark.parametrize(
    ("attempt", "labels", "correct"),
    [
        (lines("4+3=1", "2*1=2"), [0, 1], False),  # a slip, carried forward
        (lines("3+4=2", "2*3=1"), [1, 0], False),  # goes on from a result that is not there
        (lines("3*2=1", "1+4=0"), [0, 0], False),  # the operations in another order
        (lines("3+4=1", "1*2=4"), [0, 0], True),  # two slips that make up for each other: right by luck
        (lines("3+4=2"), [1], False),  # stops too early
        (lines("3+4=2", "2*2=4", "4+0=4"), [1, 1, 0], False),  # and too late
        (lines("so", "2*2=4"), [0, math.nan], True),  # nothing to go on from, nothing to object to
        (lines("so", "2*2=3"), [0, 0], False),
    ],
)
def test_the_oracle_and_the_verifier(attempt, labels, correct):
    task = either_way()
    assert np.array_equal(task.label_steps(PROBLEM, attempt), labels, equal_nan=True)
    assert task.verify(PROBLEM, [attempt])[0].correct is correct


def test_the_demonstrator_writes_either_way_round_and_slips_as_often_as_told():
    task = either_way(num_slips=0, random_slip=0.0)
    problem = task.problems(1, rng(3))[0]
    shown = [task.demonstrate(problem, rng(0, n)) for n in range(20)]
    assert all(task.label_steps(problem, one).all() and task.verify(problem, [one])[0].correct for one in shown)
    assert len({one[0].text for one in shown}) > 1
    careless = either_way(num_slips=0, random_slip=0.2)
    found = [careless.label_steps(p, careless.demonstrate(p, rng(1, p.id))) for p in careless.problems(400, rng(4))]
    wrong = np.mean(np.concatenate(found) == 0)  # about 1,800 lines: four standard errors are .038
    assert abs(wrong - 0.2) < 0.04


def test_nothing_is_multiplied_by_zero():
    assert not any("*0" in problem.prompt for problem in either_way().problems(300, rng(5)))


def test_the_last_line_of_a_text_is_followed_by_its_end():
    assert text_of(PROBLEM, lines("3+4=2", "2*2=4")) == ("3 +4 *2\n", "3+4=2\n2*2=4")


def test_impossible_knobs_of_the_task_are_named():
    with pytest.raises(ValueError, match="operations 3 to 2"):
        either_way(min_ops=3, max_ops=2)
    with pytest.raises(ValueError, match="distinct problems asked"):
        either_way(modulus=2, min_ops=1, max_ops=1, num_slips=0).problems(9, rng(0))


# Critics


class Counting:
    """A judge that scores an attempt by the length of its last line, and counts what it is asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, attempts):
        self.calls.append(len(attempts))
        return [Judgment(len(steps[-1].text) / 10, [0.5] * len(steps), cost=Cost(forwarded_tokens=7, judge_calls=1))
                for _, steps in attempts]  # fmt: skip


def test_a_judge_that_remembers_is_asked_once_of_an_attempt():
    judge = Counting()
    asked = Remembered(judge)
    attempt, other = (PROBLEM, lines("3+4=2")), (PROBLEM, lines("3+4=2", "2*2=4"))
    first = asked([attempt, other, attempt])
    again = asked([other])
    assert judge.calls == [2] and [one.score for one in first] == [0.5, 0.5, 0.5] and again[0].score == 0.5
    assert asked.cost == Cost(forwarded_tokens=14, judge_calls=2) and again[0].cost.forwarded_tokens == 0


class Writes:
    """A policy of two lines: the first ends with a newline, the second with the end token."""

    cost = Cost(generated_tokens=5)

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        found = []
        for prefix in prefixes:
            last = prefix.count("\n") > 1 or not stop
            text = "2*2=4" if prefix.count("\n") > 1 else "3+4=2" if stop else "3+4=2\n2*2=4"
            ids = (*range(len(text)), 99)  # one a character, then the newline or the end
            found.append([Completion(text, ids, (0.0,) * len(ids)) for _ in range(num)])
            self.ends = last
        return found

    def token_ends(self, ids):
        return [min(place + 1, len(ids) - 1) if self.ends else place + 1 for place in range(len(ids))]

    def logprob(self, prefixes, continuations):
        return np.zeros(len(prefixes))


def test_what_a_policy_finishes_is_judged_as_it_is_written_and_nothing_else():
    judge = Counting()
    policy = Foreseen(Writes(), Remembered(judge))
    policy.sample(["3 +4 *2\n"], 2, rng(0), stop=("\n",))
    assert judge.calls == []  # a line is no attempt
    policy.sample(["3 +4 *2\n3+4=2\n", "3 +4 *2\n3+4=2\n"], 1, rng(0), stop=("\n",))
    policy.sample(["3 +4 *2\n"], 3, rng(0))
    assert judge.calls == [1]  # the same attempt, whoever finished it
    assert policy.cost == Cost(generated_tokens=5) and policy.logprob(["a"], ["b"]).tolist() == [0.0]
    with pytest.raises(ValueError, match="token_ends"):
        Foreseen(object(), Remembered(judge))


def test_an_attempt_is_read_back_from_its_text():
    problem, steps = attempt_of("3 +4\n3+4=2\n")
    assert (problem.prompt, [step.text for step in steps]) == ("3 +4", ["3+4=2"])
    assert [step.text for step in attempt_of("3 +4\n")[1]] == [""]


def test_a_critic_in_a_verifiers_place_says_nothing_of_correct():
    said = as_verifier(Counting())(PROBLEM, [lines("3+4=2"), lines("3+4=2", "2*2=4")])
    assert [(one.reward, one.correct, one.verifier) for one in said] == [(0.5, None, CRITIC)] * 2
    silent = as_verifier(lambda attempts: [Judgment(math.nan, [], status="abstained") for _ in attempts])
    assert silent(PROBLEM, [lines("x")])[0] == Outcome(status="abstained", verifier=CRITIC)


def test_without_merging_equal_options_are_children_of_their_own():
    class Same:
        cost = Cost()

        def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
            return [[Completion("a" if prefix == "q\n" else "", (1,), (0.0,))] for prefix in prefixes]

    for distance, num in ((-1.0, 3), (0.0, 1)):
        (tree,) = mcts([Problem("p", "q")], policy=Same(), verify=lambda p, s: [Outcome(1.0)] * len(s), rng=rng(0), num_searches=4,
                       num_rollouts=0, value=lambda a: [Judgment(0.5, [0.5]) for _ in a], merge_distance=distance,
                       max_resamples=1, min_children=3, max_children=3, root_min_children=3, root_max_children=3)  # fmt: skip
        assert np.count_nonzero((tree.parent_N == 0) & (tree.group_N == 0)) >= num
        assert (
            np.count_nonzero(
                [step.text == "a" and parent == 0 for step, parent in zip(tree.steps, tree.parent_N, strict=True)]
            )
            >= 2
        ) == (distance < 0)


# Budgets and answers


def spelt(tokens, *texts):
    return [Step(text, token_ids=(1,) * tokens) for text in texts]


def test_a_budget_pays_for_attempts_until_it_is_reached():
    tree = star(PROBLEM, [spelt(3, "a", "b"), spelt(3, "c", "d"), spelt(3, "e", "f")])  # six tokens each
    assert [affordable(tree, budget) for budget in (1, 6, 7, 12, 13, 99)] == [1, 1, 2, 2, 3, 3]


def searched(groups, rewards):
    """A star as a search leaves it: group 0 is its own, every other one a fast rollout."""
    outcomes = [
        Outcome(status="truncated") if reward is None else Outcome(reward, verifier=CRITIC) for reward in rewards
    ]
    tree = star(PROBLEM, [lines(text) for text in "abc"[: len(rewards)]], outcomes)
    return replace(tree, group_N=np.array([0, *groups]))


def test_the_answer_is_what_the_critic_likes_best_and_ties_are_drawn():
    tree = searched((0, 0, 0), (0.2, 0.9, 0.9))
    assert {answer(tree, rng(seed)) for seed in range(20)} == {2, 3}
    unsaid = searched((0, 0), (None, None))
    assert {answer(unsaid, rng(seed)) for seed in range(20)} == {1, 2} and not ended(unsaid).size


def test_a_fast_rollout_is_no_answer_however_much_the_critic_likes_it():
    tree = searched((0, 1, 0), (0.2, 0.9, None))
    assert {answer(tree, rng(seed)) for seed in range(20)} == {1} and ended(tree).tolist() == [1]
    unfinished = searched((0, 1, 0), (None, 0.9, None))
    assert {answer(unfinished, rng(seed)) for seed in range(20)} == {1, 3}


def test_what_answers_are_worth():
    # Right and sound; right by two slips; wrong; too short, though sound.
    answers = [lines("3+4=2", "2*2=4"), lines("3+4=1", "1*2=4"), lines("3+4=1", "1*2=2"), lines("3+4=2")]
    found = worth(either_way(), [PROBLEM] * 4, answers)
    assert {name: one.value for name, one in found.items()} == {"accuracy": 0.5, LUCKY: 0.25, UNLUCKY: 0.25}


def test_a_finished_cell_is_read_back(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"x": ArmResult({"accuracy": Estimate(0.5, 0.1, 0.9, 4, "accuracy")}, cost={"generated_tokens": 1.0})}

    first, again = kept(tmp_path / "s" / "x.json", make), kept(tmp_path / "s" / "x.json", make)
    assert len(made) == 1 and first == again


# What is said of results


def result(value, **more):
    return ArmResult(
        {name: Estimate(v, math.nan, math.nan, 9, "accuracy") for name, v in {"accuracy": value, **more}.items()}
    )


def test_rungs_are_compared_with_the_rung_below_paired_by_seed():
    found = {"greedy": [result(0.3), result(0.5)], "self-consistency at 2": [result(0.4), result(0.6)],
             "ORM rerank at 2": [result(0.7), result(0.5)]}  # fmt: skip
    gaps = climbs_of(found, 2)
    assert list(gaps) == ["self-consistency", "ORM rerank"]
    assert gaps["self-consistency"].value == pytest.approx(0.1) and gaps["self-consistency"].low == pytest.approx(0.1)
    # .3 and -.1: mean .1, far from told apart.
    assert told(gaps["ORM rerank"]).endswith("not told apart") and told(gaps["self-consistency"]).endswith(" above")
    assert told(difference(found["greedy"], found["self-consistency at 2"], "accuracy")).endswith(" below")


# The run


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_alphallm_ladder, "MAX_SEARCHES", 12)
        yield str(tmp_path_factory.mktemp("alphallm"))


@pytest.fixture(scope="module")
def run(out, one_thread):
    return recipe.alphallm(size="quick", seeds=(3, 4), out=out)


@pytest.mark.slow
def test_the_run_has_every_rung_and_arm_and_can_be_shown(run, tmp_path):
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    plan = recipe.SIZES["quick"]
    rungs = ["self-consistency", "ORM rerank", "pass at budget", *RUNGS]
    assert set(rows) == {
        "greedy",
        "one attempt",
        *recipe.SOURCES,
        *(f"{name} at {b}" for name in rungs for b in plan.budgets),
    }
    assert rows["pass at budget at 2"]["kind"] == "oracle" and rows["greedy"]["kind"] == "control"
    assert set(rows["MCTS data"]["cells"]) == {"round 0", "round 1", "round 2"}
    assert all(rows[f"{name} at 2"]["cost"]["generated_tokens"] > 0 for name in RUNGS)
    assert rows["vanilla MCTS at 2"]["cost"]["verifier_calls"] == 0
    write_report(run, tmp_path / "report.html")


@pytest.mark.slow
def test_a_second_run_reads_everything_back(run, out, monkeypatch):
    monkeypatch.setattr(World, "policy", lambda *_, **__: pytest.fail("a policy was made"))
    again = recipe.alphallm(size="quick", seeds=(3, 4), out=out)
    assert {**again, "cost": None} == {**run, "cost": None} or str(again) == str(run)


@pytest.mark.slow
def test_a_search_sees_no_gold_answer(run, out, monkeypatch):
    """With a task that calls every answer wrong at test time, searches and choices stay the same."""
    plan = recipe.SIZES["quick"]
    world = World(plan.scale, 3, Path(out))
    critics = _alphallm_ladder.Critics(world)
    blind = [replace(problem, answer=None) for problem in world.problems["test"]]
    trees = [
        _alphallm_ladder.grown(problems, RUNGS["+ state merge"], _alphallm_ladder.Critics(world), 60, rng(5))
        for problems in (world.problems["test"], blind)
    ]
    for seen, unseen in zip(*trees, strict=True):
        assert [step.text for step in seen.steps] == [step.text for step in unseen.steps]
        assert np.array_equal(seen.reward_N, unseen.reward_N, equal_nan=True)
        assert {one.verifier for one in seen.outcomes if one and one.status == "scored"} <= {CRITIC}
    assert critics.forwarded == Cost()


@pytest.mark.slow
def test_searches_stop_at_the_budget(out):
    plan = recipe.SIZES["quick"]
    ladder = Ladder(World(plan.scale, 3, Path(out)), plan.budgets)
    world = ladder.world
    for name in ("vanilla MCTS", "+ state merge"):
        trees = _alphallm_ladder.grown(world.problems["test"], RUNGS[name], _alphallm_ladder.Critics(world), 60, rng(6))
        for tree in trees:
            # One search at most behind the budget: repeats, an option and a rollout of 64 tokens at most.
            assert tree.cost.generated_tokens < 60 + 7 * 64 + 64
            assert tree.cost.generated_tokens >= 60 or tree.visits_N[0] == _alphallm_ladder.MAX_SEARCHES


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": "huge"}, "size 'huge'"),
        ({"seeds": ()}, "give one seed or more"),
        ({"seeds": (1, 1)}, "named twice"),
        ({"parts": ("beam",)}, "no part 'beam'; there are: plain, vanilla MCTS"),
    ],
)
def test_wrong_knobs_are_named(knobs, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        recipe.alphallm(**{"size": "quick", "out": str(tmp_path), **knobs})


@pytest.mark.slow
def test_every_claim_names_numbers_that_the_recipe_measures(run, out, monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.delitem(sys.modules, "alphallm", raising=False)
    claims = importlib.import_module("alphallm")
    assert {claim.slug for claim in claims.CLAIMS} == set(claims.PAIRS)
    monkeypatch.setattr(claims, "MOST", 2)
    for claim in claims.CLAIMS:
        pair = tuple((part, row.replace("at 16", "at 2"), name) for part, row, name in claims.PAIRS[claim.slug])
        monkeypatch.setitem(claims.PAIRS, claim.slug, pair)
        gap, cost = claims.measure(replace(claim, seeds=(3, 4)), size="quick", out=out)
        assert gap.n == 2 and math.isfinite(gap.value) and cost["generated_tokens"] > 0
    assert set(recipe.SIZES["small"].budgets) >= {16}
