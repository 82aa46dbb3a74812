"""refine: what is written again and behind what, which refinements are kept, that the group holds them, what it costs."""

import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.types import Completion, Cost, Judgment, Outcome, Problem
from stepcredit.credit.group_mean import group_mean
from stepcredit.rollout.refine import TEMPLATE, context_of, refine, to_refine

PROBLEM = Problem("p", "2+3=?", answer="5")
SHORT = "{prompt}|{attempt}|{critique}|"


class Told:
    """Attempts from one list, refinements (whatever is not the bare prompt) from another; a token a line."""

    def __init__(self, attempts, refinements=(), finish="stop"):
        self.attempts, self.refinements, self.finish = list(attempts), list(refinements), finish
        self.asked, self.cost = [], Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked.append((list(prefixes), num))
        return [[self._one(prefix) for _ in range(num)] for prefix in prefixes]

    def _one(self, prefix):
        first = prefix == "2+3=?\n"
        text = (self.attempts if first else self.refinements).pop(0)
        lines = text.split("\n")
        return Completion(text, logprobs=(-0.5,) * len(lines), finish="stop" if first else self.finish)

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


def verify(problem, solutions):
    """The last line is the answer; "?" cannot be read, "!" fails the verifier."""
    status = {"?": "unparsed", "!": "error"}
    return [Outcome(status=status[s[-1].text], verifier="test") if s[-1].text in status
            else Outcome(float(s[-1].text == problem.answer), s[-1].text == problem.answer, True, verifier="test")
            for s in solutions]  # fmt: skip


def critic(attempts):
    """Three tokens a critique; of an attempt that ends in 9 it has nothing to say."""
    return [Judgment(0.0, [], critique=None if steps[-1].text == "9" else f"not {steps[-1].text}",
                     cost=Cost(generated_tokens=3, judge_calls=1)) for _, steps in attempts]  # fmt: skip


def grow(policy, seed=0, **knobs):
    (tree,) = refine(
        [PROBLEM], policy=policy, verify=verify, rng=rng(seed), **{"template": SHORT, "judge": critic, **knobs}
    )
    return tree


def again(tree):
    """The leaves that were written behind a critique, as text."""
    return [[step.text for step in tree.solution(leaf)] for leaf in tree.leaves
            if tree.steps[tree.path(leaf)[0]].context is not None]  # fmt: skip


def test_where_all_fail_one_refinement_is_one_more_leaf_of_the_same_star():
    policy = Told(["so\n4", "6", "7"], ["so\n5", "4", "3"])
    tree = grow(policy, num=3)
    assert policy.asked == [(["2+3=?\n"], 3), (["2+3=?|so\n4|not 4|", "2+3=?|6|not 6|", "2+3=?|7|not 7|"], 1)]
    assert len(tree.leaves) == 4 and again(tree) == [["so", "5"]]
    first, last = tree.path(tree.leaves[-1])
    assert tree.steps[first].context == "2+3=?|so\n4|not 4|" and tree.steps[last].context is None
    assert tree.parent_N[first] == 0 and tree.group_N.tolist() == [0, 0, 0, 1, 2, 3, 3]
    # The mean of the n + k holds the refinement: 1 - 1/4 for it, -1/4 for the others.
    (credit,) = group_mean([tree], normalize="none")
    assert [credit.values_N[leaf] for leaf in tree.leaves] == [-0.25, -0.25, -0.25, 0.75]


def test_all_that_was_written_said_and_decided_is_on_the_cost():
    """Attempts 2 + 1 + 1 lines, refinements 2 + 1 + 1, of which one is kept; three critiques of 3; 6 calls."""
    tree = grow(Told(["so\n4", "6", "7"], ["so\n5", "4", "3"]), num=3)
    assert (tree.cost.generated_tokens, tree.cost.judge_calls, tree.cost.verifier_calls) == (4 + 4 + 9, 3, 6)


def test_right_refinements_come_first_and_the_others_are_drawn():
    def kept(seed, refinements, num):
        return [own[-1] for own in again(grow(Told(["4", "6", "7"], refinements), seed, num=3, num_refinements=num))]

    for seed in range(20):
        assert kept(seed, ["1", "5", "2"], 1) == ["5"] and kept(seed, ["1", "5", "2"], 2)[0] == "5"
    assert {kept(seed, ["1", "0", "2"], 1)[0] for seed in range(30)} == {"1", "0", "2"}
    assert {kept(seed, ["5", "0", "5"], 2)[1] for seed in range(5)} == {"5"}
    assert len(kept(0, ["1", "0", "2"], 8)) == 3  # no more than there are


@pytest.mark.parametrize(
    ("knob", "attempts", "written_again"),
    [
        ("all_fail", ["4", "5", "7"], []),
        ("all_fail", ["4", "?", "7"], ["4", "?", "7"]),
        ("all_fail", ["4", "!", "7"], ["4", "7"]),
        ("any_wrong", ["4", "5", "?"], ["4", "?"]),
        ("any_wrong", ["5", "5", "5"], []),
        ("all", ["4", "5", "5"], ["4", "5", "5"]),
    ],
)
def test_what_is_written_again_is_as_the_knob_says(knob, attempts, written_again):
    """The released code refines every attempt of every problem (D9); the paper's version 6 where none is right."""
    policy = Told(attempts, ["0"] * 3)
    tree = grow(policy, num=3, refine=knob)
    asked = [prefix.split("|")[1] for prefixes, _ in policy.asked[1:] for prefix in prefixes]
    assert asked == written_again and len(again(tree)) == min(1, len(asked))
    plain = grow(Told(attempts), num=3, judge=lambda attempts: [Judgment(0.0, []) for _ in attempts])
    assert [plain.steps[leaf].text for leaf in to_refine(plain, knob)] == written_again


def test_a_problem_none_of_which_is_refined_is_as_chains_has_it():
    tree = grow(Told(["4", "5", "6"]), num=3)
    (plain,) = registry.bind("rollout", "chains", policy=Told(["4", "5", "6"]), rng=rng(0), num=3)([PROBLEM])
    assert tree.steps == plain.steps and tree.parent_N.tolist() == plain.parent_N.tolist()
    assert tree.cost.judge_calls == 0


def test_one_attempt_is_tried_and_any_may_be():
    found = set()
    for seed in range(30):
        policy = Told(["4", "6", "7"], ["5"])
        grow(policy, seed, num=3, num_tried=1)
        (prefix,) = policy.asked[1][0]
        found.add(prefix)
    assert found == {"2+3=?|4|not 4|", "2+3=?|6|not 6|", "2+3=?|7|not 7|"}


def test_an_attempt_without_a_critique_stays_as_it_is():
    policy = Told(["9", "6"], ["5"])
    tree = grow(policy, num=2)
    assert policy.asked[1][0] == ["2+3=?|6|not 6|"] and tree.cost.judge_calls == 2 and len(again(tree)) == 1
    assert again(grow(Told(["9"]), num=1)) == []


def test_without_a_judge_the_verdict_is_the_critique():
    policy = Told(["4", "5"], ["5", "5"])
    grow(policy, num=2, judge=None, refine="all")
    assert [prefix.split("|")[2] for prefix in policy.asked[1][0]] == [
        "The generated solution is incorrect.", "The generated solution is correct."]  # fmt: skip


def test_a_conclusion_alone_is_no_trace():
    """A critic that knows the answer leaks it: a refinement of 1 step for an attempt of 4 gets nothing at a share of one half."""
    attempt = "a\nb\nc\n4"
    for share, reward in ((0.0, 1.0), (0.25, 1.0), (0.5, 0.0)):
        tree = grow(Told([attempt], ["5"]), num=1, min_trace=share)
        outcome = tree.outcomes[tree.leaves[-1]]
        assert (outcome.reward, outcome.correct, outcome.well_formed) == (reward, bool(reward), bool(reward))
    # A trace is preferred to a conclusion.
    assert again(grow(Told([attempt, attempt], ["5", "a\n5"]), num=2, min_trace=0.5)) == [["a", "5"]]


def test_a_refinement_that_is_cut_is_not_verified():
    tree = grow(Told(["4"], ["5"], finish="length"), num=1)
    assert tree.outcomes[tree.leaves[-1]].status == "truncated" and tree.cost.verifier_calls == 1


def test_the_template_begins_with_the_prompt_and_has_three_fields():
    assert context_of(TEMPLATE, "2+3=?", "so\n4", "Wrong.") == (
        "2+3=?\n\nA previous solution:\nso\n4\n\nA critique of it:\nWrong.\n\nWrite the whole solution anew, step by step. "
        "Correct what the critique says is wrong, where it is right.\n"
    )
    assert context_of(SHORT, "{a}", "{b}", "{c}") == "{a}|{b}|{c}|"


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"refine": "some"}, "refine is 'some'; allowed: all_fail, any_wrong, all"),
        ({"num": 0}, "num 0"),
        ({"num_refinements": 0}, "num_refinements 0"),
        ({"num_tried": 0}, "num_tried 0"),
        ({"min_trace": 1.5}, "min_trace 1.5"),
        ({"template": "{prompt} {answer}"}, "allowed: prompt, attempt, critique"),
    ],
)
def test_wrong_knobs_are_named(knobs, said):
    with pytest.raises(ValueError, match=said):
        grow(Told([]), **knobs)


def test_same_seed_same_trees():
    task, policy = registry.bind("tasks", "chain")(), registry.bind("policy", "tabular")()
    problems = task.problems(6, rng(0))

    def once(seed):
        grown = refine(problems, policy=policy, verify=task.verify, rng=rng(seed), num=3, refine="all",
                       template="{prompt}\n")  # fmt: skip
        return [[step.text for step in tree.steps] for tree in grown]

    assert once(1) == once(1) != once(2)
