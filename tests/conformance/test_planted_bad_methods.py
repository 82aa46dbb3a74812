"""The suite itself: bad methods planted in it are each caught by the check they break."""

from dataclasses import replace

import credit_checks
import numpy as np
import pytest

from stepcredit import Credit
from stepcredit.core.tree import scored_below
from stepcredit.credit import group_mean, outcome_broadcast

GOOD_DOC = "A method. arXiv:0000.00000. Degenerate: nothing scored, nothing assigned."


def forged(values_N, weight_N, kind="value"):
    """A Credit whose own validation never ran."""
    credit = Credit(np.full(len(values_N), np.nan), kind, np.zeros(len(values_N)), "planted")
    object.__setattr__(credit, "values_N", np.asarray(values_N, dtype=float))
    object.__setattr__(credit, "weight_N", np.asarray(weight_N, dtype=float))
    return credit


def lifted(values_of, kind="value"):
    """Sequence of trees to credits from a function tree -> values [N]; NaN where it gives NaN or the step is given."""

    def method(trees):
        found = []
        for tree in trees:
            values = np.where(tree.sampled_N, values_of(tree), np.nan)
            found.append(Credit(values, kind, (~np.isnan(values)).astype(float), "planted"))
        return found

    return method


def mean_below(tree):
    total_N, num_N = scored_below(tree)
    return np.where(num_N > 0, total_N / np.maximum(num_N, 1), np.nan)


def advantage(tree):
    return group_mean.group_mean(tree, normalize="none").values_N


def leaf_mean(tree, of_leaf):
    """Spread a number per scored leaf over its path."""
    total, num = np.zeros(tree.num_nodes), np.zeros(tree.num_nodes)
    for leaf in tree.leaves:
        if not np.isnan(tree.reward_N[leaf]):
            total[list(tree.path(leaf))] += of_leaf(leaf)
            num[list(tree.path(leaf))] += 1
    return np.where(num > 0, total / np.maximum(num, 1), np.nan)


def forgets_the_last_node(trees):
    return [replace(c, values_N=c.values_N[:-1], weight_N=c.weight_N[:-1]) for c in lifted(mean_below)(trees)]


def weighs_what_it_never_assigned(trees):
    return [forged(c.values_N, np.ones_like(c.weight_N)) for c in lifted(mean_below)(trees)]


def percentages(trees):
    return [forged(100 * c.values_N, c.weight_N) for c in lifted(mean_below)(trees)]


def says_value_means_advantage(trees):
    return lifted(advantage, "advantage")(trees)


def global_noise(tree):
    return np.clip(mean_below(tree) + np.random.default_rng().uniform(-0.01, 0.01), 0, 1)


def writes_into_the_problem(tree):
    tree.problem.meta["seen"] = True
    return mean_below(tree)


def writes_into_the_tree(tree):
    tree.parent_N.setflags(write=True)
    tree.parent_N[-1] = 0
    return mean_below(tree)


def credits_the_prompt(trees):
    return [Credit(v := mean_below(t), "value", (~np.isnan(v)).astype(float), "planted") for t in trees]


def unscored_counts_as_wrong(tree):
    rewards = np.nan_to_num(tree.reward_N)
    leaf_N = np.isin(np.arange(tree.num_nodes), tree.leaves)
    total_N, num_N = scored_below(tree, np.where(leaf_N, rewards, np.nan))
    return np.where(num_N > 0, total_N / np.maximum(num_N, 1), np.nan)


def unscored_drags_the_mean(tree):
    """Unscored attempts get no advantage of their own, yet count as wrong in the group's mean."""
    baseline = np.nan_to_num(tree.reward_N[list(tree.leaves)]).mean() if tree.leaves else 0.0
    return leaf_mean(tree, lambda leaf: tree.reward_N[leaf] - baseline)


def first_attempt_is_the_baseline(tree):
    scored = [tree.reward_N[leaf] for leaf in tree.leaves if not np.isnan(tree.reward_N[leaf])]
    return leaf_mean(tree, lambda leaf: tree.reward_N[leaf] - scored[0])


def later_trees_count_less(trees):
    return [replace(c, weight_N=c.weight_N / (i + 1)) for i, c in enumerate(lifted(mean_below)(trees))]


def asks_for_free(trees, *, judge):
    for tree in trees:
        judge([(tree.problem, tree.solution(leaf)) for leaf in tree.leaves])
    return lifted(mean_below)(trees)


def residue_over_epsilon(tree):
    rewards = tree.reward_N[~np.isnan(tree.reward_N)]
    return leaf_mean(tree, lambda leaf: (tree.reward_N[leaf] - rewards.mean()) / (rewards.std() + 1e-6))


def a_single_attempt_keeps_its_reward(tree):
    rewards = tree.reward_N[~np.isnan(tree.reward_N)]
    return advantage(tree) if len(rewards) > 1 else leaf_mean(tree, lambda leaf: tree.reward_N[leaf])


def shared_out_over_the_steps(tree):
    return leaf_mean(tree, lambda leaf: advantage(tree)[leaf] / len(tree.path(leaf)))


def summed_over_tokens(tree):
    return advantage(tree) * np.array([len(step.text) for step in tree.steps])


def step_rewards_of_one(tree):
    """A bonus per step: more steps, more reward."""
    return np.where(np.isnan(mean_below(tree)), np.nan, 1.0)


PLANTED = {
    "shape": [(forgets_the_last_node, "value")],
    "nan_exactly_where_weight_is_0": [(weighs_what_it_never_assigned, "value")],
    "range_by_kind": [(percentages, "value"), (says_value_means_advantage, "value")],
    "same_seed_same_bytes": [(lifted(global_noise), "value")],
    "input_untouched": [(lifted(writes_into_the_problem), "value"), (lifted(writes_into_the_tree), "value")],
    "unsampled_never_assigned": [(credits_the_prompt, "value")],
    "unscored_is_not_zero": [
        (lifted(unscored_counts_as_wrong), "value"),
        (lifted(unscored_drags_the_mean, "advantage"), "advantage"),
    ],
    "sibling_order_irrelevant": [(lifted(first_attempt_is_the_baseline, "advantage"), "advantage")],
    "tree_order_irrelevant": [(later_trees_count_less, "value")],
    "cost_present": [(asks_for_free, "value")],
    "equal_outcomes_carry_nothing": [(lifted(residue_over_epsilon, "advantage"), "advantage")],
    "group_of_one_carries_nothing": [(lifted(a_single_attempt_keeps_its_reward, "advantage"), "advantage")],
    "splitting_a_step_changes_nothing": [
        (lifted(shared_out_over_the_steps, "advantage"), "advantage"),
        (lifted(step_rewards_of_one, "reward"), "reward"),
    ],
    "longer_is_not_more": [(lifted(summed_over_tokens, "advantage"), "advantage")],
    "docstring": [(lifted(mean_below), "value")],
}


def planted(function, kind, doc=GOOD_DOC):
    resources = {"judge": "Judge"} if function is asks_for_free else {}
    return credit_checks.Method("planted", function, (kind,), doc, "arXiv:0000.00000", resources)


@pytest.mark.parametrize(
    ("check", "function", "kind"), [(check, f, kind) for check, bad in PLANTED.items() for f, kind in bad]
)
def test_a_planted_bad_method_is_caught(check, function, kind):
    doc = "A method without a source." if check == "docstring" else GOOD_DOC
    method = planted(function, kind, doc)
    assert check in credit_checks.due(method)
    with pytest.raises(AssertionError):
        credit_checks.CHECKS[check](method)


@pytest.mark.parametrize("doc", ["arXiv:0000.00000, no special case", "Degenerate: none, and no source"])
def test_a_docstring_needs_both_paper_and_degenerate_case(doc):
    with pytest.raises(AssertionError):
        credit_checks.docstring(planted(lifted(mean_below), "value", doc))


def test_every_check_has_a_planted_method_that_breaks_it():
    assert set(PLANTED) == set(credit_checks.CHECKS)


@pytest.mark.parametrize(
    ("function", "kind"),
    [(lifted(mean_below), "value"), (lifted(advantage, "advantage"), "advantage")],
)
def test_a_sound_method_passes_every_check(function, kind):
    method = planted(function, kind)
    for check in credit_checks.due(method):
        credit_checks.CHECKS[check](method)


def test_exemptions_leave_out_their_check_and_no_other():
    method = replace(planted(outcome_broadcast, "advantage"), exempt={"longer_is_not_more": "a reason"})
    assert set(credit_checks.CHECKS) - set(credit_checks.due(method)) == {"longer_is_not_more"}
