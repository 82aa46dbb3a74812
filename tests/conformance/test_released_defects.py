"""Defects that were read in released code, planted beside our counterparts: the same input, and other numbers.

L2T's penalty (ML-TASA/L2T) takes the parameters' way since the process began, in those whose name has "35", of a whole sequence;
OmegaPRM's search (openr) puts back what it selected and does not count the visit; DeepAgent's memory folding loses the list of tools,
and its simulated tool is commented out. Of DeepAgent's `available_tools=""` the argument itself has no counterpart here: a fold
is told the problem and the steps, and tools stand in the problem's prompt.
"""

from dataclasses import replace

import numpy as np
import pytest

from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Outcome, Problem, Step
from stepcredit.credit.information_gain import information_gain
from stepcredit.rollout._folding import Folding, Standing, last_facts
from stepcredit.rollout._writing import Writing
from stepcredit.rollout.bisect import _pool, _scores, _values, bisect
from stepcredit.tasks.tool_use import tool_use

NAMES = ("layers.3.weight", "layers.35.weight")  # the logits of a and of b; c has logit 0


class Letters:
    """A softmax over the letters a, b and c, whatever stands before them: d log pi(x) / d logit_y = [x is y] - pi(y)."""

    def __init__(self, logits=(0.0, 0.0)):
        self.logits = np.array(logits)

    def _log_chances(self):
        all_three = np.append(self.logits, 0.0)
        return all_three - np.log(np.exp(all_three).sum())

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        raise NotImplementedError

    def logprob(self, prefixes, continuations):
        return np.array(
            [sum(self._log_chances()["abc".index(x)] for x in text if x in "abc") for text in continuations]
        )

    def score_vector(self, prefixes, continuations, *, dim, seed):
        chances = np.exp(self._log_chances())[:2]
        return np.array(
            [
                sum((np.eye(3)["abc".index(x), :2] - chances for x in text if x in "abc"), np.zeros(2))
                for text in continuations
            ]
        )


def released_penalty(policy, start, steps):
    """(sum over the sequence of g . (w - w0), in parameters with "35" in their name)^2, the same for every step."""
    moved = [value if "35" in name else 0.0 for name, value in zip(NAMES, policy.logits - start, strict=True)]
    gradient = policy.score_vector([""], ["".join(steps)], dim=2, seed=0)[0]
    return np.full(len(steps), float(gradient @ moved) ** 2)


def our_penalty(policy, steps):
    """The reward of a right attempt in which nothing is gained: 1 / K less the penalty."""
    tree = star(Problem("p", "?", "c"), [[Step(text) for text in steps]], [Outcome(1.0, True)])
    (credit,) = information_gain(
        [tree], policy=policy, alpha=1.0, beta=1.0, form="reward", standardise="none", dim=2, suffix=""
    )
    return 1 / len(steps) - credit.values_N[1:]


def test_a_penalty_is_there_before_the_first_update_and_is_a_steps_own():
    """All chances are 1/3: |g|^2 is (2/3)^2 + (1/3)^2 = 5/9 for b and 2/9 for c, and C its square."""
    policy = Letters()
    assert our_penalty(policy, ["b", "c"]) == pytest.approx([25 / 81, 4 / 81])
    assert released_penalty(policy, policy.logits, ["b", "c"]).tolist() == [0, 0]  # nothing has moved
    # After an update: of "b", "c" the gradient in the second logit is 2/3 - 1/3, times a way of 1/2; both steps have its square.
    start = policy.logits - np.array([1.0, 0.5])
    assert released_penalty(policy, start, ["b", "c"]) == pytest.approx([1 / 36, 1 / 36])
    # What moved in other names is not seen: a and b together do not move the second logit, and cost nothing; ours, |g|^2 = 2/9.
    assert released_penalty(policy, start, ["a", "a", "b", "b", "c", "c"]) == pytest.approx([0] * 6, abs=1e-12)
    assert our_penalty(policy, ["ab", "c"]) == pytest.approx([4 / 81, 4 / 81])


class Good:
    """Goes on rightly from whatever has no "bad" in it; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked += prefixes
        return [[Completion("bad\n" if "bad" in prefix else "good\n")] * num for prefix in prefixes]


def last_is_good(problem, solutions):
    return [Outcome(float(steps[-1].text == "good"), steps[-1].text == "good") for steps in solutions]


def two_wrong_attempts():
    attempts = [["s", "bad", "bad", "bad"], ["t", "t", "t", "bad"], ["s", "t", "u", "good"]]
    ends = [Outcome(float(texts[-1] == "good"), texts[-1] == "good") for texts in attempts]
    return star(Problem("p", "q"), [[Step(text) for text in texts] for texts in attempts], ends)


def released_selections(tree, num):
    """Select, search, and put it back with N(s) as it was."""
    knobs = (0.5, 0.9, 500.0, 0.125)
    tree = replace(tree, visits_N=np.zeros(tree.num_nodes, dtype=np.int64))
    selected = []
    for _ in range(num):
        pool = _pool(tree, _values(tree), [4, 8])
        selected.append(pool[int(np.argmax(_scores(tree, _values(tree), pool, knobs)))])
    return selected


def test_a_search_goes_on_to_other_rollouts_and_ends():
    """Twenty searches: the released rule spends all of them on one of two wrong attempts, ours one on each."""
    tree, policy = two_wrong_attempts(), Good()
    assert released_selections(tree, 20) == [(0, 4)] * 20
    (grown,) = bisect([tree], policy=policy, verify=last_is_good, rng=rng(0), num=1, num_searches=20)
    assert grown.visits_N is not None and grown.visits_N.sum() == grown.visits_N[0] == 2
    # States behind three steps each. First attempt: its second is broken, its first sound; second attempt: second and third.
    assert policy.asked == ["q\ns\nbad\n", "q\ns\n", "q\nt\nt\n", "q\nt\nt\nt\n"]


def released_fold(problem, steps, folding, writing):
    """The tool list is an argument that an empty text shadows."""
    available_tools = ""
    return available_tools + "".join(line + writing.delimiter for line in folding.fold(problem, steps))


def test_a_fold_keeps_the_tools():
    problem, writing, folding = Problem("p", "tools: get put. what is b?"), Writing(), Folding(3, last_facts)
    steps = [Step("get a", kind="tool_call"), Step("= 1", kind="tool_result", sampled=False)]
    here = Standing.at(writing.prefix(problem, ()), None).behind(steps, writing, None)
    assert folding.text(problem, steps, here, writing) == "tools: get put. what is b?\nget a\n= 1\n"
    assert released_fold(problem, steps, folding, writing) == "get a\n= 1\n"


def test_a_simulated_tool_is_asked_and_the_real_one_is_not():
    """The simulator is told another result than the tool has; commented out, it would say nothing, or what the tool says."""
    real, simulated = (tool_use(backend="calculator", simulated=simulated) for simulated in (False, True))
    problem = real.problems(1, rng(0))[0]
    call, result = problem.meta["calls"][0], problem.meta["results"][0]
    other = replace(problem, meta={**problem.meta, "results": ["99", *problem.meta["results"][1:]]})
    said = [task.environment([(other, [Step(call)])], rng(0))[0].result for task in (real, simulated)]
    assert said == [f"= {result}", "= 99"] and str(result) != "99"
