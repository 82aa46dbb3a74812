"""The world of `recipes/l2t`: chains whose every line may be followed by a recheck that finds nothing, and an answer of one token.

    prompt     3;a+4;b*2;c-5          a start, then operations, each with a letter
    attempt    3a+4=0                 the value so far, the operation, its result: a line is an episode
               again 3a+4=0           a recheck: the line once more, whether it is right or wrong
               0b*2=0
               0c-5=2
               Answer:2               one token, so that J, the policy's likelihood of it, is exact

Demonstrations recheck each line with probability `recheck` and get a result wrong with probability `slip`, which is carried on:
the start policy writes well more than is needed, and is right on two attempts of three. An answer is right whatever stands
before it (`verify` reads the last line alone), so that what is left out is left to the policy.
Departs: made for this comparison; arXiv:2505.10425 segments a language model's thoughts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcredit.core import registry
from stepcredit.core.chain_world import compute
from stepcredit.core.protocols import Rng, Solution
from stepcredit.core.rng import rng
from stepcredit.core.types import Outcome, Problem
from stepcredit.recipes._srl_world import LETTERS, problem_of

ANSWER, AGAIN = "Answer:", "again "
MAX_POSITIONS = 192
_LAST = re.compile(re.escape(ANSWER) + r"([0-9])")


@dataclass(frozen=True)
class Scale:
    """How much is shown, trained and tested, and the ways of the demonstrations."""

    num_shown: int
    policy_updates: int
    num_train: int
    num_test: int
    recheck: float = 0.6
    slip: float = 0.08
    ops: tuple[int, int] = (1, 4)
    modulus: int = 5
    hidden: int = 64
    layers: int = 2
    learning_rate: float = 3e-3
    policy_seed: int = 0


def demonstrate(problem: Problem, recheck: float, slip: float, draw: Rng) -> list[str]:
    """The lines of one attempt."""
    value, modulus, lines = problem.meta["start"], problem.meta["modulus"], []
    for at, (sign, operand) in enumerate(problem.meta["operations"]):
        result = compute(value, sign, operand, modulus)
        if draw.random() < slip:
            result = (result + int(draw.integers(1, modulus))) % modulus
        line = f"{value}{LETTERS[at]}{sign}{operand}={result}"
        lines += [line, AGAIN + line] if draw.random() < recheck else [line]
        value = result
    return [*lines, f"{ANSWER}{value}"]


def needed(problem: Problem) -> int:
    """Tokens of an attempt without rechecks, its end included: seven a line, three for the answer, one for the end."""
    return 7 * len(problem.meta["operations"]) + 4


def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
    """Right iff the last line gives the answer; "unparsed" where it gives none."""
    found = []
    for solution in solutions:
        said = _LAST.fullmatch(solution[-1].text) if solution else None
        if said is None:
            found.append(Outcome(well_formed=False, status="unparsed", verifier="chain"))
        else:
            right = said[1] == problem.answer
            found.append(Outcome(float(right), right, True, said[1], verifier="chain"))
    return found


@dataclass
class World:
    """One seed's problems, and the start policy, made from `scale.policy_seed`: found again by content under `out/cache`."""

    scale: Scale
    seed: int
    out: Path

    def _draw(self, num: int, seed: int, name: str) -> list[Problem]:
        """Chains without products by 0, which would absorb what was wrong."""
        own = self.scale
        task = registry.bind("tasks", "chain", modulus=own.modulus, min_ops=own.ops[0], max_ops=own.ops[1], zero_share=0.0)()  # fmt: skip
        return [problem_of(one) for one in task.problems(num, rng(seed, "l2t", name))]

    @functools.cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Distinct problems to train and to test on."""
        own = self.scale
        both = self._draw(own.num_train + own.num_test, self.seed, "problems")
        return {"train": both[: own.num_train], "test": both[own.num_train :]}

    @functools.cached_property
    def folder(self) -> Path:
        """The start policy. The first call makes a tokenizer and weights, the second teaches what stands behind a prompt."""
        from stepcredit.train.sft import fine_tune
        from stepcredit.train.tiny import train_language_model

        own, seed = self.scale, self.scale.policy_seed
        draw = rng(seed, "l2t", "shown")
        examples = [(problem.prompt + "\n", "\n".join(demonstrate(problem, own.recheck, own.slip, draw)))
                    for problem in self._draw(own.num_shown, seed, "shown")]  # fmt: skip
        made = train_language_model(
            ["".join(pair) for pair in examples], self.out / "cache", hidden=own.hidden, layers=own.layers, num_updates=1,
            max_positions=MAX_POSITIONS, seed=seed, progress=False,
        )  # fmt: skip
        return fine_tune(made, examples, self.out / "cache", num_updates=own.policy_updates, batch_size=32,
                         learning_rate=own.learning_rate, seed=seed, precision="bfloat16", progress=False)  # fmt: skip
