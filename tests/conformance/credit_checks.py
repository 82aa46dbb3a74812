"""What every credit method must satisfy: one function a property, each failing with a sentence.

Properties are scoped by `kind`. A method that cannot have one registers `exempt={"check name": "reason"}`; one whose
`Credit` resource is not a value registers `resource_kinds={"argument": kind}`; one whose kind depends on a knob
registers all of them as `kinds`.
"""

from __future__ import annotations

import inspect
import pickle
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import credit_trees as ct
import numpy as np

from stepcredit import Cost, Credit, Tree
from stepcredit.core.registry import Entry


@dataclass(frozen=True)
class Method:
    """A credit method with its knobs set, and what it was registered as."""

    name: str
    function: Callable[..., list[Credit]]
    kinds: tuple[str, ...]
    doc: str
    paper: str
    resources: Mapping[str, str] = field(default_factory=dict)
    resource_kinds: Mapping[str, str] = field(default_factory=dict)
    knobs: Mapping[str, object] = field(default_factory=dict)
    exempt: Mapping[str, str] = field(default_factory=dict)

    def run(self, trees: list[Tree], supplier: ct.Resources | None = None) -> list[Credit]:
        """Its credits of these trees, with the suite's resources."""
        given = (supplier or ct.Resources()).given(dict(self.resources), dict(self.resource_kinds), trees)
        return self.function(trees, **given, **self.knobs)


def variants(entry: Entry) -> Iterator[Method]:
    """A registered method as it is, and with each alternative of each Literal or bool knob in turn."""
    kinds = tuple(entry.properties.get("kinds", (entry.properties["kind"],)))
    plain = Method(
        entry.name, entry.function, kinds, inspect.getdoc(sys.modules[entry.function.__module__]) or "", entry.paper,
        entry.resources, entry.properties.get("resource_kinds", {}), {}, entry.properties.get("exempt", {}),
    )  # fmt: skip
    yield replace(plain, kinds=(entry.properties["kind"],))
    hints = typing.get_type_hints(inspect.unwrap(entry.function))
    for knob, default in entry.knobs.items():
        literal = typing.get_origin(hints[knob]) is typing.Literal
        options = (True, False) if isinstance(default, bool) else typing.get_args(hints[knob]) if literal else ()
        for option in options:
            if option != default:
                yield replace(plain, knobs={knob: option})


def shape(method: Method) -> None:
    """One Credit per tree, one number per node, under the method's name; no tree, no credit."""
    trees = ct.every_tree()
    credits = method.run(trees)
    assert len(credits) == len(trees), "one Credit per tree"
    for tree, credit in zip(trees, credits, strict=True):
        assert credit.values_N.shape == (tree.num_nodes,) == credit.weight_N.shape, "one number per node"
        assert credit.method == method.name, f"credit says it is of {credit.method!r}"
    assert method.run([]) == [], "no tree, no credit"


def nan_exactly_where_weight_is_0(method: Method) -> None:
    """Never assigned is not zero, and both say so."""
    for credit in method.run(ct.every_tree()):
        assert np.all(np.isfinite(credit.weight_N)) and np.all(credit.weight_N >= 0), "weights are finite, not negative"
        assert np.array_equal(np.isnan(credit.values_N), credit.weight_N == 0), "NaN exactly where the weight is 0"


def range_by_kind(method: Method) -> None:
    """Values and labels are in [0, 1], everything is finite, and the kind is the registered one."""
    for credit in method.run(ct.every_tree()):
        assert credit.kind in method.kinds, f"a {credit.kind}, registered as {' or '.join(method.kinds)}"
        known = credit.values_N[~np.isnan(credit.values_N)]
        assert np.all(np.isfinite(known)), "assigned numbers are finite"
        if credit.kind in ("value", "label"):
            assert np.all((known >= 0) & (known <= 1)), f"a {credit.kind} lies in [0, 1]"


def same_seed_same_bytes(method: Method) -> None:
    """Twice the same call, twice the same bytes."""
    first, second = method.run(ct.every_tree()), method.run(ct.every_tree())
    for a, b in zip(first, second, strict=True):
        assert a.values_N.tobytes() == b.values_N.tobytes(), "values differ between two equal calls"
        assert a.weight_N.tobytes() == b.weight_N.tobytes(), "weights differ between two equal calls"


def input_untouched(method: Method) -> None:
    """Neither trees nor the credits given as resources change."""
    trees = ct.every_tree()
    given = ct.Resources().given(dict(method.resources), dict(method.resource_kinds), trees)
    seen = [trees, *(given[name] for name, a in method.resources.items() if a.endswith(("Credit", "Credit]")))]
    before = _fingerprint(seen)
    method.function(trees, **given, **method.knobs)
    assert _fingerprint(seen) == before, "the input was written to"


def unsampled_never_assigned(method: Method) -> None:
    """The prompt and tool results get no credit."""
    trees = ct.every_tree()
    for tree, credit in zip(trees, method.run(trees), strict=True):
        assert np.all(np.isnan(credit.values_N[~tree.sampled_N])), "credit on a step the policy did not write"


def unscored_is_not_zero(method: Method) -> None:
    """An attempt without scored outcome is unassigned and takes no part; or the method reads no outcome at all."""
    for missing in ("truncated", "timeout", None):
        trees = [ct.group(1.0, 0.0, last) for last in (missing, 0.0, 1.0)]
        unscored, *others = (method.run([tree])[0].values_N for tree in trees)
        if all(np.array_equal(unscored, other, equal_nan=True) for other in others):
            continue  # reads no outcome
        own = list(trees[0].path(trees[0].leaves[-1]))
        assert np.all(np.isnan(unscored[own])), f"an attempt with outcome {missing!r} was assigned {unscored[own]}"
        alone = method.run([ct.group(1.0, 0.0)])[0].values_N
        assert np.array_equal(unscored[: len(alone)], alone, equal_nan=True), "it changed the credit of the others"


def sibling_order_irrelevant(method: Method) -> None:
    """Renumbering the nodes renumbers the credit."""
    generator = np.random.default_rng(0)
    for tree in ct.every_tree():
        expected = method.run([tree])[0]
        for _ in range(3):
            order = _parents_first(tree, generator)
            got = method.run([_renumbered(tree, order)])[0]
            for a, b in ((got.values_N, expected.values_N), (got.weight_N, expected.weight_N)):
                assert np.allclose(a, b[order], rtol=0, atol=1e-12, equal_nan=True), "sibling order changes the credit"


def tree_order_irrelevant(method: Method) -> None:
    """The trees of a batch have no order."""
    trees = ct.every_tree()
    forward, backward = method.run(trees), method.run(trees[::-1])[::-1]
    for a, b in zip(forward, backward, strict=True):
        assert np.allclose(a.values_N, b.values_N, rtol=0, atol=1e-12, equal_nan=True), "batch order changes the values"
        assert np.allclose(a.weight_N, b.weight_N, rtol=0, atol=1e-12), "batch order changes the weights"


def cost_present(method: Method) -> None:
    """What a method spends on policies, verifiers, judges and embedders is on the credit."""
    supplier = ct.Resources()
    total = Cost()
    for credit in method.run(ct.every_tree(), supplier):
        assert isinstance(credit.cost, Cost), "a credit carries its cost"
        total += credit.cost
    assert supplier.num_calls == 0 or total != Cost(), f"{supplier.num_calls} calls and no cost"


def equal_outcomes_carry_nothing(method: Method) -> None:
    """Advantages of a group without variance are exactly 0."""
    for reward in (0.0, 0.1, 1.0):
        values_N = method.run([ct.group(reward, reward, reward)])[0].values_N
        assert np.all(values_N[1:] == 0.0), f"three times the outcome {reward}: advantages {values_N[1:]}"


def group_of_one_carries_nothing(method: Method) -> None:
    """Advantages of a single attempt, or a single scored one, are exactly 0."""
    for tree in (ct.group(1.0), ct.group("truncated", 1.0)):
        values_N = method.run([tree])[0].values_N
        own = list(tree.path(tree.leaves[-1]))
        assert np.all(values_N[own] == 0.0), f"a single attempt: advantages {values_N[own]}"


def splitting_a_step_changes_nothing(method: Method) -> None:
    """Two halves carry together what the whole carried, and no other step notices.

    Each token carries its step's advantage, so a step's total is advantage times length; rewards add as they are.
    """
    tree = ct.group(1.0, 0.0, 1.0, 0.5)
    whole = _totals(tree, method.run([tree])[0])
    for node in range(1, tree.num_nodes):
        halves = _split(tree, node)
        got = _totals(halves, method.run([halves])[0])
        joined = np.concatenate([got[:node], [got[node] + got[node + 1]], got[node + 2 :]])
        assert np.allclose(joined, whole, rtol=0, atol=1e-9), f"splitting step {node} changes {whole} to {joined}"


def longer_is_not_more(method: Method) -> None:
    """Of attempts with one outcome, the longer has no larger credit a token."""
    attempts = [ct.attempt(f"s{i}", *size) for i, size in enumerate([(1, 8), (1, 80), (6, 8), (1, 8), (1, 80), (6, 8)])]
    tree = ct.star(ct.PROBLEM, attempts, [ct.outcome(r) for r in (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)])
    totals = _totals(tree, method.run([tree])[0])
    length_N = _lengths(tree)
    rates = [totals[list(tree.path(leaf))].sum() / length_N[list(tree.path(leaf))].sum() for leaf in tree.leaves]
    for short, *longer in (rates[:3], rates[3:]):
        assert all(abs(rate) <= abs(short) + 1e-12 for rate in longer), f"credit a token by length: {rates}"


def docstring(method: Method) -> None:
    """The module names the paper it registers and its degenerate case."""
    assert method.paper.lower() in method.doc.lower(), f"the module's docstring does not name {method.paper}"
    assert "Degenerate:" in method.doc, "the module's docstring has no 'Degenerate:' line"


EVERY_KIND = (
    shape, nan_exactly_where_weight_is_0, range_by_kind, same_seed_same_bytes, input_untouched,
    unsampled_never_assigned, unscored_is_not_zero, sibling_order_irrelevant, tree_order_irrelevant, cost_present,
    docstring,
)  # fmt: skip
BY_KIND = {
    "advantage": (equal_outcomes_carry_nothing, group_of_one_carries_nothing, splitting_a_step_changes_nothing,
                  longer_is_not_more),
    "reward": (splitting_a_step_changes_nothing,),
}  # fmt: skip
CHECKS = {check.__name__: check for check in (*EVERY_KIND, *BY_KIND["advantage"])}


def due(method: Method) -> list[str]:
    """Names of the checks a method must pass: those of every kind, those of its own, less its exemptions."""
    own = (check for kind in method.kinds for check in BY_KIND.get(kind, ()))
    names = dict.fromkeys(check.__name__ for check in (*EVERY_KIND, *own))
    return [name for name in names if name not in method.exempt]


def _fingerprint(things: list) -> bytes:
    """Bytes of everything that could be written to."""
    fields = []
    for thing in [t for group in things for t in group]:
        fields.append({k: v.tobytes() if isinstance(v, np.ndarray) else repr(v) for k, v in vars(thing).items()})
        if isinstance(thing, Tree):
            fields.append(repr(dict(thing.problem.meta)))
    return pickle.dumps(fields)


def _parents_first(tree: Tree, generator: np.random.Generator) -> list[int]:
    """A random numbering of the nodes with the prompt first and parents before children."""
    order, ready = [0], [n for n in range(1, tree.num_nodes) if tree.parent_N[n] == 0]
    while ready:
        node = ready.pop(int(generator.integers(len(ready))))
        order.append(node)
        ready.extend(n for n in range(node + 1, tree.num_nodes) if tree.parent_N[n] == node)
    return order


def _renumbered(tree: Tree, order: list[int]) -> Tree:
    new_of = {old: new for new, old in enumerate(order)}
    return replace(
        tree,
        steps=tuple(tree.steps[n] for n in order),
        parent_N=[-1, *(new_of[int(tree.parent_N[n])] for n in order[1:])],
        outcomes=tuple(tree.outcomes[n] for n in order),
        visits_N=None if tree.visits_N is None else tree.visits_N[order],
        group_N=None if tree.group_N is None else tree.group_N[order],
    )


def _split(tree: Tree, node: int) -> Tree:
    """The tree with `node` in two halves of equal text, the second of which keeps children and outcome."""
    name, text = tree.steps[node].text.split("|")
    halves = [
        replace(tree.steps[node], text=f"{name}|{part}") for part in (text[: len(text) // 2], text[len(text) // 2 :])
    ]
    moved = [int(p) + (p >= node) for p in tree.parent_N[node + 1 :]]  # the halves are node and node + 1
    return replace(
        tree,
        steps=(*tree.steps[:node], *halves, *tree.steps[node + 1 :]),
        parent_N=[*tree.parent_N[: node + 1].tolist(), node, *moved],
        outcomes=(*tree.outcomes[:node], None, *tree.outcomes[node:]),
        group_N=np.insert(tree.group_N, node, tree.group_N[node]),
    )


def _totals(tree: Tree, credit: Credit) -> np.ndarray:
    """Credit of each step's tokens together; unassigned carries none."""
    return np.nan_to_num(credit.values_N * (_lengths(tree) if credit.kind == "advantage" else 1.0))


def _lengths(tree: Tree) -> np.ndarray:
    """Characters after the bar: the tokens of a step."""
    return np.array([len(step.text.split("|")[-1]) for step in tree.steps])
