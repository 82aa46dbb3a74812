"""A verifier of your own is a function: outcomes in the order of the attempts, and a status where it cannot decide.

python examples/custom_verifier.py
"""

import json
from collections.abc import Sequence

from stepcredit import Outcome, Problem, Step
from stepcredit.core.tree import star
from stepcredit.credit.outcome_broadcast import outcome_broadcast


def same_json(problem: Problem, solutions: Sequence[Sequence[Step]]) -> list[Outcome]:
    """Right when the last step is JSON equal to the problem's answer."""
    return [_decide(solution[-1].text, problem.answer) for solution in solutions]


def _decide(text: str, answer: object) -> Outcome:
    try:
        found = json.loads(text)
    except ValueError:  # not an answer: never a score of 0
        return Outcome(status="unparsed", verifier="same_json")
    return Outcome(float(found == answer), found == answer, True, text, verifier="same_json")


problem = Problem("sort", "Sort [3, 1, 2].", answer=[1, 2, 3])
attempts = [[Step("smallest first"), Step(last)] for last in ("[1, 2, 3]", "[1,2,3]", "[3, 2, 1]", "1 2 3")]
tree = star(problem, attempts, same_json(problem, attempts))
credit = outcome_broadcast(tree)
for leaf in tree.leaves:
    print(f"{tree.steps[leaf].text:<10} {tree.outcomes[leaf].status:<9} {credit.values_N[leaf]}")
