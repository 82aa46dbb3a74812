import gzip
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from stepcredit.core.registry import get
from stepcredit.core.rng import rng
from stepcredit.core.tree import first_error
from stepcredit.core.types import Problem, Step
from stepcredit.tasks._blocks import apply_action, facts_of, move, parse_prompt, places_of, random_places, render_prompt
from stepcredit.tasks.blocksworld import blocksworld

DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
RECORDED = DATA / "planbench_r1" / "blocksworld_multimodel_zero_shot.dev.jsonl.gz"

# b stands on c; the goal is c on b.
PROBLEM = Problem("p", "init: clear a; clear b; hand empty; on b c; table a; table c\ngoal: on c b", answer="on c b")
GOLD = ["unstack b c", "put-down b", "pick-up c", "stack c b", "end"]


def steps(*texts: str) -> list[Step]:
    return [Step(text, kind="answer" if text == "end" else "reason") for text in texts]


def test_it_is_registered_under_its_file_name():
    assert get("tasks", "blocksworld").knobs["min_blocks"] == 3


def test_prompts_round_trip_and_bad_ones_are_named():
    init, goal = parse_prompt(PROBLEM.prompt)
    assert render_prompt(init, goal) == PROBLEM.prompt
    assert places_of(init) == {"a": "table", "b": "c", "c": "table"}
    assert facts_of(places_of(init)) == init
    with pytest.raises(ValueError, match="fact 'b on c'"):
        parse_prompt("init: b on c\ngoal: on c b")
    with pytest.raises(ValueError, match="expected a line 'init"):
        parse_prompt("stack the blocks")


def test_problems_are_distinct_unmet_and_solved_by_their_reference():
    task = blocksworld()
    problems = task.problems(150, rng(0, "problems"))
    assert len({p.prompt for p in problems}) == len({p.id for p in problems}) == 150
    assert problems == task.problems(150, rng(0, "problems"))
    for problem in problems:
        gold = steps(*problem.reference)
        assert task.verify(problem, [gold])[0].reward == 1.0
        assert np.all(task.label_steps(problem, gold) == 1.0)
        assert task.label_steps(problem, steps("end")).tolist() == [0.0]


def test_arrangements_are_uniform():
    # Three blocks have 13 arrangements; 2,600 draws give 200 each, standard deviation 13.6.
    generator = rng(0)
    drawn = [tuple(random_places(3, generator).items()) for _ in range(2600)]
    counts = [drawn.count(a) for a in set(drawn)]
    assert len(counts) == 13
    assert min(counts) > 145
    assert max(counts) < 255


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (GOLD, [1, 1, 1, 1, 1]),
        (["pick-up b", "put-down b", "end"], [0, math.nan, math.nan]),  # b stands on c, not on the table
        (["unstack b c", "pick-up c", "stack c b", "end"], [1, 0, math.nan, math.nan]),  # the hand is full
        (["unstack b c", "put-down b", "stack c b", "end"], [1, 1, 0, math.nan]),  # c is not held
        (["pick-up c"], [0]),  # c is not clear
        (["pick-up a", "stack a c"], [1, 0]),  # nor can anything be put on it
        (["unstack a c"], [0]),  # a is not on c
        (["unstack b c", "put-down a"], [1, 0]),  # another block is held
        (["unstack b c", "stack b b"], [1, 0]),
        (["unstack b c", "put-down b", "end"], [1, 1, 0]),  # all allowed, goal not reached
        (["unstack b c", "put-down b"], [1, 1]),  # no "end", no claim
        (["unstack b c", "throw b", "pick-up c"], [1, 0, math.nan]),
        (["unstack b c", "put-down z"], [1, 0]),
        (["unstack b c", "end", "put-down b"], [1, 0, math.nan]),
    ],
)
def test_the_oracle_stops_at_the_first_action_that_cannot_be_done(plan, expected):
    assert np.array_equal(blocksworld().label_steps(PROBLEM, steps(*plan)), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("plan", "status", "reward", "well_formed"),
    [
        (GOLD, "scored", 1.0, True),
        (GOLD[:-1], "scored", 1.0, False),
        (["unstack b c", "put-down b", "end"], "scored", 0.0, True),
        (["pick-up b", *GOLD[1:]], "scored", 0.0, True),
        (["unstack b from c", *GOLD[1:]], "scored", 0.0, False),
        ([*GOLD, "thanks"], "scored", 0.0, False),
        (["end"], "unparsed", math.nan, False),
        ([], "unparsed", math.nan, False),
    ],
)
def test_the_outcome_separates_unparsed_malformed_and_wrong(plan, status, reward, well_formed):
    outcome = blocksworld().verify(PROBLEM, [steps(*plan)])[0]
    assert (outcome.status, outcome.well_formed) == (status, well_formed)
    assert outcome.reward == reward or (math.isnan(outcome.reward) and math.isnan(reward))


def test_observations_are_shown_between_actions_and_never_counted():
    task = blocksworld()
    shown = task.observe(PROBLEM, steps(*GOLD))
    assert [s.text for s in shown] == [
        "a:table+ b:c+ c:table- hand:empty",
        "unstack b c",
        "a:table+ b:hand c:table+ hand:b",
        "put-down b",
        "a:table+ b:table+ c:table+ hand:empty",
        "pick-up c",
        "a:table+ b:table+ c:hand hand:c",
        "stack c b",
        "a:table+ b:table- c:b+ hand:empty",
        "end",
    ]
    assert {(s.kind, s.sampled) for s in shown[::2]} == {("tool_result", False)} and shown[-1].kind == "answer"
    assert task.observe(PROBLEM, shown) == shown
    assert task.label_steps(PROBLEM, shown).tolist() == [1] * 5
    assert task.verify(PROBLEM, [shown])[0].reward == 1.0


def test_observations_do_not_tell_an_allowed_action_from_a_forbidden_one():
    # "pick-up b" is forbidden while b stands on c, "unstack b c" allowed: what is shown after them is the same.
    task = blocksworld()
    forbidden, allowed = (task.observe(PROBLEM, steps(action))[-1] for action in ("pick-up b", "unstack b c"))
    assert forbidden == allowed
    assert task.observe(PROBLEM, steps("hello"))[-1] == task.observe(PROBLEM, [])[-1]


def test_any_action_leaves_a_possible_arrangement_and_an_allowed_one_the_true_state():
    generator = rng(0, "moves")
    for _ in range(300):
        places = random_places(4, generator)
        facts = facts_of(places)
        for _ in range(8):
            verb = ("pick-up", "put-down", "stack", "unstack")[int(generator.integers(4))]
            x, y = ("abcd"[int(i)] for i in generator.integers(4, size=2))
            action = f"{verb} {x}" if verb in ("pick-up", "put-down") else f"{verb} {x} {y}"
            places = move(places, action)
            assert [z for z, where in places.items() if where == "hand"] == (
                [x] if verb in ("pick-up", "unstack") else []
            )
            below = [where for where in places.values() if where not in ("table", "hand")]
            assert len(set(below)) == len(below)
            for block in places:  # every tower of at most four ends on the table, or is the held block alone
                steps_down = 0
                while places[block] in places:
                    block, steps_down = places[block], steps_down + 1
                    assert steps_down < 4
                assert places[block] == "table" or steps_down == 0
            if facts is not None:
                facts = apply_action(facts, action) if verb != "stack" or x != y else None
            if facts is not None:
                assert places_of(facts) == places


def test_the_demonstrator_resembles_the_recorded_plans():
    # Recorded: .42 valid, 7.7 actions, .05 legal with the goal unmet, .23 of bad plans break at their first action,
    # and of all plans .12 first break by picking up a block that is on another, .11 by stacking on a covered block.
    task, generator = blocksworld(), rng(0, "demonstrator")
    first, lengths = [], []
    for problem in task.problems(500, generator):
        for _ in range(4):
            attempt = task.demonstrate(problem, generator)
            lengths.append(len(attempt) - 1)
            error = first_error(task.label_steps(problem, attempt))
            assert (error == -1) == task.verify(problem, [attempt])[0].correct
            first.append("valid" if error < 0 else attempt[error].text.split()[0])
    share = {name: first.count(name) / len(first) for name in set(first)}
    assert 0.40 < share["valid"] < 0.52
    assert 7.0 < np.mean(lengths) < 8.5
    assert 0.02 < share["end"] < 0.09
    assert 0.20 < share["pick-up"] < 0.33  # recorded .26
    assert 0.12 < share["stack"] < 0.22  # .18
    assert 0.03 < share["unstack"] < 0.10  # .07
    assert 0.005 < share["put-down"] < 0.04  # .02


def test_a_careful_demonstrator_is_always_right_and_varies_its_plans():
    task, generator = blocksworld(careful=1.0, detour=0.1), rng(1)
    for problem in task.problems(60, generator):
        attempts = [task.demonstrate(problem, generator) for _ in range(5)]
        assert all(o.reward == 1.0 for o in task.verify(problem, attempts))
    assert len({tuple(s.text for s in a) for a in attempts}) > 1


def test_the_demonstrator_copes_with_few_blocks_and_many_slips():
    task, generator = blocksworld(min_blocks=2, shares=(0.5, 0.5), slip_scale=5.0, careful=0.0, detour=0.3), rng(2)
    for problem in task.problems(40, generator):
        for _ in range(20):
            attempt = task.demonstrate(problem, generator)
            assert len(attempt) > 1
            assert task.verify(problem, [attempt])[0].well_formed


def test_the_demonstrator_refuses_what_it_cannot_plan():
    met = Problem("met", "init: clear b; hand empty; on b c; table c\ngoal: on b c")
    with pytest.raises(ValueError, match=r"'met'.*unmet goals"):
        blocksworld().demonstrate(met, rng(0))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"min_blocks": 1}, "min_blocks is 1"), ({"shares": ()}, "0 shares"), ({"shares": (0.0,)}, "not all zero"),
     ({"careful": 2.0}, "careful is 2.0"), ({"slip_scale": -1.0}, "slip_scale is -1.0")],
)  # fmt: skip
def test_impossible_knobs_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        blocksworld(**knobs)


def test_more_problems_than_there_are_is_refused():
    # Two blocks: 3 arrangements, goals "on a b" and "on b a"; each is unmet in two of them: 4 problems.
    task = blocksworld(min_blocks=2, shares=(1.0,))
    assert len(task.problems(4, rng(0))) == 4
    with pytest.raises(ValueError, match="5 distinct problems"):
        task.problems(5, rng(0))


LETTER = {"red": "a", "blue": "b", "orange": "c", "yellow": "d", "white": "e"}


def recorded_facts(text: str) -> list[str]:
    found = []
    for part in re.split(r", | and ", text):
        blocks = [LETTER[colour] for colour in re.findall(r"the (\w+) block", part)]
        form = next(f for f in ("top", "table", "clear", "hand") if f in part)
        found.append({"top": " ".join(["on", *blocks]), "hand": "hand empty"}.get(form) or f"{form} {blocks[0]}")
    return found


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded Blocksworld plans are not here")
def test_the_simulator_agrees_with_every_recorded_verdict():
    task, agreed, empty = blocksworld(), 0, 0
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            statement = row["query"].split("[STATEMENT]")[-1]
            init, goal = re.search(
                r"I have that, (.*?)\.\s*My goal is to have that (.*?)\.\s*What", statement, re.S
            ).groups()
            problem = Problem(str(row["instance_id"]), render_prompt(recorded_facts(init), recorded_facts(goal)))
            for sample in row["samples"]:
                plan = re.findall(r"\(([^)]*)\)", sample["extracted_plan"] or "")
                outcome = task.verify(problem, [steps(*plan, "end")])[0]
                if not plan:
                    assert outcome.status == "unparsed"
                    empty += 1
                else:
                    assert outcome.correct == sample["correct"], (problem.id, sample["model"])
                    error = first_error(task.label_steps(problem, steps(*plan, "end")))
                    assert (error == -1) == sample["correct"]
                    agreed += 1
    assert (agreed, empty) == (2710, 40)
