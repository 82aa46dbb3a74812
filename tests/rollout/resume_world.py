"""Any registered rollout on three small problems, as a process that can be killed: resume_world.py NAME FOLDER SECONDS."""

import inspect
import sys
import time
from dataclasses import replace

import numpy as np

from stepcredit.core import registry
from stepcredit.core.environment import Reply
from stepcredit.core.rng import rng
from stepcredit.core.tree import merge, star
from stepcredit.core.truth import verified
from stepcredit.core.types import Cost, Judgment, Record, Step

WORLD = {"random_slip": 0.25, "systematic_slip": 0.0, "num_slips": 0}
# Enough calls to be killed among; a rollout that is not named here runs with its defaults.
KNOBS = {
    "adaptive": {"max_rollouts": 10},
    "bisect": {"num": 3, "num_searches": 4},
    "branch": {"choose": "judge", "num_rounds": 4, "num_leaves": 4},
    "chains": {"num": 30},
    "given": {"num": 30},
    "episodes": {"num": 4, "choose": "judge", "num_rounds": 2, "num_leaves": 3},
    "mcts": {"num_searches": 5, "num_rollouts": 2, "root_min_children": 3},
    "refine": {"refine": "all"},
    "restart": {"num": 2},
    "reveal": {"error_rate": 0.2, "max_rollouts": 8},
}


class Slow:
    """The chain world's own policy, eight completions together; each call takes `seconds` and is counted."""

    batch_size = 8

    def __init__(self, seconds=0.0, fail_after=None):
        self.policy = registry.bind("policy", "tabular", **WORLD)()
        self.seconds, self.fail_after, self.num_calls, self.largest, self.cost = seconds, fail_after, 0, 0, Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        if self.num_calls == self.fail_after:
            raise KeyboardInterrupt
        self.num_calls, self.largest = self.num_calls + 1, max(self.largest, len(prefixes) * num)
        time.sleep(self.seconds)
        self.cost += Cost(forwarded_tokens=sum(map(len, prefixes)) * num)
        return self.policy.sample(prefixes, num, rng, stop=stop, max_new_tokens=max_new_tokens)

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


class Counted:
    """Calls of a verifier, a judge or an environment."""

    def __init__(self, function):
        self.function, self.num_calls = function, 0

    def __call__(self, *given):
        self.num_calls += 1
        return self.function(*given)


def doubt(attempts):
    """A judge without a model: the longer, the less sure; its last word has parts, a channel and a critique."""
    found = []
    for _, steps in attempts:
        score_S = np.linspace(0.9, 0.3, len(steps))
        found.append(
            Judgment(float(score_S[-1]), score_S, {"ok": score_S}, {"style": 0.5}, "so so", cost=Cost(judge_calls=1))
        )
    return found


def whims(episodes, draw):
    """An environment that takes lines for thoughts and, by its own draws too, the last of them for the answer."""
    left = [len(problem.prompt.split()) - 1 - len(steps) for problem, steps in episodes]
    return [Reply("answer" if not num or draw.random() < 0.1 else "reason") for num in left]


def trees_of(task, problems):
    """Of each problem a right attempt, the reference, and four of the policy's, verified."""
    policy = registry.bind("policy", "tabular", **WORLD)()
    chains = registry.bind("rollout", "chains", policy=policy, rng=rng(0, "attempts"), num=4)
    trees = [
        merge([star(problem, [[Step(line) for line in problem.reference]]), tree])
        for problem, tree in zip(problems, chains(problems), strict=True)
    ]
    return [verified(Record(tree), task.verify).tree for tree in trees]


def grown(name, *, policy, folder=None, bits=None):
    """What the rollout grows, and the counted verifier, judge and environment. Its arguments are read off its signature."""
    task = registry.bind("tasks", "chain", **WORLD)()
    problems = task.problems(3, rng(0, "problems"))
    entry = registry.get("rollout", name)
    generator = rng(0, "grow") if bits is None else np.random.Generator(bits)
    verify, judge, environment = Counted(task.verify), Counted(doubt), Counted(whims)
    of = {"Policy": policy, "Verifier": verify, "Judge": judge, "Rng": generator, "Environment": environment}
    parameters = inspect.signature(entry.function).parameters
    wanted = {each: str(what.annotation).removesuffix(" | None") for each, what in parameters.items()}
    first, *rest = wanted
    data = trees_of(task, problems) if first == "trees" else problems
    resources = {each: of[wanted[each]] for each in rest if wanted[each] in of}
    trees = entry.function(data, **resources, **KNOBS.get(name, {}), folder=folder)
    return trees, verify, judge, environment


def same(first, second):
    """Whether two trees are equal in all but the time they took; an unscored reward, which is NaN, is itself."""
    return (
        (first.problem, first.steps, repr(first.outcomes)) == (second.problem, second.steps, repr(second.outcomes))
        and replace(first.cost, seconds=0.0) == replace(second.cost, seconds=0.0)
        and _lists(first) == _lists(second)
    )


def _lists(tree):
    return [None if each is None else each.tolist() for each in (tree.parent_N, tree.group_N, tree.visits_N)]


if __name__ == "__main__":
    grown(sys.argv[1], policy=Slow(float(sys.argv[3])), folder=sys.argv[2])
