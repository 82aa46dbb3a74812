"""The rounds of eta-MCTS: in each, every tree is searched once; policy, verifier and judges are asked for all together.

A round draws from its own stream, rng(seed, "mcts", round): more rounds change nothing in those before them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stepcredit.core.protocols import Judge, Policy, Rng, Solution
from stepcredit.core.rng import rng as stream
from stepcredit.core.types import Cost, Judgment, Outcome, Problem, Step, Tree
from stepcredit.rollout._mcts_options import Option, draw, edit_distance
from stepcredit.rollout._mcts_tree import Growth, Settings, Visit
from stepcredit.rollout._mcts_tree import Rollout as Rolled
from stepcredit.rollout._paths import TRUNCATED, cut
from stepcredit.rollout._spent import clock, judging, shares, spent
from stepcredit.rollout._writing import Writing, ask

# For finished attempts: how good each is, in [0, 1] or NaN, the outcome to keep (None: none), and the cost of asking.
Ends = Callable[[Problem, Sequence[Solution]], tuple[list[tuple[float, Outcome | None]], Cost]]


@dataclass(frozen=True)
class Critics:
    """Who evaluates a node. `ends` speaks of finished attempts only; `value` and `prm` of what is written so far.

    Without `ends` it is the value critic's score that a finished attempt is worth, and there is no outcome.
    """

    ends: Ends | None
    value: Judge | None = None
    prm: Judge | None = None


@dataclass
class _Draft:
    """A visit in the making."""

    tree: Growth
    node: int
    looking: bool
    step: Step | None = None
    ended: bool = False
    cut: bool = False
    fresh: bool = True  # to be evaluated; False: an attempt known to be over is visited again
    tries: int = 0
    waits: dict[int, int] = field(default_factory=dict)
    rollouts: list[Rolled] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    outcome: Outcome | None = None
    critics: dict[str, float] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)  # what judges have said of this very attempt before
    cost: Cost = field(default_factory=Cost)

    @property
    def solution(self) -> tuple[Step, ...]:
        return (*self.tree.solution(self.node), *(() if self.step is None else (self.step,)))


def grow(problems: Sequence[Problem | Tree], *, policy: Policy, fast: Policy | None, critics: Critics, rng: Rng, writing: Writing,
         settings: Settings) -> list[Growth]:  # fmt: skip
    """One tree a problem, each searched `num_searches` times or until its tokens reach `token_budget`."""
    seed = int(rng.integers(2**63))
    trees = [
        _go_on(given, settings, critics) if isinstance(given, Tree) else Growth(given, settings) for given in problems
    ]
    place = max((tree.visits[0] for tree in trees), default=0)
    while active := [index for index, tree in enumerate(trees) if _goes_on(tree)]:
        started = clock(policy)
        drafts = _round([trees[index] for index in active], policy, fast, critics, stream(seed, "mcts", place), writing)
        seconds = Cost(seconds=(clock(policy) - started) / len(active))
        for index, draft in zip(active, drafts, strict=True):
            trees[index].apply(_visit(draft, seconds))
        place += 1
    return trees


def _go_on(tree: Tree, settings: Settings, critics: Critics) -> Growth:
    """A tree grown before, its nodes judged again."""
    own = Growth.of(tree, settings)
    nodes = [node for node in range(1, tree.num_nodes) if own.visits[node]]
    drafts = [_Draft(own, node, False) for node in nodes]
    _judge(drafts, critics)
    for node, draft in zip(nodes, drafts, strict=True):
        own.critics[node] = {**own.critics[node], **draft.critics}
        own.cost += draft.cost
    own.rebuild()
    return own


def _goes_on(tree: Growth) -> bool:
    budget = tree.settings.token_budget
    return tree.visits[0] < tree.settings.num_searches and (budget is None or tree.cost.generated_tokens < budget)


def _round(trees: Sequence[Growth], policy: Policy, fast: Policy | None, critics: Critics, rng: Rng,
           writing: Writing) -> list[_Draft]:  # fmt: skip
    drafts = [_Draft(tree, *(tree.select({}) if tree.visits[0] else (0, False))) for tree in trees]
    for draft in drafts:
        draft.fresh = draft.looking or not draft.tree.visits[0]  # the first visit evaluates the prompt
    while looking := [draft for draft in drafts if draft.looking]:
        prefixes = [writing.prefix(draft.tree.problem, draft.solution) for draft in looking]
        before = spent(policy)
        for draft, (option,) in zip(looking, draw(policy, prefixes, 1, rng, writing), strict=True):
            draft.cost += option.cost
            _consider(draft, option)
        _share(looking, before, spent(policy))
    _roll_out([draft for draft in drafts if draft.fresh], policy, fast, critics, rng, writing)
    _judge([draft for draft in drafts if draft.fresh and draft.solution], critics)
    return drafts


def _consider(draft: _Draft, option: Option) -> None:
    """Take the option, or count it among the repeats; after too many, wait here and search on below."""
    tree, node = draft.tree, draft.node
    if option.step is None and node and tree.is_leaf(node):
        draft.ended, draft.looking, draft.told = True, False, _told(tree, node)  # the attempt ends with the node itself
        return
    # Where it ends and others go on, a copy of the node stands beside it: a leaf of its own.
    at = tree.parents[node] if option.step is None and node else node
    step = option.step or (replace(tree.steps[node]) if node else Step(""))
    if _is_new(tree, at, step, option.step is None):
        draft.node, draft.step, draft.ended, draft.cut, draft.looking = at, step, option.ended, option.cut, False
        draft.told = _told(tree, node) if option.step is None and node else {}
        draft.cut = draft.cut or (not draft.ended and tree.depths[at] + 1 >= tree.settings.max_steps)
        return
    draft.tries += 1
    if draft.tries > tree.settings.max_resamples:
        draft.tries = 0
        if tree.children[node]:
            draft.waits[node] = 2 * tree.visits[node]
            draft.node, draft.looking = tree.select(draft.waits)
        else:  # all it does is end, as its copy does
            draft.ended, draft.looking = True, False
        draft.fresh = draft.looking


def _told(tree: Growth, node: int) -> dict[str, float]:
    """What value and process critic said of a node: of the attempt that ends there they have nothing else to say."""
    return {name: tree.critics[node][name] for name in ("value", "prm") if name in tree.critics[node]}


def _is_new(tree: Growth, at: int, step: Step, ends: bool) -> bool:
    """Whether no child of `at` is the same state: a text within `merge_distance`; for an end, one that ends there too."""
    for child in tree.children[at]:
        text = tree.steps[child].text
        if ends:
            if text == step.text and tree.over[child]:
                return False
        elif edit_distance(text, step.text) <= tree.settings.merge_distance:
            return False
    return True


def _roll_out(drafts: Sequence[_Draft], policy: Policy, fast: Policy | None, critics: Critics, rng: Rng,
              writing: Writing) -> None:  # fmt: skip
    """What becomes of the drafts' attempts: of those that are over themselves, of the others by fast rollouts."""
    writer = policy if fast is None else fast
    going = [draft for draft in drafts if not (draft.ended or draft.cut) and draft.tree.settings.num_rollouts]
    if going:
        prefixes = [writing.prefix(draft.tree.problem, draft.solution) for draft in going]
        groups, costs = ask(writer, prefixes, going[0].tree.settings.num_rollouts, rng, writing)
        for draft, group, cost in zip(going, groups, costs, strict=True):
            draft.cost += cost
            if fast is None and draft.solution and all(not one.text and one.finish == "stop" for one in group):
                draft.ended = True  # the policy itself has nothing to add
                continue
            for one in group:
                draft.rollouts.append(Rolled(tuple(writing.steps(one, writer)), cut(one)))
    for draft in drafts:
        if draft.cut:
            draft.outcome = TRUNCATED
        elif draft.ended:
            draft.scores, (draft.outcome,) = _ask(draft, critics, [draft.solution or (Step(""),)])
        elif draft.rollouts:
            finished = [place for place, one in enumerate(draft.rollouts) if one.outcome is None]
            attempts = [_attempt(draft.solution, draft.rollouts[place].steps) for place in finished]
            draft.scores, outcomes = _ask(draft, critics, attempts)
            for place, outcome, score in zip(finished, outcomes, draft.scores, strict=True):
                draft.rollouts[place] = replace(draft.rollouts[place], outcome=outcome, score=score)
        draft.critics["outcome"] = _mean(draft.scores)


def _attempt(solution: Solution, steps: Solution) -> Solution:
    """What is asked about: the empty step that a rollout of nothing is in the tree says nothing, so it is left out."""
    return tuple(solution) if solution and all(not step.text for step in steps) else (*solution, *steps)


def _ask(draft: _Draft, critics: Critics, attempts: Sequence[Solution]) -> tuple[list[float], list[Outcome | None]]:
    if not attempts:
        return [], []
    found, cost = (
        _scored(draft, critics, attempts) if critics.ends is None else critics.ends(draft.tree.problem, attempts)
    )
    draft.cost += cost
    for score, _ in found:
        if not (math.isnan(score) or 0 <= score <= 1):
            raise ValueError(f"problem {draft.tree.problem.id!r}: a finished attempt is worth {score}; critics are mixed on "
                             "one scale, allowed: 0 to 1")  # fmt: skip
    return [score for score, _ in found], [outcome for _, outcome in found]


def _scored(draft: _Draft, critics: Critics, attempts: Sequence[Solution]) -> tuple[list[tuple[float, Outcome | None]], Cost]:  # fmt: skip
    """The value critic in place of a verifier. Of the draft's own attempt it is asked once, and its word is kept."""
    assert critics.value is not None, "without `ends` there is a value critic"
    new = [attempt for attempt in attempts if len(attempt) > len(draft.solution)]
    own = len(new) < len(attempts) and "value" not in draft.told
    asked = [*new, draft.solution] if own else new
    found = critics.value([(draft.tree.problem, attempt) for attempt in asked]) if asked else []
    if own:
        draft.told = {name: _said(found[-1], name) for name in ("value", "prm")[: 1 + (critics.prm is critics.value)]}
    scores = iter([_said(one, "value") for one in found])
    worth = [next(scores) if len(attempt) > len(draft.solution) else draft.told["value"] for attempt in attempts]
    return [(score, None) for score in worth], sum((judging(one) for one in found), Cost())


def _judge(drafts: Sequence[_Draft], critics: Critics) -> None:
    """What value critic and process critic say of the attempts so far; of an attempt one judge is asked once."""
    asked: dict[tuple[int, int], Judgment] = {}
    for name, judge in (("value", critics.value), ("prm", critics.prm)):
        if judge is None:
            continue
        open_ = [draft for draft in drafts if name not in draft.told]
        new = [draft for draft in open_ if (id(judge), id(draft)) not in asked]
        found = judge([(draft.tree.problem, draft.solution) for draft in new]) if new else []
        for draft, judgment in zip(new, found, strict=True):
            asked[id(judge), id(draft)] = judgment
            draft.cost += judging(judgment)
        for draft in open_:
            draft.told[name] = _said(asked[id(judge), id(draft)], name)
        for draft in drafts:
            said = draft.told[name]
            if not (math.isnan(said) or 0 <= said <= 1):
                raise ValueError(
                    f"{name} says {said} of problem {draft.tree.problem.id!r}; critics are mixed on one scale, allowed: 0 to 1"
                )
            draft.critics[name] = said


def _said(judgment: Judgment, name: str) -> float:
    """The value critic's word is its score of the attempt so far, the process critic's what it says of the last step."""
    if judgment.status != "scored":
        return math.nan
    if name == "value":
        return float(judgment.score)
    return float(judgment.local_scores_S[-1]) if judgment.local_scores_S.size else math.nan


def _visit(draft: _Draft, seconds: Cost) -> Visit:
    return Visit(draft.node, draft.step, draft.ended or draft.cut, draft.outcome, draft.critics, tuple(draft.rollouts),
                 tuple(draft.waits.items()), replace(draft.cost, seconds=0.0) + seconds)  # fmt: skip


def _share(drafts: Sequence[_Draft], before: Cost, after: Cost) -> None:
    """Forwarded tokens, as the policy measured them, evenly over those that asked."""
    for draft, share in zip(drafts, shares(after.forwarded_tokens - before.forwarded_tokens, len(drafts)), strict=True):
        draft.cost += Cost(forwarded_tokens=share)


def _mean(scores: Sequence[float]) -> float:
    known = [score for score in scores if not math.isnan(score)]
    return float(np.mean(known)) if known else math.nan
