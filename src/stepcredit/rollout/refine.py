r"""Attempts, and where they fail a few written again behind a critique: one more leaf each in the same group.

    y_1..y_n ~ policy(. | prompt),   c_i = critique of y_i,   y'_i ~ policy(. | prompt, y_i, c_i)
    group = {y_1..y_n} and k of the y'_i, right ones first, else any

Critique-GRPO, arXiv:2506.03106 (version 6), section 4. A problem's tree stays a star: the group's mean includes refinements. The
first step of a refinement carries the text it was sampled from (`Step.context`), so that a trainer can put it behind the
question alone (`Rules(contexts="path")`): at test time there is no critique. Which attempts are written again (`refine`):
    all_fail    every one of a problem that none solves (the paper): elsewhere the group has a signal of its own
    any_wrong   the wrong ones of every problem
    all         every one of every problem, right ones too (the released code)
of these `num_tried`, drawn at random, each once. Wrong is a scored outcome of at most one half, a cut or an unreadable attempt.
The critic is a judge whose judgments carry a `critique`; one that gives none leaves its attempt as it is. Without a judge the
verdict is the critique (the paper's indicative one). A critic that knows the answer leaks it, and conclusions alone come back:
with `min_trace`, a refinement of fewer than that share of its attempt's steps gets reward 0, whatever it ends in.
Refinements that are not kept, and what critics write, stay on the cost.
Raises ValueError for counts below 1, a share outside [0, 1], an unknown `refine`, or a template with other fields.
Degenerate: where no attempt is to be written again the tree is that of `chains`; with fewer refinements than k all are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from stepcredit.core.protocols import Judge, Policy, Rng, Verifier
from stepcredit.core.registry import register
from stepcredit.core.types import NO_ANSWER, Cost, Outcome, Problem, Step, Tree
from stepcredit.rollout._paths import cut, extended
from stepcredit.rollout._resumable import resumable
from stepcredit.rollout._spent import judging
from stepcredit.rollout._verified import verified
from stepcredit.rollout._writing import Writing, ask
from stepcredit.rollout.chains import chains

Refine = Literal["all_fail", "any_wrong", "all"]
TEMPLATE = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
VERDICT = "The generated solution is {}."  # the released code's words


@dataclass(frozen=True)
class _Tried:
    """A refinement, which leaf it was written from, and its outcome."""

    leaf: int
    steps: tuple[Step, ...]
    outcome: Outcome | None

    @property
    def right(self) -> bool:
        return self.outcome is not None and is_right(self.outcome)


@register("rollout", paper="arXiv:2506.03106")
@resumable()
def refine(problems: Sequence[Problem], *, policy: Policy, verify: Verifier, rng: Rng, judge: Judge | None = None, num: int = 7,
           num_refinements: int = 1, refine: Refine = "all_fail", num_tried: int | None = None, min_trace: float = 0.0,
           template: str = TEMPLATE, delimiter: str = "\n", prompt_end: str = "\n", stop: Sequence[str] = (),
           max_new_tokens: int = 256, folder: str | None = None) -> list[Tree]:  # fmt: skip
    """One star a problem: `num` attempts, then at most `num_refinements` refinements, all with outcomes.

    `template` has the fields prompt, attempt and critique; n and k are the authors' 7 and 1. With a `folder`, what is written,
    decided and said is kept there as it comes; the same call goes on from it after a kill.
    """
    if refine not in get_args(Refine):
        raise ValueError(f"refine is {refine!r}; allowed: {', '.join(get_args(Refine))}")
    if num < 1 or num_refinements < 1 or (num_tried is not None and num_tried < 1) or not 0 <= min_trace <= 1:
        raise ValueError(f"num {num}, num_refinements {num_refinements}, num_tried {num_tried}, min_trace {min_trace}; "
                         "allowed: 1 or more, 1 or more, 1 or more or None, 0 to 1")  # fmt: skip
    context_of(template, "", "", "")
    writing = Writing(delimiter, prompt_end, tuple(stop), max_new_tokens)
    grown = [verified(tree, verify) for tree in chains(problems, policy=policy, rng=rng, num=num, delimiter=delimiter,
             prompt_end=prompt_end, stop=stop, max_new_tokens=max_new_tokens)]  # fmt: skip
    asked: list[tuple[int, int]] = []
    for place, tree in enumerate(grown):
        leaves = to_refine(tree, refine)
        if num_tried is not None and len(leaves) > num_tried:
            leaves = sorted(int(leaf) for leaf in rng.choice(leaves, size=num_tried, replace=False))
        asked.extend((place, leaf) for leaf in leaves)
    said, spent = _criticised(grown, asked, judge)
    contexts = {
        start: context_of(
            template, grown[start[0]].problem.prompt, _text(grown[start[0]], start[1], delimiter), critique
        )
        for start, critique in said.items()
    }
    groups, costs = ask(policy, list(contexts.values()), 1, rng, writing)
    tried: list[list[_Tried]] = [[] for _ in grown]
    for (place, leaf), context, (one,), cost in zip(contexts, contexts.values(), groups, costs, strict=True):
        first, *rest = writing.steps(one, policy)
        tried[place].append(_Tried(leaf, (replace(first, context=context), *rest), cut(one)))
        spent[place] += cost
    found = []
    for tree, own, cost in zip(grown, tried, spent, strict=True):
        decided, calls = _decided(tree, own, verify, min_trace)
        order = [decided[at] for at in rng.permutation(len(decided))]
        kept = sorted(order, key=lambda one: not one.right)[:num_refinements]
        paths = [((0, num + at), one.steps, one.outcome) for at, one in enumerate(kept)]
        found.append(extended(tree, paths, cost + calls))
    return found


def context_of(template: str, prompt: str, attempt: str, critique: str) -> str:
    r"""What a refinement is sampled from. Raises ValueError for a template with other fields.

    >>> context_of("{prompt}\n{attempt}\n{critique}\n", "2+3=?", "6", "No.")
    '2+3=?\n6\nNo.\n'
    """
    try:
        return template.format(prompt=prompt, attempt=attempt, critique=critique)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"template {template!r} has a field it cannot have; allowed: prompt, attempt, critique"
        ) from error


def is_right(outcome: Outcome) -> bool:
    """Whether an attempt is scored right."""
    return outcome.status == "scored" and outcome.reward > 0.5


def is_wrong(outcome: Outcome) -> bool:
    """Whether an attempt is known to fail; a verifier that failed or abstained says nothing."""
    return (outcome.status == "scored" and outcome.reward <= 0.5) or outcome.status in NO_ANSWER


def to_refine(tree: Tree, refine: Refine = "all_fail") -> list[int]:
    """The leaves that are written again."""
    known = {leaf: outcome for leaf in tree.leaves if (outcome := tree.outcomes[leaf]) is not None}
    if refine == "all":
        return list(tree.leaves)
    if refine == "all_fail" and any(map(is_right, known.values())):
        return []
    return [leaf for leaf, outcome in known.items() if is_wrong(outcome)]


def _criticised(
    trees: Sequence[Tree], asked: Sequence[tuple[int, int]], judge: Judge | None
) -> tuple[dict[tuple[int, int], str], list[Cost]]:
    """A critique of each attempt asked for that has one, and what critics cost each tree."""
    spent = [Cost() for _ in trees]
    if judge is None:
        outcomes = {(place, leaf): trees[place].outcomes[leaf] for place, leaf in asked}
        return {
            start: VERDICT.format("correct" if is_right(o) else "incorrect")
            for start, o in outcomes.items()
            if o is not None
        }, spent
    judgments = judge([(trees[place].problem, trees[place].solution(leaf)) for place, leaf in asked]) if asked else []
    found = {}
    for start, judgment in zip(asked, judgments, strict=True):
        spent[start[0]] += judging(judgment)
        if judgment.critique is not None:
            found[start] = judgment.critique
    return found, spent


def _decided(tree: Tree, tried: Sequence[_Tried], verify: Verifier, min_trace: float) -> tuple[list[_Tried], Cost]:
    """The refinements with outcomes, and the verifier's calls."""
    open_ = [one for one in tried if one.outcome is None]
    outcomes = iter(verify(tree.problem, [one.steps for one in open_]) if open_ else [])
    found = []
    for one in tried:
        outcome = next(outcomes) if one.outcome is None else one.outcome
        if is_right(outcome) and len(one.steps) < min_trace * len(tree.solution(one.leaf)):
            outcome = replace(outcome, reward=0.0, correct=False, well_formed=False)
        found.append(replace(one, outcome=outcome))
    return found, Cost(verifier_calls=len(open_))


def _text(tree: Tree, leaf: int, delimiter: str) -> str:
    return delimiter.join(step.text for step in tree.solution(leaf))
