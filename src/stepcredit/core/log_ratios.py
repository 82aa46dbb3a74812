"""Log-ratio of two policies on steps: what implicit process rewards are made of.

    d = log pi(step | what stands before it) - log pi_ref(step | the same), in nats, summed over the step's tokens

A language model reads a text once, however many steps it holds: a step whose tokens, with all before them, begin a
longer text is read there. Reading and training share one tokenisation, below.

ImplicitPRM, arXiv:2412.01981, section 3. The text is the one a rollout of `chains` read and wrote: prompt + prompt_end,
then steps, each closed by the delimiter, but for the last of an attempt. A step that was sampled from another text
(`Step.context`) is scored behind that text.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from stepcredit.core.protocols import Policy
from stepcredit.core.types import Cost, Floats, Ints, Problem, Step

Asked = tuple[str, str]


def asked(
    problem: Problem,
    before: Sequence[Step],
    step: Step,
    *,
    is_last: bool,
    prompt_end: str = "\n",
    delimiter: str = "\n",
) -> Asked:
    r"""The prefix and the continuation that put a policy to this step.

    >>> asked(Problem("p", "2+3=?"), [Step("so")], Step("5"), is_last=True)
    ('2+3=?\nso\n', '5')
    """
    prefix = problem.prompt + prompt_end + "".join(one.text + delimiter for one in before)
    return step.context if step.context is not None else prefix, step.text + ("" if is_last else delimiter)


def questions(problem: Problem, steps: Sequence[Step], *, prompt_end: str = "\n", delimiter: str = "\n") -> list[Asked]:
    r"""What is asked of an attempt: a question for each sampled step.

    >>> questions(Problem("p", "2+3=?"), [Step("so"), Step("5")])
    [('2+3=?\n', 'so\n'), ('2+3=?\nso\n', '5')]
    """
    last = len(steps) - 1
    return [
        asked(problem, steps[:at], step, is_last=at == last, prompt_end=prompt_end, delimiter=delimiter)
        for at, step in enumerate(steps)
        if step.sampled
    ]


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids with the tokenizer's own start and without its end; an empty text is the start (or end) token.

    Raises ValueError for an empty text where the tokenizer has neither.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    out = []
    for ids in tokenizer(list(texts), verbose=False)["input_ids"] if texts else []:
        if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]  # some tokenizers close every text; the policy is to go on
        if not ids and start is None:
            raise ValueError("an empty prefix needs a tokenizer with a start or end token")
        out.append(list(ids) or [start])
    return out


def token_ids(tokenizer: Any, asked_n: Sequence[Asked]) -> tuple[list[list[int]], Ints]:
    """Tokens of each prefix with its continuation, and how many are the prefix's, [n].

    They are those of the joint text behind the prefix's own, as in sampling; where a token would straddle the border,
    the continuation is tokenised alone.
    """
    if not asked_n:
        return [], np.zeros(0, dtype=np.int64)
    heads = encode(tokenizer, [prefix for prefix, _ in asked_n])
    wholes = encode(tokenizer, [prefix + continuation for prefix, continuation in asked_n])
    alone = tokenizer([continuation for _, continuation in asked_n], add_special_tokens=False, verbose=False)
    ids_n = [
        whole if whole[: len(head)] == head else head + tail
        for head, whole, tail in zip(heads, wholes, alone["input_ids"], strict=True)
    ]
    return ids_n, np.array([len(head) for head in heads], dtype=np.int64)


def read_in(ids_n: Sequence[list[int]]) -> Ints:
    """Which of these token sequences each is read in, [n]: the longest that it begins, so that each is read once.

    One that begins no other is its own; equal ones are read in one of them.

    >>> read_in([[1, 2], [1, 2, 3, 4], [1, 3], [1, 2, 3]])
    array([1, 1, 2, 1])
    """
    # In lexicographic order, one that begins any other begins the next.
    order = sorted(range(len(ids_n)), key=lambda n: ids_n[n])
    found_n = np.arange(len(ids_n))
    for here, following in zip(order[-2::-1], order[:0:-1], strict=True):
        if ids_n[following][: len(ids_n[here])] == ids_n[here]:
            found_n[here] = found_n[following]
    return found_n


def logprobs(policy: Policy, asked_n: Sequence[Asked]) -> tuple[Floats, Cost]:
    """Log-probabilities, [n], and what they cost: the tokens that the policy says it has forwarded, and the time.

    Raises ValueError for a policy that does not answer every question.
    """
    if not asked_n:
        return np.zeros(0), Cost()
    before, start = _forwarded(policy), time.perf_counter()
    given = np.asarray(policy.logprob([p for p, _ in asked_n], [c for _, c in asked_n]), dtype=np.float64)
    if given.shape != (len(asked_n),):
        raise ValueError(f"{len(asked_n)} steps, but the policy gave log-probabilities {list(given.shape)}")
    return given, Cost(forwarded_tokens=_forwarded(policy) - before, seconds=time.perf_counter() - start)


def difference(first_n: Floats, second_n: Floats) -> Floats:
    """The difference, [n]; NaN where either is not finite: what a policy cannot write has no ratio."""
    known_n = np.isfinite(first_n) & np.isfinite(second_n)
    return np.where(known_n, np.where(known_n, first_n, 0.0) - np.where(known_n, second_n, 0.0), np.nan)


def _forwarded(policy: Any) -> int:
    return int((getattr(policy, "cost", None) or Cost()).forwarded_tokens)
