"""The registry: methods by file name, signatures as schema, wrong names answered with the right ones."""

import subprocess
import sys

import numpy as np
import pytest

from stepcredit import Credit, Outcome, Problem, Step
from stepcredit.core import registry
from stepcredit.core.tree import star

TREE = star(Problem("p", "?"), [[Step("a")]], [Outcome(reward=1.0)])


def test_a_wrong_family_or_method_is_answered_with_the_right_ones():
    with pytest.raises(ValueError, match="unknown family 'credits'; allowed: tasks, policy"):
        registry.names("credits")
    with pytest.raises(ValueError, match=r"no credit method 'monte_karlo'; there are: .*monte_carlo"):
        registry.get("credit", "monte_karlo")


def test_methods_are_the_public_modules_and_listing_imports_none():
    code = (
        "import sys; from stepcredit.core import registry; names = registry.names('credit');"
        "assert 'monte_carlo' in names and not any(n.startswith('_') for n in names);"
        "assert 'stepcredit.credit.monte_carlo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_credit_module_registers_the_method_it_is_named_after():
    for entry in registry.entries("credit"):
        assert entry.function.__module__ == f"stepcredit.credit.{entry.name}" and entry.function.__name__ == entry.name
        assert entry.summary.endswith(".") or ":" in entry.summary
        assert entry.properties["kind"] in ("value", "advantage", "reward", "label")


def test_the_signature_is_the_schema():
    chain = registry.get("credit", "latent_chain")
    assert chain.resources == {"judge": "Judge"}
    assert chain.knobs["link"] == "derivation" and chain.knobs["recovery"] is None
    assert registry.get("credit", "self_supervised").resources == {"scores": "Sequence[Credit]"}
    assert registry.get("credit", "oracle").properties["control"] is True


def test_binding_refuses_unknown_and_missing_arguments_by_name():
    with pytest.raises(ValueError, match="credit/monte_carlo has no knob sotf; allowed: soft"):
        registry.bind("credit", "monte_carlo", sotf=True)
    with pytest.raises(ValueError, match=r"credit/oracle needs truth \(Credit\)"):
        registry.bind("credit", "oracle")
    hard = registry.bind("credit", "monte_carlo", soft=False)
    assert hard(TREE).values_N[1] == 1.0


def test_a_resource_outside_the_closed_set_is_refused():
    def method(tree, *, oven: "Oven"):  # noqa: F821
        return tree

    with pytest.raises(
        ValueError, match="resource oven is a Oven; allowed: Policy, Verifier, Judge, Embedder, Environment"
    ):
        registry.register("credit", paper="ours")(method)
    with pytest.raises(ValueError, match="unknown family 'oven'"):
        registry.register("oven", paper="ours")(method)


def test_lifting_pairs_each_tree_with_its_own_credit_and_shares_the_knobs():
    @registry.each_tree
    def scaled(tree, *, base: Credit, by: float = 1.0):
        return Credit(base.values_N * by, "reward", base.weight_N, "scaled")

    credits = [Credit([np.nan, float(k)], "reward", [0, 1], "given") for k in (2, 3)]
    assert scaled(TREE, base=credits[0]).values_N[1] == 2.0
    assert [c.values_N[1] for c in scaled([TREE, TREE], base=credits, by=10)] == [20.0, 30.0]
    assert scaled([], base=[]) == []
    with pytest.raises(ValueError, match="base: 2 trees need a sequence of as many credits, got 1"):
        scaled([TREE, TREE], base=credits[:1])
    with pytest.raises(ValueError, match="got one"):
        scaled([TREE, TREE], base=credits[0])
