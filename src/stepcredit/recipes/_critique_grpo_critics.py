"""Critics without step truth, and a start policy that can be told all they say: what size "critics" of `recipes/critique_grpo` adds.

    verdict     "The generated solution is incorrect."                     told so, some line gets another result
    answer      "..., the ground truth is X."                              some line, such that the last result is X
    own         what the policy writes: "Step 2 is wrong, it should be X." that line gets that result
    inverted    the verdict turned round: right called incorrect, wrong called correct
    mistake     the same words from the task's step ORACLE, a bound        that line gets that result

A rewriter knows what the critique says and no more: among the changes of one line that fit it, one is drawn, and the demonstrator
writes the rest, habits included; called correct, an attempt is copied. What is said in demonstrations is drawn too, whatever is true,
so that critiques are obeyed and no start policy has seen a step's truth. The own critic is taught by outcomes: of a wrong attempt
it names a change, drawn at random, behind which the verifier found a right end; that may be one mistake made up for by another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from stepcredit.core import registry
from stepcredit.core.protocols import Judge, Policy, Rng, Solution, Task, Verifier
from stepcredit.core.rng import rng
from stepcredit.core.types import Outcome, Problem, Step
from stepcredit.judge._critics import MISTAKE, SOUND, VERDICT, Count, first_mistake, misleading, verdict, written
from stepcredit.recipes._critique_grpo_world import TEMPLATE, Scale, World, result_of, text_of
from stepcredit.rollout.refine import context_of

ASKED = "{prompt}\n{attempt}\nWhich step is wrong?\n"
LONGEST = 16  # tokens of an own critique
Critic = Callable[[Policy, Rng], Judge]
CriticName = Literal["oracle", "misleading", "verdict", "answer", "own", "inverted"]


@dataclass(frozen=True)
class CriticScale(Scale):
    """A scale whose policy is taught these forms of critique, as often as they stand here; of each problem shown, `num_again`
    attempts are written again, and `criticised` of the problems have one criticised; `copied`: how often all is said to be well.
    """

    forms: tuple[str, ...] = ("mistake", "mistake", "mistake", "verdict", "verdict", "answer")
    num_again: int = 2
    criticised: float = 0.5
    copied: float = 0.2


class CriticWorld(World):
    """The world, with a policy that is told mistakes, verdicts and answers, and says itself what is wrong."""

    scale: CriticScale

    @functools.cached_property
    def examples(self) -> list[tuple[str, str]]:
        """Each problem to be solved, attempts at it to be written again behind a critique, and one to be criticised."""
        draw = rng(self.seed, "demonstrations")
        sloppy: Task = registry.bind("tasks", "chain", **{**dict(self.scale.task), "random_slip": self.scale.sloppy})()
        found = []
        for problem in self.problems["shown"]:
            found.append((problem.prompt + "\n", text_of(self.task.demonstrate(problem, draw))))
            for _ in range(self.scale.num_again):
                steps = sloppy.demonstrate(problem, draw)
                form = self.scale.forms[int(draw.integers(len(self.scale.forms)))]
                critique, again = self.told(form, problem, steps, draw)
                found.append((context_of(TEMPLATE, problem.prompt, text_of(steps), critique), text_of(again)))
            if draw.random() < self.scale.criticised:
                asked = ASKED.format(prompt=problem.prompt, attempt=text_of(steps))
                found.append((asked, self.own_critique(problem, steps, draw)))
        return found

    def own_critique(self, problem: Problem, steps: Solution, draw: Rng) -> str:
        """By outcomes alone: nothing wrong with a right attempt; else a change behind which the end came right."""
        if result_of(steps[-1]) == int(problem.answer or ""):
            return SOUND
        at, said, _ = self.changed(problem, steps, draw, int(problem.answer or ""))
        return MISTAKE.format(at + 1, said)

    def told(self, form: str, problem: Problem, steps: Solution, draw: Rng) -> tuple[str, Sequence[Step]]:
        """A critique, true or not, and the attempt written again by one who believes it and knows nothing else."""
        copied = draw.random() < self.scale.copied
        if form == "answer":
            end = result_of(steps[-1])
            told = end if copied else int(draw.integers(problem.meta["modulus"]))
            critique = VERDICT.format("correct" if told == end else "incorrect") + f", the ground truth is {told}."
            return critique, steps if told == end else self.changed(problem, steps, draw, told)[2]
        if copied:
            return (SOUND if form == "mistake" else VERDICT.format("correct") + "."), steps
        at, said, again = self.changed(problem, steps, draw)
        return (MISTAKE.format(at + 1, said) if form == "mistake" else VERDICT.format("incorrect") + "."), again

    def changed(self, problem: Problem, steps: Solution, draw: Rng, end: int | None = None) -> tuple[int, int, list[Step]]:  # fmt: skip
        """A line, another result for it, and the attempt written on from there: one that ends in `end`, or any.

        There always is one where the last result is not `end`: the last line.
        """
        modulus = problem.meta["modulus"]
        choices = [(at, said) for at in range(len(steps)) for said in range(modulus) if said != result_of(steps[at])]
        for choice in draw.permutation(len(choices)):
            at, said = choices[int(choice)]
            again = self.again(problem, steps, at, str(said), draw)
            if end is None or result_of(again[-1]) == end:
                return at, said, again
        raise AssertionError("the last line could have been changed")


def turned_round(verify: Verifier) -> Verifier:
    """A verifier that takes right attempts for wrong ones, and wrong ones for right; what it cannot decide stays so."""

    def inverted(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return [
            Outcome(1.0 - one.reward, one.reward <= 0.5, one.well_formed, one.answer, verifier=one.verifier)
            if one.status == "scored" else one for one in verify(problem, solutions)
        ]  # fmt: skip

    return inverted


def critic_of(name: CriticName, world: World, count: Count) -> Critic:
    """The critic of this name; "oracle" and "misleading" alone ask the task's step oracle."""
    verify, label = world.task.verify, world.task.label_steps
    if name == "own":
        return lambda policy, draw: written(policy, draw, template=ASKED, stop=("\n",), max_new_tokens=LONGEST)
    if name == "oracle":
        judge = first_mistake(label, world.correction, count=count)
    elif name == "misleading":
        judge = misleading(label, world.falsehood, rng(world.seed, "misleading"), count=count)
    else:
        told = turned_round(verify) if name == "inverted" else verify
        judge = verdict(told, answer=name == "answer", count=count)
    return lambda policy, draw: judge
