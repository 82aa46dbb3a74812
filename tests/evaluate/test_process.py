import math
from itertools import product

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Judgment, Outcome, Problem, Record, Step
from stepcredit.evaluate._attempts import attempts
from stepcredit.evaluate.auroc import auroc, auroc_estimate
from stepcredit.evaluate.decode import Threshold, choose_threshold, predict_first_error
from stepcredit.evaluate.f1 import binary_f1, processbench_f1
from stepcredit.evaluate.process import process

NAN = math.nan


def record_of(name, truths, judgments=(), right=None):
    """A star of attempts with step truth (1, 0, NaN) and outcomes."""
    right = [None] * len(truths) if right is None else right
    outcomes = [None if r is None else Outcome(float(r), r) for r in right]
    tree = star(Problem(name, "?"), [[Step("s") for _ in truth] for truth in truths], outcomes)
    values = np.array([NAN, *(label for truth in truths for label in truth)])
    credit = Credit(values, "label", (~np.isnan(values)).astype(float), "recorded")
    return Record(tree, {"truth": credit}, tuple(judgments))


def plain(*scores):
    return Judgment(min(scores), scores)


def fresh():
    return np.random.default_rng(0)


def test_a_repaired_chain_is_ranked_by_whether_an_error_was_made():
    # both attempts end sound (.9), one broke at its second step: running products of keep .9, .09, .081 against .9, .81, .73
    broke = Judgment(0.9, [0.9, 0.1, 0.9], channels={"keep": [0.9, 0.1, 0.9]})
    clean = Judgment(0.9, [0.9, 0.9, 0.9], channels={"keep": [0.9, 0.9, 0.9]})
    found = process([record_of("p", [[1, 0, 1], [1, 1, 1]], [broke, clean])], rng=fresh(), num_resamples=10)
    assert (
        found["step_auroc"].value == 1.0
    )  # by the state alone the broken attempt's last step would tie with sound ones


def test_a_threshold_cuts_the_chance_of_no_error_so_far():
    repaired = Judgment(0.9, [0.9, 0.1, 0.9], channels={"keep": [0.9, 0.1, 0.9]})
    assert predict_first_error(repaired, 0.85) == 1
    late = Judgment(0.9, [0.9, 0.85, 0.9], channels={"keep": [0.9, 0.85, 0.9]})
    assert predict_first_error(late, 0.7) == 2  # .9 * .85 * .9 = .689, although the state stands at .9


@pytest.mark.parametrize(
    ("status", "right"), [("unparsed", False), ("truncated", False), ("timeout", None), ("error", None)]
)
def test_a_verifier_that_failed_has_said_nothing_and_no_answer_is_a_wrong_one(status, right):
    tree = star(Problem("p", "?"), [[Step("s")]], [Outcome(status=status)])
    assert attempts([Record(tree)])[0].right is right


def test_processbench_f1_is_the_harmonic_mean_of_two_accuracies():
    # wrong attempts: 1 of 3 exact; right ones: 1 of 2 kept. 2 * (1/3) (1/2) / (5/6) = 0.4
    assert processbench_f1([2, 1, -1, -1, 0], [2, 3, 0, -1, -1]) == pytest.approx(0.4)


def test_processbench_f1_zero_over_zero():
    assert processbench_f1([0, 1], [1, -1]) == 0.0  # both accuracies 0
    assert processbench_f1([-1, -1], [0, -1]) == 0.0  # always "no error": 0 and 1
    assert math.isnan(processbench_f1([1], [1]))  # no right attempt: undefined


def test_a_miss_is_never_a_hit():
    assert processbench_f1([None, -1], [-1, 0]) == 0.0


def test_binary_f1_agrees_with_sklearn_in_both_conventions():
    for predicted, truth in product(product([0, 1], repeat=3), repeat=2):
        for positive, label in (("wrong", 0), ("right", 1)):
            found = binary_f1(predicted, truth, positive=positive)
            if label in predicted or label in truth:
                assert found == pytest.approx(f1_score(truth, predicted, pos_label=label, zero_division=0.0))
            else:
                assert math.isnan(found)


def test_a_silent_prediction_misses_positives_and_raises_no_alarm():
    # wrong positive: TP 1, FP 0, FN 1 -> 2/3
    assert binary_f1([0, NAN, NAN], [0, 0, 1]) == pytest.approx(2 / 3)


def test_a_judge_without_keep_is_cut_at_the_declared_half():
    assert predict_first_error(plain(0.9, 0.49, 0.8)) == 1
    assert predict_first_error(plain(0.9, 0.5, 0.8)) == -1
    assert predict_first_error(plain(0.9, 0.5, 0.8), 0.85) == 1


def test_a_step_scored_exactly_zero_is_read_at_its_own_place():
    assert predict_first_error(plain(0.9, 0.9, 0.0, 0.9)) == 2


def test_a_chain_judge_needs_no_threshold():
    # a_S = .1 < 1/2; (1 - keep) S before: .1, .9 * .3 = .27, .63 * .85 = .5355 -> the last step
    judgment = Judgment(0.1, [0.9, 0.63, 0.1], channels={"keep": [0.9, 0.7, 0.15]})
    assert predict_first_error(judgment) == 2
    # A repair does not undo an error: the state ends sound (.8), yet .9 * .3 * .9 = .243 says that some step broke it.
    repaired = Judgment(0.8, [0.9, 0.3, 0.8], channels={"keep": [0.9, 0.3, 0.9]})
    assert predict_first_error(repaired) == 1
    assert predict_first_error(repaired, 0.5) == 1


def test_what_cannot_be_read_is_a_miss():
    assert predict_first_error(None) is None
    assert predict_first_error(Judgment(NAN, [0.1], status="abstained")) is None
    assert predict_first_error(Judgment(0.5, [])) is None  # a judge of whole attempts
    assert predict_first_error(Judgment(0.2, [0.9, NAN, 0.2])) is None  # stopped before it flagged anything
    assert predict_first_error(Judgment(0.2, [0.9, 0.2, NAN])) == 1  # flagged, then stopped
    assert predict_first_error(Judgment(0.2, [0.9, NAN], channels={"keep": [0.9, NAN]})) is None


def test_auroc_agrees_with_sklearn_with_and_without_ties():
    rng = np.random.default_rng(4)
    for scores in (rng.random(200), rng.integers(0, 4, 200) / 4):
        label = (rng.random(200) < 0.3 + 0.4 * scores).astype(float)
        assert auroc(scores, label) == pytest.approx(roc_auc_score(label, scores))
    assert math.isnan(auroc([0.1, 0.2], [1, 1]))


def test_the_resampled_auroc_is_centred_on_the_exact_one():
    rng = np.random.default_rng(4)
    score = rng.random(3000)
    label = (rng.random(3000) < score).astype(float)
    found = auroc_estimate(score, label, [f"p{i // 10}" for i in range(3000)], rng, 400)
    assert found.value == pytest.approx(roc_auc_score(label, score))
    # Hanley and McNeil: at AUROC 5/6 with 1,500 of each class the standard error is about .0074.
    assert found.low < found.value < found.high
    assert (found.high - found.low) / 4 == pytest.approx(0.0074, rel=0.25)


def test_the_summary_counts_by_hand():
    records = [
        # first errors: 1 (found), -1 (kept), 0 (called 1)
        record_of("p", [[1, 0, NAN], [1, 1], [0, 0]], [plain(0.9, 0.1, 0.1), plain(0.9, 0.8), plain(0.6, 0.2)],
                  [False, True, True]),
        # -1 (called 0, right answer), 2 (missed: abstained)
        record_of("q", [[1, 1], [1, 1, 0]], [plain(0.3, 0.9), Judgment(NAN, [NAN] * 3, status="abstained")],
                  [True, False]),
    ]  # fmt: skip
    found = process(records, rng=fresh(), num_resamples=50)
    value = {name: estimate.value for name, estimate in found.items()}
    assert value["error_accuracy"] == pytest.approx(1 / 3)
    assert value["correct_accuracy"] == pytest.approx(1 / 2)
    assert value["processbench_f1"] == pytest.approx(0.4)  # 2 * (1/3) (1/2) / (5/6)
    assert value["first_error_accuracy"] == pytest.approx(2 / 5)
    assert value["invalid_rate"] == pytest.approx(1 / 5)
    # Right answers: wrong step found in 0 of 1, kept 1 of 2 -> F1 0
    assert value["right_answer_f1"] == 0.0 and found["right_answer_f1"].n == 3
    # Prefix truth 1 0 0 | 1 1 | 0 0 | 1 1 | 1 1 0, called 1 0 0 | 1 1 | 1 0 | 0 0 | - - -
    # wrong: TP 2 + 1, FP 2, FN 1 + 1 -> 6 / 10;   right: TP 1 + 2, FP 1, FN 2 + 2 -> 6 / 11
    assert value["binary_f1_wrong"] == pytest.approx(6 / 10)
    assert value["binary_f1_right"] == pytest.approx(6 / 11)
    score = [0.9, 0.1, 0.1, 0.9, 0.8, 0.6, 0.2, 0.3, 0.9]
    assert value["step_auroc"] == pytest.approx(roc_auc_score([1, 0, 0, 1, 1, 0, 0, 1, 1], score))
    # Local truth leaves the step after the recorded error unknown.
    local = [0.9, 0.1, 0.9, 0.8, 0.6, 0.2, 0.3, 0.9]
    assert value["step_auroc_local"] == pytest.approx(roc_auc_score([1, 0, 1, 1, 0, 0, 1, 1], local))
    assert found["processbench_f1"].n == 5 and found["step_auroc"].n == 9


def test_local_truth_is_compared_with_keep_and_prefix_truth_with_the_score():
    # A wrong step between right ones: the score stays low after it, keep rises again.
    judgment = Judgment(0.1, [0.9, 0.2, 0.1], channels={"keep": [0.9, 0.2, 0.8]})
    value = process([record_of("p", [[1, 0, 1]], [judgment])], rng=fresh())
    assert value["step_auroc"].value == 1.0 and value["step_auroc_local"].value == 1.0


def test_an_undecided_first_error_is_left_out():
    records = [record_of("p", [[NAN, 0], [1, 0]], [plain(0.1, 0.1), plain(0.9, 0.1)])]
    assert process(records, rng=fresh())["first_error_accuracy"].n == 1
    with pytest.raises(ValueError, match="no attempt with recorded step truth"):
        process([record_of("p", [[NAN, NAN]], [plain(0.1, 0.1)])], rng=fresh())


def test_tool_results_are_no_steps_to_score():
    steps = [Step("SELECT 1", kind="tool_call"), Step("1", kind="tool_result", sampled=False), Step("done")]
    tree = star(Problem("p", "?"), [steps])
    truth = Credit([NAN, 1, NAN, 0], "label", [0, 1, 0, 1], "recorded")
    found = process([Record(tree, {"truth": truth}, (plain(0.9, 0.1),))], rng=fresh())
    assert found["first_error_accuracy"].value == 1.0


def test_scores_that_do_not_line_up_with_steps_are_refused():
    # A read-out that drops zeros gives 4 steps 3 scores: never shift, never pad.
    with pytest.raises(ValueError, match="'p', attempt 0: 4 sampled steps but 3 step scores"):
        process([record_of("p", [[1, 1, 1, 0]], [plain(0.9, 0.9, 0.9)])], rng=fresh())


def test_a_chosen_threshold_says_it_is_step_supervision_and_its_split_is_not_measured():
    tuned = record_of("p", [[1, 0], [1, 1]], [plain(0.9, 0.7), plain(0.9, 0.8)])
    tested = record_of("q", [[0, 0], [1, 1]], [plain(0.6, 0.3), plain(0.9, 0.8)])
    # Midway between .7 and .8 both attempts of p are right; lower misses the error, higher flags too much.
    threshold = choose_threshold([tuned, tested], ["p"])
    assert threshold == Threshold(pytest.approx(0.75), "chosen", frozenset({"p"}))
    assert "step supervision" in threshold.describe() and "fixed" in Threshold().describe()
    found = process([tuned, tested], rng=fresh(), threshold=threshold)
    assert found["first_error_accuracy"].n == 2 and found["processbench_f1"].value == 1.0
    with pytest.raises(ValueError, match="the split lacks them"):
        choose_threshold([tuned, tested], ["elsewhere"])


def test_the_chosen_threshold_is_no_worse_than_any_other():
    rng = np.random.default_rng(2)
    truths, judgments = [], []
    for _ in range(60):
        first = int(rng.integers(-1, 4))
        truths.append([1.0] * 4 if first < 0 else [1.0] * first + [0.0] + [NAN] * (3 - first))
        judgments.append(plain(*np.where(np.array(truths[-1]) == 1, 0.6, 0.4) + rng.normal(0, 0.15, 4)))
    record = record_of("p", truths, judgments)
    threshold = choose_threshold([record], ["p"]).value
    answer = [int(np.argmax(np.array(t) == 0)) if 0 in t else -1 for t in truths]

    def f1_at(cut):
        return processbench_f1([predict_first_error(j, cut) for j in judgments], answer)

    assert f1_at(threshold) >= max(f1_at(cut) for cut in np.linspace(0, 1, 101)) - 1e-12
