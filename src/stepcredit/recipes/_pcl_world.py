"""The world of `recipes/pcl`: chains that go on behind their end with a look back, and what they are graded by.

    3 +4 *0              problem
    3+4=2                attempt, as the demonstrator writes it, slips included
    2*0=0
    <eoc>                inference stops here
    1 1                  re-check bits: is this line sound
    1 1                  predicted accuracy and format
    <end>

Labels of the evaluation track come from outcomes alone: predicted rewards are the verifier's word, and a bit is 1 where attempts
that hold this very line are right at least as often as attempts are at all, counted over all demonstrations (lines recur, so
that outcomes tell them apart; the step oracle is not asked).
A predicted reward is a bit, as in the release: it is right or wrong, and cannot be a probability.
Departs: made for this comparison; 10^5 parameters from scratch, one task, labels of the verifier where the paper has a teacher.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepcredit.core import registry
from stepcredit.core.post_completion import MARKER, completed, evaluation_of, marked
from stepcredit.core.protocols import Policy, Rng, Solution, Task, Verifier
from stepcredit.core.rng import rng
from stepcredit.core.tree import star, with_outcomes
from stepcredit.core.types import Cost, Outcome, Problem, Tree
from stepcredit.recipes._pools import problems_of
from stepcredit.rollout.chains import chains
from stepcredit.train.tracks import Example, fine_tune_tracks

MAX_POSITIONS = 96
EVALUATION_SHARE = 3  # examples of the evaluation track to one of the reasoning track, in the base that knows both
Base = Literal["plain", "post"]


@dataclass(frozen=True)
class Scale:
    """How much is shown, trained and tested. `reasoning_tokens` and `base_tokens` have a loss in the bases, `budget` is what each arm spends."""

    num_shown: int
    num_demonstrations: int
    reasoning_tokens: int
    base_tokens: int
    budget: int
    num_train: int
    num_test: int
    num_attempts: int
    max_new_tokens: int = 36
    hidden: int = 64
    layers: int = 2
    batch_size: int = 32
    learning_rate: float = 3e-3
    further_rate: float = 5e-4
    task: tuple[tuple[str, float], ...] = ()


@dataclass
class World:
    """One seed: problems, demonstrations with outcomes, and two model folders, found again by content under `out/cache`."""

    scale: Scale
    seed: int
    out: Path

    @functools.cached_property
    def task(self) -> Task:
        """The task; nothing here asks its step oracle."""
        made: Task = registry.bind("tasks", "chain", **dict(self.scale.task))()
        return made

    @functools.cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Distinct problems: train, test, and those that were shown."""
        sizes = {"train": self.scale.num_train, "test": self.scale.num_test, "shown": self.scale.num_shown}
        return problems_of(self.task, sizes, self.seed)

    @functools.cached_property
    def demonstrations(self) -> list[Tree]:
        """Several attempts of the demonstrator at each problem shown, with their outcomes."""
        return self._demonstrated("shown", self.scale.num_demonstrations)

    @functools.cached_property
    def examined(self) -> list[Tree]:
        """Its attempts at the test problems, never trained on: the same for every policy that judges them."""
        return self._demonstrated("test", self.scale.num_attempts)

    def _demonstrated(self, name: str, num: int) -> list[Tree]:
        draw = rng(self.seed, "demonstrations", name)
        found = []
        for problem in self.problems[name]:
            attempts = [self.task.demonstrate(problem, draw) for _ in range(num)]
            found.append(star(problem, attempts, self.task.verify(problem, attempts)))
        return found

    def track(self, name: Literal["reasoning", "evaluation"], *, right_only: bool = False) -> list[Example]:
        """One example a demonstration: the attempt up to the marker, without an end; or what is said of it behind."""
        sound = sound_lines(self.demonstrations)
        found: list[Example] = []
        for tree in self.demonstrations:
            for leaf in tree.leaves:
                outcome = tree.outcomes[leaf]
                assert outcome is not None
                if right_only and not outcome.correct:
                    continue
                text = "".join(line + "\n" for line in [*(step.text for step in tree.solution(leaf)), MARKER])
                if name == "reasoning":
                    found.append((tree.problem.prompt + "\n", text, False))
                else:
                    found.append((f"{tree.problem.prompt}\n{text}", evaluation_text(tree, leaf, sound), True))
        return found

    def base(self, kind: Base) -> Path:
        """The policy that arms start from: taught the reasoning track, then as many tokens again of it or of both tracks."""
        from stepcredit.train.tiny import train_language_model

        reasoning, evaluation = self.track("reasoning"), self.track("evaluation")
        texts = [*(prefix + continuation for prefix, continuation, _ in reasoning), "0 0\n1 1"]
        empty = train_language_model(texts, self.out / "cache", extra_tokens=(MARKER,), hidden=self.scale.hidden,
                                     layers=self.scale.layers, num_updates=1, max_positions=MAX_POSITIONS, seed=self.seed,
                                     progress=False)  # fmt: skip
        common = self.taught(empty, reasoning, self.scale.reasoning_tokens, self.scale.learning_rate)
        return self.taught(common, reasoning if kind == "plain" else reasoning + EVALUATION_SHARE * evaluation, self.scale.base_tokens,
                           self.scale.learning_rate)  # fmt: skip

    def taught(self, folder: Path, examples: Sequence[Example], num_tokens: int, learning_rate: float) -> Path:
        """A folder gone on with."""
        return fine_tune_tracks(folder, examples, self.out / "cache", num_tokens=num_tokens, batch_size=self.scale.batch_size,
                                learning_rate=learning_rate, seed=self.seed)  # fmt: skip


def sound_lines(trees: Sequence[Tree]) -> dict[str, bool]:
    """Of every line: whether attempts that hold it are right at least as often as attempts are."""
    counts: dict[str, list[int]] = {}
    total = [0, 0]
    for tree in trees:
        for leaf in tree.leaves:
            outcome = tree.outcomes[leaf]
            assert outcome is not None
            for own in [
                total,
                *(counts.setdefault(text, [0, 0]) for text in {step.text for step in tree.solution(leaf)}),
            ]:
                own[0] += bool(outcome.correct)
                own[1] += 1
    return {line: right * total[1] >= total[0] * num for line, (right, num) in counts.items()}


def evaluation_text(tree: Tree, leaf: int, sound: Mapping[str, bool]) -> str:
    """What is to be said of a demonstration: a bit a line, then its rewards."""
    outcome = tree.outcomes[leaf]
    assert outcome is not None
    bits = " ".join(str(int(sound[step.text])) for step in tree.solution(leaf))
    return f"{bits}\n{int(bool(outcome.correct))} {int(bool(outcome.well_formed))}"


def graded(verify: Verifier, *, evaluated: bool) -> Verifier:
    """The task's verifier on what stands before the marker; with `evaluated` the format asks for a readable evaluation too."""

    def check(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        own = [completed(steps) for steps in solutions]
        found = verify(problem, own)
        if not evaluated:
            return found
        return [_with_format(one, steps, len(before)) for one, steps, before in zip(found, solutions, own, strict=True)]

    return check


def _with_format(outcome: Outcome, steps: Solution, num_lines: int) -> Outcome:
    said = evaluation_of(steps)
    whole = said is not None and len(said.bits) == num_lines and len(said.rewards) == 2
    if outcome.status != "scored":
        return outcome
    return Outcome(
        outcome.reward, outcome.correct, bool(outcome.well_formed) and whole, outcome.answer, "scored", outcome.verifier
    )


def grown(
    world: World, problems: Sequence[Problem], policy: Policy, draw: Rng, *, num: int, past_end: bool
) -> list[Tree]:
    """Attempts with outcomes: written past the marker, or stopped there as at inference.

    An attempt that was cut behind its marker has answered: it is graded, its format is wrong; one cut before is truncated.
    """
    stop = () if past_end else (MARKER,)
    verify = graded(world.task.verify, evaluated=past_end)
    found = []
    for tree in chains(
        problems, policy=policy, rng=draw, num=num, stop=stop, max_new_tokens=world.scale.max_new_tokens
    ):
        tree = marked(tree)
        asked = [leaf for leaf in tree.leaves if tree.outcomes[leaf] is None
                 or len(completed(tree.solution(leaf))) < len(tree.path(leaf))]  # fmt: skip
        outcomes = dict(zip(asked, verify(tree.problem, [tree.solution(leaf) for leaf in asked]), strict=True))
        for leaf in asked:
            if (
                tree.outcomes[leaf] is not None and outcomes[leaf].status == "scored"
            ):  # cut: its evaluation is no evaluation
                one = outcomes[leaf]
                outcomes[leaf] = Outcome(one.reward, one.correct, False, one.answer, "scored", one.verifier)
        tree = with_outcomes(tree, outcomes)
        found.append(Tree(tree.problem, tree.steps, tree.parent_N, tree.outcomes, tree.visits_N, tree.group_N,
                          tree.cost + Cost(verifier_calls=len(asked))))  # fmt: skip
    return found


def inference_tokens(steps: Solution, marker_id: int) -> int:
    """Tokens up to the marker, the marker included: what inference generates, whatever stands behind."""
    ids = [token for step in steps for token in step.token_ids or ()]
    return ids.index(marker_id) + 1 if marker_id in ids else len(ids)
