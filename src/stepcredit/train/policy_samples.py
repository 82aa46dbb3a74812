"""From trees and their credit to rows a policy trainer takes: which tokens are trained, and by how much.

    row of an attempt: prompt, then its steps' tokens;   A_t = A_n w_n for each token t of step n        (spread="same")

All tokens of a step carry the step's advantage, since grad log pi(step) is the sum over its tokens: this is the policy
gradient (REINFORCE, Williams 1992), and a step cut in two is worth what it was. With spread="split" they share it,
A_n w_n / tokens: a step moves the policy by as much whatever its length, so that long steps count less a token and a cut
counts twice; a bias, and a choice. spread="surprise" divides it in proportion to -log p of each token when it was sampled
(L2T, arXiv:2505.10425, algorithm 1). The rules besides:

- What the policy did not write (prompts, tool results, given prefixes) is context: no loss, no ratio. Nor is a step whose
  credit is NaN trained, which is not the same as an advantage of 0.
- Tokens are those that were sampled (`Step.token_ids`); only recorded steps without them are tokenised, text and delimiter.
- A step that attempts share is trained in one row, the first that holds it. Its weight is the credit's (shared="credit":
  Tree-GRPO's says how many leaves it has), 1 ("once"), the number of credited attempts through it ("descendants"), or what
  it stands for ("branches"): the attempts of the tree, divided at every choice above it by the siblings there. Credit of
  siblings is the policy gradient, times the attempts, under "branches" alone: each is a sample of what its parent goes on with.
- A step with a `context` was sampled behind another text than its path, and opens a row of its own there, with that text as its
  prompt; the steps after it go on in that row: a memory fold is trained under the prompt it had (ToolPO, arXiv:2510.21618).
  contexts="path" strips the one context that is no fold, that of an attempt's first step, where it is another text than the
  path's: the row stands behind the question alone and is marked "shaped" (Critique-GRPO, arXiv:2506.03106, refinements sampled
  with a critique). Where a first step's context is a conversation's opening (`data/tau_bench`), "own" is meant.
- A reward is turned into an advantage first (`step_advantages`), so it is never added up over tokens.

Degenerate: an attempt in which nothing is trained gives no row. No torch here; `train/grpo` pads and trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from stepcredit.core.log_ratios import encode
from stepcredit.core.tree import children
from stepcredit.core.types import Credit, Floats, Ratio, Sample, Step, Tree
from stepcredit.train.groups import num_given
from stepcredit.train.step_advantages import Returns, step_advantages

Spread = Literal["same", "split", "surprise"]
FLOOR = 1e-3  # nats: a step of certain tokens shares evenly
Shared = Literal["credit", "once", "descendants", "branches"]
Contexts = Literal["own", "path"]


@dataclass(frozen=True)
class Rules:
    """How credit becomes token advantages; the module says what each choice means. ValueError for an unknown one."""

    spread: Spread = "same"
    shared: Shared = "credit"
    returns: Returns = "mean"
    contexts: Contexts = "own"
    prompt_end: str = "\n"
    delimiter: str = "\n"

    def __post_init__(self) -> None:
        for name, allowed in (("spread", Spread), ("shared", Shared), ("returns", Returns), ("contexts", Contexts)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(get_args(allowed))}")


def without_signal(trees: Sequence[Tree], credits: Sequence[Credit], returns: Returns = "mean") -> tuple[int, int]:
    """How many groups have an advantage of exactly 0 everywhere, of how many with anything assigned."""
    found = [step_advantages(tree, credit, returns=returns) for tree, credit in zip(trees, credits, strict=True)]
    assigned = [own for advantage_N in found if len(own := advantage_N[~np.isnan(advantage_N)])]
    return sum(bool(np.all(own == 0)) for own in assigned), len(assigned)


def policy_samples(trees: Sequence[Tree], credits: Sequence[Credit], tokenizer: Any, *, rules: Rules | None = None) -> list[Sample]:  # fmt: skip
    """The rows of all trees: `loss_mask_T` marks what is trained, `advantage_T` is 0 elsewhere, `old_logprob_T` as sampled.

    `old_logprob_T` is NaN where the policy gave none. `key` names the group. The prompt is all before the first sampled token
    of a row. Raises ValueError for credits that do not fit their trees, or of a kind that is no advantage.
    """
    if len(trees) != len(credits):
        raise ValueError(f"{len(trees)} trees need as many credits, got {len(credits)}")
    rules = rules or Rules()
    found = [
        row for tree, credit in zip(trees, credits, strict=True) for row in rows(tree, credit, rules) if row.trains()
    ]
    pieces = list(dict.fromkeys(text for row in found for text in row.pieces()))
    plain = dict(zip(pieces, tokenizer(pieces, add_special_tokens=False, verbose=False)["input_ids"], strict=True)) if pieces else {}  # fmt: skip
    heads = encode(tokenizer, [row.prompt for row in found])
    return [row.sample(head, plain) for row, head in zip(found, heads, strict=True)]


@dataclass(frozen=True)
class Row:
    """A prompt and the steps behind it: an attempt, or one segment of it, as a trainer reads it.

    `advantage_S` is A_n w_n for each step, NaN where the step is not trained in this row; `leaf` and `nodes` say where in the tree
    they stand, `key` names the group.
    """

    leaf: int
    prompt: str
    nodes: tuple[int, ...]
    steps: tuple[Step, ...]
    advantage_S: tuple[float, ...]
    ratio: Ratio
    key: str
    rules: Rules

    def trains(self) -> bool:
        """Whether any token of it is trained."""
        has_tokens = (
            bool(step.text + self.rules.delimiter) if step.token_ids is None else bool(step.token_ids)
            for step in self.steps
        )
        return any(there and not np.isnan(value) for there, value in zip(has_tokens, self.advantage_S, strict=True))

    def pieces(self) -> list[str]:
        """Texts that must be tokenised: the steps whose tokens are not known, each with its delimiter."""
        return [step.text + self.rules.delimiter for step in self.steps if step.token_ids is None]

    def sample(self, head: Sequence[int], plain: dict[str, list[int]]) -> Sample:
        """The row in tokens, from those of its prompt and of its `pieces`."""
        ids, mask, advantage, old = list(head), [False] * len(head), [0.0] * len(head), [np.nan] * len(head)
        for step, value in zip(self.steps, self.advantage_S, strict=True):
            own = plain[step.text + self.rules.delimiter] if step.token_ids is None else list(step.token_ids)
            trained = not np.isnan(value)
            share_T = np.zeros(len(own)) if not trained else value * self._shares(step, len(own))
            ids += own
            mask += [trained] * len(own)
            advantage += share_T.tolist()
            old += [np.nan] * len(own) if step.logprobs is None else list(step.logprobs)
        none = np.zeros((0, len(ids)))
        return Sample(np.array(ids), np.array(mask), none, none, advantage_T=np.array(advantage), old_logprob_T=np.array(old),
                      ratio=self.ratio, key=self.key)  # fmt: skip

    def _shares(self, step: Step, num: int) -> Floats:
        """What each of a step's tokens carries of its advantage, [T]."""
        if self.rules.spread == "same":
            return np.ones(num)
        if self.rules.spread == "split":
            return np.full(num, 1 / max(num, 1))
        if step.logprobs is None:
            raise ValueError(f"{self.key}: spread='surprise' needs log-probabilities, and step {step.text!r} has none")
        surprise_T = FLOOR - np.array(step.logprobs)
        return np.asarray(surprise_T / surprise_T.sum())


def rows(tree: Tree, credit: Credit, rules: Rules) -> list[Row]:
    """All rows of a tree, in the order of leaves, those in which nothing is trained too; a node is trained in one of them.

    Raises ValueError as `step_advantages` does.
    """
    total_N = step_advantages(tree, credit, returns=rules.returns) * weights(tree, credit, rules.shared)
    trained: set[int] = set()
    found = []
    for leaf in tree.leaves:
        for prompt, nodes, ratio in segments(tree, leaf, rules):
            new = {node for node in nodes if tree.steps[node].sampled and not np.isnan(total_N[node])} - trained
            trained |= new
            steps = tuple(tree.steps[node] for node in nodes)
            advantage_S = tuple(float(total_N[node]) if node in new else np.nan for node in nodes)
            found.append(Row(leaf, prompt, tuple(nodes), steps, advantage_S, ratio, tree.problem.id, rules))
    return found


def weights(tree: Tree, credit: Credit, shared: Shared) -> Floats:
    """How often a step counts in the one row that trains it, [N]; the module says what each choice means."""
    if shared == "credit":
        return credit.weight_N
    if shared == "once":
        return np.ones(tree.num_nodes)
    credited = [leaf for leaf in tree.leaves if credit.weight_N[leaf] > 0]
    through_N = np.zeros(tree.num_nodes)
    for leaf in credited:
        through_N[list(tree.path(leaf))] += 1
    if shared == "descendants":
        return through_N
    # Only branches that lead to a credited attempt are samples of what follows.
    branch_N, of = np.zeros(tree.num_nodes), children(tree)
    branch_N[0] = len(credited)
    for node in range(tree.num_nodes):
        alive = [child for child in of[node] if through_N[child] > 0]
        branch_N[alive] = branch_N[node] / max(len(alive), 1)
    return branch_N


def segments(tree: Tree, leaf: int, rules: Rules) -> list[tuple[str, list[int], Ratio]]:
    """The texts that the steps of an attempt are trained behind, each with its nodes and its ratio.

    Given steps at the start belong to the prompt. An attempt of nothing but given steps has none.
    """
    path, given = tree.path(leaf), num_given(tree, leaf)
    start = tree.problem.prompt + rules.prompt_end
    start += "".join(tree.steps[node].text + rules.delimiter for node in path[:given])
    nodes = list(path[given:])
    first = tree.steps[nodes[0]].context if nodes else None
    strips = rules.contexts == "path" and first is not None
    ratio: Ratio = "shaped" if strips and first != start else "on_policy"
    found: list[tuple[str, list[int], Ratio]] = [(start, [], ratio)]
    for place, node in enumerate(nodes):
        context = tree.steps[node].context
        if context is not None and not (strips and place == 0):
            found.append((context, [], "on_policy"))
        found[-1][1].append(node)
    return [one for one in found if one[1]]
