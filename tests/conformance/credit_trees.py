"""Trees and resources for the conformance suite: every number is a function of a step's text, so that reordering,
splitting and leaving out attempts changes nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from stepcredit import Completion, Cost, Credit, Judgment, Outcome, Problem, Step, Tree
from stepcredit.core.rng import rng
from stepcredit.core.tree import prompt_step, star

PROBLEM = Problem("p", "2+3=?", answer="5", reference=("a0.0|xxxx", "5"), meta={"level": 1})
SPENT = Cost(judge_calls=1, forwarded_tokens=7)


def outcome(reward: float | str | None) -> Outcome | None:
    """A reward, a status, or nothing."""
    if reward is None:
        return None
    return Outcome(status=reward) if isinstance(reward, str) else Outcome(reward=reward, correct=reward > 0.5)


def attempt(name: str, num_steps: int, length: int = 8) -> list[Step]:
    """Steps "name.0|xxxx"; what stands before the bar is the step's identity."""
    return [Step(f"{name}.{j}|{'x' * length}") for j in range(num_steps)]


def group(*rewards: float | str | None, problem: Problem = PROBLEM) -> Tree:
    """A star of attempts of 1, 2, 3, 1, ... steps."""
    attempts = [attempt(f"a{i}", 1 + i % 3) for i in range(len(rewards))]
    return star(problem, attempts, [outcome(r) for r in rewards])


def with_tools() -> Tree:
    """Two attempts with tool results in between."""
    steps = [[Step(f"t{i}|look", kind="tool_call"), Step(f"r{i}|rows", kind="tool_result", sampled=False),
              Step(f"e{i}|5", kind="answer")] for i in range(2)]  # fmt: skip
    meta = {"calls": ["t0|look"], "tools": {"look": {}}}
    return star(Problem("tools", "?", meta=meta), steps, [outcome(1.0), outcome(0.0)])


def restarted() -> Tree:
    """An attempt 1-2-3 with restarts from 1 (4-5 right, 6 wrong, 7 unscored) and from 2 (8 right)."""
    steps = (prompt_step(PROBLEM), *(Step(f"n{n}|xxxx") for n in range(1, 9)))
    outcomes = [None] * 9
    for node, reward in {3: 0.0, 5: 1.0, 6: 0.0, 7: "truncated", 8: 1.0}.items():
        outcomes[node] = outcome(reward)
    return Tree(
        replace(PROBLEM, id="restarted"), steps, [-1, 0, 1, 2, 1, 4, 1, 1, 2], tuple(outcomes),
        group_N=[0, 0, 0, 0, 1, 1, 2, 3, 4], cost=Cost(generated_tokens=90),
    )  # fmt: skip


def solved() -> Tree:
    """Three right attempts (1, 2, 3) and a wrong one (4-5-6) whose restarts succeed from 4 (7 right, 8 wrong), not from 5."""
    problem = replace(PROBLEM, id="solved")
    steps = (prompt_step(problem), *(Step(f"m{n}|xxxx") for n in range(1, 11)))
    rewards = {1: 1.0, 2: 1.0, 3: 1.0, 6: 0.0, 7: 1.0, 8: 0.0, 9: 0.0, 10: 0.0}
    return Tree(
        problem, steps, [-1, 0, 0, 0, 0, 4, 5, 4, 4, 5, 5], tuple(outcome(rewards.get(n)) for n in range(11)),
        group_N=[0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7], cost=Cost(generated_tokens=40),
    )  # fmt: skip


def every_tree() -> list[Tree]:
    """The trees all methods are run on."""
    return [
        group(1.0, 0.0, 1.0, "truncated"),
        group(0.0, 0.0, problem=Problem("wrong", "?")),
        group(1.0, problem=Problem("single", "?")),
        group(None, "timeout", problem=Problem("unscored", "?")),
        group(0.25, 0.75, 0.5, problem=Problem("soft", "?")),
        with_tools(),
        restarted(),
        solved(),
        Tree(Problem("bare", "?"), (prompt_step(Problem("bare", "?")),), [-1], (None,)),
    ]


def number(step: Step, salt: str) -> float:
    """A number in (0, 1) that belongs to a step's identity."""
    digest = hashlib.sha256(f"{salt}:{step.text.split('|')[0]}".encode()).digest()
    return (int.from_bytes(digest[:4], "big") + 0.5) / 2**32


def credit_of(tree: Tree, name: str, kind: str) -> Credit:
    """A Credit resource: numbers on sampled steps, whole ones for labels."""
    values = np.array([number(step, name) if step.sampled else np.nan for step in tree.steps])
    if kind == "label":
        values = np.round(values)
    elif kind in ("advantage", "reward"):
        values = 2 * values - 1
    return Credit(values, kind, (~np.isnan(values)).astype(float), name)


class Resources:
    """What the suite hands to a method that asks for a Policy, Verifier, Judge or Embedder; counts the calls."""

    def __init__(self) -> None:
        self.num_calls = 0

    def judge(self, attempts):
        """Channels keep, fix and ok from the steps' texts."""
        self.num_calls += 1
        found = []
        for _, solution in attempts:
            steps = [step for step in solution if step.sampled]
            channels = {name: np.array([number(s, name) for s in steps]) for name in ("keep", "fix", "ok")}
            score = float(channels["ok"].mean()) if steps else 0.5
            found.append(Judgment(score, channels["ok"], channels, cost=SPENT))
        return found

    def verifier(self, problem, solutions):
        """Right where the first step's number says so."""
        self.num_calls += 1
        return [outcome(float(number(solution[0], "verifier") > 0.5)) for solution in solutions]

    def embed(self, texts):
        """Four numbers a text."""
        self.num_calls += 1
        return np.array([[number(Step(text), f"embed{k}") for k in range(4)] for text in texts]).reshape(-1, 4)

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        """The policy: `num` fixed completions."""
        self.num_calls += 1
        return [[Completion(f"c{k}|x") for k in range(num)] for _ in prefixes]

    def policy(self, name):
        """A policy of its own for each resource, which gives every x the same probability and other characters one.

        An answer it finds the less likely the more x stand before it; a step's score vector belongs to its identity.
        """

        def logprob(prefixes, continuations):
            self.num_calls += 1
            asked = zip(prefixes, continuations, strict=True)
            num = [c.count("x") + (p.count("x") / 8 if p.endswith("Answer: ") else 0) for p, c in asked]
            return np.log(number(Step(name), "policy")) * np.array(num)

        def score_vector(prefixes, continuations, *, dim, seed):
            self.num_calls += 1
            rows = [[number(Step(c), f"score{seed}.{k}") for k in range(dim)] for c in continuations]
            return np.array(rows).reshape(-1, dim)

        return SimpleNamespace(sample=self.sample, logprob=logprob, score_vector=score_vector)

    def given(self, resources: dict[str, str], kinds: dict[str, str], trees: list[Tree]) -> dict[str, object]:
        """Arguments for a method's resources, by annotation; every Credit is one per tree."""
        made: dict[str, object] = {}
        for name, annotation in resources.items():
            if annotation in ("Credit", "Sequence[Credit]"):
                made[name] = [credit_of(tree, name, kinds.get(name, "value")) for tree in trees]
            else:
                by_name = {"Judge": self.judge, "Verifier": self.verifier, "Embedder": self.embed,
                           "Policy": self.policy(name)}  # fmt: skip
                made[name] = rng(0, "conformance", name) if annotation == "Rng" else by_name[annotation]
        return made
