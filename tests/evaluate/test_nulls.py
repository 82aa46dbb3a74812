import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Outcome, Problem, Record, Step
from stepcredit.evaluate import evaluate
from stepcredit.evaluate.curves import curves
from stepcredit.evaluate.nulls import (
    always_correct,
    at_location,
    choose_location,
    constant_location,
    last_step,
    length,
    majority,
    nulls,
    random,
    step_index,
)
from stepcredit.evaluate.process import process

NAN = math.nan
DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))


def record_of(name, firsts, sizes, answers, right):
    """Attempts with first error (-1 none), number of steps, answer (None unparsed) and correctness."""
    labels = [NAN]
    for first, size in zip(firsts, sizes, strict=True):
        labels += [1.0] * size if first < 0 else [1.0] * first + [0.0] + [NAN] * (size - first - 1)
    outcomes = [
        Outcome(status="unparsed") if a is None else Outcome(float(r), r, answer=a)
        for a, r in zip(answers, right, strict=True)
    ]
    tree = star(Problem(name, "?"), [[Step("abcd")] * size for size in sizes], outcomes)
    truth = Credit(labels, "label", (~np.isnan(labels)).astype(float), "recorded")
    return Record(tree, {"truth": truth})


def example():
    return [
        record_of("p", [1, -1, 2], [3, 2, 3], ["7", "4", "7"], [False, True, False]),
        record_of("q", [1, 1, -1], [2, 4, 2], ["1", None, "2"], [False, False, True]),
    ]


def first_error_accuracy(records):
    return process(records, rng=np.random.default_rng(0), num_resamples=10)["first_error_accuracy"].value


def test_always_correct_is_right_exactly_on_right_attempts():
    assert first_error_accuracy(always_correct(example())) == pytest.approx(2 / 6)


def test_a_constant_location_is_clipped_to_the_last_step():
    assert first_error_accuracy(at_location(example(), 1)) == pytest.approx(3 / 6)
    assert first_error_accuracy(at_location(example(), 5)) == pytest.approx(2 / 6)  # last steps: p's third, q's first
    assert first_error_accuracy(last_step(example())) == pytest.approx(2 / 6)
    assert at_location(example(), -1)[0].judgments[0].score == 1.0
    with pytest.raises(ValueError, match="location is -2"):
        at_location(example(), -2)


def test_the_chosen_location_is_the_best_on_its_split():
    for split in (["p"], ["q"], ["p", "q"]):
        chosen = choose_location(example(), split)
        kept = [record for record in example() if record.tree.problem.id in split]
        accuracy_of = {k: first_error_accuracy(at_location(kept, k)) for k in range(-1, 5)}
        best = max(accuracy_of.values())
        assert accuracy_of[chosen] == best and chosen == min(k for k, v in accuracy_of.items() if v == best)
    assert choose_location(example(), ["q"]) == 1
    assert first_error_accuracy(constant_location(example(), ["q"])) == pytest.approx(3 / 6)


def test_constant_judges_pick_at_random():
    for judged in (always_correct(example()), at_location(example(), 0), last_step(example())):
        found = curves(judged, rng=np.random.default_rng(0), num_list=[3], num_resamples=10)
        assert found["best_of_3"].value == pytest.approx(1 / 3)


def test_step_index_falls_along_every_attempt_and_knows_nothing_else():
    judged = step_index(example())
    # sizes 3 2 3 2 4 2, median 2.5: scores 2.5 / 3.5, 2.5 / 4.5, ...
    assert judged[0].judgments[0].step_scores_S == pytest.approx([2.5 / 3.5, 2.5 / 4.5, 2.5 / 5.5])
    assert judged[1].judgments[0].step_scores_S == pytest.approx(judged[0].judgments[1].step_scores_S)


def test_length_prefers_the_shorter_unless_told_otherwise():
    scores = [judgment.score for judgment in length(example())[0].judgments]
    assert scores[1] > scores[0] == scores[2]
    flipped = [judgment.score for judgment in length(example(), longer=True)[0].judgments]
    assert flipped == pytest.approx([1 - score for score in scores])


def test_the_majority_score_is_the_vote_share_and_an_unparsed_attempt_abstains():
    judged = majority(example())
    assert [j.score for j in judged[0].judgments] == pytest.approx([2 / 3, 1 / 3, 2 / 3])
    assert [j.status for j in judged[1].judgments] == ["scored", "abstained", "scored"]
    # p: the majority is wrong; q: 1 and 2 tie.
    found = curves(judged, rng=np.random.default_rng(0), num_list=[3], num_resamples=10)
    assert found["best_of_3"].value == found["majority_of_3"].value == pytest.approx(1 / 4)


def test_no_null_sees_truth_or_correctness():
    flipped = [
        record_of("p", [-1, 0, -1], [3, 2, 3], ["7", "4", "7"], [True, False, True]),
        record_of("q", [-1, 0, 0], [2, 4, 2], ["1", None, "2"], [True, False, False]),
    ]
    first, _ = nulls(example(), rng=np.random.default_rng(0))
    second, _ = nulls(flipped, rng=np.random.default_rng(0))
    for name in first:
        for a, b in zip(first[name], second[name], strict=True):
            for one, other in zip(a.judgments, b.judgments, strict=True):
                assert np.array_equal(one.step_scores_S, other.step_scores_S, equal_nan=True), name
                assert np.array_equal(one.score, other.score, equal_nan=True), name


def test_nulls_that_cannot_be_had_say_why():
    bare = [record_of("p", [0, -1], [1, 1], [None, None], [False, False])]
    found, skipped = nulls(bare, rng=np.random.default_rng(0))
    assert set(skipped) == {"constant_location", "majority"} and "majority" not in found
    assert "no split declared" in skipped["constant_location"] and "no majority" in skipped["majority"]


def test_the_same_seed_gives_the_same_random_judge():
    one, other = (random(example(), rng=np.random.default_rng(3)) for _ in range(2))
    assert one[1].judgments[1].score == other[1].judgments[1].score


def test_constant_guesses_on_bigbench_mistake_score_what_was_recorded():
    path = DATA / "bigbench_mistake" / "tracking_shuffled_objects.dev.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {path.name} under the shared data")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    records = []
    for index, row in enumerate(rows):
        first = -1 if row["mistake_index"] is None else row["mistake_index"]
        records.append(record_of(f"t{index}", [first], [len(row["steps"])], ["?"], [False]))
    location = choose_location(records, {record.tree.problem.id for record in records})
    share = np.mean([row["mistake_index"] == location for row in rows])
    assert first_error_accuracy(at_location(records, location)) >= share > 0.35  # .463 on all 300 rows


def test_the_summary_measures_the_judge_beside_its_nulls():
    judged = majority(example())
    summary = evaluate(judged, rng=np.random.default_rng(0), num_list=[1, 3], num_resamples=20)
    assert {"processbench_f1", "step_auroc", "best_of_3", "pass_at_3", "step_brier", "attempt_ece"} <= set(summary)
    assert summary["best_of_3"].value == summary.nulls["majority"]["best_of_3"].value
    assert sum(e.value for name, e in summary.items() if name.startswith("picked: ")) == pytest.approx(1)
    assert summary.decoding == "threshold 0.5, fixed beforehand"
    assert set(summary.skipped) == {"null constant_location"}


def test_the_summary_says_what_it_cannot_compute():
    record = always_correct([record_of("p", [0], [2], ["1"], [True])])[0]
    summary = evaluate([Record(record.tree, judgments=record.judgments)], rng=np.random.default_rng(0), num_resamples=5)
    assert "step truth" in summary.skipped["process"]
    assert "one attempt per problem" in summary.skipped["curves"]
    assert "no step has both" in summary.skipped["step calibration"]
    assert "attempt_brier" in summary
    assert not any(reason.startswith("null always_correct: ") for reason in summary.skipped)


def test_problems_chosen_on_are_not_measured():
    judged = majority(example())
    summary = evaluate(judged, rng=np.random.default_rng(0), num_list=[3], split=["q"], num_resamples=5)
    assert summary["best_of_3"].n == 1 and summary.nulls["constant_location"]["first_error_accuracy"].n == 3
    with pytest.raises(ValueError, match="no problem is left"):
        evaluate(judged, rng=np.random.default_rng(0), split=["p", "q"])


def test_mistakes_in_the_records_are_not_reasons_to_skip():
    with pytest.raises(ValueError, match="score the attempts first"):
        evaluate(example(), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="N list"):
        evaluate(majority(example()), rng=np.random.default_rng(0), num_list=[0])
