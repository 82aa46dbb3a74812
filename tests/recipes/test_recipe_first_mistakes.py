"""First mistakes: what a judge reads of each step, the writers of attempts, the judge of lines, and the recipe."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Judgment, Outcome, Problem, Record, Step
from stepcredit.evaluate import predict_first_error
from stepcredit.recipes import _mistakes, _mistakes_arithmetic, _mistakes_dyck, _mistakes_sorting, _mistakes_tracking
from stepcredit.recipes._mistakes import School
from stepcredit.recipes._mistakes_judge import fit_lines, group_likelihood, lines
from stepcredit.recipes._mistakes_luck import FPS, chosen_luck, log_likelihood
from stepcredit.recipes._mistakes_policy import policy_attempts
from stepcredit.recipes.first_mistakes import ARMS, KINDS, first_mistakes
from stepcredit.report._check import check_run

DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))


def test_a_bracket_step_stands_beside_the_stack_before_it_and_the_next_symbol():
    texts = [
        "stack: empty",
        "( ; stack: (",
        "[ ; stack: (",  # not pushed
        'Now, we have reached the end. The final stack is "( [".',
        'We will need to pop out "[", "(" one by one in that order.',
        'So, we need "]", ")". So the answer is ] (',
    ]
    assert _mistakes_dyck.view("( [ {", texts) == [
        "stack",
        "stack or OO rr",
        "stack rr OO ss",
        "end rr os OE co",  # the problem goes on
        "pops ss rr",
        "need ss rr answer ss rr opens",
    ]


def test_a_swap_shows_who_is_named_and_what_each_held_and_holds():
    prompt = (
        "Alice, Bob, and Claire are playing a game. At the start of the game, they are each holding a ball: "
        "Alice has a red ball, Bob has a blue ball, and Claire has a pink ball.\n"
        "As the game progresses, pairs of players trade balls. First, Alice and Bob swap balls. "
        "Finally, Claire and Bob swap balls. At the end of the game, Bob has the\n"
        "Options:\n(A) red ball.\n(B) blue ball.\n(C) pink ball."
    )
    texts = [
        "At the start: Alice: red, Bob: blue, Claire: pink.",
        "Alice and Claire swap balls: Alice: blue, Bob: red, Claire: pink.",  # another is named
        "B: pink, C: pink",  # nobody is named, Alice is not listed
        "At the end of the game, Bob has the pink ball. So the answer is (B)",
    ]
    assert _mistakes_tracking.view(prompt, texts) == [
        "start aa bb cc",
        "swap two yy ab yn ba ny cc",
        "swap one yu cc yu ac nu bx",
        "left none asked ll held cc answer cb",
    ]


def test_tokens_drop_brackets_around_one_number_and_around_the_whole():
    assert _mistakes_arithmetic.tokens("(4 - (-6) + -7)") == ["4", "-", "-6", "+", "-7"]
    assert _mistakes_arithmetic.tokens("(1 + 2) * (3 - 4)") == ["(", "1", "+", "2", ")", "*", "(", "3", "-", "4", ")"]


def test_a_change_between_expressions_is_shown_in_remainders_with_its_neighbours():
    of = _mistakes_arithmetic.tokens
    # -5 is 5, 4, 2 by 10, 9, 7; minus -35 is 35: 5, 8, 0
    assert _mistakes_arithmetic.changes(of("9 - 7 * -5 - 6"), of("9 - -35 - 6")) == [
        "n*n>n -n*n>n n*n>n- 10:-5*7>5 9:-4*7>8 7:-0*2>0"
    ]
    assert _mistakes_arithmetic.changes(of("9 - 7 * 5"), of("9 - (7 * 5)")) == ["group -*~-(*) -(*)"]
    # two places, each from a number to a number
    found = _mistakes_arithmetic.changes(of("(8 * 6) - (2 * 5)"), of("48 - 10"))
    assert [line.split()[0] for line in found] == ["n*n>n", "n*n>n"]


def test_a_sum_in_one_go_is_shown_as_its_terms_with_their_signs():
    of = _mistakes_arithmetic.tokens
    assert _mistakes_arithmetic.changes(of("4 - 6 + 7"), of("5")) == [
        "n-n+n>n (n-n+n>n n-n+n>n) 10:4,4,7>5 9:3,4,7>5 7:0,1,4>5"
    ]


def test_a_letter_stands_beside_the_words_own_and_an_order_beside_the_one_before():
    texts = [
        'The first letter: "plum": "p" (16). "pear": "p" (16). "fig": "t" (6).',
        'We now have: (6) "fig" < (16) ["plum" ? "pear"].',
        'Now let\'s sort this subpart ["plum" ? "pear"] by looking at their second letters. '
        'The second letter: "plum": "l" (12). "pear": "e" (5).',
        'We now have: (5) "pear" < (12) "plum" for the subpart. Hence, we have "pear" < "fig" < "plum".',
        "I have now sorted all the words. The answer is pear plum",
    ]
    first, order, second, whole, answer = _mistakes_sorting.view("plum pear fig", texts)
    assert first.split("\n")[:2] == ["letter own:pp said:p16", "letter own:ft said:t6"]
    assert "next next:6<16" in order.split("\n")
    assert "depth depth:1~1" in second.split("\n")
    # pear stood beside plum, behind fig: from pear to fig one back, from fig to plum one on
    assert [line for line in whole.split("\n") if line.startswith("whole")] == ["whole whole:-1o", "whole whole:+1o"]
    assert answer.split("\n") == [
        "words words:answer-1",
        "words words:again-1",
        "open open:0",
        "first first:0",
        "answer answer:+2",
    ]


@pytest.mark.parametrize("name", KINDS)
def test_attempts_without_slips_are_sound_and_right(name):
    kind = KINDS[name]
    task = registry.get("tasks", kind.task).function(**kind.knobs)
    draw = rng(0, "sound", name)
    for problem in task.problems(20, draw):
        steps = [Step(line) for line in kind.attempt(problem.prompt, draw, slip_share=0.0)]
        assert task.verify(problem, [steps])[0].correct
        assert np.all(task.label_steps(problem, steps) == 1)


@pytest.mark.parametrize("name", KINDS)
def test_wrong_attempts_have_a_wrong_step_and_both_kinds_occur(name):
    made = _mistakes.synthetic(60, KINDS[name], avoid=set(), rng=rng(0, "slips", name))
    wrong = [record.tree.reward_N[record.tree.leaves[0]] == 0 for record in made]
    assert 0.15 < np.mean(wrong) < 0.85
    for record, is_wrong in zip(made, wrong, strict=True):
        assert not is_wrong or 0 in record.credits["truth"].values_N


@pytest.mark.parametrize("name", KINDS)
def test_a_view_has_a_line_for_every_step_and_never_reads_ahead(name):
    kind = KINDS[name]
    for record in _mistakes.synthetic(10, kind, avoid=set(), rng=rng(1, "ahead", name)):
        texts = [step.text for step in record.tree.solution(record.tree.leaves[0])]
        whole = kind.view(record.tree.problem.prompt, texts)
        assert len(whole) == len(texts) and all(whole)
        half = len(texts) // 2
        assert kind.view(record.tree.problem.prompt, texts[:half]) == whole[:half]


@pytest.mark.parametrize("name", KINDS)
def test_recorded_traces_can_be_viewed(name):
    path = DATA / "bigbench_mistake" / KINDS[name].file
    if not path.is_file():
        pytest.skip(f"no recorded traces at {path}")
    given = _mistakes.recorded(path)
    for record, seen in zip(given, _mistakes.viewed(given, KINDS[name]), strict=True):
        assert seen.tree.num_nodes == record.tree.num_nodes
        assert all(step.text for step in seen.tree.steps)


def test_the_likelihood_is_the_chains_with_luck_and_its_gradient_its_own():
    # one right attempt of lines 0 and 1, one wrong attempt of line 1 twice; keep .5 and .8, fp .25
    logit_V = np.log(np.array([0.5 / 0.5, 0.8 / 0.2]))
    like = group_likelihood(np.array([1.0, 0.0]), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2, 0.25)
    value, slope = like(logit_V)
    assert value == pytest.approx(np.log(0.25 + 0.75 * 0.4) + np.log(0.75 * (1 - 0.64)))
    for at in range(2):
        moved = logit_V + 1e-6 * (np.arange(2) == at)
        assert (like(moved)[0] - value) / 1e-6 == pytest.approx(slope[at], abs=1e-4)


def _toy(*given):
    """Records of one-word steps; the outcome is right unless a step is "bad"."""
    found = []
    for number, texts in enumerate(given):
        value_N = np.array([np.nan, *(float("bad" not in text) for text in texts)])
        outcome = Outcome(float(np.nanmin(value_N)), bool(np.nanmin(value_N)))
        tree = star(Problem(f"p{number}", "?"), [[Step(text) for text in texts]], [outcome])
        found.append(Record(tree, {"truth": Credit(value_N, "label", np.isfinite(value_N).astype(float), "toy")}))
    return found


TOY = _toy(
    *[["fine", "good"], ["good", "bad"], ["bad", "fine"], ["fine", "fine\nbad"], ["good", "good"], ["fine", "good"]]
    * 20
)


def test_a_judge_learns_from_outcomes_alone_which_line_breaks():
    judge = fit_lines(TOY, taught="outcomes", longest=1)
    assert [predict_first_error(j) for j in judge(TOY[:6])] == [-1, 1, 0, 1, -1, -1]
    assert judge.num_parameters == 4  # fine, good, bad and the bias
    assert judge.heights[-1] > judge.heights[0]


def test_labels_teach_the_same_and_stop_at_the_first_wrong_step():
    judge = fit_lines(TOY, taught="labels", longest=1)
    assert [predict_first_error(j) for j in judge(TOY[:4])] == [-1, 1, 0, 1]
    hidden = [r for r in TOY if r.tree.steps[1].text == "bad"]  # after the wrong step "fine" is not seen
    with pytest.raises(ValueError, match="nothing to learn"):
        fit_lines([replace(r, credits={"truth": replace(r.credits["truth"], values_N=[np.nan] * 3, weight_N=[0] * 3)})
                   for r in hidden], taught="labels")  # fmt: skip


def test_lines_are_counted_once_and_know_their_step():
    given = lines(TOY[:4])
    assert given.texts == ["fine", "good", "bad"]
    assert given.step_L.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7] and given.attempt_S.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.redraws])
def test_without_redrawing_more_attempts_slip_and_still_end_right(name):
    kind, draw = KINDS[name], rng(2, "redraw", name)
    task = registry.get("tasks", kind.task).function(**kind.knobs)
    problems = task.problems(120, draw)

    def right(**knobs):
        given = [[Step(line) for line in kind.attempt(p.prompt, draw, slip_share=1.0, **knobs)] for p in problems]
        made = [_mistakes.finished(task, p, steps).tree for p, steps in zip(problems, given, strict=True)]
        return np.mean([tree.reward_N[tree.leaves[0]] for tree in made])

    # what slips and ends right is drawn again but for 3 %, forty times at most
    assert right() + 0.08 < right(redraw=False)


def _lucky(*given):
    """Attempts of one-line steps "good" and "bad" with stated outcomes."""
    return [
        replace(
            record, tree=star(record.tree.problem, [record.tree.solution(record.tree.leaves[0])], [Outcome(r, r == 1)])
        )
        for record, r in zip(_toy(*(texts for texts, _ in given)), (r for _, r in given), strict=True)
    ]


def test_luck_is_told_by_attempts_that_slip_more_than_once():
    # one bad line in two comes out well, however many there are: luck .5, not keeps of .5, .25, .125
    rows = [(["good"], 1.0), (["good"], 1.0)]
    rows += [(["bad"] * n, r) for n in (1, 2, 3, 4) for r in (0.0, 1.0)]
    assert chosen_luck(_lucky(*rows * 30), longest=1).fp == 0.5
    # and here none comes out well
    rows = [(["good"], 1.0), (["good", "good"], 1.0), (["bad"], 0.0), (["good", "bad"], 0.0)]
    found = chosen_luck(_lucky(*rows * 30), longest=1)
    assert found.fp == FPS[0] and found.height_of[FPS[0]] > found.height_of[FPS[1]]


def test_the_held_out_likelihood_is_the_chains_and_luck_needs_outcomes():
    # q .5 and right, q .2 and wrong, fp .25: P(right) = .25 + .75 q
    given = _lucky((["good"], 1.0), (["bad"], 0.0))
    told = [Judgment(q, [q]) for q in (0.5, 0.2)]
    assert log_likelihood(given, told, 0.25) == pytest.approx((np.log(0.625) + np.log(0.6)) / 2)
    with pytest.raises(ValueError, match="2 of 2 attempts"):
        chosen_luck(given, longest=1)


def test_a_policy_tries_new_problems_and_is_asked_once(tmp_path):
    kind = replace(
        KINDS["dyck"],
        knobs={"min_symbols": 4, "max_symbols": 8, "max_open": 2},
        school=School(hidden=16, max_new_tokens=12),
    )
    avoid = {"( [", "[ ("}
    found, cost, size = policy_attempts(6, kind, share=0.01, avoid=avoid, seed=0, cache=tmp_path)
    assert len({r.tree.problem.prompt for r in found} - avoid) == 6 and 0 < size < 100_000
    assert cost.generated_tokens > 0 and all("truth" in r.credits for r in found)
    # hardly anything is finished in twelve tokens, and cut off is not wrong
    rewards = [r.tree.reward_N[r.tree.leaves[0]] for r in found]
    assert [r.tree.outcomes[r.tree.leaves[0]].status == "truncated" for r in found] == np.isnan(rewards).tolist()
    assert np.isnan(rewards).any()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again, _, _ = policy_attempts(6, kind, share=0.01, avoid=avoid, seed=0, cache=tmp_path)
    assert [r.tree.steps for r in again] == [r.tree.steps for r in found]
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_the_recipe_runs_and_says_no_clearly(tmp_path):
    made = _mistakes.synthetic(24, KINDS["dyck"], avoid=set(), rng=rng(7, "file"))
    rows = []
    for record in made:
        tree, wrong = record.tree, np.flatnonzero(record.credits["truth"].values_N[1:] == 0)
        outcome = tree.outcomes[tree.leaves[0]]
        rows.append({"input": tree.problem.prompt, "steps": [s.text for s in tree.steps[1:]], "answer": outcome.answer or "",
                     "target": tree.problem.answer, "mistake_index": int(wrong[0]) if wrong.size else None})  # fmt: skip
    with gzip.open(tmp_path / KINDS["dyck"].file, "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    no_policy = [name for name, arm in ARMS.items() if arm.source != "policy"]
    run = first_mistakes(size="quick", seeds=(0,), tasks=("dyck",), arms=no_policy, path=str(tmp_path))
    check_run(run)
    arms = [row["arm"] for row in run["table"]["rows"]]
    assert arms[:3] == ["prefixes", "latent_chain", "latent_chain + recorded"]
    assert arms[3:6] == ["outcome_broadcast", "latent_chain, plain", "oracle"]
    assert arms[6:8] == ["latent_chain, no redraw", "oracle, no redraw"]
    assert any("no redraw: 160 attempts" in line and "luck" in line for line in run["summary"])
    assert "best constant guess" in arms and "always_correct" in arms
    with pytest.raises(ValueError, match="sprm"):
        first_mistakes(arms=["sprm"])
    with pytest.raises(ValueError, match="no recorded traces word_sorting"):
        first_mistakes(tasks=["sorting"], path=str(tmp_path))
