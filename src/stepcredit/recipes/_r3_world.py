"""Where demonstrations are cut: worlds whose values are exact, and a small network that learned from demonstrations.

    habits    most slips are fixed wrong facts, modulo 23: some steps are hard, most are not, and wrong hardly comes right again
    lucky     the same modulo 5, where wrong comes right again every now and then: right answers with wrong steps
    wiped     as lucky, and half of the multiplications are by 0: what stood before them no longer matters
    even      slips anywhere alike: no step is harder than another, and what is left to do is all there is to know
    network   a small language model taught on a demonstrator's attempts in `lucky`, slips included; values by many rollouts

All but the last are `tasks/chain` written by `policy/tabular`. Demonstrations are the task's own demonstrator's, drawn until
the answer is right: nobody looks at their steps. A lucky one is right in spite of a wrong step; the oracle finds those, to
measure with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Policy, Rng, Task
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error, star
from stepcredit.core.types import Floats, Problem, Tree
from stepcredit.recipes._pools import text_of

WORLDS: dict[str, dict[str, Any]] = {
    "habits": {"zero_share": 0.0, "modulus": 23, "random_slip": 0.02, "num_slips": 210},
    "lucky": {"zero_share": 0.0},
    "wiped": {"zero_share": 0.5},
    "even": {"zero_share": 0.0, "modulus": 23, "random_slip": 0.1, "num_slips": 0},
}
NETWORK = "network"
TRIES = 200  # attempts of the demonstrator at a problem, until one is right (or lucky)


@dataclass(frozen=True)
class Plan:
    """Numbers of one cell: of demonstrations, of attempts that measure where the policy goes wrong, of continuations a start.

    `num_lucky` demonstrations are right by luck. `num_reference` (a start), and what teaches the network, are used by the network alone.
    """

    num_demonstrations: int
    num_attempts: int
    num_starts: int
    num_operations: tuple[int, int] = (6, 12)
    num_lucky: int = 0
    num_reference: int = 0
    num_taught: int = 0
    num_updates: int = 0
    hidden: int = 64


@dataclass(frozen=True)
class Ground:
    """One world and seed: who writes, who verifies, what is demonstrated; `exact` values starts, where they are known.

    `hard`: steps, as text, that the policy gets wrong by habit, where it is known.
    """

    name: str
    seed: int
    task: Task
    policy: Policy
    demonstrations: list[Tree]
    lucky: list[Tree]
    exact: Callable[[Tree], Floats] | None = None
    hard: Callable[[str], bool] | None = None
    limits: dict[str, Any] = field(default_factory=dict)

    def draw(self, *names: str | int) -> Rng:
        """The stream of this world and seed under these names."""
        return rng(self.seed, "r3", self.name, *names)


def ground(name: str, plan: Plan, seed: int, cache: Path, *, progress: bool = False) -> Ground:
    """Make a world. Raises ValueError for a name that is none, or where too few problems have a demonstration."""
    if name != NETWORK and name not in WORLDS:
        raise ValueError(f"no world {name!r}; there are: {', '.join([*WORLDS, NETWORK])}")
    own = law_of(name)
    least, most = plan.num_operations
    task: Task = registry.bind("tasks", "chain", min_ops=least, max_ops=most, **own)()
    problems = task.problems(2 * plan.num_demonstrations, rng(seed, "r3", name, "problems"))
    shown = demonstrated(task, problems, plan.num_demonstrations, rng(seed, "r3", name, "demonstrations"))
    lucky = demonstrated(task, problems, plan.num_lucky, rng(seed, "r3", name, "lucky"), lucky=True)
    if name == NETWORK:
        return Ground(name, seed, task, _network(task, plan, seed, cache, progress), shown, [],
                      limits={"max_new_tokens": 8 * most})  # fmt: skip
    policy: Any = registry.bind(
        "policy", "tabular", **{key: value for key, value in own.items() if key != "zero_share"}
    )()
    slips = policy.world.slips
    return Ground(
        name, seed, task, policy, shown, lucky, exact=lambda tree: np.asarray(policy.value(prefixes(tree))),
        hard=(lambda text: _fact(text) in slips) if slips else None,
    )  # fmt: skip


def law_of(name: str) -> dict[str, Any]:
    """The knobs of a world's task; the network's demonstrator lives in `lucky`."""
    return WORLDS["lucky" if name == NETWORK else name]


def demonstrated(task: Task, problems: Sequence[Problem], num: int, draw: Rng, *, lucky: bool = False) -> list[Tree]:
    """Trees with one right demonstration each, of the first `num` problems that have one within `TRIES` attempts."""
    found: list[Tree] = []
    for problem in problems:
        for _ in range(TRIES if len(found) < num else 0):
            steps = task.demonstrate(problem, draw)
            (outcome,) = task.verify(problem, [steps])
            if outcome.correct and (not lucky or first_error(task.label_steps(problem, steps)) >= 0):
                found.append(star(problem, [steps], [outcome]))
                break
    if len(found) < num and not lucky:
        raise ValueError(
            f"{num} demonstrations asked, {len(found)} of {len(problems)} problems have one; allow slips less"
        )
    return found


def prefixes(tree: Tree) -> list[str]:
    """The texts of a demonstration's starts, prompt first, [S]; nodes 1..S are its steps."""
    texts = [tree.problem.prompt]
    texts += [tree.steps[node].text for node in tree.path(num_steps(tree))[:-1]]
    return ["".join(f"{text}\n" for text in texts[: end + 1]) for end in range(len(texts))]


def num_steps(tree: Tree) -> int:
    """S of a demonstration, which is the first attempt of its tree: nodes 1..S."""
    return tree.num_nodes - 1 if tree.group_N is None else int((tree.group_N == 0).sum()) - 1


def _fact(text: str) -> tuple[int, str, int] | None:
    from stepcredit.core.chain_world import parse_line

    line = parse_line(text)
    return None if line is None else line[:3]


def _network(task: Task, plan: Plan, seed: int, cache: Path, progress: bool) -> Policy:
    """A model of what the demonstrator writes, right or wrong; cached by content."""
    from stepcredit.policy.hf import hf
    from stepcredit.train.tiny import train_language_model

    problems = task.problems(plan.num_taught, rng(seed, "r3", "taught"))
    draw = rng(seed, "r3", "taught", "demonstrations")
    texts = [text_of(problem, task.demonstrate(problem, draw), task.delimiter) for problem in problems]
    folder = train_language_model(texts, cache, num_updates=plan.num_updates, hidden=plan.hidden, seed=seed,
                                  progress=progress)  # fmt: skip
    return hf(str(folder))
