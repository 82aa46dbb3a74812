"""The scaling study: what each rival is taught and charged, what a table can learn, what the curves say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcredit.core.tree import first_error
from stepcredit.core.types import Estimate, Step
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._fit import Budget, Teaching
from stepcredit.recipes._lookup import fit_lookup
from stepcredit.recipes._pools import until_first_error
from stepcredit.recipes._scaling_implicit import Implicit
from stepcredit.recipes._scaling_rivals import DECLARED, LOOKED_UP, RIVALS, rival_in
from stepcredit.recipes._scaling_run import _by_labels, _needed, _row, needed
from stepcredit.recipes._scaling_study import Cells, Network
from stepcredit.recipes._scaling_world import Setting, attempts_of, num_steps, recovery_rate, restarted
from stepcredit.recipes.scaling import scaling
from stepcredit.report import write_report

BUDGET = Budget(num_updates=150, batch_size=64, learning_rate=0.2)


def cells(out: Path, num: int = 480, **changes: float) -> Cells:
    return Cells(1, Setting(**changes), num, 6, "lookup", BUDGET, out)  # type: ignore[arg-type]


def test_a_smaller_study_sees_the_first_problems_of_a_larger_and_the_same_tests() -> None:
    small, large = attempts_of(Setting(), 4, 3, seed=5), attempts_of(Setting(), 8, 3, seed=5)
    assert [r.tree.problem.id for r in small.train] == [r.tree.problem.id for r in large.train[:4]]
    assert [r.tree.steps for r in small.test] == [r.tree.steps for r in large.test]
    assert {r.tree.problem.id for r in large.train}.isdisjoint(r.tree.problem.id for r in large.test)


def test_the_verifiers_noise_has_the_stated_rates_and_spares_the_tests() -> None:
    clean, noisy = (attempts_of(Setting(fp=fp, fn=fn), 200, 4, seed=2) for fp, fn in ((0.0, 0.0), (0.3, 0.1)))
    before, after = (
        np.concatenate([r.tree.reward_N[list(r.tree.leaves)] for r in side.train]) for side in (clean, noisy)
    )
    # 3,200 attempts: about 1,900 right and 1,300 wrong ones; four standard errors are under .03 and .051.
    assert abs(np.mean(after[before == 1] == 0) - 0.1) < 0.03 and abs(np.mean(after[before == 0] == 1) - 0.3) < 0.051
    assert [list(r.tree.outcomes) for r in clean.test] == [list(r.tree.outcomes) for r in noisy.test]


def test_zeros_decide_how_often_a_wrong_step_is_recovered() -> None:
    without, with_zeros = (
        recovery_rate(attempts_of(Setting(zero_share=z), 100, 1, seed=3).train)[0] for z in (0.0, 0.75)
    )
    # Without a zero a broken chain modulo 5 is right by luck alone (a fifth, less what systematic slips repeat).
    assert 0.05 < without < 0.25 and with_zeros > without + 0.1


def test_restarts_are_charged_and_end_within_the_budget() -> None:
    given = attempts_of(Setting(), 30, 1, seed=4).train
    budget = num_steps(given)
    records, spent = restarted(given, Setting(), "monte_carlo", budget, seed=4)
    assert 1 <= len(records) < len(given) and spent <= budget
    for record, old in zip(records, given, strict=False):
        assert len(record.tree.leaves) == 4 and record.tree.steps == old.tree.steps[: record.tree.num_nodes]
        credit = record.credits["monte_carlo"]
        inner = [n for n in range(1, record.tree.num_nodes) if n not in record.tree.leaves]
        # Four restarts a step: success rates are quarters; a leaf keeps its own outcome.
        assert {float(4 * credit.values_N[n]).is_integer() for n in inner} == {True}
        assert [credit.values_N[n] for n in record.tree.leaves] == [record.tree.reward_N[n] for n in record.tree.leaves]


def test_the_readings_of_restarts_agree_where_they_must() -> None:
    given = attempts_of(Setting(), 12, 1, seed=4).train
    of = {
        name: restarted(given, Setting(), name, num_steps(given), seed=4)
        for name in ("monte_carlo", "monte_carlo_hard", "relative_progress")
    }
    assert len({spent for _, spent in of.values()}) == 1  # the same restarts, read three ways
    for soft, hard, ratio in zip(*(records for records, _ in of.values()), strict=True):
        value_N, any_N = soft.credits["monte_carlo"].values_N, hard.credits["monte_carlo_hard"].values_N
        known_N = ~np.isnan(value_N)
        np.testing.assert_array_equal(any_N[known_N], value_N[known_N] > 0)
        label_N = ratio.credits["relative_progress"].values_N
        for leaf in soft.tree.leaves:
            labels = label_N[[n for n in soft.tree.path(leaf) if soft.tree.steps[n].sampled]]
            assert not (labels == 0)[:-1].any() or np.isnan(labels[int(np.argmax(labels == 0)) + 1 :]).all()


def test_labels_are_charged_by_step_and_stop_at_the_first_error(tmp_path: Path) -> None:
    own = cells(tmp_path)
    given = own.attempts.train
    records, spent = own._taught_with(RIVALS["oracle 10%"], given)
    labelled = [
        r
        for r in records
        for leaf in r.tree.leaves
        if (r.credits["oracle"].weight_N[list(r.tree.path(leaf))] > 0).any()
    ]
    assert len(labelled) == 48  # a tenth of 480 attempts
    assert spent["human_labels"] == sum(int((r.credits["oracle"].weight_N > 0).sum()) for r in records)
    for record in records:
        for leaf in record.tree.leaves:
            path = list(record.tree.path(leaf))
            value_S, weight_S = record.credits["oracle"].values_N[path], record.credits["oracle"].weight_N[path]
            if weight_S.any() and (at := first_error(value_S)) >= 0:
                assert not weight_S[at + 1 :].any()


def test_a_hybrid_is_charged_for_the_attempts_it_reads_and_broadcast_for_none(tmp_path: Path) -> None:
    own = cells(tmp_path)
    hybrid = own.result(RIVALS["hybrid 10%"], 480)
    truth = [r.credits["truth"].weight_N > 0 for r in own.attempts.train]
    share = hybrid.cost["human_labels"] / sum(int(one.sum()) for one in truth)
    assert 0.07 < share < 0.13
    plain = own.result(RIVALS["outcome_broadcast"], 480)
    assert plain.cost["human_labels"] == 0 and plain.cost["generated_steps"] == num_steps(own.attempts.train)
    assert hybrid.cost["first_forwarded_tokens"] > 0 and "first_forwarded_tokens" not in plain.cost


def test_a_cell_is_read_back_and_never_taught_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cells(tmp_path).result(RIVALS["latent_chain"], 160)
    again = cells(tmp_path)
    monkeypatch.setattr(Cells, "_run", lambda *_: pytest.fail("taught again"))
    assert again.result(RIVALS["latent_chain"], 160) == first and "attempts" not in again.__dict__


def test_data_that_cannot_teach_is_a_failure_with_its_reason_and_no_number(tmp_path: Path) -> None:
    rival = replace(RIVALS["oracle 0.1%"], name="nothing")
    own = cells(tmp_path, num=16, random_slip=0.0, systematic_slip=0.0)  # every step and every outcome is right
    found = own.result(rival, 16)
    assert "never differ" in found.failed and not found.estimates


def test_a_table_learns_the_labels_of_each_text_and_keeps_its_start_for_others() -> None:
    given = attempts_of(Setting(), 60, 4, seed=6)
    train = [until_first_error(record) for record in given.train]
    table, _ = fit_lookup(train, teaching=Teaching(credit="oracle", chain_labels=True), budget=BUDGET, seed=1)
    told: dict[str, float] = {}
    wrong = {
        step.text for r in given.train for n, step in enumerate(r.tree.steps) if r.credits["truth"].values_N[n] == 0
    }
    for record in given.train:
        for leaf in record.tree.leaves:
            (one,) = table.judge([(record.tree.problem, record.tree.solution(leaf))])
            told |= dict(zip((s.text for s in record.tree.solution(leaf)), one.local_scores_S, strict=True))
    seen = {step.text for r in train for n, step in enumerate(r.tree.steps) if r.credits["oracle"].weight_N[n] > 0}
    right = [text for text in told if text in seen and (told[text] < 0.5) == (text in wrong)]
    assert len(right) / len(seen & set(told)) > 0.95
    (unknown,) = table.judge([(given.train[0].tree.problem, (Step("never seen"),))])
    base = np.mean([o.reward for r in train for o in r.tree.outcomes if o is not None])
    # An unseen text has the head's start: the keep at which a mean attempt has the base rate.
    mean_steps = np.mean([len(r.tree.path(leaf)) for r in train for leaf in r.tree.leaves])
    assert abs(float(unknown.local_scores_S[0]) - base ** (1 / mean_steps)) < 1e-6


def test_the_told_chain_knows_luck_and_the_verifier() -> None:
    told = rival_in("latent_chain told", Setting(fp=0.3, fn=0.1)).teaching
    # Broken: by luck right (1/5) and not missed (.9), or wrong (4/5) and passed (.3).
    assert abs(told.fp - (0.2 * 0.9 + 0.8 * 0.3)) < 1e-12 and told.fn == 0.1
    assert rival_in("latent_chain", Setting(fp=0.3)).teaching.fp == 0.2


def test_needed_interpolates_by_the_logarithm_of_the_attempts() -> None:
    assert needed([100, 400], [0.5, 0.9], 0.7) == pytest.approx(200)  # half-way in F1 is half-way in log attempts
    assert needed([100, 400], [0.8, 0.9], 0.7) == 100 and needed([100, 400], [0.1, 0.2], 0.7) == float("inf")


@pytest.mark.slow
def test_the_quick_run_makes_a_page_and_names_are_checked(tmp_path: Path) -> None:
    run = scaling(size="quick", seeds=[1, 2], rivals=["latent_chain", "oracle 100%", "scan", "value_drop"], num_attempts=[160],
                  settings=["noise: fp 0.3"], out=str(tmp_path / "runs"))  # fmt: skip
    write_report(run, tmp_path / "page.html")
    names = {row["name"] for row in run["results"]}
    assert {"latent_chain/160/processbench_f1", "oracle 100%/160/step_auroc", "noise: fp 0.3/world/recovered"} <= names
    assert any(line.startswith("noise: fp 0.3:") for line in run["summary"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rivals": ["nobody"]}, "no rival nobody; there are: 'oracle 0.1%'"),
        ({"settings": ["mars"]}, "no setting 'mars'; there are: base"),
        ({"seeds": []}, "seeds is empty"),
        ({"num_attempts": [9]}, "num_attempts 9; allowed at size quick: multiples of 16 up to 480"),
        ({"num_attempts": [100]}, "num_attempts 100; allowed"),
        ({"rivals": ["implicit"]}, "'implicit' is a log-ratio of language models, which the lookup judge has not"),
    ],
)
def test_a_wrong_name_or_number_is_refused_before_anything_runs(
    wrong: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cells, "_run", lambda *_: pytest.fail("something ran"))
    with pytest.raises(ValueError, match=message):
        scaling(**{"size": "quick", "seeds": [1], "rivals": ["latent_chain"], "out": str(tmp_path), **wrong})


def test_a_single_seed_has_no_interval_and_two_fits_cost_their_sum() -> None:
    one = ArmResult(
        {"processbench_f1": Estimate(0.5, 0.1, 0.2, 9, "F1")},
        cost={"forwarded_tokens": 3.0, "first_forwarded_tokens": 4.0},
    )
    row = _row("value_drop", "label-free", [one])
    # Measured without resampling: the two bounds are not an interval.
    assert row["cells"]["processbench_f1"]["value"] == 0.5 and np.isnan(row["cells"]["processbench_f1"]["low"])
    assert row["cost"] == {"forwarded_tokens": 7.0}


def test_by_labelled_steps_a_line_runs_over_the_shares_of_one_number_of_attempts() -> None:
    def at(value: float, labels: float) -> list[ArmResult]:
        return [ArmResult({"processbench_f1": Estimate(value, 0, 1, 9, "F1")}, cost={"human_labels": labels})]

    found = {
        "oracle 1%": {800: at(0.2, 30.0)},
        "oracle 10%": {800: at(0.5, 300.0)},
        "latent_chain": {800: at(0.4, 0.0)},
    }
    (curve,) = _by_labels(found).values()
    assert curve["x"] == [30.0, 300.0] and curve["log"]
    assert [(line["name"], line["y"]) for line in curve["series"]] == [
        ("oracle, 800 attempts", [0.2, 0.5]), ("latent_chain, 800 attempts, no label", [0.4, 0.4])]  # fmt: skip
    assert _by_labels({"latent_chain": {800: at(0.4, 0.0)}}) == {}


def test_a_size_that_failed_is_no_zero_in_what_is_needed() -> None:
    half, failed = (
        ArmResult({"processbench_f1": Estimate(0.95, 0, 1, 9, "F1")}),
        ArmResult({}, failed="nothing to learn"),
    )
    assert "latent_chain 400" in _needed({"latent_chain": {100: [failed], 400: [half]}})[0]


def test_a_knob_that_is_wrong_is_raised_and_not_kept_as_a_result(tmp_path: Path) -> None:
    own = Cells(1, Setting(), 160, 4, "lookup", Budget(num_updates=1, batch_size=64), tmp_path)
    rival = replace(RIVALS[DECLARED], teaching=Teaching("latent_chain", credit="outcome_broadcast", label_updates=5))
    with pytest.raises(ValueError, match="label_updates is 5 of 1 updates"):
        own.result(rival, 160)
    assert not list(tmp_path.rglob("*.json"))


def test_cells_of_the_other_rivals_keep_their_names_whatever_an_implicit_reward_is_told(tmp_path: Path) -> None:
    found = set()
    for rate in (1e-3, 1e-4):
        own = network_cells(tmp_path, Implicit(learning_rate=rate))
        own.result(RIVALS["outcome_broadcast"], 32)
        own.result(RIVALS["implicit"], 32)
        found |= {path.name for path in own.folder.glob("*-32-*.json")}
    assert sum(name.startswith("outcome_broadcast") for name in found) == 1
    assert sum(name.startswith("implicit") for name in found) == 2  # a cell for each rate


def test_two_readings_of_an_implicit_reward_share_its_training_and_its_picks(tmp_path: Path) -> None:
    own = network_cells(tmp_path, Implicit(learning_rate=3e-3))
    value, step = (own.result(RIVALS[name], 32) for name in ("implicit", "implicit, by step"))
    assert len(own._tuned) == 1 and not value.failed
    # Both rank attempts by the sum of the rewards; of steps they say different things.
    assert value.estimates["best_of_32"] == step.estimates["best_of_32"] and value.told != step.told
    # Its cost is what training forwarded and one pass of the reference over the attempts.
    assert value.cost["forwarded_tokens"] == own._tuned[32].forwarded_tokens and value.cost["human_labels"] == 0
    own.forget()
    assert not own._tuned


def test_an_implicit_reward_starts_where_the_other_network_judges_start(tmp_path: Path) -> None:
    own = network_cells(tmp_path, Implicit(learning_rate=1e-12))
    found = own.result(RIVALS["implicit"], 32)
    # Hardly moved, every log-ratio is near 0, and every step is given one half.
    assert {score for told in found.told for score in told} == {0.5}


def test_a_table_is_no_implicit_reward() -> None:
    assert set(RIVALS) - set(LOOKED_UP) == {"implicit", "implicit, by step"}


def network_cells(out: Path, implicit: Implicit) -> Cells:
    budget = Budget(num_updates=3, batch_size=8, learning_rate=1e-3, max_tokens=256)
    return Cells(1, Setting(), 32, 3, "network", budget, out, Network(16, 1, 32, 2), implicit=implicit)
