"""The world of `recipes/srl`: chains with a monologue before every line, a policy that loses its way in long ones, an expert.

    prompt          3;a+4;b*2;c-5                  a start, then operations, each with a letter
    policy's line   <think>3</think>a+4=0          a monologue, then the action; the last action closes with a full stop
    given line      a+4=0                          an expert's action alone, as instances begin with it (paper, section 3)
    expert's trace  <think>+4 on 3</think>a+4=0    what supervised fine-tuning reads: another, longer way of thinking

The start policy is taught sound solutions of problems of at most three operations, and solutions of longer ones in which every
line leaves out an operation with probability `skip`, whole or behind given actions. So of six lines it writes each right now
and then, and all of them right next to never: an outcome hardly ever says anything, a step's does.
An answer is right if the attempt has a line an operation, is closed, and its last result is the problem's.
Departs: the skipping is built in. A policy that never saw a long problem hardly writes a right line there either, and SRL found
nothing to start from (lab notes). Where one start policy serves all seeds, what varies is problems and reinforcement alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcredit.core import registry
from stepcredit.core.chain_world import compute, parse_prompt
from stepcredit.core.protocols import Rng, Solution
from stepcredit.core.rng import rng
from stepcredit.core.types import Outcome, Problem

OPEN, CLOSE, LETTERS = "<think>", "</think>", "abcdefghijkl"
MAX_POSITIONS = 160
_ACTION = re.compile(r"[a-z][+*-][0-9]=([0-9])\.?")


@dataclass(frozen=True)
class Scale:
    """How much is shown, trained and tested; operations of easy and hard problems are (fewest, most)."""

    num_easy: int
    num_long: int
    policy_updates: int
    more_updates: int
    num_expert: int
    num_test: int
    skip: float = 0.65
    easy: tuple[int, int] = (1, 3)
    long: tuple[int, int] = (4, 6)
    hard: tuple[int, int] = (6, 6)
    modulus: int = 5
    hidden: int = 64
    layers: int = 2
    learning_rate: float = 3e-3
    policy_seed: int = 0


def problem_of(chain: Problem) -> Problem:
    """A problem of `tasks/chain` with a letter an operation; its reference are the expert's actions.

    >>> own = problem_of(Problem("p", "3 +4 *2", "0", ("3+4=0", "0*2=0"), {"modulus": 7}))
    >>> own.prompt, own.reference
    ('3;a+4;b*2', ('a+4=0', 'b*2=0.'))
    """
    start, operations = parse_prompt(chain.prompt)
    prompt = ";".join([str(start), *(f"{LETTERS[at]}{sign}{operand}" for at, (sign, operand) in enumerate(operations))])
    results = [line.split("=")[1] for line in chain.reference or ()]
    actions = [f"{LETTERS[at]}{sign}{operand}={results[at]}" for at, (sign, operand) in enumerate(operations)]
    meta = {**chain.meta, "start": start, "operations": tuple(operations)}
    return Problem(chain.id, prompt, chain.answer, (*actions[:-1], actions[-1] + "."), meta)


def action_of(text: str) -> str | None:
    """What stands behind one monologue; None where a line has not exactly one, or nothing behind it.

    >>> action_of("<think>3</think>a+4=0"), action_of("<think>3"), action_of("a+4=0")
    ('a+4=0', None, None)
    """
    head, closed, action = text.partition(CLOSE)
    broken = not closed or not action or not head.startswith(OPEN) or OPEN in head[len(OPEN) :] or CLOSE in action
    return None if broken or OPEN in action else action


def trace(problem: Problem, *, given: int = 0, expert: bool = False, skip: float = 0.0, draw: Rng | None = None) -> tuple[str, str]:  # fmt: skip
    """What is read, the prompt and `given` sound actions, and a solution behind it that leaves operations out at rate `skip`."""
    actions = list(problem.reference or ())
    operations, modulus = problem.meta["operations"], problem.meta["modulus"]
    value = int(actions[given - 1].rstrip(".").split("=")[1]) if given else problem.meta["start"]
    at, lines = given, []
    while at < len(operations):
        if draw is not None and at + 1 < len(operations) and draw.random() < skip:
            at += 1
        sign, operand = operations[at]
        result = compute(value, sign, operand, modulus)
        thought = f"{sign}{operand} on {value}" if expert else str(value)
        closed = "." if at + 1 == len(operations) else ""
        lines.append(f"{OPEN}{thought}{CLOSE}{LETTERS[at]}{sign}{operand}={result}{closed}")
        at, value = at + 1, result
    return problem.prompt + "\n" + "".join(action + "\n" for action in actions[:given]), "\n".join(lines)


def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
    """Right iff a line an operation, the last alone closed, and its result the answer; "unparsed" without a last line."""
    return [_outcome(problem, solution) for solution in solutions]


def _outcome(problem: Problem, solution: Solution) -> Outcome:
    actions = [action_of(step.text) if step.sampled else step.text for step in solution]
    results = [None if action is None or not (found := _ACTION.fullmatch(action)) else found[1] for action in actions]
    if not results or results[-1] is None:
        return Outcome(well_formed=False, status="unparsed", verifier="chain")
    answer = results[-1]
    closed = [action is not None and action.endswith(".") for action in actions]
    complete = len(closed) == len(problem.meta["operations"]) and closed.count(True) == 1 and closed[-1]
    correct = complete and answer == problem.answer
    return Outcome(float(correct), correct, complete and None not in results, answer, "scored", "chain")


@dataclass
class World:
    """One seed's problems, and the start policy, made from `scale.policy_seed`: found again by content under `out/cache`."""

    scale: Scale
    seed: int
    out: Path

    def _draw(self, ops: tuple[int, int], num: int, seed: int, name: str) -> list[Problem]:
        """Chains of so many operations, without products by 0, which would absorb what was left out."""
        task = registry.bind("tasks", "chain", modulus=self.scale.modulus, min_ops=ops[0], max_ops=ops[1], zero_share=0.0)()  # fmt: skip
        return [problem_of(one) for one in task.problems(num, rng(seed, "srl", name))]

    @functools.cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Hard ones to train and to test on, easy ones to test on. No prompt of a test is trained on by an arm."""
        own = self.scale
        hard = self._draw(own.hard, own.num_expert + own.num_test, self.seed, "hard")
        return {"expert": hard[: own.num_expert], "hard": hard[own.num_expert :],
                "easy": self._draw(own.easy, own.num_test, self.seed, "easy")}  # fmt: skip

    @functools.cached_property
    def folder(self) -> Path:
        """The start policy: a tokenizer and weights, then what stands behind a prefix, then hard problems mostly."""
        from stepcredit.train.sft import fine_tune
        from stepcredit.train.tiny import train_language_model

        own, seed = self.scale, self.scale.policy_seed
        draw = rng(seed, "srl", "shown")
        shown = [(problem, 0.0) for problem in self._draw(own.easy, own.num_easy, seed, "shown easy")]
        shown += [(problem, own.skip) for problem in self._draw(own.long, own.num_long, seed, "shown long")]
        examples = [trace(problem, given=_given(problem, draw), skip=skip, draw=draw) for problem, skip in shown]
        texts = [*("".join(pair) for pair in examples), *("".join(trace(problem, expert=True)) for problem, _ in shown)]
        made = train_language_model(
            texts, self.out / "cache", extra_tokens=(OPEN, CLOSE), hidden=own.hidden, layers=own.layers, num_updates=1,
            max_positions=MAX_POSITIONS, seed=seed, progress=False,
        )  # fmt: skip
        first = fine_tune(made, examples, self.out / "cache", num_updates=own.policy_updates, batch_size=64,
                          learning_rate=own.learning_rate, seed=seed, progress=False)  # fmt: skip
        lost = [trace(problem, given=_given(problem, draw), skip=own.skip, draw=draw)
                for problem in self._draw(own.hard, own.num_long, seed, "shown hard")]  # fmt: skip
        return fine_tune(first, [*lost, *examples[: own.num_easy // 2]], self.out / "cache", num_updates=own.more_updates,
                         batch_size=64, learning_rate=own.learning_rate / 2, seed=seed, precision="bfloat16", progress=False)  # fmt: skip


def _given(problem: Problem, draw: Rng) -> int:
    """Half of the examples are whole, half go on from some actions."""
    return int(draw.integers(len(problem.reference or ()))) if draw.random() < 0.5 else 0
