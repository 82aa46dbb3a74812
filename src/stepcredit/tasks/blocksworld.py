"""Blocksworld: an attempt is a plan, a step is an action, and one action that cannot be done breaks the whole.

    prompt   init: clear b; hand empty; on b a; table a
             goal: on a b
    attempt  unstack b a / put-down b / pick-up a / stack a b / end        one step each

Four operators as in PlanBench (arXiv:2206.10498), whose recorded plans by language models can be parsed into the same
prompt and judged by the same simulator (`tasks/_blocks`); the demonstrator (`tasks/_blocks_demo`) errs as those do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.types import Floats, Outcome, Problem, Step
from stepcredit.tasks._blocks import (
    HAND,
    TABLE,
    Facts,
    Places,
    apply_action,
    blocks_of,
    facts_of,
    is_action,
    move,
    parse_prompt,
    places_of,
    random_places,
    render_prompt,
    shortest_plan,
)
from stepcredit.tasks._blocks_demo import write_plan

END = "end"


@register("tasks", paper="arXiv:2206.10498")
def blocksworld(*, min_blocks: int = 3, shares: tuple[float, ...] = (0.05, 0.8, 0.15), careful: float = 0.17,
                slip_scale: float = 1.0, shortest: float = 0.3, detour: float = 0.03) -> Task:  # fmt: skip
    """The Blocksworld task.

    Problems have `min_blocks`, `min_blocks` + 1, ... blocks with probabilities `shares`. Initial state and goal are
    arrangements drawn uniformly, the goal being the "on" facts of its arrangement, unmet at first; so are PlanBench's.
    They are distinct: of 4 blocks there are about 5,000, and a larger request is filled with other sizes.

    `demonstrate`: with probability `careful` without a slip, otherwise slips at `slip_scale` times a uniform draw;
    `shortest` and `detour` vary the plans' lengths. By default .45 of the attempts are valid.

    `label_steps`: an action is 1 while its preconditions hold, the first that cannot be done (or is no action of this
    problem) is 0, and whatever follows it NaN. "end" is 1 iff the goal holds. Steps after "end" are no actions.

    `verify`: reward 1 iff every action can be done and the goal holds after the last. A missing "end" or a text that is
    no action is not well-formed; the latter also gives reward 0. No step but "end": "unparsed".

    `observe`: the initial state and, after each action, where the blocks are: "a:table+ b:hand c:d- hand:b" (what each
    stands on, + where nothing stands on it). This is bookkeeping without a verdict: a forbidden action moves its block
    like an allowed one, everything else makes room, and the arrangement shown is always a possible one (`tasks/_blocks.move`),
    so only who checks the action against the state before it knows whether it was allowed. A text that is no action
    moves nothing. Up to the first forbidden action it is the true state. Steps already observed are observed anew; nothing follows "end".

    Raises ValueError for impossible knobs, a prompt of another form, and more problems than there are.
    """
    share_K = np.array(shares, dtype=np.float64)
    if min_blocks < 2 or not len(shares) or min_blocks + len(shares) > 27:
        raise ValueError(f"min_blocks is {min_blocks} with {len(shares)} shares; allowed: 2 to 26 blocks")
    if np.any(share_K < 0) or share_K.sum() <= 0:
        raise ValueError(f"shares are {shares}; allowed: not negative, not all zero")
    for name, value in (("careful", careful), ("shortest", shortest), ("detour", detour)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; allowed: 0 to 1")
    if slip_scale < 0:
        raise ValueError(f"slip_scale is {slip_scale}; allowed: 0 or more")

    def problems(num: int, rng: Rng) -> list[Problem]:
        found: dict[str, Problem] = {}
        tries = 0
        while len(found) < num:
            num_blocks = min_blocks + int(rng.choice(len(share_K), p=share_K / share_K.sum()))
            places, goal = random_places(num_blocks, rng), _stacked(random_places(num_blocks, rng))
            if any(places[x] != y for x, y in goal.items()):
                prompt = render_prompt(facts_of(places), _on(goal))
                if prompt not in found:
                    found[prompt] = _problem(prompt, shortest_plan(places, goal, rng))
            tries += 1
            if tries > 100 * num + 1000:
                raise ValueError(
                    f"{num} distinct problems asked, {len(found)} found in {tries} tries; allow more blocks"
                )
        return list(found.values())

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        init, goal = parse_prompt(problem.prompt)
        if "hand empty" not in init or goal <= init or not all(fact.startswith("on ") for fact in goal):
            raise ValueError(f"problem {problem.id!r}: demonstrations need an empty hand and unmet goals 'on b c'")
        actions = write_plan(places_of(init), _stacked(places_of(goal)), careful=careful, slip_scale=slip_scale,
                             shortest=shortest, detour=detour, rng=rng)  # fmt: skip
        return [*(Step(action) for action in actions), Step(END, kind="answer")]

    return Task("blocksworld", problems, demonstrate, _label_steps, _verify, _observe)


def _stacked(places: Mapping[str, str]) -> Places:
    return {x: y for x, y in places.items() if y not in (TABLE, HAND)}


def _on(goal: Mapping[str, str]) -> list[str]:
    return [f"on {x} {y}" for x, y in goal.items()]


def _problem(prompt: str, plan: list[str]) -> Problem:
    init, goal = parse_prompt(prompt)
    key = hashlib.sha256(prompt.encode()).hexdigest()[:12]
    meta = {"num_blocks": len(blocks_of(init)), "shortest": len(plan)}
    return Problem(f"blocksworld-{key}", prompt, "; ".join(sorted(goal)), (*plan, END), meta)


def _label_steps(problem: Problem, steps: Solution) -> Floats:
    init, goal = parse_prompt(problem.prompt)
    texts = [step.text for step in steps if step.sampled]
    label_S = np.full(len(texts), np.nan)
    state = init
    for index, text in enumerate(texts):
        if text == END and index == len(texts) - 1:
            label_S[index] = float(goal <= state)
            break
        after = apply_action(state, text) if is_action(text, blocks_of(init)) else None
        label_S[index] = float(after is not None)
        if after is None:
            break
        state = after
    return label_S


def _verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
    return [_outcome(problem, solution) for solution in solutions]


def _outcome(problem: Problem, solution: Solution) -> Outcome:
    init, goal = parse_prompt(problem.prompt)
    texts = [step.text for step in solution if step.sampled]
    ended = bool(texts) and texts[-1] == END
    actions = texts[:-1] if ended else texts
    if not actions:
        return Outcome(well_formed=False, status="unparsed", verifier="blocksworld")
    readable = all(is_action(action, blocks_of(init)) for action in actions)
    state: Facts | None = init if readable else None
    for action in actions:
        state = None if state is None else apply_action(state, action)
    correct = state is not None and goal <= state
    return Outcome(float(correct), correct, readable and ended, "; ".join(actions), "scored", "blocksworld")


def _observe(problem: Problem, steps: Solution) -> list[Step]:
    places = places_of(parse_prompt(problem.prompt)[0])
    seen = [_seen(places)]
    for step in steps:
        if not step.sampled:
            continue
        seen.append(step)
        if step.text != END:
            places = move(places, step.text) if is_action(step.text, places) else places
            seen.append(_seen(places))
    return seen


def _seen(places: Mapping[str, str]) -> Step:
    covered = set(places.values())
    words = [f"{x}:{y}" + ("" if y == HAND else "-" if x in covered else "+") for x, y in places.items()]
    held = ",".join(x for x, y in places.items() if y == HAND) or "empty"
    return Step(" ".join([*words, f"hand:{held}"]), kind="tool_result", sampled=False)
