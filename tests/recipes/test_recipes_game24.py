"""Game of 24: the exact solver, what a judge reads, synthetic attempts, GPT-4's values, and one small run from end to end."""

import gzip
import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.recipes import _game24, _game24_attempts
from stepcredit.recipes._game24_exact import reachable, read_line, right_answer, sound_steps
from stepcredit.recipes._game24_run import Arm, Bench, _f1_gain, _taught_on
from stepcredit.recipes._game24_values import ends_at_24, readings, recorded_values, valued
from stepcredit.recipes.game24 import SAMPLES, SEARCH, game24
from stepcredit.report import write_report
from stepcredit.report._check import check_run

DATA = Path(os.environ.get("STEPCREDIT_DATA") or Path(__file__).resolve().parents[2] / ".." / "shared" / "data")
REAL = DATA / "game24_tot"
GOOD = ["13 - 9 = 4 (left: 4 4 10)", "10 - 4 = 6 (left: 4 6)", "4 * 6 = 24 (left: 24)"]
PUZZLE = "4 9 10 13"


def fractions(*numbers):
    return tuple(Fraction(number) for number in numbers)


def record(*texts, puzzle=PUZZLE, answer="No solution"):
    return _game24.with_truth(_game24.attempt(puzzle, texts, answer))


@pytest.mark.parametrize(
    ("numbers", "can"),
    [
        ((24,), True),
        ((23,), False),
        ((3, 8), True),  # 3 * 8
        ((-3, -8), True),  # -3 * -8
        ((12, 36), True),  # 36 - 12
        ((1, 25), True),  # 25 - 1
        ((2, 48), True),  # 48 / 2
        ((0, 24), True),
        ((0, 0), False),
        ((2, 2), False),
        (("4/3", 18), True),  # 4/3 * 18
        ((3, 3, 9), True),  # 3 * 9 - 3
        ((8, 8, 3, 3), True),  # 8 / (3 - 8 / 3): fractions on the way
        ((5, 5, 5, 1), True),  # 5 * (5 - 1 / 5)
        ((1, 1, 1, 1), False),
    ],
)
def test_24_can_be_made_or_not(numbers, can):
    assert reachable(fractions(*numbers)) is can


def test_there_are_1362_puzzles():
    """As many as the published list has, all four-number multisets from 1 to 13 that make 24."""
    assert len(_game24_attempts.puzzles()) == 1362
    assert PUZZLE in _game24_attempts.puzzles() and "1 1 1 1" not in _game24_attempts.puzzles()


def test_steps_are_sound_up_to_the_first_that_is_not():
    numbers = (4, 9, 10, 13)
    assert sound_steps(numbers, GOOD) == [True, True, True]
    assert sound_steps(numbers, ["13 - 9 = 5 (left: 4 5 10)", GOOD[1]]) == [False, None]  # wrong sum
    assert sound_steps(numbers, ["13 - 9 = 4 (left: 4 10)"]) == [False]  # a number lost
    assert sound_steps(numbers, ["13 - 9 = 4 (left: 4 4 9 10)"]) == [False]  # a used number kept
    assert sound_steps(numbers, ["12 - 8 = 4 (left: 4 4 10)"]) == [False]  # numbers that are not there
    assert sound_steps(numbers, [GOOD[0], "10 + 4 = 14 (left: 4 14)"]) == [True, False]  # 4 and 14 never make 24
    assert sound_steps(numbers, [GOOD[0], "so 10 - 4 gives 6"]) == [True, None]  # no equation to read
    assert sound_steps(numbers, ["13 - 9 = 4", *GOOD[1:]]) == [True, True, True]  # left unsaid is left as due


def test_fractions_are_read_as_numbers_that_are_there():
    # 8 / (3 - 8 / 3): 8/3 as a decimal, as a fraction without and with blanks
    for third in ("2.67", "8/3", "8 / 3", "2.667"):
        lines = [
            f"8 / 3 = {third} (left: {third} 3 8)",
            f"3 - ({third}) = 0.33 (left: 0.33 8)",
            "8 / 0.33 = 24 (left: 24)",
        ]
        assert sound_steps((3, 3, 8, 8), lines) == [True, True, True], third
    assert sound_steps((3, 3, 8, 8), ["8 / 3 = 2.66 (left: 2.66 3 8)"]) == [False]  # not its rounding
    # two numbers where both are there, though their ratio is there as well: 6 / 2 = 3 leaves the old 3
    assert sound_steps((2, 3, 6, 9), ["6 / 2 = 3 (left: 3 3 9)"]) == [True]


def test_two_operations_in_a_line_and_remarks_are_read():
    assert sound_steps((4, 9, 10, 13), ["10 - (13 - 9) = 6 (left: 4 6)"]) == [True]
    assert read_line("24 / 5 = 4.8 (not valid)").used == ("24", "5")
    assert read_line("There is no solution") is None and read_line("5 = ") is None and read_line("6 / 0 = 1") is None


def test_an_answer_is_right_if_it_uses_the_numbers_and_is_24():
    numbers = (4, 9, 10, 13)
    assert right_answer(numbers, "(10 - (13 - 9)) * 4 = 24") and right_answer(numbers, "4 × (10 − (13 − 9))")
    assert not right_answer(numbers, "(10 - 4) * 4 = 24")  # other numbers
    assert not right_answer(numbers, "10 + 13 + 4 - 9 = 24")  # 18
    assert not right_answer(numbers, "No solution") and not right_answer(numbers, "(10 - (13 - 9) * 4")


def test_lines_with_an_equation_are_steps_and_the_last_line_is_the_answer():
    text = "Steps:\n" + "\n".join(GOOD) + " \n\nAnswer: (10 - (13 - 9)) * 4 = 24\n"
    assert _game24.lines_of(text) == (GOOD, "(10 - (13 - 9)) * 4 = 24")
    assert _game24.lines_of("Steps:\nNo way.") == ([], "No way.")


def test_the_view_puts_numbers_left_side_by_side_and_judges_nothing():
    assert _game24.view(PUZZLE, GOOD) == [
        "says:13-9=4 left:4,4,10 3: 3:4 3:4 3:10 3;4,4 3;4,10 3;4,10",
        "says:10-4=6 left:4,6 2: 2:4 2:6",
        "says:4*6=24 left:24 1: 1:24",
    ]
    words = [
        line.split()
        for line in _game24.view(PUZZLE, ["13 - 9 = 5 (left: 4 5 10)", "5 * 4 = 20", "7 + 3 = 9 (left: 9)", "?"])
    ]
    assert not {"absent", "lost", "extra"} & set(words[0])  # a wrong sum is not told
    assert "unstated" in words[1] and "left:10,20" in words[1]
    assert words[2].count("absent") == 2 and words[2].count("lost") == 2  # 10 and 20 are gone
    assert words[3] == ["unread"]


def test_beginnings_carry_the_outcome_and_nothing_else():
    right = record(*GOOD, answer="(10 - (13 - 9)) * 4 = 24")
    seen = _game24.viewed([right])
    begun = _game24.beginnings(seen, "gpt4")
    assert [[step.text.split()[0] for step in r.tree.steps[1:]] for r in begun] == [
        ["says:13-9=4", "rest:gpt4:3"],
        ["says:13-9=4", "says:10-4=6", "rest:gpt4:2"],
        ["says:13-9=4", "says:10-4=6", "says:4*6=24", "end:gpt4:1"],
    ]
    assert [r.tree.reward_N[r.tree.leaves[0]] for r in begun] == [1.0, 1.0, 1.0] and not any(r.credits for r in begun)


def test_synthetic_attempts_keep_the_rules_unless_they_slip():
    made = _game24_attempts.synthetic(60, avoid={PUZZLE}, rng=rng(0, "made"), slip=0.0)
    assert all(r.credits == {} and r.tree.problem.prompt != PUZZLE for r in made)
    for r in made:
        with_truth = _game24.with_truth(r)
        assert (_game24.first_wrong(with_truth) == -1) == (r.tree.reward_N[r.tree.leaves[0]] == 1)
        assert not {"absent", "lost", "extra"} & set(
            " ".join(_game24.view(r.tree.problem.prompt, [s.text for s in r.tree.steps[1:]])).split()
        )
    assert 0.2 < np.mean([r.tree.reward_N[r.tree.leaves[0]] for r in made]) < 0.8


def test_no_move_divides_by_zero():
    """A slip can leave -1 and 0: four moves, 0 / -1 but never -1 / 0."""
    texts = [move.text for move in _game24_attempts.moves(fractions(-1, 0))]
    assert texts == ["-1 + 0 = -1 (left: -1)", "0 - -1 = 1 (left: 1)", "-1 * 0 = 0 (left: 0)", "0 / -1 = 0 (left: 0)"]


def test_foresight_decides_how_often_a_player_ends_right_and_slips_are_wrong():
    always = _game24_attempts.synthetic(20, avoid=(), rng=rng(0, "x"), foresight=1.0, slip=0.0)
    assert all(r.tree.reward_N[r.tree.leaves[0]] == 1 for r in always)
    slipped = [
        _game24.with_truth(r)
        for r in _game24_attempts.synthetic(40, avoid=(), rng=rng(0, "x"), foresight=1.0, slip=1.0)
    ]
    assert np.mean([_game24.first_wrong(r) == 0 for r in slipped]) > 0.9  # a slip may, rarely, write what is right
    again = _game24_attempts.synthetic(20, avoid=(), rng=rng(0, "x"), foresight=1.0, slip=0.0)
    assert [r.tree.steps for r in again] == [r.tree.steps for r in always]
    with pytest.raises(ValueError, match="all 1362 puzzles are to be avoided"):
        _game24_attempts.synthetic(1, avoid=_game24_attempts.puzzles(), rng=rng(0, "x"))


def test_only_the_oracle_is_handed_the_solvers_labels():
    attempts = _game24_attempts.synthetic(20, avoid=(), rng=rng(0, "x"))
    for taught in ("chain", "whole", "broadcast"):
        assert not any(r.credits for r in _taught_on(attempts, Arm(taught))), taught
    last = _taught_on(attempts, Arm("last"))
    for r in last:  # the outcome on the last step, nothing on the others
        values_N = r.credits["truth"].values_N
        assert np.isnan(values_N[:-1]).all() and values_N[-1] == r.tree.reward_N[r.tree.leaves[0]]
    oracle = _taught_on(attempts, Arm("labels", kind="oracle"))
    assert all(np.array_equal(r.credits["truth"].values_N, _game24.with_truth(a).credits["truth"].values_N, equal_nan=True)
               for r, a in zip(oracle, attempts, strict=True))  # fmt: skip


def test_a_value_is_three_answers():
    assert readings(60.0) == {"value": 1.0, "allows": 1.0}
    assert readings(41.0) == {"value": 41 / 60, "allows": 1.0}  # sure, sure, likely
    assert readings(20.002)["allows"] == 1 / 3 and readings(0.003) == {"value": 0.003 / 60, "allows": 0.0}
    assert readings(2.001)["allows"] == 2 / 3 and readings(3.0) == {"value": 0.05, "allows": 1.0}


def test_values_stand_for_the_numbers_left_in_any_puzzle():
    values = {("4", "4", "10"): 60.0, ("4", "6"): 22.0, ("24",): 60.0, ("4", "14"): 0.003}
    found, lost, unknown = valued(
        [record(*GOOD), record(GOOD[0], "4 + 10 = 14 (left: 4 14)"), record("9 + 4 = 13 (left: 10 13 13)")],
        values,
        "value",
    )
    np.testing.assert_allclose(found.judgments[0].step_scores_S, [1.0, 22 / 60, 22 / 60])  # least so far
    np.testing.assert_allclose(lost.judgments[0].step_scores_S, [1.0, 0.00005])
    assert unknown.judgments[0].status == "abstained"
    with pytest.raises(ValueError, match="reading is 'x'; allowed: value, allows"):
        valued([], values, "x")


def test_the_null_reads_the_last_number_alone():
    judged = ends_at_24([record(*GOOD), record(*GOOD[:2])])
    assert [r.judgments[0].step_scores_S.tolist() for r in judged] == [[1.0, 1.0, 1.0], [1.0, 0.0]]


def test_a_paired_gain_is_the_difference_in_f1():
    """Two puzzles alike, each a sound and a wrong attempt: ours has both (F1 1), the rival the sound one alone (0)."""
    sound, wrong = record(*GOOD), record("9 + 4 = 13 (left: 10 13 13)", "13 - 13 = 0 (left: 0 10)")
    assert _game24.first_wrong(wrong) == 0
    both = [replace_judgment(sound, [1.0, 1.0, 1.0]), replace_judgment(wrong, [0.0, 0.0])]
    none = [replace_judgment(sound, [1.0, 1.0, 1.0]), replace_judgment(wrong, [1.0, 1.0])]
    assert _f1_gain([both, none], [none]).value == 0.5  # (1 + 0) / 2 - 0
    assert _f1_gain([none], [none]).value == 0.0


def replace_judgment(one, score_S):
    from dataclasses import replace

    from stepcredit.core.types import Judgment

    return replace(one, judgments=(Judgment(float(score_S[-1]), score_S),))


def write_files(folder, num_puzzles=6, num_samples=4):
    """Recorded files of the same form, from synthetic attempts of a known player."""
    puzzles = list(_game24_attempts.puzzles()[:: 1362 // num_puzzles])[:num_puzzles]
    others = set(_game24_attempts.puzzles()) - set(puzzles)
    made = _game24_attempts.synthetic(num_puzzles * num_samples * 20, avoid=others, rng=rng(7, "files"), foresight=0.8)
    samples = {puzzle: [r for r in made if r.tree.problem.prompt == puzzle][:num_samples] for puzzle in puzzles}
    with gzip.open(folder / SAMPLES, "wt") as file:
        for index, (puzzle, of) in enumerate(samples.items()):
            rows = []
            for r in of:
                lines = [step.text for step in r.tree.steps[1:]]
                sound = [s is True for s in sound_steps(map(int, puzzle.split()), lines)]
                outcome = r.tree.outcomes[r.tree.leaves[0]]
                rows.append({"text": "Steps:\n" + "\n".join(lines) + f"\nAnswer: {outcome.answer} = 24", "correct": int(outcome.correct),
                             "steps": [{"line": line, "arith_ok": True, "left_ok": None if not ok else True, "solvable_after": ok}
                                       for line, ok in zip(lines, sound, strict=True)]})  # fmt: skip
            file.write(json.dumps({"idx": index, "puzzle": puzzle, "samples": rows}) + "\n")
    with gzip.open(folder / SEARCH, "wt") as file:
        states = {step.text for of in samples.values() for r in of for step in r.tree.steps[1:]}
        proposals = [
            {"state": text, "lm_value": 60.0 if "left: 24" in text else 1.002, "solvable": None}
            for text in sorted(states)
        ]
        file.write(
            json.dumps({"idx": 0, "puzzle": puzzles[0], "tree": [{"step": 0, "proposals": proposals, "selected": []}]})
            + "\n"
        )


def test_the_run_is_complete_and_becomes_a_page(tmp_path):
    write_files(tmp_path)
    run = game24(size="quick", seeds=(0, 1), path=str(tmp_path))
    check_run(run)
    write_report(run, tmp_path / "report.html")
    arms = [row["arm"] for row in run["table"]["rows"]]
    assert arms[:2] == ["latent_chain", "latent_chain + recorded"] and {
        "oracle",
        "random",
        "last number is 24",
        "GPT-4's value",
    } <= set(arms)
    assert "outcome 24 of 24, first wrong step 24 of 24" in run["summary"][0]
    named = {result["name"] for result in run["results"]}
    assert {
        "latent_chain: processbench_f1",
        "latent_chain: best_of_4",
        "latent_chain minus oracle: F1",
        "latent_chain minus GPT-4's value: best of 4",
    } <= named
    again = game24(size="quick", seeds=(0, 1), arms=("latent_chain",), path=str(tmp_path))
    kept = {r["name"]: r for r in run["results"]}
    assert all(
        kept[r["name"]] == r for r in again["results"] if r["arm"] == "latent_chain" and " minus " not in r["name"]
    )


def test_wrong_input_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"arms \['sprm'\].*allowed: latent_chain"):
        game24(arms=["sprm"])
    with pytest.raises(ValueError, match="0 seeds; allowed"):
        game24(seeds=())
    with pytest.raises(ValueError, match=f"no {SAMPLES}, {SEARCH} in"):
        game24(path=str(tmp_path))
    monkeypatch.setenv("STEPCREDIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no recorded Game of 24 samples at"):
        game24()
    with gzip.open(tmp_path / SAMPLES, "wt") as file:
        file.write(json.dumps({"puzzle": "4 9 10", "samples": []}) + "\n")
    with pytest.raises(ValueError, match="line 1: field 'puzzle': got '4 9 10'; allowed: four whole numbers"):
        _game24.recorded(tmp_path / SAMPLES)
    with gzip.open(tmp_path / SEARCH, "wt") as file:
        file.write(json.dumps({"tree": [{"proposals": [{"state": "1 + 1 = 2 (left: 2)"}]}]}) + "\n")
    with pytest.raises(ValueError, match=r"line 1: field .tree.*lm_value. is missing"):
        recorded_values(tmp_path / SEARCH)


def test_players_share_their_attempts_among_the_arms():
    bench = Bench([], [], 5, 0)
    assert bench.attempts("solver") is bench.attempts("solver") and bench.attempts("none") == []
    assert [r.tree.steps for r in bench.attempts("random")] != [r.tree.steps for r in bench.attempts("solver")]


def test_it_is_registered_with_knobs_only():
    entry = registry.get("recipes", "game24")
    assert entry.resources == {} and {"path", "seeds", "arms", "size"} <= set(entry.knobs)


@pytest.mark.skipif(not (REAL / SAMPLES).is_file(), reason="the recorded Game of 24 samples are not here")
def test_the_solver_agrees_with_the_recorded_verdicts_of_some_puzzles():
    given, agree = _game24.recorded(REAL / SAMPLES, 4)
    assert agree == {"outcome": (400, 400), "first wrong step": (400, 400)} and len(given) == 400
    values = recorded_values(REAL / SEARCH)
    assert values[("4", "6")] == 60.0 and all(value > 0 for value in values.values())
