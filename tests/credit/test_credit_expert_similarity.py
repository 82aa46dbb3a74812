"""expert_similarity: matching as the paper's, its traps, the format, and which groups are worth an update."""

import difflib

import numpy as np
import pytest

from stepcredit import Outcome, Problem, Step, Tree
from stepcredit.core.tree import prompt_step, star
from stepcredit.credit.expert_similarity import (
    action_of,
    expert_similarity,
    keep_varying,
    num_given,
    rewards,
    similarity,
    varies,
)

NAN = np.nan
PROBLEM = Problem("p", "3 +4 *2", reference=("3+4=7", "7*2=14", "so 14"))


def behind(given, *texts, problem=PROBLEM):
    """Attempts behind so many of the expert's steps; a tuple is an attempt of several steps."""
    steps = [prompt_step(problem), *(Step(text, sampled=False) for text in problem.reference[:given])]
    parents = [-1, *range(given)]
    for attempt in texts:
        for place, text in enumerate([attempt] if isinstance(attempt, str) else attempt):
            parents.append(given if place == 0 else len(steps) - 1)
            steps.append(Step(text))
    return Tree(problem, tuple(steps), parents, (None,) * len(steps))


def thought(action, monologue="hm"):
    return f"<think>{monologue}</think>{action}"


def test_the_reward_is_twice_what_matches_over_both_lengths():
    """ "7*2=15" and "7*2=14" share "7*2=1": 2 * 5 / 12. The monologue, whatever it says, counts for nothing."""
    tree = behind(1, thought("7*2=15"), thought("7*2=14", "7*2=15"), thought("xyz", "7*2=14"))
    assert rewards(tree) == pytest.approx([10 / 12, 1.0, 0.0])


def test_the_advantage_is_that_of_the_group_and_stands_on_every_step():
    """Rewards 10/12, 1, 0: mean 11/18, deviations 4/18, 7/18, -11/18, their squares over 2 make (.5358)^2."""
    tree = behind(1, thought("7*2=15"), ("<think>hm", "</think>7*2=14"), thought("xyz"))
    r = np.array([10 / 12, 1.0, 0.0])
    a = (r - r.mean()) / r.std(ddof=1)
    assert a == pytest.approx(np.array([4, 7, -11]) / 18 / np.sqrt((16 + 49 + 121) / 324 / 2))
    assert expert_similarity(tree).values_N == pytest.approx([NAN, NAN, a[0], a[1], a[1], a[2]], nan_ok=True)
    assert expert_similarity(tree, normalize="none").values_N[2] == pytest.approx(4 / 18)
    raw = expert_similarity(tree, give="reward")
    assert raw.kind == "reward" and raw.values_N == pytest.approx([NAN, NAN, r[0], r[1], r[1], r[2]], nan_ok=True)


def test_the_target_is_the_step_behind_those_given():
    for given, text in enumerate(PROBLEM.reference):
        assert rewards(behind(given, thought(text))).tolist() == [1.0]
    assert np.isnan(rewards(behind(3, thought("so 14")))).all()
    assert np.isnan(expert_similarity(behind(3, thought("so 14"), thought("x"))).values_N).all()


def test_results_of_tools_are_no_steps_of_the_expert():
    steps = [Step("look", kind="tool_call", sampled=False), Step("7", kind="tool_result", sampled=False), Step("so")]
    assert num_given(steps) == 1 and num_given(steps[:2]) == 1 and num_given(steps[2:]) == 0


def test_starts_are_not_compared_with_one_another():
    """Behind 0 and behind 1 given step: each group has equal rewards, so nothing, though the groups differ."""
    steps = (
        prompt_step(PROBLEM),
        Step("3+4=7", sampled=False),
        *(Step(thought(a)) for a in ("7*2=14", "7*2=14", "x", "x")),
    )
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1, 0, 0], (None,) * 6)
    assert expert_similarity(tree).values_N[2:].tolist() == [0.0] * 4


def test_autojunk_is_off():
    """D14: 260 characters that differ in one are .996 alike; difflib's default says .5, for it calls every character junk."""
    expert = "ab" * 130
    action = expert[:130] + "c" + expert[131:]
    assert difflib.SequenceMatcher(None, action, expert).ratio() < 0.51
    assert similarity(action, expert) == pytest.approx(518 / 520)


def test_the_order_of_the_arguments_is_fixed():
    """difflib's documented example; the policy's action comes first."""
    problem = Problem("p", "?", reference=("diet",))
    assert rewards(behind(0, thought("tide"), problem=problem)).tolist() == [0.25]
    assert rewards(behind(0, thought("diet"), problem=Problem("p", "?", reference=("tide",)))).tolist() == [0.5]


def test_a_wrong_number_is_nearly_right_by_characters_and_less_so_by_tokens():
    """15 characters of which 14 match, .933; seven tokens of which six do, .857; by its last number, 0."""
    right, wrong = "10 + 1 + 4 = 15", "10 + 1 + 4 = 14"
    assert similarity(wrong, right) == pytest.approx(14 / 15)
    assert similarity(wrong, right, unit="token") == pytest.approx(6 / 7)
    tree = behind(0, thought(wrong), thought(right), thought("none"), problem=Problem("p", "?", reference=(right,)))
    assert rewards(tree, same_number=True)[:2].tolist() == [0.0, 1.0]
    words = behind(0, thought("carry on"), problem=Problem("p", "?", reference=("carry",)))
    assert rewards(words, same_number=True) == pytest.approx(
        [10 / 13]
    )  # the expert names no number, nor does the action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<think>a</think>3", "3"), ("a</think>\n\n3\n", "3"), ("<think>a</think>", ""), (" <think></think>3", "3"),
        ("<think>a", None), ("3", None), ("3<think>a</think>3", None), ("<think>a</think>3</think>", None),
        ("<think>a<think>b</think>3", None), ("<think>a</think><think>3", None), ("", None),
    ],
)  # fmt: skip
def test_the_format(text, action):
    """The opening tag may stand in the prompt; there is one monologue, and nothing before it."""
    assert action_of(text) == action
    assert rewards(behind(0, text or " ")) == pytest.approx(
        [-1.0 if action is None else 0.0 if not action else similarity(action, "3+4=7")]
    )


def test_without_monologues_all_is_action_but_an_open_one_is_still_broken():
    tree = behind(0, "3+4=7", "<think>3+4=7", thought("3+4=7"))
    assert rewards(tree, monologue="optional").tolist() == [1.0, -1.0, 1.0]
    assert rewards(tree).tolist() == [-1.0, -1.0, 1.0]


def test_the_rest_is_compared_step_by_step_monologues_left_out():
    """Two lines with their monologues against "7*2=14\\nso 14"; of "7*2=14" alone 6 of 12 units match: 2 * 6 / (6 + 12)."""
    tree = behind(1, (thought("7*2=14"), thought("so 14")), thought("7*2=14"), (thought("7*2=14"), "so 14"))
    assert rewards(tree, target="rest") == pytest.approx([1.0, 12 / 18, -1.0])


def test_what_is_cut_still_counts_as_length():
    """Only 4 of 8 characters are matched, over all 16: filler behind the cut is not free."""
    assert similarity("abcdefgh", "abcdefgh", max_units=4) == 0.5
    assert similarity("abcd" + "x" * 100, "abcd", max_units=4) == pytest.approx(8 / 108)


def test_groups_that_vary_are_kept():
    """Deviation of (0, .2) is .1; of three times .1, in floating point not 0 by itself, exactly 0."""
    assert varies(np.array([0.0, 0.2]), 0.0999) and not varies(np.array([0.0, 0.2]), 0.1001)
    assert not varies(np.array([0.1, 0.1, 0.1]), 0.0)
    assert not varies(np.array([0.5, NAN])) and not varies(np.zeros(0)) and varies(np.array([0.5, NAN, 1.0]))
    trees = [behind(1, thought("7*2=14"), thought("x")), behind(1, thought("y"), thought("x")), behind(3, "a", "b")]
    assert keep_varying(trees, rewards) == trees[:1]


def test_equal_rewards_carry_nothing_and_outcomes_are_not_read():
    attempts = [[Step(thought("3+4=1"))]] * 3
    tree = star(PROBLEM, attempts, [Outcome(reward=1.0), Outcome(reward=0.0), Outcome(status="truncated")])
    assert expert_similarity(tree).values_N[1:].tolist() == [0.0] * 3
    assert np.isnan(rewards(behind(3))).all()  # only given steps: nothing was written


def test_a_step_that_attempts_share_has_their_mean():
    steps = (prompt_step(PROBLEM), Step("<think>hm</think>3+4"), Step("=7"), Step("=8"))
    tree = Tree(PROBLEM, steps, [-1, 0, 1, 1], (None,) * 4)
    one, other = similarity("3+4=7", "3+4=7"), similarity("3+4=8", "3+4=7")
    found = expert_similarity(tree, give="reward", delimiter="").values_N
    assert found == pytest.approx([NAN, (one + other) / 2, one, other], nan_ok=True)


def test_wrong_knobs_are_named():
    tree = behind(0, thought("x"))
    for knob in ("unit", "target", "monologue", "normalize", "give"):
        with pytest.raises(ValueError, match=f"{knob} is 'x'; allowed: "):
            expert_similarity(tree, **{knob: "x"})
    with pytest.raises(ValueError, match="max_units is 0; allowed: 1 or more"):
        expert_similarity(tree, max_units=0)
