"""Outcomes at the leaves that have none: the one place where a verifier is asked about a tree that has grown."""

from __future__ import annotations

from dataclasses import replace

from stepcredit.core.protocols import Verifier
from stepcredit.core.tree import with_outcomes
from stepcredit.core.truth import as_written
from stepcredit.core.types import Cost, Tree


def verified(tree: Tree, verify: Verifier, *, first: int = 1) -> Tree:
    """The tree with outcomes at its leaves from node `first` on that have none yet; the calls are on its cost."""
    new = [leaf for leaf in tree.leaves if leaf >= first and tree.outcomes[leaf] is None]
    if not new:
        return tree
    found = verify(tree.problem, [as_written(tree.solution(leaf)) for leaf in new])
    tree = with_outcomes(tree, dict(zip(new, found, strict=True)))
    return replace(tree, cost=tree.cost + Cost(verifier_calls=len(new)))
