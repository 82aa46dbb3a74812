"""How likely a policy finds the gold answer behind every prefix of a tree, and what each step adds to that.

    J(x)  = exp( 1/T sum_t log p(answer_t | x + suffix, answer_<t) )        "log_probability": its logarithm
    dI_n  = J behind n's turn - J before it        over an attempt: sum_n dI_n = J(its end) - J(prompt)

A turn is a step and what the environment answers to it: what a call finds out is its own gain. Where it has several answers
J is their mean. The mean is over the answer's tokens where the policy has a `tokenizer`; else T = 1, and long answers are
less likely. A step that was sampled from another text (`Step.context`) is measured behind that one, where sums start anew.
Every distinct prefix of all trees is asked once, in one call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from stepcredit.core.log_ratios import Asked, difference, logprobs, token_ids
from stepcredit.core.protocols import Policy
from stepcredit.core.tree import children
from stepcredit.core.types import Cost, Floats, Tree

Measure = Literal["probability", "log_probability"]


def texts_of(tree: Tree, prompt_end: str, delimiter: str) -> tuple[list[str], list[str]]:
    """The text before each node and the text that ends with it; those of the prompt are its own."""
    before, behind = [tree.problem.prompt + prompt_end], [tree.problem.prompt + prompt_end]
    for node in range(1, tree.num_nodes):
        step = tree.steps[node]
        before.append(behind[tree.parent_N[node]] if step.context is None else step.context)
        behind.append(before[-1] + step.text + delimiter)
    return before, behind


def gains(
    trees: Sequence[Tree], policy: Policy, *, measure: Measure, suffix: str, prompt_end: str, delimiter: str
) -> tuple[list[Floats], list[Cost]]:
    """What every sampled step gains, dI, [N] for each tree, and what finding out cost each tree.

    NaN throughout for a problem without an answer, and for a step with an impossible answer on either side under
    "log_probability". Raises ValueError for an answer that is neither text nor a number.
    """
    texts = [texts_of(tree, prompt_end, delimiter) for tree in trees]
    own = [[] if not (answer := _answer(tree)) else [(text + suffix, answer) for text in dict.fromkeys(before + behind)]
           for tree, (before, behind) in zip(trees, texts, strict=True)]  # fmt: skip
    questions = list(dict.fromkeys(each for asked in own for each in asked))
    nats_n, cost = logprobs(policy, questions)
    mean_n = nats_n / _lengths(policy, questions)
    said = dict(zip(questions, (np.exp(mean_n) if measure == "probability" else mean_n).tolist(), strict=True))
    found = []
    for tree, (before, behind), asked in zip(trees, texts, own, strict=True):
        answer = _answer(tree)
        before_N, behind_N = (
            np.array([said[text + suffix, answer] if asked else math.nan for text in side]) for side in (before, behind)
        )
        gain_N = difference(_turn_ends(tree, behind_N), before_N)
        found.append(np.where(tree.sampled_N, gain_N, np.nan))
    return found, split(cost, [len(asked) for asked in own])


def split(cost: Cost, num_B: Sequence[int]) -> list[Cost]:
    """A cost in parts, in proportion to these numbers; whole tokens that add up to the whole.

    >>> [part.forwarded_tokens for part in split(Cost(forwarded_tokens=10), [1, 0, 2])]
    [3, 0, 7]
    """
    share_B = np.array(num_B, dtype=np.float64) / max(sum(num_B), 1)
    ends = np.round(np.cumsum(share_B) * cost.forwarded_tokens).astype(int)
    return [Cost(forwarded_tokens=int(tokens), seconds=float(share) * cost.seconds)
            for tokens, share in zip(np.diff(ends, prepend=0), share_B, strict=True)]  # fmt: skip


def _answer(tree: Tree) -> str:
    """What is probed, "" where the problem has no answer."""
    answer: Any = tree.problem.answer
    if answer is not None and not isinstance(answer, str | int | float):
        raise ValueError(f"problem {tree.problem.id!r} has an answer of type {type(answer).__name__}; allowed: text, a number, None")  # fmt: skip
    return "" if answer is None else str(answer)


def _lengths(policy: Any, questions: Sequence[Asked]) -> Floats:
    """T of each question, [n]."""
    tokenizer = getattr(policy, "tokenizer", None)
    if tokenizer is None:
        return np.ones(len(questions))
    ids_n, start_n = token_ids(tokenizer, questions)
    return np.maximum(np.array([len(ids) for ids in ids_n], dtype=np.float64) - start_n, 1.0)


def _turn_ends(tree: Tree, behind_N: Floats) -> Floats:
    """J behind the last of the results that follow each node, [N]; their mean where there are several."""
    end_N, of = behind_N.copy(), children(tree)
    for node in range(tree.num_nodes - 1, 0, -1):
        results = [child for child in of[node] if not tree.steps[child].sampled]
        if results:
            end_N[node] = np.mean(np.sort(end_N[results]))
    return end_N
