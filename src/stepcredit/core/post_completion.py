"""What an attempt says of itself behind its end: the marker of that end, and the self-evaluation that follows it.

    3+4=2          steps
    2*0=0
    <eoc>          end of completion, a token of its own: inference stops here
    1 1            a re-check bit a step
    1 1            predicted rewards: of the answer, and of the format

PCL, arXiv:2507.20252: reasoning, a temporary stop token, a self-evaluation with predicted rewards, the end token. The released
code has the literal `<evaluation>` for the token and evaluates model text as Python; here numbers are matched, nothing is run.
Degenerate: a text that is not such lines, or a number outside [0, 1], has no evaluation (None), which is not a low one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepcredit.core.types import Step, Tree

MARKER = "<eoc>"
_BITS = re.compile(r"[01]( [01])*")
_NUMBER = r"(?:0(?:\.[0-9]+)?|1(?:\.0+)?|\.[0-9]+)"
_REWARDS = re.compile(rf"(?P<open>\[ ?)?(?P<numbers>{_NUMBER}(?:(?:, ?| ){_NUMBER})?)(?(open) ?\])")


@dataclass(frozen=True)
class Evaluation:
    """Re-check bits of the steps, and one or two predicted rewards in [0, 1]: of the answer, of the format.

    >>> read_evaluation(["1 0", "[0.2, 1]"])
    Evaluation(bits=(1, 0), rewards=(0.2, 1.0))
    """

    bits: tuple[int, ...]
    rewards: tuple[float, ...]


def read_evaluation(lines: Sequence[str]) -> Evaluation | None:
    """The evaluation that these lines are, rewards last, bits before them where there are two lines; None if they are none.

    >>> read_evaluation(["1 1", "__import__('os')"]) is None
    True
    """
    if not 1 <= len(lines) <= 2:
        return None
    found = _REWARDS.fullmatch(lines[-1])
    bits = lines[0] if len(lines) == 2 else ""
    if found is None or (bits and not _BITS.fullmatch(bits)) or (len(lines) == 2 and not bits):
        return None
    rewards = tuple(float(number) for number in re.findall(_NUMBER, found["numbers"]))
    return Evaluation(tuple(int(bit) for bit in bits.split()), rewards)


def evaluation_of(steps: Sequence[Step]) -> Evaluation | None:
    """What an attempt's steps of kind "evaluation" say; None where there are none, or they cannot be read."""
    return read_evaluation([step.text for step in steps if step.kind == "evaluation"])


def completed(steps: Sequence[Step], marker: str = MARKER) -> tuple[Step, ...]:
    """The steps up to the marker, which is left out: what inference has when it stops there. All of them where it is not.

    >>> [step.text for step in completed([Step("2+3=5"), Step("<eoc>"), Step("1", kind="evaluation")])]
    ['2+3=5']
    """
    found: list[Step] = []
    for step in steps:
        before, mark, _ = step.text.partition(marker)
        if mark:
            return tuple([*found, replace(step, text=before, token_ids=None, logprobs=None)] if before else found)
        found.append(step)
    return tuple(found)


def marked(tree: Tree, marker: str = MARKER) -> Tree:
    """The tree whose sampled steps behind a marker are of kind "evaluation"; the marker is a step like those before it."""
    behind = [False] * tree.num_nodes
    for node in range(1, tree.num_nodes):
        parent = int(tree.parent_N[node])
        behind[node] = behind[parent] or (parent > 0 and marker in tree.steps[parent].text)
    steps = [replace(step, kind="evaluation") if there and step.sampled else step
             for step, there in zip(tree.steps, behind, strict=True)]  # fmt: skip
    return replace(tree, steps=tuple(steps))
