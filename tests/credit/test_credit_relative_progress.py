"""relative_progress: five rules on worked-out values, their bounds against exact fractions, and what each knob decides."""

from fractions import Fraction

import numpy as np
import pytest

from stepcredit import Credit, Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.relative_progress import prompt_rate, relative_progress, sound

PROBLEM = Problem("p", "?")
NAN = np.nan
# Values .5, .4, .1, 0, 0, .5 after a start of .5. Ratios 1, .8, .25, 0, 0/0, infinite; differences 0, -.1, -.3, -.1, 0, .5.
VALUES = [0.5, 0.4, 0.1, 0.0, 0.0, 0.5]


def chain(num):
    return star(PROBLEM, [[Step(str(j)) for j in range(num)]])


def credit(tree, values, kind="value"):
    values_N = np.array([NAN, *values], dtype=float)
    assert len(values_N) == tree.num_nodes
    return Credit(values_N, kind, (~np.isnan(values_N)).astype(float), "given")


def labels(values=VALUES, **knobs):
    tree = chain(len(values))
    knobs = {"first": "given", "start": 0.5, **knobs}
    return relative_progress(tree, values=credit(tree, values), **knobs).values_N[1:].tolist()


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"rule": "absolute"}, [1, 1, 1, 0, 0, 1]),
        ({"rule": "ratio"}, [1, 0, 0, 0, 0, 1]),  # .8 is not above .8
        ({"rule": "ratio", "threshold": 0.7}, [1, 1, 0, 0, 0, 1]),
        ({"rule": "progress"}, [1, 1, 0, 0, 0, 0]),  # .8 is enough; after the 0, all is wrong
        ({"rule": "progress", "after": "own"}, [1, 1, 0, 0, 0, 1]),
        ({"rule": "progress", "threshold": 1.0, "after": "own"}, [1, 0, 0, 0, 0, 1]),
        ({"rule": "difference"}, [1, 1, 1, 1, 0, 0]),  # .1 - .4 is -.3 with a residue
        ({"rule": "difference", "after": "own"}, [1, 1, 1, 1, 1, 1]),
        ({"rule": "difference", "threshold": -0.2, "after": "own"}, [1, 1, 0, 1, 1, 1]),
        # m(.5) = .9375, m(.4) = .8704, m(.1) = .3439, m(0) = 0: .5, .4 - .4 x .0671 = .373, .1 - .4 x .5265 = -.111,
        # -.4 x .3439 = -.138, 0 (not above 0, so wrong), .5 + .4 x .9375.
        ({"rule": "effective"}, [1, 1, 0, 0, 0, 1]),
        ({"rule": "effective", "alpha": 0.1}, [1, 1, 1, 0, 0, 1]),  # .1 - .1 x .5265 = .047
        # num = 1: m(Q) = Q, the third is .1 - .3 alpha: -.02 at .4, .01 at .3.
        ({"rule": "effective", "num": 1}, [1, 1, 0, 0, 0, 1]),
        ({"rule": "effective", "num": 1, "alpha": 0.3}, [1, 1, 1, 0, 0, 1]),
    ],
)
def test_rules_on_one_chain(knobs, expected):
    assert labels(**knobs) == expected


def test_nothing_out_of_nothing_is_wrong_or_unknown_and_something_out_of_nothing_is_right():
    assert labels([0.0, 0.25], rule="ratio", start=0.0) == [0, 1]
    unknown = labels([0.0, 0.25], rule="ratio", start=0.0, both_zero="unknown")
    assert np.isnan(unknown[0]) and unknown[1] == 1


def test_what_follows_an_error_is_a_rule_of_its_own():
    assert labels(rule="ratio", after="own") == [1, 0, 0, 0, 0, 1]
    assert labels(rule="ratio", threshold=0.7, after="wrong") == [1, 1, 0, 0, 0, 0]
    none = labels(rule="ratio", threshold=0.7, after="none")
    assert none[:3] == [1, 1, 0] and np.isnan(none[3:]).all()
    # "dead" begins behind the first value of 0, "wrong" behind the first label of 0.
    assert labels([0.1, 0.5, 0.5], rule="ratio", after="dead") == [0, 1, 1]
    assert labels([0.1, 0.5, 0.5], rule="ratio", after="wrong") == [0, 0, 0]


def test_a_dead_end_is_wrong_even_where_nothing_was_measured_behind_it():
    assert labels([0.5, 0.0, NAN, NAN], rule="progress") == [1, 0, 0, 0]
    assert np.isnan(labels([0.5, 0.0, NAN, NAN], rule="ratio")[2:]).all()


def test_a_step_behind_an_unmeasured_one_is_unknown_but_not_to_the_absolute_rule():
    assert np.array_equal(labels([0.5, NAN, 0.5], rule="ratio"), [1, NAN, NAN], equal_nan=True)
    assert np.array_equal(labels([0.5, NAN, 0.5], rule="absolute"), [1, NAN, 1], equal_nan=True)


@pytest.mark.parametrize("num", [4, 10, 12, 16])
@pytest.mark.parametrize("bound", ["7/10", "4/5", "1"])
def test_bounds_are_those_of_exact_fractions(num, bound):
    """All pairs of success rates with `num` rollouts: .72 / .9 is .8 although floating point says less."""
    pairs = [(a, b) for a in range(1, num + 1) for b in range(num + 1)]
    before, value = (np.array(column) / num for column in zip(*pairs, strict=True))
    above = [Fraction(b, a) > Fraction(bound) for a, b in pairs]
    enough = [Fraction(b, a) >= Fraction(bound) for a, b in pairs]
    at = float(Fraction(bound))
    assert sound(before, value, rule="ratio", threshold=at).tolist() == above
    assert sound(before, value, rule="progress", threshold=at).tolist() == enough
    fell = [Fraction(b - a, num) >= Fraction(-3, 10) for a, b in pairs]
    assert sound(before, value, rule="difference").tolist() == fell


def attempts(*rewards):
    outcomes = [Outcome(status="truncated") if np.isnan(r) else Outcome(reward=r) for r in rewards]
    return star(PROBLEM, [[Step(f"{i}")] for i in range(len(rewards))], outcomes)


def test_the_first_step_starts_from_the_success_rate_of_the_attempts():
    """Right, wrong, wrong, cut: the rate is 1/3. First values .3, .2, 0, 0: ratios .9, .6, 0, 0."""
    tree = attempts(1.0, 0.0, 0.0, NAN)
    values = credit(tree, [0.3, 0.2, 0.0, 0.0])
    assert np.isclose(prompt_rate(tree), 1 / 3)
    assert relative_progress(tree, values=values).values_N[1:].tolist() == [1, 0, 0, 0]
    assert relative_progress(tree, values=values, threshold=0.5).values_N[1:].tolist() == [1, 1, 0, 0]
    none = relative_progress(tree, values=values, first="none")
    assert np.isnan(none.values_N).all() and not none.weight_N.any()
    assert relative_progress(tree, values=values, first="given").values_N[1:].tolist() == [0, 0, 0, 0]


def test_restarts_are_no_attempts_and_attempts_that_share_their_first_step_count_once():
    """1 - 2 right, 1 - 3 wrong (one tree), 4 wrong, and 5 right behind 1 in a group of its own: (1/2 + 0) / 2."""
    steps = (prompt_step(PROBLEM), *(Step(str(n)) for n in range(1, 6)))
    outcomes = (None, None, *(Outcome(reward=r) for r in (1.0, 0.0, 0.0, 1.0)))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 0, 1], outcomes, group_N=[0, 0, 0, 0, 1, 2])
    assert prompt_rate(tree) == 0.25
    assert np.isnan(prompt_rate(attempts(NAN, NAN)))


def test_restarts_are_evidence_and_have_no_label_however_long_they_are():
    """Attempt 1 - 2; behind 1 the restarts 3, of one step, and 4 - 5: values there, whoever gave them, label nothing."""
    steps = (prompt_step(PROBLEM), *(Step(str(n)) for n in range(1, 6)))
    outcomes = (None, None, *(Outcome(reward=r) for r in (0.0, 1.0)), None, Outcome(reward=0.0))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 1, 4], outcomes, group_N=[0, 0, 0, 1, 2, 2])
    for rule in ("absolute", "ratio", "progress"):
        found = relative_progress(tree, values=credit(tree, [0.5, 0.25, 1.0, 1.0, 1.0]), rule=rule, first="given")
        assert np.array_equal(np.isnan(found.values_N), [True, False, False, True, True, True]), rule
    # A group of its own from the prompt on is an attempt, not a restart.
    tree = Tree(PROBLEM, steps[:3], [-1, 0, 0], (None, *outcomes[2:4]), group_N=[0, 1, 2])
    assert not np.isnan(relative_progress(tree, values=credit(tree, [0.5, 0.5]), rule="absolute").values_N[1:]).any()


def test_without_a_scored_attempt_only_first_steps_are_unknown():
    tree = chain(2)
    assert np.array_equal(
        relative_progress(tree, values=credit(tree, [0.5, 0.5])).values_N, [NAN, NAN, 1], equal_nan=True
    )


def test_tool_results_hand_on_the_value_before_them():
    steps = [Step("call", kind="tool_call"), Step("rows", kind="tool_result", sampled=False), Step("done")]
    tree = star(PROBLEM, [steps])
    found = relative_progress(tree, values=credit(tree, [0.5, NAN, 0.45]), first="given", start=0.5)
    assert np.array_equal(found.values_N, [NAN, 1, NAN, 1], equal_nan=True)
    dead = relative_progress(tree, values=credit(tree, [0.0, NAN, 0.45]), first="given", rule="progress")
    assert np.array_equal(dead.values_N, [NAN, 0, NAN, 0], equal_nan=True)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"rule": "relative"}, "rule is 'relative'; allowed: absolute, ratio"),
        ({"first": "one"}, "first is 'one'; allowed: attempts, given, none"),
        ({"after": "zero"}, "after is 'zero'; allowed: paper, own"),
        ({"both_zero": "right"}, "both_zero is 'right'; allowed: wrong, unknown"),
        ({"start": 1.5}, "start is a value in \\[0, 1\\]; got 1.5"),
        ({"threshold": -0.1}, "threshold -0.1, .* allowed for ratio: 0.0 or more"),
        ({"rule": "difference", "threshold": -2.0}, "allowed for difference: -1.0 or more"),
        ({"threshold": NAN}, "threshold nan"),
        ({"alpha": -1.0}, "alpha -1.0"),
        ({"num": 0}, "num 0"),
    ],
)
def test_wrong_knobs_are_named(knobs, said):
    with pytest.raises(ValueError, match=said):
        labels(**knobs)


def test_values_must_be_values_of_the_tree():
    tree = chain(2)
    with pytest.raises(ValueError, match=r"expected a value \[3\], got a label \[3\]"):
        relative_progress(tree, values=credit(tree, [1, 0], "label"))
    with pytest.raises(ValueError, match=r"expected a value \[3\], got a value \[2\]"):
        relative_progress(tree, values=credit(chain(1), [1]))
