"""A locked box: one right try anywhere makes the outcome right, no turn says which, and position does not tell.

    prompt   box 482130: three dials, locked; open it and submit
    attempt  try 3-1-4 / listen / try 0-9-2 / listen / submit         one turn each
    observed try 3-1-4 / click thup bang whing / listen / ...         sounds: evidence of that turn, not proof

The retry domain (noisy-OR): the state starts wrong, a right try repairs it, and nothing else matters. The agent is blind:
it goes on after a right try as before it, for a length drawn beforehand, so that success ends no episode. Recorded
agents, whose success does end the episode (InterCode, arXiv:2306.14898), cannot tell latent inference from the label
"outcome on the last turn". The machine is in `_lockbox`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepcredit.core.chain import check_rates
from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Outcome, Problem, Step
from stepcredit.tasks._lockbox import LISTEN, SPIN, SUBMIT, chances, combination_of, is_action, is_open, reports, tried

NUM_SERIALS = 900_000
LOOKS = (0.2, 0.6)  # share of turns on which the hasty and the careful listen


@register("tasks", paper="ours")
def lockbox(*, min_turns: int = 4, max_turns: int = 10, submit: bool = True, share: float = 0.2, skill_gap: float = 0.8,
            relock: float = 0.0, clarity: float = 1.25, num_sounds: int = 4, fp: float = 0.0, fn: float = 0.0,
            law_seed: int = 0) -> Task:  # fmt: skip
    """The lockbox task.

    Problems are boxes with distinct serial numbers; `law_seed` gives each serial its combination, the `answer`.

    `demonstrate`: `min_turns` to `max_turns` turns (uniform, whatever happens), then "submit" where `submit`. Half of the
    agents are careful. Each turn is "spin" with probability `relock`, else "listen" (careful .6, hasty .2), else a try,
    which is the right one with probability `share` (1 + `skill_gap`) if careful and `share` (1 - `skill_gap`) if hasty:
    listening is a sign of who succeeds, and never what succeeded. A wrong try is one of the other 999, uniformly.

    `label_steps`: 1 iff the turn is the right try, that is, would open a locked box; 0 for everything else, "submit" and texts
    that are no action included.

    `verify`: right iff the box is open when submitted; where `submit` is off, at the end. What is not handed in is wrong
    and not well-formed, as is a text that is no action, which does nothing; turns after "submit" do nothing. No step:
    "unparsed". With `fp` or `fn` the verifier errs at these rates, the same way each time it sees the same attempt:
    measure with the task without them. These are the one departure from exact outcomes.

    `observe`: `num_sounds` sounds after each turn but "submit", drawn from a law for right tries and one for all else,
    `clarity` apart (`_lockbox.reports`). They do tell, with errors, whether the turn was right: they are what a judge
    can know of it. Steps already observed are observed anew.

    Raises ValueError for impossible knobs and more than 900,000 problems.
    """
    if not 1 <= min_turns <= max_turns:
        raise ValueError(f"turns {min_turns} to {max_turns}; expected 1 <= min_turns <= max_turns")
    for name, value in (("share", share), ("skill_gap", skill_gap), ("relock", relock)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; allowed: 0 to 1")
    if share * (1 + skill_gap) > 1:
        raise ValueError(f"share is {share} with skill_gap {skill_gap}; share * (1 + skill_gap) is at most 1")
    check_rates(fp, fn)
    sounds = reports(clarity, num_sounds, law_seed)

    def problems(num: int, rng: Rng) -> list[Problem]:
        if num > NUM_SERIALS:
            raise ValueError(f"{num} distinct problems asked; there are {NUM_SERIALS} boxes")
        return [_problem(int(n) + 100_000, submit, law_seed) for n in rng.choice(NUM_SERIALS, num, replace=False)]

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        careful = rng.random() < 0.5
        hit = share * (1 + skill_gap if careful else 1 - skill_gap)
        steps = []
        for _ in range(int(rng.integers(min_turns, max_turns + 1))):
            if rng.random() < relock:
                text = SPIN
            elif rng.random() < LOOKS[careful]:
                text = LISTEN
            elif rng.random() < hit:
                text = f"try {problem.answer}"
            else:
                text = f"try {_other(problem.answer, rng)}"
            steps.append(Step(text, kind="tool_call"))
        return [*steps, Step(SUBMIT, kind="answer")] if submit else steps

    def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return [outcome(problem, [step.text for step in solution if step.sampled]) for solution in solutions]

    def outcome(problem: Problem, texts: list[str]) -> Outcome:
        if not texts:
            return Outcome(well_formed=False, status="unparsed", verifier="lockbox")
        correct = is_open(texts, problem.answer) and (SUBMIT in texts or not submit)
        if chances(law_seed, "luck", problem.id, *texts)[0] < (fn if correct else fp):
            correct = not correct
        ended = texts.index(SUBMIT) == len(texts) - 1 if SUBMIT in texts else not submit
        return Outcome(float(correct), correct, ended and all(map(is_action, texts)), None, "scored", "lockbox")

    def observe(problem: Problem, steps: Solution) -> list[Step]:
        seen: list[Step] = []
        texts: list[str] = []
        for step in steps:
            if not step.sampled:
                continue
            seen.append(step)
            texts.append(step.text)
            if step.text != SUBMIT:
                report = sounds.heard(problem.id, texts, tried(step.text) == problem.answer)
                seen.append(Step(report, kind="tool_result", sampled=False))
        return seen

    return Task("lockbox", problems, demonstrate, _label_steps, verify, observe)


def _problem(serial: int, submit: bool, law_seed: int) -> Problem:
    combination = combination_of(int(1000 * chances(law_seed, "combination", serial)[0]))
    prompt = f"box {serial}: three dials, locked; open it" + (" and submit" if submit else "")
    reference = (f"try {combination}", *([SUBMIT] if submit else []))
    return Problem(f"lockbox-{law_seed}-{serial}", prompt, combination, reference, {"serial": serial})


def _other(combination: str, rng: Rng) -> str:
    while (drawn := combination_of(int(rng.integers(1000)))) == combination:
        pass
    return drawn


def _label_steps(problem: Problem, steps: Solution) -> Floats:
    return np.array([float(tried(step.text) == problem.answer) for step in steps if step.sampled], dtype=np.float64)
