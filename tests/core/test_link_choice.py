"""The link recommender: undecided where success ends the episode, and right at fixed length."""

import numpy as np
import pytest

from stepcredit.core import chain, link_choice


def held_out(length_of, rng, num_tasks=60, per_task=4):
    """Retry episodes: turn j succeeds with probability .3; the evidence on each turn is nearly clean."""
    rows = []
    for task in range(num_tasks):
        for _ in range(per_task):
            hit = rng.uniform(size=6) < 0.3
            steps = hit[: length_of(hit)]
            evidence = np.where(steps, 0.8, 0.1)
            rows.append((task, bool(steps.any()), evidence))
    return rows


def log_likelihoods(rows, constant=None):
    """Each link with the evidence as its rate, or with a constant rate where the judge sees no evidence."""
    found = {"derivation": [], "retry": []}
    for _, right, evidence in rows:
        ones, none = np.ones_like(evidence), np.zeros_like(evidence)
        keep = ones * constant["derivation"] if constant else evidence
        fix = ones * constant["retry"] if constant else evidence
        found["derivation"].append(chain.log_likelihood(keep, none, right))
        found["retry"].append(chain.log_likelihood(ones, fix, right, start=0.0))
    return {name: np.array(values) for name, values in found.items()}


def columns(rows):
    return np.array([len(e) for _, _, e in rows]), np.array([r for _, r, _ in rows]), [t for t, _, _ in rows]


def test_success_that_stops_the_episode_leaves_the_link_undecided():
    rng = np.random.default_rng(0)
    rows = held_out(lambda hit: int(hit.argmax()) + 1 if hit.any() else 6, rng)
    # the rates that maximise each likelihood when nothing but the length is known
    grid = np.linspace(0.02, 0.98, 49)
    best = {
        link: max(grid, key=lambda rate, link=link: log_likelihoods(rows, dict.fromkeys(("derivation", "retry"), rate))[link].mean())
        for link in ("derivation", "retry")
    }  # fmt: skip
    found = link_choice.compare_links(log_likelihoods(rows, best), *columns(rows), rng=rng)
    assert found.raw_gap > 0  # the wrong link wins without matching: short means right
    assert found.answer == "undecided"
    assert found.stop.dependent and found.stop.share_at_limit == 1.0
    text = " ".join(found.lines())
    assert "undecided" in text and "outcome on the last step" in text


def test_length_is_compared_within_a_problem():
    """p: right 1, 1 and wrong 4, gap 3, weight 2/3; q: right 3, wrong 4, gap 1, weight 1/2; r has no right attempt.

    (2/3 * 3 + 1/2 * 1) / (2/3 + 1/2) = 15/7. Lengths 3 and 4: only the length 4 has one outcome, as have 1 and 9.
    """
    length, right = np.array([1, 1, 4, 3, 4, 9]), np.array([True, True, False, True, False, False])
    found = link_choice.stop_on_success(length, right, list("pppqqr"), rng=np.random.default_rng(0))
    assert np.isclose(found.difference.value, 15 / 7) and found.difference.n == 5 and found.num_mixed == 2
    assert found.dependent and found.share_matched == 0.0 and found.share_at_limit == 1 / 3


def test_harder_problems_being_longer_is_not_success_that_ends_an_episode():
    rng = np.random.default_rng(3)
    task = np.repeat(np.arange(80), 4)
    size = 2 + task % 6
    right = rng.uniform(size=task.size) < 0.95 - 0.15 * (size - 2)
    assert (
        size[~right].mean() > size[right].mean() + 1
    )  # longer is wrong more often, but no attempt differs from its siblings
    found = link_choice.stop_on_success(size, right, task.tolist(), rng=rng)
    assert found.difference.value == 0.0 and not found.dependent and not any("tells" in line for line in found.lines())
    slower = link_choice.stop_on_success(size + ~right, right, task.tolist(), rng=rng)
    assert np.isclose(slower.difference.value, 1.0) and slower.dependent


def test_one_attempt_a_problem_cannot_tell():
    length, right = np.array([1, 1, 5, 5]), np.array([True, True, False, False])
    found = link_choice.stop_on_success(length, right, list("abcd"), rng=np.random.default_rng(0))
    assert (
        not found.dependent and found.num_mixed == 0 and "No problem has right and wrong attempts" in found.lines()[0]
    )


def test_at_fixed_length_the_right_link_wins():
    rng = np.random.default_rng(1)
    rows = held_out(lambda hit: 6, rng)
    found = link_choice.compare_links(log_likelihoods(rows), *columns(rows), rng=rng)
    assert found.answer == "retry" and not found.stop.dependent and found.stop.share_matched == 1.0


def test_a_gap_inside_its_interval_is_undecided():
    rng = np.random.default_rng(2)
    rows = held_out(lambda hit: 6, rng)
    noise = {"derivation": rng.normal(size=len(rows)), "retry": rng.normal(size=len(rows))}
    assert link_choice.compare_links(noise, *columns(rows), rng=rng).answer == "undecided"


def test_matching_makes_the_outcome_independent_of_length():
    """Length 2: three right, one wrong -> weights 1/3, 1; length 3 has no wrong attempt and weighs nothing."""
    weight = link_choice.matched_weights(np.array([2, 2, 2, 2, 3]), np.array([True, True, True, False, True]))
    assert np.allclose(weight, [1 / 3, 1 / 3, 1 / 3, 1, 0])


def test_one_outcome_only_cannot_decide():
    rng = np.random.default_rng(0)
    ones = np.ones(4)
    found = link_choice.compare_links(
        {"derivation": ones, "retry": 0 * ones}, np.full(4, 3), np.ones(4, dtype=bool), list("abcd"), rng=rng
    )
    assert found.answer == "undecided" and found.stop is None
    with pytest.raises(ValueError, match="compare two links"):
        link_choice.compare_links({"derivation": ones}, ones, ones, list("abcd"), rng=rng)


def test_a_difference_of_a_hundredth_of_a_step_tells_no_outcome():
    """Every 50th wrong attempt of 200 problems is one step longer than the right one beside it: sure, and too small."""
    length = np.tile([10, 10], 200)
    length[1::100] += 1
    right = np.tile([True, False], 200)
    tasks = np.repeat(np.arange(200), 2).tolist()
    small = link_choice.stop_on_success(length, right, tasks, rng=np.random.default_rng(0))
    assert small.difference.value == 0.02 and small.difference.low >= 0 and not small.dependent
    length[1::2] += 1
    large = link_choice.stop_on_success(length, right, tasks, rng=np.random.default_rng(0))
    assert np.isclose(large.difference.value, 1.02) and large.dependent  # 1.02 of 10.5 steps
