"""which_turn: a linear judge of turns on boxes that one right try opens, taught by outcomes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from stepcredit import Judgment
from stepcredit.core import registry
from stepcredit.recipes import which_turn as recipe
from stepcredit.recipes._turn_arms import ARMS
from stepcredit.recipes._which_turn import BEST, KNOWN_LUCK, STEP, Found, Size, kept, make_bench, read, study, taught_on
from stepcredit.recipes._which_turn_report import over, shown
from stepcredit.recipes.which_turn import which_turn
from stepcredit.report import write_report

NULLS = ("step index", "length", "last turn", "random", "length, longer")
SMALL = Size(num_teach=40, num_test=20, num_attempts=6, penalties=(30.0,))
LOUD = {"clarity": 3.0}


@pytest.fixture(scope="module")
def loud():
    return make_bench(LOUD, SMALL, 0)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("which_turn")
    return out, which_turn(size="quick", seeds=(0, 1), sweeps=("signs",), out=out)


def test_the_run_is_complete_and_becomes_a_page(small_run, tmp_path):
    _, run = small_run
    rows = {row["name"]: row for row in run["results"]}
    assert [row["arm"] for row in run["table"]["rows"]] == [*ARMS, *NULLS]
    for ending in ("submission", "eight turns"):
        for column in (STEP, BEST):
            assert {f"{ending}: {column}: {arm}" for arm in (*ARMS, *NULLS)} <= set(rows)
            gap = rows[f"{ending}: {column}: retry minus outcome_last"]
            parts = [rows[f"{ending}: {column}: {arm}"]["value"] for arm in ("retry", "outcome_last")]
            assert gap["value"] == pytest.approx(parts[0] - parts[1]) and gap["control"] == "outcome_last"
    assert all({"name", "value", "low", "high", "n", "unit", "control"} == set(row) for row in run["results"])
    assert all(row["n"] == 2 for row in run["results"])  # seeds
    assert rows["signs 0.8: step AUROC: retry"]["value"] == rows["submission: step AUROC: retry"]["value"]
    assert any("which link?" in line for line in run["summary"]) and json.dumps(run, allow_nan=False)
    write_report(run, tmp_path / "report.html")


def test_a_second_call_continues_from_what_is_kept(small_run, monkeypatch):
    out, run = small_run
    monkeypatch.setattr(recipe, "study", lambda *_: pytest.fail("taught again"))
    again = which_turn(size="quick", seeds=(0, 1), sweeps=("signs",), out=out)
    assert again["results"] == run["results"] and again["diagnostics"] == run["diagnostics"]


def test_the_diagnostics_see_no_length_that_tells_the_outcome(small_run):
    _, run = small_run
    said = {part["arm"]: " ".join(part["lines"] + part["warnings"]) for part in run["diagnostics"]}
    assert set(said) == {"data", "derivation", "retry", "choice of link"}
    assert "cannot show latent inference" not in said["data"] and "Two seeds rank the steps" in said["retry"]


def test_retry_finds_the_turn_and_the_trivial_label_does_not(loud):
    """Sounds that tell nearly all: the right link ranks nearly as the oracle; a label on the last turn alone cannot."""
    found = study(loud, SMALL, 0)
    step = {arm: of[STEP] for arm, of in found.worth.items()}
    assert step["retry"] > 0.95 and step["oracle"] > 0.98 and found.answer == "retry"
    assert max(step["outcome_last"], step["derivation"], step["outcome_broadcast"]) < step["retry"] - 0.05
    assert abs(step["random"] - 0.5) < 0.1 and step["length"] == pytest.approx(1 - step["length, longer"])
    assert found.worth["retry"][BEST] > found.worth["random"][BEST] + 0.2
    assert found.shares["right episodes"] == found.shares["recorded right"] == loud.exact_A.mean()
    assert set(found.penalties.values()) == {30.0} and KNOWN_LUCK not in found.worth


def test_only_the_oracle_is_taught_by_step_truth(loud):
    wrong = [
        replace(r, credits={"truth": replace(r.credits["truth"], values_N=1 - r.credits["truth"].values_N)})
        for r in loud.teach
    ]
    for arm in ARMS:
        weights = [taught_on(bench, arm, (30.0,))[0].weight_D for bench in (loud, replace(loud, teach=wrong))]
        assert np.array_equal(*weights) == (arm != "oracle"), arm


def test_luck_is_taught_but_never_measured():
    exact, lucky = (make_bench(LOUD | luck, SMALL, 0) for luck in ({}, {"fp": 0.5}))
    assert np.array_equal(exact.exact_A, lucky.exact_A) and np.array_equal(exact.truth_U, lucky.truth_U)
    assert np.array_equal(exact.recorded_A, exact.exact_A)
    assert 0.3 < lucky.recorded_A[lucky.exact_A == 0].mean() < 0.7 and lucky.recorded_A[lucky.exact_A == 1].all()
    found = study(lucky, SMALL, 0)
    assert found.worth[KNOWN_LUCK][STEP] > found.worth["retry"][STEP]
    assert found.shares["recorded right"] > found.shares["right episodes"]


def test_boxes_are_taught_on_or_measured_on_and_drawn_by_seed(loud):
    taught, tested = ({r.tree.problem.id for r in of} for of in (loud.teach, loud.test))
    assert (len(taught), len(tested), taught & tested) == (40, 20, set())
    inner, outer = (
        {r.tree.problem.id for r, i in zip(loud.teach, loud.inner_A, strict=True) if i == of} for of in (1, 0)
    )
    assert len(inner) == len(outer) == 20 and not inner & outer  # penalties are chosen on other boxes
    again, other = make_bench(LOUD, SMALL, 0), make_bench(LOUD, SMALL, 1)
    assert np.array_equal(again.truth_U, loud.truth_U) and again.test[0].tree.steps == loud.test[0].tree.steps
    assert not taught & {r.tree.problem.id for r in other.teach}


def test_labels_are_read_through_the_link_of_the_domain():
    """1 - (1 - .5) (1 - .5) = .75; a chain's own final state is left alone."""
    assert read(Judgment(0.5, [0.5, 0.5], {"ok": [0.5, 0.5]})).score == 0.75
    chain = Judgment(0.6, [0.5, 0.6], {"fix": [0.5, 0.2]})
    assert read(chain) is chain


def test_what_was_found_is_kept_whole(tmp_path):
    path = tmp_path / "a" / "0.json"
    made = kept(
        path, lambda: Found({"retry": {STEP: 0.9}}, {"retry": 3.0}, {"retry": 1.0}, "retry", {"right turns": 0.1})
    )
    assert kept(path, lambda: pytest.fail("made again")) == made and list(path.parent.iterdir()) == [path]


def test_intervals_are_over_seeds():
    """Mean of .8 and 1.0 with t(.95, 1) = 12.706: .9 -+ 12.706 * .1414 / sqrt 2 = .9 -+ 1.2706."""
    found = over([Found({"retry": {STEP: value}}) for value in (0.8, 1.0)], "retry", STEP)
    assert (found.value, found.n, found.unit) == (pytest.approx(0.9), 2, "AUROC")
    assert found.high - found.low == pytest.approx(2 * 1.2706, abs=1e-3)


def test_an_episode_is_shown_turn_by_turn_with_what_is_hidden_in_words(loud):
    size = int(loud.size_A[0])
    judged = [Judgment(0.5, np.full(n, 0.25), {"fix": np.full(n, 0.25)}) for n in loud.size_A]
    [entry] = shown(loud, judged, 1)
    assert [step["score"] for step in entry["steps"]] == [0.25] * size
    assert all(step["truth"] is None for step in entry["steps"]) and "hidden: " in entry["note"]
    assert entry["steps"][-1]["text"] == "submit" and "\n" in entry["steps"][0]["text"]
    assert len(shown(loud, judged, 99)) == 20


@pytest.mark.parametrize(
    "knobs", [{"size": "huge"}, {"sweeps": ("depth",)}, {"seeds": ()}], ids=["size", "sweep", "no seed"]
)
def test_what_is_unknown_is_refused(knobs, tmp_path):
    with pytest.raises(
        ValueError, match="allowed: quick, full; share, length, luck, signs, spoiling; one seed or more"
    ):
        which_turn(**knobs, out=tmp_path)


def test_it_is_registered_with_knobs_only_and_its_sweeps_can_be_run():
    entry = registry.get("recipes", "which_turn")
    assert entry.resources == {} and {"seeds", "sweeps", "out"} <= set(entry.knobs)
    for sweep in recipe.SWEEPS.values():
        for knobs in sweep.knobs_of.values():
            registry.bind("tasks", "lockbox", **knobs)()
