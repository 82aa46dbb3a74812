"""label_rules: the closed form against a published table, hand calculation and the simulated trees; the run it returns."""

import functools
import math

import numpy as np
import pytest

from stepcredit.core.rng import rng
from stepcredit.credit.monte_carlo import counts
from stepcredit.credit.relative_progress import sound
from stepcredit.recipes._label_rules import World, attempt, by_rule, exact, only_at_zero, tallies
from stepcredit.recipes.label_rules import ABSOLUTE, PRINTED, RULES, _exact, label_rules
from stepcredit.report import write_report

# The table to reproduce: balanced accuracy in percent at recovery 0, .02, .10 with M = 16, and .10 with M = 4.
TABLE = {
    "Abs-Q > 0": (100.0, 70.3, 55.8, 66.8),
    "Rel-Ratio > .7": (97.6, 97.5, 91.1, 81.6),
    "Rel-Ratio > .8": (94.8, 94.8, 91.1, 77.7),
    "RPE >= .8": (95.5, 95.4, 91.0, 77.7),
    "RPE >= 1": (87.1, 86.6, 83.4, 77.7),
    "Rel-Effective .4 > 0": (100.0, 94.7, 63.2, 66.8),
    "Rel-Effective .8 > 0": (100.0, 98.5, 72.0, 76.8),
}
CELLS = ((0.0, 16), (0.02, 16), (0.1, 16), (0.1, 4))


@pytest.mark.parametrize("name", TABLE)
def test_the_closed_form_is_the_published_table(name):
    """40,000 attempts leave .15 points of chance in a cell."""
    for (recovery, num), published in zip(CELLS, TABLE[name], strict=True):
        assert abs(100 * _exact(name, World(8, 0.08, recovery), num)["balanced"] - published) < 0.5, (recovery, num)


def test_more_rollouts_make_absolute_labels_worse_once_wrong_prefixes_recover_and_only_then():
    for recovery, worse in ((0.0, False), (0.02, True), (0.1, True)):
        few, many = (_exact(ABSOLUTE, World(8, 0.08, recovery), num)["balanced"] for num in (4, 16))
        assert (many < few - 0.05) == worse


def test_values_are_those_of_the_two_state_chain():
    """The last column of powers of the transition matrix."""
    world = World(5, 0.3, 0.2)
    step = np.array([[0.7, 0.3], [0.2, 0.8]])
    for state, value_J in enumerate(world.values()):
        assert np.allclose(value_J, [np.linalg.matrix_power(step, 5 - j)[state, 0] for j in range(6)])


def test_the_closed_form_by_hand():
    """Two steps, one rollout, no recovery, slip e. The first step is sound with 1 - e and then seen to succeed with 1 - e;
    the second, sound with (1 - e)^2, is always: 2 (1 - e)^2 / ((1 - e) + (1 - e)^2) = 2 (1 - e)/(2 - e). Slips never succeed.
    """
    slip = 0.25
    found = exact(World(2, slip, 0.0), 1, functools.partial(sound, rule="absolute"), dead=False)
    assert math.isclose(found["sound"], 2 * 0.75 / 1.75) and found["slip"] == 1.0
    assert math.isclose(found["balanced"], (found["sound"] + 1) / 2)
    # Steps judged: e + (1 - e) + (1 - e) e + (1 - e)^2 = 1 + (1 - e); labelled sound: 2 (1 - e)^2.
    assert math.isclose(found["positive"], 2 * 0.75**2 / 1.75)
    # Dead after a 0: the second step also needs the first to have succeeded, (1 - e)^2 (1 - e).
    dead = exact(World(2, slip, 0.0), 1, functools.partial(sound, rule="absolute"), dead=True)
    assert math.isclose(dead["sound"], (0.75**2 + 0.75**3) / (0.75 + 0.75**2))


@pytest.mark.parametrize("num", [2, 5])
def test_the_simulated_trees_agree_with_the_closed_form(num):
    """Shares within 4 binomial standard errors; labels of an attempt are dependent, so with half as many counted."""
    world = World(4, 0.2, 0.15)
    names = ["Abs-Q > 0", "Rel-Ratio > .7", "RPE >= .8, 0 after a value of 0", "Rel-Effective .8 > 0",
             "difference >= -.3, 0 after a value of 0"]  # fmt: skip
    found = tallies(world, num, 250, {name: by_rule(**RULES[name]) for name in names}, rng(0, "agree", num))
    for name, tally in found.items():
        truth = _exact(name, world, num)
        for measure, n in (("sound", tally.num_sound), ("slip", tally.num_slip)):
            share = truth[measure]
            error = 4 * math.sqrt(max(share * (1 - share), 1e-3) / (n / 2))
            assert abs(tally.measures[measure] - share) < error, (name, measure)


def test_an_attempt_carries_its_continuations_and_its_own_truth():
    slips = []
    for seed in range(200):
        alone, grown, slip, start = attempt(World(3, 0.3, 0.0), 5, rng(seed))
        assert alone.num_nodes == 4 and grown.num_nodes == 4 + 2 * 5 and 0 <= start <= 1
        right, num = counts(grown)
        assert num[1:4].tolist() == [5, 5, 1]
        assert (alone.reward_N[3] == 1) == (slip == 3)  # nothing recovers
        assert not right[1:4][slip:].any()  # and nothing broken succeeds
        slips.append(slip)
    # First slip at 0, 1, 2 or none: .3, .21, .147, .343.
    found = np.bincount(slips, minlength=4) / 200
    assert np.all(np.abs(found - [0.3, 0.21, 0.147, 0.343]) < 4 * np.sqrt(0.23 / 200))


def test_attempts_end_right_as_often_as_the_prompt_s_value_says():
    """Broken states recover in the attempt itself too: v_0 is .583 (.343 without); 300 attempts, four standard errors."""
    world = World(3, 0.3, 0.4)
    ends = [attempt(world, 1, rng(seed, "ends"))[0].reward_N[3] for seed in range(300)]
    value = world.values()[0][0]
    # One step: .7. Two: .7 x .7 + .3 x .4 = .61. Three: .7 x .61 + .3 x (.4 x .7 + .6 x .4) = .583.
    assert math.isclose(value, 0.583) and abs(np.mean(ends) - value) < 4 * math.sqrt(0.25 / 300)


def test_read_as_printed_the_effective_rule_finds_next_to_nothing_wrong():
    tally = tallies(World(8, 0.08, 0.1), 16, 60, {PRINTED: only_at_zero(0.8)}, rng(0))[PRINTED]
    assert tally.measures["slip"] < 0.2 and tally.measures["sound"] > 0.95


def test_the_run_has_every_cell_with_an_interval_and_can_be_shown(tmp_path):
    done = label_rules(size="quick", seeds=(11, 12), recoveries=(0.0, 0.1), rollouts=(2, 4))
    write_report(done, tmp_path / "report.html")
    assert len(done["table"]["columns"]) == 4
    assert [row["arm"] for row in done["table"]["rows"] if row["kind"] != "oracle"] == [*RULES, PRINTED]
    named = {result["name"]: result for result in done["results"]}
    assert len(named) == (len(RULES) + 1) * 4 * 4 + 2 * 2 == len(done["results"])
    one = named["recovery 0.1, M = 4: Rel-Ratio > .7, balanced"]
    assert one["low"] <= one["value"] <= one["high"] and one["n"] == 2 and 0.5 < one["exact"] < 1
    assert done["expectation"] and done["summary"][-1].startswith("The closed form lies in")


def test_the_same_seed_gives_the_same_labels():
    rules = {name: by_rule(**knobs) for name, knobs in RULES.items()}
    one, two, other = (tallies(World(), 3, 10, rules, rng(seed, "same")) for seed in (1, 1, 2))
    assert one == two != other


def test_without_a_slip_there_is_no_accuracy_on_slips():
    tally = tallies(World(3, 0.0, 0.0), 2, 3, {"x": by_rule(rule="absolute")}, rng(0))["x"]
    assert (
        tally.measures["sound"] == 1.0 and math.isnan(tally.measures["slip"]) and math.isnan(tally.measures["balanced"])
    )


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": "huge"}, "size 'huge'.*allowed: quick, small, full"),
        ({"seeds": (1,)}, "1 seeds.*two seeds or more"),
        ({"rollouts": (0,)}, r"rollouts \[0\]"),
        ({"rollouts": ()}, r"rollouts \[\]"),
        ({"recoveries": ()}, r"recoveries \[\]"),
        ({"recoveries": (1.5,), "size": "quick"}, "recovery=1.5.*chances in"),
        ({"num_steps": 0, "size": "quick"}, "num_steps=0.*1 step or more"),
    ],
)
def test_wrong_knobs_are_named(knobs, said):
    with pytest.raises(ValueError, match=said):
        label_rules(**knobs)
