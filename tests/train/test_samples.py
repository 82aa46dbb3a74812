"""From records to samples: what lines up, and which row is named when it does not."""

import numpy as np
import pytest

from stepcredit import Credit, Outcome, Problem, Record, Step, Tree
from stepcredit.core.layout import Encoded, EncodeError
from stepcredit.core.tree import prompt_step, star
from stepcredit.train.samples import samples

PROBLEM = Problem("p", "?")


def encode(attempts):
    """Two tokens of prompt, then two a sampled step, read at the second; a step "bad" cannot be encoded."""
    found = []
    for index, (problem, steps) in enumerate(attempts):
        if any(step.text == "bad" for step in steps):
            raise EncodeError(index, problem, "the marker is merged")
        num = sum(step.sampled for step in steps)
        found.append(Encoded(np.arange(2 + 2 * num), 3 + 2 * np.arange(num)))
    return found


def record(name="p", attempts=(("a", "b"),), rewards=(1.0,), **credits):
    outcomes = [Outcome(status="timeout") if np.isnan(r) else Outcome(reward=r) for r in rewards]
    tree = star(Problem(name, "?"), [[Step(text) for text in attempt] for attempt in attempts], outcomes)
    return Record(tree, {name: credit(tree, values) for name, values in credits.items()})


def credit(tree, values, kind="label"):
    """A credit on nodes 1.., NaN where unknown."""
    values_N = np.r_[np.nan, values]
    return Credit(values_N, kind, np.where(np.isnan(values_N), 0.0, 1.0), "test")


BOTH = [record("p"), record("q", rewards=(0.0,))]


def test_an_attempt_becomes_a_sample_with_its_outcome():
    found = samples([record("p", (("a", "b"), ("c",)), (1.0, 0.0))], encode)
    assert [s.num_steps for s in found] == [2, 1] and [s.outcome for s in found] == [1.0, 0.0]
    assert found[0].loss_mask_T.tolist() == [False, False, False, True, False, True]
    assert np.all(np.isnan(found[0].label_CT)) and not found[0].weight_CT.any() and found[0].key == "p"


def test_labels_and_weights_stand_at_the_read_positions():
    tree = record("p", (("a", "b"), ("c",)), (1.0, 0.0)).tree
    given = Credit([np.nan, 0.25, np.nan, 1.0], "value", [0.0, 2.0, 0.0, 1.0], "test")
    first, second = samples([Record(tree, {"soft": given})], encode, credit="soft")
    assert first.label_CT[0, [3, 5]].tolist()[0] == 0.25 and np.isnan(first.label_CT[0, 5])  # a float label survives
    assert first.weight_CT[0].tolist() == [0, 0, 0, 2.0, 0, 0] and second.label_CT[0, 3] == 1.0


def test_unsampled_steps_have_no_label():
    steps = (
        prompt_step(PROBLEM),
        Step("act", kind="tool_call"),
        Step("seen", kind="tool_result", sampled=False),
        Step("b"),
    )
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 2], (None, None, None, Outcome(reward=1.0)))
    found = samples([Record(tree, {"y": credit(tree, [1.0, np.nan, 0.0])})], encode, credit="y")
    assert found[0].num_steps == 2 and found[0].label_CT[0, [3, 5]].tolist() == [1.0, 0.0]


def test_unscored_attempts_are_kept_without_an_outcome():
    found = samples([*BOTH, record("r", rewards=(np.nan,))], encode)
    assert np.isnan(found[2].outcome)


def test_an_attempt_without_a_step_is_left_out_and_still_counted():
    """Rows are numbered as the user sees them: the long one is the fourth."""
    nothing = Tree(PROBLEM, (prompt_step(PROBLEM),), [-1], (None,))
    given_only = Tree(PROBLEM, (prompt_step(PROBLEM), Step("seen", sampled=False)), [-1, 0], (None, None))
    given = [record("p"), Record(nothing), Record(given_only), record("long", (tuple("abcdefgh"),), (0.0,))]
    assert [s.key for s in samples(given, encode)] == ["p", "long"]
    with pytest.raises(
        ValueError, match=r"row 4 \(problem 'long'\) has 18 tokens, the limit is 10; raise max_tokens or"
    ):
        samples(given, encode, max_tokens=10)


def test_long_attempts_may_be_left_out():
    given = [*BOTH, record("long", (tuple("abcdefgh"),))]
    assert [s.key for s in samples(given, encode, max_tokens=10, on_long="skip")] == ["p", "q"]
    with pytest.raises(ValueError, match="on_long is 'cut'; allowed: raise, skip"):
        samples(given, encode, on_long="cut")
    with pytest.raises(ValueError, match="no attempt to train on"):
        samples(given, encode, max_tokens=1, on_long="skip")


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_an_attempt_that_cannot_be_encoded_is_named_by_row(chunk):
    given = [record("p", (("a",), ("b",)), (1.0, 0.0)), record("q"), record("r", (("bad",),))]
    with pytest.raises(ValueError, match=r"row 4 \(problem 'r'\): the marker is merged"):
        samples(given, encode, chunk=chunk)


def test_records_are_read_as_a_stream():
    assert len(samples(iter(BOTH * 5), encode, chunk=3)) == 10


def test_labels_that_do_not_line_up_are_refused_by_row():
    def short(attempts):
        return [Encoded(one.token_ids_T, one.read_S[1:]) for one in encode(attempts)]

    def twice(attempts):
        return [Encoded(one.token_ids_T, one.read_S * 0 + 3) for one in encode(attempts)]

    given = [record("p", y=[1.0, 0.0])]
    with pytest.raises(ValueError, match=r"row 1 \(problem 'p'\): 2 labels for 1 steps"):
        samples(given, short, credit="y")
    with pytest.raises(ValueError, match=r"row 1 \(problem 'p'\): read positions \[3, 3\] do not ascend"):
        samples(given, twice, credit="y")


def test_a_missing_credit_or_one_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"record 2 \(problem 'q'\) has no credit 'y'; it has: truth"):
        samples([record("p", y=[1.0, 0.0]), record("q", truth=[1.0, 0.0])], encode, credit="y")
    tree = record("p").tree
    with pytest.raises(ValueError, match="credit 'a' is of kind advantage; a judge is taught by a label or a value"):
        samples([Record(tree, {"a": credit(tree, [-0.5, 0.5], "advantage")})], encode, credit="a")


@pytest.mark.parametrize(("reward", "said"), [(1.0, "right"), (0.0, "wrong")])
def test_outcomes_that_never_differ_are_refused(reward, said):
    with pytest.raises(ValueError, match=f"all 3 scored attempts are {said} .* add harder or easier problems"):
        samples([record(name, rewards=(reward,)) for name in "abc"] + [record("d", rewards=(np.nan,))], encode)


def test_a_set_without_supervision_is_refused():
    with pytest.raises(ValueError, match="no attempt to train on"):
        samples([], encode)
    with pytest.raises(ValueError, match="none of 1 attempts has a scored outcome; verify them first"):
        samples([record(rewards=(np.nan,))], encode)
    with pytest.raises(ValueError, match="none of 1 attempts has a supervised position: every label is unknown"):
        samples([record(y=[np.nan, np.nan])], encode, credit="y")
    with pytest.raises(ValueError, match="all 2 labels are 1: labels that never differ teach nothing"):
        samples([record(y=[1.0, 1.0])], encode, credit="y")


def test_rewards_outside_the_unit_interval_are_no_outcomes():
    with pytest.raises(ValueError, match=r"outcome losses need rewards in \[0, 1\], got 3"):
        samples([record("p"), record("q", rewards=(3.0,))], encode)
