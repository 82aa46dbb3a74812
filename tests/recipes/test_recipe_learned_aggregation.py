"""learned_aggregation: nested choice of fixed rules against weights learned from outcomes, on pools of attempts."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.evaluate.curves import majority_at, pick_probability
from stepcredit.recipes._aggregation_fit import Member, choose_member, fit, log_likelihood, of, teach, weights
from stepcredit.recipes._aggregation_fixed import choose, picks, rule_worth, rules_of
from stepcredit.recipes._aggregation_learners import learners, main_columns, main_menu
from stepcredit.recipes._aggregation_nested import FIXED, MAIN, Plan, folds, groups_of, study
from stepcredit.recipes._aggregation_rows import Rows, drawn, draws, logit, rows_of, worth
from stepcredit.recipes._bon32 import AGGREGATIONS, Pools, read_pools
from stepcredit.recipes.learned_aggregation import learned_aggregation
from stepcredit.report import write_report

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEPCREDIT_DATA") or ROOT / ".." / "shared" / "data")
REAL = DATA / "bon32_pools"


def write_pools(folder, num_problems=30, size=8, name="toy", judges=("fair", "blind"), seed=0):
    """`fair` scores right attempts near .8 and wrong ones near .4, `blind` all alike. Same files every time."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    pools, scores = [], {judge: [] for judge in judges}
    for problem in range(num_problems):
        candidates, of = [], {judge: [] for judge in judges}
        for i in range(size):
            right = bool(rng.random() < 0.5)
            steps = int(rng.integers(2, 4))
            said = "7" if right else str(rng.integers(3))
            candidates.append(
                {"i": i, "steps": ["s"] * steps, "extracted_answer": said, "correct": right, "num_tokens": 10 * steps}
            )
            for judge in judges:
                middle = (0.8 if right else 0.4) if judge == "fair" else 0.5
                of[judge].append(np.clip(middle + rng.normal(0, 0.15, steps), 0.01, 0.99).round(4).tolist())
        pools.append({"problem_id": f"p{problem}", "candidates": candidates})
        for judge in judges:
            scores[judge].append({"problem_id": f"p{problem}", "step_scores": of[judge]})
    for stem, rows in {name: pools, **{f"prm_scores_{j}_{name}": of for j, of in scores.items()}}.items():
        with gzip.open(folder / f"{stem}.dev.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def pools_of(answer_PG, right_PG, score_PGJ):
    """Pools whose aggregations all agree: attempts of one step."""
    score = np.asarray(score_PGJ, dtype=float)
    answer = np.asarray(answer_PG)
    return Pools(
        "toy", tuple(f"p{i}" for i in range(len(answer))), tuple(f"j{j}" for j in range(score.shape[2])), answer,
        np.asarray(right_PG, dtype=float), np.zeros((*answer.shape, 2)), np.repeat(score[..., None], 5, axis=3),
    )  # fmt: skip


def everything(pools):
    return draws(pools, pools.right_PG.shape[1], 1, np.random.default_rng(0))


QUICK = {"num_repeats": 2, "num_folds": 3, "num_inner": 2, "sizes": (4,), "num_draws": 3, "penalties": (1.0,),
         "curve": (6,), "num_curve_repeats": 1, "num_resamples": 50, "sets": ("toy",)}  # fmt: skip


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    folder = write_pools(tmp_path_factory.mktemp("pools"))
    return folder, learned_aggregation(path=str(folder), **QUICK)


def test_the_run_is_complete_and_becomes_a_page(small_run, tmp_path):
    _, run = small_run
    rows = {row["name"]: row for row in run["results"]}
    arms = [row["arm"] for row in run["table"]["rows"]]
    assert arms[:5] == ["learned", "rank sum", "stacked rules", "logistic", "boosted trees"]
    assert {"fixed choice", "best of N by min", "weighted majority", "majority", "random", "pass@N"} <= set(arms)
    assert run["table"]["columns"] == ["toy, N = 4", "toy, N = 8"]
    assert all({"name", "value", "low", "high", "n", "unit", "control"} == set(row) for row in run["results"])
    assert all(rows[f"toy, N = 8: {arm}"]["n"] == 30 for arm in arms)
    gap = rows["toy, N = 8: learned minus fixed choice"]
    assert gap["value"] == pytest.approx(
        rows["toy, N = 8: learned"]["value"] - rows["toy, N = 8: fixed choice"]["value"]
    )
    assert gap["control"] == "fixed choice" and gap["low"] <= gap["value"] <= gap["high"]
    assert rows["toy, N = 8: learned"]["value"] > rows["toy, N = 8: random"]["value"] + 0.2
    assert rows["toy, N = 8: pass@N"]["value"] >= rows["toy, N = 8: learned"]["value"]
    assert [curve["x"] for curve in run["curves"].values()] == [[4, 8], [6, 20]]  # 20 of 30 are taught on in 3 folds
    assert run["expectation"].startswith("From prototypes") and json.loads(json.dumps(run, allow_nan=False))
    write_report(run, tmp_path / "report.html")


def test_same_seed_same_numbers(small_run):
    folder, run = small_run
    again = learned_aggregation(path=str(folder), **QUICK)
    assert again["results"] == run["results"] and again["diagnostics"] == run["diagnostics"]


def test_what_is_held_out_never_teaches(tmp_path):
    """Turning every outcome of one fold over leaves what is picked there unchanged: worths are complements.

    The judges say nothing, so that whatever teaches moves the picks.
    """
    pools = read_pools(write_pools(tmp_path / "pools", judges=("blind", "coin", "dice")), "toy")
    plan = Plan(num_repeats=1, num_folds=3, num_inner=2, sizes=(4,), num_draws=2, curve=(), num_curve_repeats=0)
    held_P = folds(30, 3, plan.seed, 0) == 0
    turned = Pools(**{**vars(pools), "right_PG": np.where(held_P[:, None], 1 - pools.right_PG, pools.right_PG)})
    before, after = study(pools, plan), study(turned, plan)
    for arm, value_SP in before.worth.items():
        assert np.allclose(value_SP[0, held_P] + after.worth[arm][0, held_P], 1), arm


def test_fixed_rules_pick_as_the_package_does():
    """Best-of-N and majorities agree with `evaluate.curves` on random pools with ties."""
    rng = np.random.default_rng(0)
    answer, right = rng.integers(0, 3, (20, 6)), rng.integers(0, 2, (20, 6)).astype(float)
    score = rng.integers(0, 4, (20, 6, 1)) / 4
    score[0], answer[0] = 0, [0, 0, 1, 1, 1, 1]  # no weight at all, and answer 2 is not there
    pools = pools_of(answer, right, score)
    worth_RP = rule_worth(pools, everything(pools))
    for row, rule in zip(worth_RP, rules_of(pools), strict=True):
        for p in range(20):
            score_G, votes = score[p, :, 0], [str(a) for a in answer[p]]
            weight = None if rule.how == "majority" else score_G
            expected = (
                float(pick_probability(score_G, 6) @ right[p])
                if rule.how == "best of N"
                else majority_at(votes, right[p], 6, rng=rng, weight_G=weight)
            )
            assert row[p] == pytest.approx(expected), (rule, p)
    assert np.allclose(picks(pools, everything(pools)[0]).sum(axis=1), 1)


def test_the_best_rule_is_chosen_and_equal_ones_share():
    assert choose(np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])).tolist() == [0, 1, 0]
    assert choose(np.array([[0.0, 1.0], [1.0, 0.0]])).tolist() == [0.5, 0.5]


def test_rows_pool_the_attempts_of_an_answer():
    """Answer 0: scores 1/2 and 4/5, logits 0 and log 4. Mean log 2, max log 4, odds log 5/2, sum 1.3; count 2."""
    pools = pools_of([[0, 1, 0]], [[1, 0, 0]], [[[0.5], [0.2], [0.8]]])
    draw = everything(pools)
    value = drawn(logit(pools.score_PGJA[..., :1, 0]), draw)
    plain = drawn(pools.score_PGJA[..., :1, 0], draw)
    rows = rows_of(pools, draw, [(value, "mean"), (value, "max"), (value, "odds"), (plain, "sum")])
    assert np.allclose(rows.feature_RF[0], [np.log(2), np.log(4), np.log(5 / 2), 1.3, np.log(2)])
    assert np.allclose(rows.feature_RF[1], [-np.log(4)] * 3 + [0.2, 0])
    assert rows.right_R.tolist() == [0.5, 0] and rows.start_B.tolist() == [0] and rows.problem_R.tolist() == [0, 0]
    single = rows_of(pools, draw, [(value, "mean")], by_answer=False)
    assert np.allclose(single.feature_RF[:, 1], [np.log(2), 0, np.log(2)]) and single.right_R.tolist() == [1, 0, 0]


def test_draws_differ_and_are_pooled_apart():
    pools = pools_of([[0, 1, 2, 3]] * 2, [[1, 0, 0, 0]] * 2, np.full((2, 4, 1), 0.5))
    draw = draws(pools, 2, 5, np.random.default_rng(0))
    assert draw.shape == (5, 2, 2) and all(len(set(two)) == 2 for of in draw.tolist() for two in of)
    rows = rows_of(pools, draw, [(drawn(pools.score_PGJA[..., 0], draw), "mean")])
    assert len(rows.start_B) == 10 and rows.problem_R.tolist() == [0, 0, 1, 1] * 5
    with pytest.raises(ValueError, match="5 attempts; allowed: 1 to the 4"):
        draws(pools, 5, 1, np.random.default_rng(0))


def rows_by_hand(feature, right, problem, start):
    return Rows(np.array(feature, dtype=float), np.array(right, dtype=float), np.array(problem), np.array(start), 1)


def test_worth_shares_ties_and_never_asks_the_outcome():
    rows = rows_by_hand([[1], [1], [0], [0], [2]], [1, 0, 1, 1, 0.5], [0, 0, 0, 1, 1], [0, 3])
    assert worth(rows, rows.feature_RF[:, 0]).tolist() == [0.5, 0.5]
    assert worth(rows, np.zeros(5)).tolist() == pytest.approx([2 / 3, 0.75])


def test_the_likelihood_of_a_choice():
    """Scores 0 and log 3: the right one of two has chance 1/4; a pool without a right row says nothing."""
    rows = rows_by_hand([[0], [0], [0], [0]], [1, 0, 0, 0], [0, 0, 1, 1], [0, 2])
    assert log_likelihood(rows, np.log([1.0, 3.0, 1.0, 1.0])) == pytest.approx(np.log(1 / 4))


def test_the_fit_finds_the_penalised_maximum():
    """Ten pools of x = 1 and x = 0; the first is right in nine.

    Centred and divided by its spread, x is +-1: P = sigmoid(2w), and the slope 9 * 2 (1 - P) - 2 P = 20 (.9 - P) equals
    penalty * w at the maximum. The weight of x itself is w / spread = 2w.
    """
    feature = [[1], [0]] * 10
    right = [1, 0] * 9 + [0, 1]
    rows = rows_by_hand(feature, right, np.repeat(np.arange(10), 2), np.arange(0, 20, 2))
    weight = fit(rows, 0, 1.0)[0] / 2
    assert 20 * (0.9 - 1 / (1 + np.exp(-2 * weight))) == pytest.approx(weight, abs=1e-3)
    assert fit(rows, 0, 1e-6)[0] == pytest.approx(np.log(9), abs=1e-2)  # no penalty: odds of 9 to 1
    against = rows_by_hand(feature, [1 - r for r in right], rows.problem_R, rows.start_B)
    assert (
        fit(against, 0, 1.0)[0] == 0 and fit(against, 1, 1.0)[0] < 0
    )  # a judge's weight is not negative; length's may be


def test_without_right_and_wrong_in_a_pool_nothing_is_learned():
    rows = rows_by_hand([[1], [0], [1], [0]], [1, 1, 0, 0], [0, 0, 1, 1], [0, 2])
    assert fit(rows, 0, 1.0).tolist() == [0.0]
    assert worth(rows, rows.feature_RF @ fit(rows, 0, 1.0)).tolist() == [1.0, 0.0]


def test_the_member_is_chosen_on_problems_it_was_not_taught_on():
    """The first column is right in nine pools of ten; thirty columns of noise explain all thirty pools they are taught on."""
    rng = np.random.default_rng(0)
    right = np.tile([1.0, 0.0], 30)
    signal = np.where(np.repeat(np.arange(30), 2) % 10 == 0, 1 - right, right)
    noise = rng.normal(size=(60, 30))
    rows = rows_by_hand(np.column_stack([signal, noise]), right, np.repeat(np.arange(30), 2), np.arange(0, 60, 2))
    menu = [Member("noise", "toy", np.arange(1, 31), 30, 0.01), Member("signal", "toy", np.array([0]), 0, 0.01)]
    views = {"toy": rows}
    by_heart, honest = (log_likelihood(*teach(views, member)(views)) for member in menu)
    assert by_heart > honest
    assert choose_member(views, menu, 3, rng).name == "signal"
    assert choose_member(views, [menu[0], menu[0]], 3, rng) is menu[0]
    assert worth(*teach(views, menu[1])(views)).mean() == 0.9
    nobody = of(views, np.zeros(30, dtype=bool))
    assert choose_member(nobody, menu, 3, rng) is menu[0] and weights(nobody, menu[1]).tolist() == [0.0]


def test_the_menu_sees_what_it_says():
    pools = pools_of([[0, 1]], [[1, 0]], np.full((1, 2, 3), 0.5))
    menu, columns = {m.name: m for m in main_menu(pools, (1.0, 5.0))}, main_columns(pools)
    assert len(menu) == 3 * 3 * 2 * 2

    def seen(name):
        return [columns[menu[name].view][c] for c in menu[name].column_F]

    rest = ["log attempts", "log tokens", "log steps"]
    odds = "odds of an answer; last; with length; penalty 1"
    assert seen(odds) == ["j0 last, odds", "j1 last, odds", "j2 last, odds", *rest] and menu[odds].num_free == 2
    both = "mean and max of an answer; last; no length; penalty 5"
    assert seen(both) == [f"j{j} last, {how}" for how in ("mean", "max") for j in range(3)] + rest[:1]
    assert menu[both].num_free == 0 and menu[both].penalty == 5.0
    assert seen("an attempt; last and mean; no length; penalty 1")[:3] == ["j0 last", "j0 mean", "j1 last"]
    views = learners(pools, (1.0,), 2)[0].views(everything(pools))
    assert {name: rows.feature_RF.shape[1] for name, rows in views.items()} == {n: len(c) for n, c in columns.items()}


def test_a_column_holds_what_its_name_says():
    """Judge 1 gives 1/2 and 4/5 to the two attempts of answer 0, .2 to the other; 10 and 1,000 tokens, 1 step."""
    score = np.full((1, 3, 2), 0.5)
    score[0, :, 1] = [0.5, 0.2, 0.8]
    pools = pools_of([[0, 1, 0]], [[1, 0, 0]], score)
    pools.length_PGL[0, :, 0] = np.log([10, 10, 1000])
    columns = main_columns(pools)
    views = learners(pools, (1.0,), 2)[0].views(everything(pools))
    answer = dict(zip(columns["answer"], views["answer"].feature_RF[0], strict=True))
    assert answer["j1 min, mean"] == pytest.approx(np.log(2)) and answer["j1 last, max"] == pytest.approx(np.log(4))
    assert answer["j1 product, odds"] == pytest.approx(np.log(5 / 2)) and answer["j0 mean, odds"] == pytest.approx(0)
    assert answer["log tokens"] == pytest.approx(np.log(100)) and answer["log steps"] == 0
    assert answer["log attempts"] == pytest.approx(np.log(2))
    attempt = dict(zip(columns["attempt"], views["attempt"].feature_RF[2], strict=True))
    assert attempt["j1 geometric_mean"] == pytest.approx(np.log(4)) and attempt["log tokens"] == pytest.approx(
        np.log(1000)
    )
    assert attempt["log attempts"] == pytest.approx(np.log(2))


def test_ranks_rise_with_the_score():
    """Of three attempts the best beats two of three, itself tied: 2/3; the others -1/3 each, tied with one another."""
    pools = pools_of([[0, 1, 2]], [[1, 0, 0]], [[[0.9], [0.1], [0.1]]])
    ranked = next(one for one in learners(pools, (1.0,), 2) if one.name == "rank sum").views(everything(pools))[
        "attempt"
    ]
    assert np.allclose(ranked.feature_RF[:, 0], [2 / 3, -1 / 3, -1 / 3])


def test_groups_hold_the_rules_they_name():
    pools = pools_of([[0, 1]], [[1, 0]], np.full((1, 2, 2), 0.5))
    rules = rules_of(pools)
    groups = groups_of(rules)
    assert len(groups[FIXED]) == len(rules) == 1 + 2 * 2 * 5
    assert {str(rules[i]) for i in groups["best of N by last"]} == {"j0, last, best of N", "j1, last, best of N"}
    assert [str(rules[i]) for i in groups["majority"]] == ["majority"] and len(groups["weighted majority"]) == 10


def test_two_weak_judges_are_weighed_together():
    """Two noisy judges err apart: their sum picks better than either. Each alone is what a fixed choice can take."""
    rng = np.random.default_rng(0)
    right = rng.random((150, 8)) < 0.3
    score = 1 / (1 + np.exp(-(2.0 * right[..., None] + rng.normal(0, 1.5, (150, 8, 2)))))
    pools = pools_of(np.tile(np.arange(8), (150, 1)), right, score)
    plan = Plan(
        num_repeats=1,
        num_folds=5,
        num_inner=3,
        sizes=(),
        teach_size=8,
        num_teach_draws=1,
        curve=(),
        num_curve_repeats=0,
    )
    found = study(pools, plan)
    assert found.worth[MAIN, 8].mean() > found.worth[FIXED, 8].mean() + 0.03


def test_pools_are_read_as_they_are(tmp_path):
    folder = write_pools(tmp_path / "pools", num_problems=4)
    pools = read_pools(folder, "toy", 3)
    with gzip.open(folder / "toy.dev.jsonl.gz", "rt") as file:
        first = json.loads(file.readline())
    with gzip.open(folder / "prm_scores_fair_toy.dev.jsonl.gz", "rt") as file:
        scores = json.loads(file.readline())["step_scores"][0]
    assert pools.problem_ids == ("p0", "p1", "p2") and pools.judges == ("blind", "fair")
    assert pools.right_PG[0].tolist() == [float(c["correct"]) for c in first["candidates"]]
    said = [c["extracted_answer"] for c in first["candidates"]]
    assert [said[i] == said[0] for i in range(8)] == (pools.answer_PG[0] == pools.answer_PG[0, 0]).tolist()
    found = dict(zip(AGGREGATIONS, pools.score_PGJA[0, 0, 1], strict=True))
    assert found["min"] == min(scores) and found["last"] == scores[-1]
    assert found["product"] == pytest.approx(np.prod(scores))
    assert pools.length_PGL[0, 0].tolist() == pytest.approx(np.log([first["candidates"][0]["num_tokens"], len(scores)]))


def rewrite(path, change):
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    change(rows)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_attempts_without_an_answer_share_none(tmp_path):
    folder = write_pools(tmp_path / "pools", num_problems=1)

    def blank(rows):
        for candidate in rows[0]["candidates"][:3]:
            candidate["extracted_answer"] = " " if candidate["i"] else None

    rewrite(folder / "toy.dev.jsonl.gz", blank)
    answer_G = read_pools(folder, "toy").answer_PG[0]
    assert len(set(answer_G[:3].tolist())) == 3 and not set(answer_G[:3].tolist()) & set(answer_G[3:].tolist())


@pytest.mark.parametrize(
    ("stem", "change", "said"),
    [
        ("toy", lambda rows: rows[1]["candidates"].pop(), r"toy\.dev\.jsonl\.gz:2: 7 candidates; expected 8"),
        ("toy", lambda rows: rows[0]["candidates"][0].update(correct=None), r":1: candidate 0 has no field correct"),
        ("toy", lambda rows: rows[0]["candidates"][2].pop("num_tokens"), r":1: candidate 2 has no field num_tokens"),
        ("toy", lambda rows: rows[2].pop("candidates"), r":3: no field 'candidates'"),
        ("prm_scores_fair_toy", lambda rows: rows[1]["step_scores"][0].pop(), r":2: step scores of 'p1' do not fit"),
        ("prm_scores_fair_toy", lambda rows: rows.reverse(), r":1: step scores of 'p3' do not fit pool 'p0'"),
        ("prm_scores_fair_toy", lambda rows: rows.pop(), r"3 problems; expected 4"),
        (
            "prm_scores_fair_toy",
            lambda rows: rows[0]["step_scores"].__setitem__(0, [float("nan")] * 9),
            r":1: step scores",
        ),
    ],
)
def test_wrong_files_are_named_with_their_line(tmp_path, stem, change, said):
    folder = write_pools(tmp_path / "pools", num_problems=4)
    rewrite(folder / f"{stem}.dev.jsonl.gz", change)
    with pytest.raises(ValueError, match=said):
        read_pools(folder, "toy")


def test_a_missing_set_or_folder_is_named(tmp_path, monkeypatch):
    folder = write_pools(tmp_path / "pools", num_problems=4)
    with pytest.raises(ValueError, match=r"no set 'math500' in .*; there are: toy"):
        read_pools(folder, "math500")
    for path in folder.glob("prm_scores_*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"set 'toy' has no prm_scores_<judge>_toy"):
        read_pools(folder, "toy")
    monkeypatch.setenv("STEPCREDIT_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"data/bon32_pools' \(empty path: \$STEPCREDIT_DATA, or"):
        learned_aggregation()


def test_what_cannot_be_run_is_refused(small_run):
    folder, _ = small_run
    with pytest.raises(ValueError, match="positive penalties"):
        learned_aggregation(path=str(folder), **{**QUICK, "penalties": (0.0,)})
    with pytest.raises(ValueError, match="11 folds of 30 problems; allowed: 2 to 10"):
        learned_aggregation(path=str(folder), **{**QUICK, "num_folds": 11})
    with pytest.raises(ValueError, match="curve teaches on 1 problems; allowed: at least the 2 inner folds"):
        learned_aggregation(path=str(folder), **{**QUICK, "curve": (1,)})


def test_it_is_registered_with_knobs_only():
    entry = registry.get("recipes", "learned_aggregation")
    assert entry.resources == {} and {"path", "seed", "num_folds", "sizes"} <= set(entry.knobs)


@pytest.mark.skipif(not REAL.is_dir(), reason="the recorded pools are not here")
def test_recorded_pools_are_read_whole():
    """The counts of the pools' README for what the files hold; majority near its .884 over all 500 problems."""
    pools = read_pools(REAL, "gsm8k")
    assert pools.right_PG.shape == (238, 32) and len(pools.judges) == 7 and np.isfinite(pools.score_PGJA).all()
    majority = rule_worth(pools, everything(pools))[0].mean()
    assert majority == pytest.approx(0.8883, abs=1e-4)
    assert len(read_pools(REAL, "math500", 5).problem_ids) == 5
