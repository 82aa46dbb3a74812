"""Labels of rollouts: what each reading says of a tree by hand, what is charged, and a study that goes on where it stood."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.change_point import Beliefs, posterior
from stepcredit.core.restarts import attempts
from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Judgment, Outcome, Problem, Record, Step, Tree
from stepcredit.policy.tabular import tabular
from stepcredit.recipes import _rollout_labels_read as read
from stepcredit.recipes._rollout_labels_arms import ARMS, Labeller, broadcast
from stepcredit.recipes._rollout_labels_grow import Growers, Rollouts, afforded, cost_of, grown_within
from stepcredit.recipes._rollout_labels_study import Study
from stepcredit.recipes._rollout_labels_world import World, attempts_of, attempts_worth, first_errors, shares, writer
from stepcredit.recipes.math_shepherd import SIZES, math_shepherd
from stepcredit.recipes.omegaprm import omegaprm
from stepcredit.report import write_report
from stepcredit.tasks.chain import chain

NAN = float("nan")
RIGHT, WRONG = Outcome(reward=1.0, correct=True), Outcome(reward=0.0, correct=False)
ROOT = Path(__file__).resolve().parents[2]


def tree_of(wrong_restarts: list[list[int]], *, right_restarts: list[list[int]] | None = None) -> Tree:
    """A wrong attempt of three steps (nodes 1 to 3) and a right one (4 to 6), one-step restarts behind their inner steps."""
    problem = Problem("p", "?")
    base = star(problem, [[Step(f"{name}{n}") for n in range(3)] for name in "wr"], [WRONG, RIGHT])
    steps, parents, outcomes = list(base.steps), base.parent_N.tolist(), list(base.outcomes)
    assert base.group_N is not None
    groups = base.group_N.tolist()
    for first, given in ((1, wrong_restarts), (4, right_restarts or [])):
        for offset, rewards in enumerate(given):
            for reward in rewards:
                steps.append(Step("on"))
                parents.append(first + offset)
                outcomes.append(RIGHT if reward else WRONG)
                groups.append(len(groups))
    return Tree(problem, tuple(steps), np.array(parents), tuple(outcomes), group_N=np.array(groups))


def test_the_readings_of_a_tree_by_hand() -> None:
    # Behind the wrong attempt's steps 3 of 4 and 0 of 4 rollouts are right; half of the two attempts are.
    tree = tree_of([[1, 1, 1, 0], [0, 0, 0, 0]], right_restarts=[[1, 1, 1, 1], [0, 0, 0, 0]])
    assert read.hard(tree) == {3: 1, 6: 1}  # all rollouts of the right attempt's second step fail: called wrong
    assert read.hard_where_wrong(tree) == {3: 1, 6: -1}
    assert read.success_rate(tree) == 0.5
    assert read.soft(tree) == {3: 1, 6: -1}  # drops -.25, .75, 0
    assert read.states(tree) == {3: 1, 6: -1}
    assert read.soft(tree_of([[1, 0, 0, 0], [1, 0, 0, 0]])) == {3: 0, 6: -1}  # drops .25, 0, .25: the earliest


def test_a_state_that_nobody_asked_decides_nothing() -> None:
    asked = tree_of([[1, 0], []])  # sound after the first step; the second is unknown, the last is wrong
    assert read.states(asked) == {3: None, 6: -1}
    assert read.states(tree_of([[], [0, 1]])) == {3: 2, 6: -1}  # sound after the second: so after the first
    assert read.hard(asked)[3] is None  # an unknown value stands before the first zero


def test_hard_labels_end_at_the_first_error() -> None:
    tree = tree_of([[1, 1], [0, 0]])
    credit = read.cut(read.hard_labels(tree, read.hard_where_wrong(tree)), 7)
    np.testing.assert_equal(credit.values_N, [NAN, 1, 0, NAN, 1, 1, 1])
    undecided = read.hard_labels(tree, {3: None, 6: -1})
    assert np.isnan(undecided.values_N[1:4]).all()


def test_soft_labels_are_success_rates_up_to_the_first_zero() -> None:
    tree = tree_of([[1, 0], [0, 0]], right_restarts=[[1, 1], [1, 0]])
    np.testing.assert_equal(read.cut(read.soft_labels(tree), 7).values_N, [NAN, 0.5, 0, NAN, 1, 0.5, 1])


def test_searched_states_are_labelled_and_each_counts_once() -> None:
    tree = tree_of([[1, 0], [0, 0]])
    credit = read.tree_labels(tree)
    # Restarts of node 1: right (7) unsearched, wrong (8) one step behind a sound state: its error is decided. Those of the
    # broken node 2 (9, 10) stand behind an error.
    np.testing.assert_equal(credit.values_N, [NAN, 1, 0, NAN, 1, 1, 1, NAN, 0, NAN, NAN])
    assert credit.weight_N[1] == pytest.approx(1 / 5)  # five paths end below it


def test_the_chains_labels_are_conditional_on_a_sound_beginning() -> None:
    tree = tree_of([[1], [0]])
    value_N = np.full(tree.num_nodes, NAN)
    value_N[1:7] = [0.8, 0.2, 0.0, 1, 1, 1]
    credit = read.chain_labels(tree, value_N)
    np.testing.assert_allclose(credit.values_N[1:7], [0.8, 0.25, 0.0, 1, 1, 1])
    np.testing.assert_allclose(credit.weight_N[1:7], [1, 0.8, 0.2, 1, 1, 1])
    assert read.posterior(tree, value_N) == {3: 1, 6: -1}  # falls .2, .6, .2
    # The posterior's most likely place is where its values fall most.
    place_S = posterior([1, 0, 0], [1, 1, 0], Beliefs((1 / 3,) * 3, 1, 1))
    assert int(np.argmax(place_S)) == int(np.argmax(-np.diff(1 - np.cumsum(place_S), prepend=1.0)))


def test_scores_by_hand() -> None:
    found = read.scores([0, None, -1, 1], [0, 2, -1, -1])
    assert found == {"label_error_accuracy": 0.5, "label_sound_accuracy": 0.5, "label_f1": 0.5}


KNOBS = {"modulus": 11, "random_slip": 0.1, "num_slips": 0}
TASK = chain(min_ops=3, max_ops=4, zero_share=0.0, **KNOBS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def given() -> list[Record]:
    policy = tabular(**KNOBS)  # type: ignore[arg-type]
    return attempts_of(TASK, TASK.problems(40, np.random.default_rng(3)), policy, 6, 1, "test")


def growers(rollouts: Rollouts = Rollouts(4, 4)) -> Growers:  # noqa: B008
    return Growers(TASK, tabular(**KNOBS), 1, rollouts, 80)  # type: ignore[arg-type]


def test_rollouts_of_every_step_cost_all_that_is_left_of_it(given: list[Record]) -> None:
    """A line is a token here: K (n - 1 + n - 2 + .. + 1) for an attempt of n lines."""
    for alone in (False, True):
        trees = [record.tree for record in given]
        for record, tree in zip(given, growers().math_shepherd(wrong_alone=alone)(trees, 0), strict=True):
            reward_N = record.tree.reward_N
            lengths = [len(record.tree.path(leaf)) for leaf in record.tree.leaves if not alone or reward_N[leaf] <= 0.5]
            due = sum(4 * n * (n - 1) // 2 for n in lengths)
            assert tree.cost.generated_tokens - record.tree.cost.generated_tokens == due
            assert not np.isnan(tree.reward_N[list(tree.leaves)]).any() and attempts(tree) == list(record.tree.leaves)


def test_a_budget_is_kept_and_a_smaller_one_sees_the_beginning(given: list[Record]) -> None:
    grow = growers().math_shepherd()
    large = grown_within(given, 1500, grow, first=2)
    paid = [tree.cost.generated_tokens for _, tree in large]
    assert 2 < len(large) < len(given) and sum(paid) <= 1500
    assert [record for record, _ in large] == given[: len(large)]
    small = afforded(large, 700)
    assert [tree for _, tree in small] == [tree for _, tree in large[: len(small)]]
    assert sum(paid[: len(small)]) <= 700 < sum(paid[: len(small) + 1])
    assert len(afforded(large, 1)) == 1  # one problem at least
    cost = cost_of([tree for _, tree in large])
    assert cost.generated_tokens == sum(paid)
    assert cost.verifier_calls == sum(len(tree.leaves) for _, tree in large)


def test_attempts_alone_are_drawn_until_the_tokens_are_spent() -> None:
    problems, policy = TASK.problems(40, np.random.default_rng(3)), tabular(**KNOBS)  # type: ignore[arg-type]
    found = attempts_worth(TASK, problems, policy, 6, 300, 1, "train", block=4)
    paid = [record.tree.cost.generated_tokens for record in found]
    assert sum(paid) <= 300 < sum(paid) + 6 * 4
    with pytest.raises(ValueError, match=r"40 problems of 6 attempts are used up after \d+ of 100000 tokens"):
        attempts_worth(TASK, problems, policy, 6, 100_000, 1, "train")


@pytest.mark.parametrize("name", list(ARMS))
def test_every_arm_labels_within_its_tokens(given: list[Record], name: str) -> None:
    own = Labeller(given, growers(), 2000, lambda records: chain_judge)
    made = own.labelled(name, 1000)
    assert made.cost.generated_tokens <= 1000
    assert len(made.attempts) == len(made.places) == len(made.records)
    for record, places in zip(made.attempts, made.places, strict=True):
        assert list(places) == list(record.tree.leaves)
    if name not in ("outcome_broadcast", "latent_chain"):
        credits = [record.credits["oracle" if name == "oracle" else read.LABELS] for record in made.records]
        values = np.concatenate([credit.values_N[credit.weight_N > 0] for credit in credits])
        assert values.size and values.min() == 0 and values.max() == 1
    if name == "oracle":
        assert made.places == [first_errors(record) for record in made.attempts]
    if name in ("oracle", "outcome_broadcast", "latent_chain"):
        assert made.cost == cost_of([record.tree for record in made.attempts])


def chain_judge(pairs):
    """Calls every step alike."""
    return [Judgment(0.5, np.full(len(steps), 0.5), {"keep": np.full(len(steps), 0.9), "fix": np.full(len(steps), 0.05)})
            for _, steps in pairs]  # fmt: skip


def test_methods_find_first_errors_where_values_are_exact(given: list[Record]) -> None:
    """Twelve rollouts a step, and a test at a rate of .02, in a world where one broken chain in a hundred recovers."""
    mixed = [r for r in given if 0 < np.nansum(r.tree.reward_N) < 6]
    leaves = [next(leaf for leaf in r.tree.leaves if r.tree.reward_N[leaf] == 0) for r in mixed]
    truth = [first_errors(r)[leaf] for r, leaf in zip(mixed, leaves, strict=True)]
    rollouts = Rollouts(12, 4, error_rate=0.02, recovery=0.01, profile="chain")
    found = Labeller(given, growers(rollouts), 1, lambda records: chain_judge).same(mixed, leaves, chain_judge)
    right = {
        name: np.mean([one == due for one, due in zip(said, truth, strict=True)]) for name, (said, _) in found.items()
    }
    tokens = {name: paid for name, (_, paid) in found.items()}
    assert min(right[name] for name in ("math_shepherd_hard", "omegaprm", "adaptive", "adaptive_judged")) > 0.8
    assert right["first step"] < 0.6 and right["last step"] < 0.6
    assert tokens["adaptive"] < tokens["omegaprm"] < tokens["math_shepherd_hard"] == tokens["math_shepherd_soft"]
    assert tokens["latent_chain"] == tokens["first step"] == 0


def test_outcome_broadcast_blames_the_first_step_of_a_wrong_attempt() -> None:
    assert broadcast(tree_of([])) == {3: 0, 6: -1}


def test_what_attempts_are_like_by_hand() -> None:
    """1 +1 +1 modulo 11: the second attempt slips and recovers, the third slips at its end, the fourth stays off."""
    task = chain(modulus=11, zero_share=0.0)
    problem = Problem("p", "1 +1 +1", "3", ("1+1=2", "2+1=3"))
    texts = [["1+1=2", "2+1=3"], ["1+1=5", "5+1=3"], ["1+1=2", "2+1=4"], ["1+1=5", "5+1=6"]]
    tree = star(problem, [[Step(text) for text in own] for own in texts])
    outcomes = task.verify(problem, [tree.solution(leaf) for leaf in tree.leaves])
    tree = replace(
        tree, outcomes=tuple(dict(zip(tree.leaves, outcomes, strict=True)).get(n) for n in range(tree.num_nodes))
    )
    truth = np.full(tree.num_nodes, NAN)
    truth[1:] = np.concatenate([task.label_steps(problem, tree.solution(leaf)) for leaf in tree.leaves])
    record = Record(tree, {"truth": Credit(truth, "label", np.isfinite(truth).astype(float), "oracle")})
    assert list(first_errors(record).values()) == [-1, 0, 1, 0]
    # Right: 1 and 2. From a right number: 1 1 | 0 | 1 0 | 0, three slips of six. From a wrong one: yes, no.
    assert shares([record]) == {"right": 0.5, "slip": 0.5, "recovery": 0.5, "kept": pytest.approx(1 / 3)}


SOME = ("oracle", "latent_chain", "math_shepherd_hard", "adaptive_judged")


@pytest.fixture(scope="module")
def quick(one_thread, tmp_path_factory):
    out = tmp_path_factory.mktemp("rollout_labels")
    return out, omegaprm(size="quick", seeds=[1], out=str(out), arms=SOME)


def test_a_run_holds_every_arm_and_budget_and_becomes_a_page(quick, tmp_path: Path) -> None:
    _, run = quick
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    for name in SOME:
        for budget in SIZES["quick"].budgets:
            cost = rows[f"{name}, {budget:,} tokens"]["cost"]
            assert cost["generated_tokens"] > 0 and cost["verifier_calls"] >= cost["attempts"] > 0
            if cost["attempts"] > SIZES["quick"].num_attempts:  # one problem is labelled whatever it costs
                assert cost["generated_tokens"] <= budget
    assert {"null: majority", "same attempts: adaptive", "same attempts: last step"} <= set(rows)
    assert rows["same attempts: latent_chain"]["cells"]["restart_tokens_an_attempt"]["value"] == 0
    write_report(run, tmp_path / "report.html")
    assert "OmegaPRM" in (tmp_path / "report.html").read_text(encoding="utf-8")
    json.dumps(run)


def test_what_is_finished_is_not_made_again(quick, monkeypatch) -> None:
    out, run = quick

    def never(self):
        raise AssertionError("sampled again")

    monkeypatch.setattr(Study, "policy", property(never))
    again = omegaprm(size="quick", seeds=[1], out=str(out), arms=SOME)
    assert again["results"] == run["results"] or json.dumps(again["results"]) == json.dumps(run["results"])


def test_one_missing_cell_is_made_as_it_was(quick) -> None:
    out, _ = quick
    (path,) = out.glob("cells/*/1/adaptive_judged-600.json")
    before = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    omegaprm(size="quick", seeds=[1], out=str(out), arms=SOME)
    after = json.loads(path.read_text(encoding="utf-8"))
    assert json.dumps(after["adaptive_judged"]["estimates"]) == json.dumps(before["adaptive_judged"]["estimates"])


def test_both_recipes_share_their_cells_and_the_claims_read_them(quick, monkeypatch) -> None:
    import importlib

    out, _ = quick
    monkeypatch.syspath_prepend(str(ROOT / "claims"))
    claims = importlib.import_module("rollout_labels")
    made = math_shepherd(size="quick", seeds=[1], out=str(out), arms=["math_shepherd_wrong"], budgets=[600])
    assert "math_shepherd_wrong, 600 tokens" in {row["arm"] for row in made["table"]["rows"]}
    for claim in claims.CLAIMS:
        estimate, _ = claims.measure(replace(claim, seeds=(1,)), "quick", str(out))
        assert estimate.n == 1
    (tokens,) = [claim for claim in claims.CLAIMS if claim.slug == "eighth_of_the_tokens"]
    estimate, _ = claims.measure(replace(tokens, seeds=(1,)), "quick", str(out))
    rows = {row["arm"]: row["cells"] for row in made["table"]["rows"]}
    shepherd, ours = (rows[f"same attempts: {name}"]["restart_tokens_an_attempt"]["value"]
                      for name in ("math_shepherd_hard", "adaptive_loose"))  # fmt: skip
    assert estimate.value == pytest.approx(shepherd / 8 - ours)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": "huge"}, r"size 'huge', 1 seeds; allowed: quick, small; one seed or more"),
        ({"seeds": []}, r"0 seeds"),
        ({"seeds": [1, 1]}, r"seeds \[1, 1\].*named twice"),
        ({"arms": []}, r"arms is empty"),
        ({"arms": ["adaptive", "magic"]}, r"no arm 'magic'; there are: oracle, "),
        ({"budgets": [3]}, r"no budget 3; size quick has: 600, 2000"),
    ],
)
def test_a_wrong_setting_is_named(given, said, tmp_path: Path) -> None:
    knobs = {"size": "quick", "seeds": [1], "out": str(tmp_path), **given}
    for recipe in (math_shepherd, omegaprm):
        with pytest.raises(ValueError, match=said):
            recipe(**knobs)


def test_the_worlds_knobs_reach_the_task() -> None:
    task = World(modulus=7, min_ops=2, max_ops=2, zero_share=0.0).task
    problems = task.problems(20, np.random.default_rng(0))
    assert {len(problem.reference or ()) for problem in problems} == {2}
    assert all(problem.meta["modulus"] == 7 for problem in problems)


def test_a_model_writes_what_it_learned_and_tokens_are_its_own(one_thread, tmp_path: Path) -> None:
    """Three updates teach nothing: most attempts cannot be read, and stay unscored; all that was sampled is paid."""
    world = World(3, 2, 2, num_slips=0, num_demonstrations=20, num_updates=3, hidden=16, layers=1)
    problems = world.task.problems(24, np.random.default_rng(1))
    policy = writer(world, problems[:20], 1, tmp_path)
    records = attempts_of(world.task, problems[20:], policy, 3, 1, "test")
    assert [len(record.tree.leaves) for record in records] == [3, 3, 3, 3]
    for record in records:
        sampled = sum(len(step.token_ids or ()) for step in record.tree.steps)
        assert record.tree.cost.generated_tokens == sampled > 0
        assert {outcome.verifier for outcome in record.tree.outcomes if outcome} <= {"chain", "rollout"}
    assert shares(records)["right"] < 1
