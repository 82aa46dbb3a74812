"""Searching against choosing: the comparison at equal tokens, the judges, the whole run, its claims."""

import importlib
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Judgment, Outcome, Problem, Step
from stepcredit.recipes import judge_search as recipe
from stepcredit.recipes._alphallm_world import World
from stepcredit.recipes._judge_search_run import kind_of
from stepcredit.recipes._judge_search_study import JUDGE_NAMES, SEARCHES, Pool, at_tokens
from stepcredit.report import write_report

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
PROBLEM = Problem("p", "3 +4", answer="0")


def pool():
    """Two problems of three attempts: 2, 4 and 6 tokens in each."""
    attempts = [[Step(text, token_ids=(1,) * num)] for text, num in (("3+4=1", 2), ("3+4=1", 4), ("3+4=0", 6))]
    outcomes = [Outcome(float(a == "0"), a == "0", answer=a) for a in ("1", "1", "0")]
    return Pool([star(PROBLEM, attempts, outcomes)] * 2)


def test_tokens_add_up_over_the_first_attempts():
    assert pool().tokens_N.tolist() == [2.0, 6.0, 12.0]


def test_choosing_at_tokens_lies_on_the_line_between_two_numbers_of_attempts():
    tokens_N, accuracy_N = np.array([2.0, 6.0, 12.0]), np.array([0.2, 0.4, 1.0])
    assert at_tokens(4.0, tokens_N, accuracy_N) == pytest.approx(0.3)
    assert at_tokens(9.0, tokens_N, accuracy_N) == pytest.approx(0.7)
    assert (at_tokens(1.0, tokens_N, accuracy_N), at_tokens(99.0, tokens_N, accuracy_N)) == (0.2, 1.0)


def test_each_way_of_choosing_sees_the_first_attempts_alone():
    own = pool()
    judged = [[Judgment(score, [score]) for score in (0.1, 0.2, 0.9)]] * 2

    def texts(how, num):
        return {steps[0].text for steps in own.chosen(how, judged, num, rng(0))}

    assert texts("best_of_n", 3) == {"3+4=0"} and texts("best_of_n", 2) == {"3+4=1"}
    assert texts("majority", 3) == {"3+4=1"}
    assert texts("weighted_majority", 3) == {"3+4=0"}  # .9 against .1 + .2


def test_rows_are_marked_for_what_they_are():
    assert [kind_of(row) for row in ("majority of 1", "majority of 8", "beam 8/4 (latent_chain)", "beam 8/4 (oracle)",
                                     "beam 8/4 (outcome_broadcast)")] == ["null", "control", "label-free", "oracle", "control"]  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEARCHES["guided_mcts"][1], "num_searches", 8)
        yield str(tmp_path_factory.mktemp("judge_search"))


@pytest.fixture(scope="module")
def run(out, one_thread):
    return recipe.judge_search(size="quick", seeds=(3, 4), out=out)


@pytest.mark.slow
def test_the_run_has_every_search_with_every_judge_and_can_be_shown(run, tmp_path):
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    searches = {f"{search} ({judge})" for search in SEARCHES for judge in JUDGE_NAMES}
    assert searches <= set(rows) and {"majority of 1", "majority of 4", "best_of_n of 4 (oracle)"} <= set(rows)
    for name in searches:
        assert {"minus best_of_n", "minus weighted_majority", "minus majority"} <= set(rows[name]["cells"])
        assert rows[name]["cost"]["generated_tokens"] > 0 and rows[name]["cost"]["verifier_calls"] == 0
        assert rows[name]["cost"]["critic_calls"] > 0 and rows[name]["cost"]["forwarded_tokens"] > 0
    write_report(run, tmp_path / "report.html")


@pytest.mark.slow
def test_a_second_run_reads_everything_back(run, out, monkeypatch):
    monkeypatch.setattr(World, "policy", lambda *_, **__: pytest.fail("a policy was made"))
    assert str(recipe.judge_search(size="quick", seeds=(3, 4), out=out)) == str(run)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": "huge"}, "size 'huge'"),
        ({"seeds": ()}, "give one seed or more"),
        ({"seeds": (1, 1)}, "named twice"),
        ({"judges": ("softmin",)}, "no judge 'softmin'; there are: majority, latent_chain"),
    ],
)
def test_wrong_knobs_are_named(knobs, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        recipe.judge_search(**{"size": "quick", "out": str(tmp_path), **knobs})


@pytest.mark.slow
def test_every_claim_names_numbers_that_the_recipe_measures(run, out, monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.delitem(sys.modules, "judge_search", raising=False)
    claims = importlib.import_module("judge_search")
    assert {claim.slug for claim in claims.CLAIMS} == set(claims.ROWS)
    for claim in claims.CLAIMS:
        gap, cost = claims.measure(replace(claim, seeds=(3, 4)), size="quick", out=out)
        assert gap.n == 2 and math.isfinite(gap.value) and cost["generated_tokens"] > 0
