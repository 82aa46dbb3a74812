"""B5 on a tiny world: what is counted is what was grown, what is read on the way is what a run of that rate would say."""

from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.types import Cost

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture(scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import b5_labels

        return b5_labels.world("lucky", 4, 4, 1)


def test_the_attempts_are_wrong_ones_of_mixed_problems_and_truth_is_the_oracles(tiny):
    from stepcredit.tasks.chain import chain

    task = chain(modulus=2, zero_share=0.0, random_slip=0.05, num_slips=0, min_ops=4, max_ops=4)
    for tree, leaf, truth in zip(tiny.trees, tiny.leaves, tiny.truth, strict=True):
        rewards = [tree.reward_N[other] for other in tree.leaves]
        assert len(rewards) == 16 and tree.reward_N[leaf] == 0 and max(rewards) == 1
        assert truth == first_error(task.label_steps(tree.problem, tree.solution(leaf))) >= 0
        assert isinstance(tree.cost, Cost)


def test_rollouts_at_every_step_cost_all_that_is_left_of_every_prefix(tiny):
    import b5_labels

    dials = b5_labels.every_step(tiny, 1)
    for num, (found, tokens) in dials["math_shepherd"].items():
        assert tokens == [num * (3 + 2 + 1)] * 4 == dials["math_shepherd_soft"][num][1] and len(found) == 4


def test_a_rate_read_on_the_way_is_a_run_of_that_rate(tiny):
    """The smallest rate's run decides every larger one on the way; alone, with the same draws, that run is its beginning."""
    import b5_labels

    from stepcredit.rollout.adaptive import adaptive, beliefs_of, placed

    knobs = {"recovery": 0.05, "profile": "chain"}
    dial = b5_labels.tested(tiny, 1, None, **knobs)
    for place in range(len(tiny.trees)):
        costs = [tokens[place] for _, tokens in dial.values()]
        assert costs == sorted(costs)
    # One attempt alone asks the policy with draws of its own, so that both runs draw alike.
    one = b5_labels.World("lucky", tiny.policy, tiny.verify, tiny.trees[:1], tiny.leaves[:1], tiny.truth[:1], [True])
    alone = b5_labels.tested(one, 1, None, **knobs)
    for rate in (0.4, 0.1, 0.01):
        (grown,) = adaptive(one.trees, policy=one.policy, verify=one.verify, error_rate=rate, leaves=[one.leaves],
                            rng=rng(1, "labels", "lucky", "adaptive", "None"), **knobs)  # fmt: skip
        place_S = placed(grown, one.leaves[0], beliefs_of(one.trees[0], one.leaves[0], **knobs))
        spent = grown.cost.generated_tokens - one.trees[0].cost.generated_tokens
        assert alone[rate] == ([int(np.argmax(place_S)) == one.truth[0]], [spent])


def test_the_cheapest_setting_that_is_right_often_enough_by_hand():
    import b5_labels

    # Two attempts. First method: settings at 1/2 for 10 tokens, at 1 for 30; second: at 1 for 8, at 1/2 for 4.
    dials = {
        "a": {1: ([True, False], [5, 15]), 2: ([True, True], [30, 30])},
        "b": {1: ([True, True], [8, 8]), 2: ([True, False], [4, 4])},
    }
    total = b5_labels.table(dials).sum(axis=0)
    assert [float(b5_labels.reached(dials, "a", target, total, 2)) for target in (0.5, 0.9)] == [10, 30]
    assert [float(b5_labels.reached(dials, "b", target, total, 2)) for target in (0.5, 0.9)] == [4, 8]
    assert np.isnan(b5_labels.reached({"a": {1: dials["a"][1]}}, "a", 0.9, total, 2))
    assert float(b5_labels.tokens_at(dials, "b", 2, 0.5, total, 2)) == 4
    # One of two found is not nine in ten: no ratio to what misses the target.
    assert np.isnan(b5_labels.tokens_at(dials, "b", 2, 0.9, total, 2))
    assert b5_labels.tokens_at(dials, "a", 1, 0.9, np.stack([total, total + 1]), 2).tolist()[1] == 10.5


def test_the_soft_rule_drops_from_the_success_rate_of_the_given_attempts(tiny, monkeypatch):
    import b5_labels

    (one,) = {b5_labels.success_rate(tree) for tree in tiny.trees[:1]}
    assert one == np.mean([tiny.trees[0].reward_N[leaf] for leaf in tiny.trees[0].leaves]) and 0 < one < 1
    # Half of the rollouts come right behind every step: from 1 the first step drops by 1/2, from 1/2 only the last does.
    own = b5_labels.World("lucky", tiny.policy, tiny.verify, tiny.trees[:1], tiny.leaves[:1], [0], [True])
    for prompt, found in ((0.5, False), (1.0, True)):
        monkeypatch.setattr(b5_labels, "success_rate", lambda tree, prompt=prompt: prompt)
        half = [(True, 1)] * 8 + [(False, 1)] * 8
        monkeypatch.setattr(b5_labels, "behind", lambda tree, node, half=half: half[::2])
        dial = b5_labels.every_step(own, 1)["math_shepherd_soft"]
        assert dial[8][0] == [found]


def test_a_simulated_judge_points_where_it_is_said_to(tiny):
    import b5_labels

    sure = b5_labels.told(tiny, 1, 1.0)
    for tree, leaf, truth in zip(tiny.trees, tiny.leaves, tiny.truth, strict=True):
        (judgment,) = sure([(tree.problem, tree.solution(leaf))])
        fall_S = -np.diff(judgment.step_scores_S, prepend=1.0)
        assert int(np.argmax(fall_S)) == truth and fall_S.max() == pytest.approx(0.5 + 0.5 / 4)


def test_a_run_is_deterministic_and_names_what_is_never_reached():
    import b5_labels

    first, about = b5_labels.run(4, [("lucky", 3)], seed=2)
    again, _ = b5_labels.run(4, [("lucky", 3)], seed=2)
    assert first == again and all(np.isfinite(one["value"]) for one in first)
    names = {one["name"] for one in first}
    missing = {name.replace(" ", "_") for name in about["never_reached"]}
    for method in ("math_shepherd", "math_shepherd_soft", "omegaprm", "adaptive", "adaptive_judged", "adaptive_misled"):
        for target in (90, 95):
            name = f"lucky_3_{method}_tokens_{target}"
            assert (f"b5_{name}" in names) != (name in missing)


def test_a_world_of_a_model_is_measured_by_tokens_without_a_ceiling_and_with_a_taught_judge(monkeypatch):
    """The demonstrator stands in for the model: a world of 0 updates."""
    import _labels_lm
    import b5_labels

    from stepcredit.recipes._fit import Budget
    from stepcredit.recipes._rollout_labels_world import World

    exact = World(7, random_slip=0.1, num_slips=0, num_demonstrations=1, num_updates=0)
    monkeypatch.setitem(_labels_lm.LM_WORLDS, "lm_rare", exact)
    monkeypatch.setattr(_labels_lm, "NUM_JUDGED", 8)
    monkeypatch.setattr(_labels_lm, "BUDGET", Budget(num_updates=20, batch_size=64, learning_rate=0.1))
    own = _labels_lm.lm_world("lm_rare", 4, 3, 2)
    for tree, leaf, truth in zip(own.trees, own.leaves, own.truth, strict=True):
        assert tree.reward_N[leaf] == 0 and np.nansum(tree.reward_N) > 0 and 0 <= truth < 3
    assert own.ceiling == [] and 0.05 < own.shares["slip"] < 0.15
    monkeypatch.setattr(b5_labels, "lm_world", lambda name, num, num_ops, seed: own)
    rows, about = b5_labels.run(4, [("lm_rare", 3)], seed=2)
    names = {one["name"] for one in rows}
    assert {"b5_lm_rare_3_adaptive_judged_best", "b5_lm_rare_3_math_shepherd_soft_best"} <= names
    assert not [name for name in names if "ceiling" in name or "misled" in name]
    assert about["language_models"]["lm_rare_3"]["slip"] == round(own.shares["slip"], 4)


def test_tokens_are_counted_where_a_policy_tells_them_and_lines_where_not():
    import b5_labels

    from stepcredit.core.tree import star
    from stepcredit.core.types import Outcome, Problem, Step, Tree

    base = star(Problem("p", "?"), [[Step("a"), Step("b")]], [Outcome(0.0, False)])
    steps = (*base.steps, Step("c", token_ids=(1, 2, 3)), Step("d", token_ids=(4,)), Step("e"))
    right = Outcome(1.0, True)
    tree = Tree(base.problem, steps, np.array([-1, 0, 1, 1, 3, 1]), (*base.outcomes, None, right, Outcome(0.0, False)),
                group_N=np.array([0, 0, 0, 1, 1, 2]))  # fmt: skip
    assert b5_labels.behind(tree, 1) == [(True, 4), (False, 1)]
