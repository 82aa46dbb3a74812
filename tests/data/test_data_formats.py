import gzip
import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stepcredit import Credit, Outcome, Problem, Record, Step
from stepcredit.core.tree import star
from stepcredit.data import FORMATS, WRITABLE, read, write

DATA = Path(os.environ.get("STEPCREDIT_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))


def written(tmp_path, *rows, name="a.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one(tmp_path, row, **knobs):
    (record,) = read(written(tmp_path, row), **knobs)
    return record


def texts(record):
    return [step.text for step in record.tree.steps[1:]]


def truth(record):
    return record.credits["truth"].values_N[1:].tolist()


def real(*parts):
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def as_text(values):
    return [None if math.isnan(value) else value for value in values]


# plain


def test_a_plain_attempt_is_cut_at_newlines_and_further_fields_are_kept(tmp_path):
    record = one(tmp_path, {"problem": "1+1?", "attempt": "1+1=2\n\n2", "correct": True, "answer": 2, "source": "me"})
    tree = record.tree
    assert texts(record) == ["1+1=2", "2"] and tree.steps[0].text == "1+1?" and not tree.steps[0].sampled
    assert tree.outcomes == (None, None, Outcome(reward=1.0, correct=True))
    assert tree.problem.answer == 2 and tree.problem.meta == {"source": "me"} and not record.credits


def test_plain_segmentation_is_a_knob(tmp_path):
    row = {"problem": "p", "attempt": "a ки b\nc ки", "correct": 0}
    assert texts(one(tmp_path, row, segment="marker", delimiter="ки")) == ["a", "b\nc"]


def test_plain_steps_are_taken_as_they_are_and_win(tmp_path):
    row = {"problem": "p", "attempt": "z", "steps": [" a\nb ", "c"], "correct": 0}
    assert texts(one(tmp_path, row)) == [" a\nb ", "c"]


def test_an_outcome_that_is_not_known_is_none_and_never_zero(tmp_path):
    assert one(tmp_path, {"problem": "p", "attempt": "a", "correct": None}).tree.outcomes == (None, None)


def test_the_same_problem_text_gets_the_same_id_and_an_explicit_id_wins(tmp_path):
    rows = [{"problem": "p", "attempt": "a", "correct": 1} for _ in range(3)]
    rows[2]["id"] = 7
    ids = [record.tree.problem.id for record in read(written(tmp_path, *rows))]
    assert ids[0] == ids[1] == "p-148de9c5a7a44d19" and ids[2] == "7"


def test_plain_round_trips_with_outcomes_that_are_not_plain(tmp_path):
    problem = Problem("p1", "?", "5", meta={"k": [1]})
    outcomes = [
        Outcome(reward=1.0, correct=True),
        None,
        Outcome(status="unparsed"),
        Outcome(reward=0.25),
        Outcome(0.5, True),
    ]
    record = Record(star(problem, [[Step("a"), Step(str(n))] for n in range(5)], outcomes))
    assert write(tmp_path / "b.jsonl", [record], format="plain") == 5
    found = list(read(tmp_path / "b.jsonl", format="plain"))
    assert [each.tree.outcomes[-1] for each in found] == outcomes
    assert all(each.tree.problem == problem for each in found) and texts(found[3]) == ["a", "3"]


# stepwise


def test_float_labels_survive(tmp_path):
    row = {"prompt": "p", "completions": ["a", "b", "c", "d", "e"], "labels": [0.9, 0.5, True, False, None]}
    record = one(tmp_path, row)
    assert as_text(truth(record)) == [0.9, 0.5, 1.0, 0.0, None]
    assert record.credits["truth"].weight_N.tolist() == [0, 1, 1, 1, 1, 0]
    assert record.tree.outcomes == (None,) * 6


def test_labels_may_go_to_a_credit_of_another_name(tmp_path):
    row = {"prompt": "p", "completions": ["a"], "labels": [0.9], "correct": False}
    record = one(tmp_path, row, labels="monte_carlo")
    assert list(record.credits) == ["monte_carlo"] and record.tree.outcomes[-1] == Outcome(reward=0.0, correct=False)


@pytest.mark.parametrize("name", ["b.jsonl", "b.jsonl.gz", "b.parquet"])
def test_stepwise_is_written_from_any_credit_and_round_trips(tmp_path, name):
    tree = star(Problem("p1", "?"), [[Step("a"), Step("b")], [Step("c")]])
    credits = {"mc": Credit([math.nan, 0.99, 0.1, math.nan], "value", [0, 1, 1, 0], "monte_carlo")}
    assert write(tmp_path / name, [Record(tree, credits)], format="stepwise", credit="mc") == 2
    first, second = read(tmp_path / name, labels="mc")
    assert first.credits["mc"].values_N[1:].tolist() == [0.99, 0.1] and as_text(second.credits["mc"].values_N) == [
        None,
        None,
    ]
    assert texts(first) == ["a", "b"] and first.tree.problem.id == "p1"


def test_a_credit_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no credit 'mc'; there are: none"):
        write(tmp_path / "b.jsonl", [Record(star(Problem("p", "?"), [[Step("a")]]))], format="stepwise", credit="mc")
    assert list(tmp_path.iterdir()) == []


# Math-Shepherd


SHEPHERD = {
    "input": "Ann has 2. How many? Step 1: 2+1=3 ки\nStep 2: The answer is: 3 ки",
    "label": "Ann has 2. How many? Step 1: 2+1=3 +\nStep 2: The answer is: 3 -",
    "task": "GSM8K",
}


def test_math_shepherd_splits_question_steps_and_signs(tmp_path):
    record = one(tmp_path, SHEPHERD)
    assert record.tree.problem.prompt == "Ann has 2. How many?" and record.tree.problem.meta == {"task": "GSM8K"}
    assert texts(record) == ["Step 1: 2+1=3", "Step 2: The answer is: 3"] and truth(record) == [1.0, 0.0]


@pytest.mark.parametrize(
    "change, named",
    [
        ({"input": "no marker"}, "'input'.*marker 'ки'"),
        ({"input": SHEPHERD["input"] + " more"}, "'input': got 'more'"),
        ({"input": "2+1 ки", "label": "2+1 +"}, "'input'.*Step 1:"),
        ({"input": "Step 1: a ки", "label": "Step 1: a +"}, "'input'.*a question before"),
        ({"label": SHEPHERD["label"].replace("3 +", "3 *")}, r"'label'.*departs in step 1"),
        ({"label": SHEPHERD["label"][:-1]}, r"'label'.*departs in step 2"),
        ({"label": SHEPHERD["label"] + "x"}, "'label': got 'x'"),
        ({"input": "q Step 1: a ки ки", "label": "q Step 1: a + +"}, "'input'.*step 2 is empty"),
    ],
)
def test_math_shepherd_rows_that_do_not_line_up_are_errors(tmp_path, change, named):
    with pytest.raises(ValueError, match=f"line 1: field {named}"):
        one(tmp_path, SHEPHERD | change)


# PRM800K


NESTED = {
    "question": {"problem": "1+1?", "ground_truth_answer": "2", "pre_generated_answer": "3"},
    "label": {
        "finish_reason": "found_error",
        "steps": [
            {"completions": [{"text": "a", "rating": 0}, {"text": "b", "rating": 1}], "chosen_completion": 1},
            {
                "completions": [{"text": "c", "rating": -1}],
                "human_completion": {"text": "h", "rating": None},
                "chosen_completion": None,
            },
            {"completions": [{"text": "d", "rating": None}], "human_completion": None, "chosen_completion": None},
        ],
    },
    "labeler": "x",
}


def test_prm800k_becomes_a_tree_of_all_completions(tmp_path):
    record = one(tmp_path, NESTED, neutral="right")
    tree = record.tree
    # nodes: 0 prompt, 1 a, 2 b (chosen), 3 c and 4 h (human) under b, 5 d under h
    assert texts(record) == ["a", "b", "c", "h", "d"] and tree.parent_N.tolist() == [-1, 0, 0, 2, 2, 4]
    assert tree.sampled_N.tolist() == [False, True, True, True, False, True]
    assert as_text(truth(record)) == [1.0, 1.0, 0.0, None, None]
    assert (
        tree.problem.answer == "2"
        and tree.problem.meta["finish_reason"] == "found_error"
        and set(tree.outcomes) == {None}
    )


@pytest.mark.parametrize("neutral, label", [("right", 1.0), ("wrong", 0.0), ("unknown", None)])
def test_the_meaning_of_neutral_is_a_choice_in_both_schemas(tmp_path, neutral, label):
    assert as_text(truth(one(tmp_path, NESTED, neutral=neutral)))[0] == label
    flat = {"problem": "p", "steps": ["a", "b", "c"], "labels": ["positive", "neutral", "negative"]}
    assert as_text(truth(one(tmp_path, flat, neutral=neutral))) == [1.0, label, 0.0]


def test_the_choice_about_neutral_is_needed_and_explained(tmp_path):
    with pytest.raises(ValueError, match=r"neutral=right\|wrong\|unknown: the publishers count"):
        read(written(tmp_path, NESTED))
    with pytest.raises(ValueError, match="neutral is 'maybe'; allowed: right, wrong, unknown"):
        read(written(tmp_path, NESTED), neutral="maybe")


# ProcessBench, BIG-Bench-Mistake


PROCESS = {
    "id": "m-1",
    "generator": "g",
    "problem": "p",
    "steps": ["a", "b", "c"],
    "final_answer_correct": True,
    "label": 1,
}


def test_a_first_error_gives_ones_before_it_and_nothing_after_it(tmp_path):
    record = one(tmp_path, PROCESS)
    assert as_text(truth(record)) == [1.0, 0.0, None] and record.tree.outcomes[-1].correct is True
    assert truth(one(tmp_path, PROCESS | {"label": -1})) == [1.0, 1.0, 1.0]


def test_processbench_ids_name_solutions_so_problems_group_by_text(tmp_path):
    first, second = read(written(tmp_path, PROCESS, PROCESS | {"id": "m-2"}))
    assert first.tree.problem.id == second.tree.problem.id and second.tree.problem.meta["id"] == "m-2"


def test_processbench_round_trips_to_the_same_rows(tmp_path):
    path = written(tmp_path, PROCESS, PROCESS | {"id": "m-2", "label": -1, "final_answer_correct": False})
    write(tmp_path / "b.jsonl", read(path), format="processbench")
    rows = [[json.loads(line) for line in p.read_text().splitlines()] for p in (path, tmp_path / "b.jsonl")]
    assert rows[0] == rows[1]


def test_processbench_cannot_be_written_where_the_first_error_is_not_known(tmp_path):
    row = {"prompt": "p", "completions": ["a", "b"], "labels": [None, 0]}
    records = list(read(written(tmp_path, row)))
    with pytest.raises(ValueError, match="does not say where the first error is"):
        write(tmp_path / "b.jsonl", records, format="processbench")


def test_bigbench_answers_are_compared_without_white_space(tmp_path):
    row = {"input": "p", "steps": ["a", "b"], "answer": "> ] ", "target": ">  ]", "mistake_index": None}
    record = one(tmp_path, row)
    assert record.tree.outcomes[-1] == Outcome(reward=1.0, correct=True, answer="> ] ") and truth(record) == [1.0, 1.0]
    assert one(tmp_path, row | {"answer": "> }"}).tree.outcomes[-1].reward == 0.0
    assert one(tmp_path, row | {"answer": ""}).tree.outcomes[-1].reward == 0.0
    assert one(tmp_path, row | {"answer": None}).tree.outcomes[-1].status == "unparsed"
    assert as_text(truth(one(tmp_path, row | {"mistake_index": 0}))) == [0.0, None]


# InterCode, chat, PlanBench


TURNS = {
    "env": "sql", "run": "r", "query": "q", "actions": ["A", "B"], "observations": ["x", ""], "rewards": [0.5, 1.0], "thoughts": None,
}  # fmt: skip


def test_intercode_turns_are_calls_and_results_and_rewards_are_truth_only(tmp_path):
    record = one(tmp_path, TURNS)
    assert [(s.text, s.kind, s.sampled) for s in record.tree.steps[1:]] == [
        ("A", "tool_call", True), ("x", "tool_result", False), ("B", "tool_call", True), ("", "tool_result", False),
    ]  # fmt: skip
    assert as_text(truth(record)) == [0.0, None, 1.0, None]
    assert record.tree.outcomes == (None, None, None, None, Outcome(reward=1.0, correct=True))
    assert record.tree.problem.meta == {"env": "sql", "run": "r", "sources": [{"run": "r"}]}
    assert record.tree.problem.id.startswith("sql-p-")


def test_intercode_scores_the_last_turn_not_the_best(tmp_path):
    outcome = one(tmp_path, TURNS | {"rewards": [1.0, 0.5]}).tree.outcomes[-1]
    assert outcome == Outcome(reward=0.5, correct=False)


def test_intercode_thoughts_stand_before_actions(tmp_path):
    assert texts(one(tmp_path, TURNS | {"thoughts": ["think", ""]}))[::2] == ["think\nA", "B"]


def test_an_intercode_reply_that_was_filtered_is_no_turn(tmp_path):
    blocked = TURNS | {"actions": ["A", "B", "blocked"], "rewards": [0.5, 0.6, 0]}
    record = one(tmp_path, blocked)
    assert texts(record) == ["A", "x", "B", ""] and record.tree.outcomes[-1] == Outcome(reward=0.6, correct=False)
    with pytest.raises(ValueError, match=r"'actions': got .*blocked.*at least one action that ran"):
        one(tmp_path, TURNS | {"actions": ["blocked"], "rewards": [0], "observations": []})


def test_a_conversation_becomes_prompt_steps_and_context(tmp_path):
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "R"},
        {"role": "assistant", "content": "done"},
    ]
    record = one(tmp_path, {"messages": messages, "reward": 0.5, "task_id": 3})
    assert record.tree.problem.prompt == "S\n\nU" and record.tree.problem.id == "3"
    assert record.tree.problem.meta == {"sources": [{"messages": messages, "places": [[2, 0], [3, None], [4, None]]}]}
    assert texts(record) == ["f({})", "R", "done"] and record.tree.outcomes[-1] == Outcome(reward=0.5, correct=False)
    assert one(tmp_path, {"messages": messages, "correct": None}).tree.outcomes[-1] is None
    with pytest.raises(ValueError, match="'correct' is missing"):
        one(tmp_path, {"messages": messages})
    with pytest.raises(ValueError, match="before the assistant speaks"):
        one(tmp_path, {"messages": messages[2:], "correct": 1})
    with pytest.raises(ValueError, match="assistant message before the first tool result"):
        one(tmp_path, {"messages": [messages[1], messages[3], messages[4]], "correct": 1})


QUERY = (
    "[STATEMENT]\nAs initial conditions I have that, the red block is clear, the yellow block is clear, the hand is empty, "
    "the blue block is on top of the orange block, the red block is on the table and the orange block is on the table.\n"
    "My goal is to have that the orange block is on top of the blue block and the red block is clear.\n\nWhat is the plan?"
)


def test_planbench_prompts_are_canonical_and_every_sample_is_a_record(tmp_path):
    samples = [
        {"model": "m1", "response": "r", "extracted_plan": "(unstack b c)\n(put-down b)\n", "correct": False},
        {"model": "m2", "response": "r", "extracted_plan": "\n", "correct": False},
    ]
    row = {"domain": "blocksworld", "instance_id": 4, "query": QUERY, "ground_truth_plan": "(x)", "samples": samples}
    first, second = read(written(tmp_path, row))
    assert first.tree.problem.prompt == (
        "init: clear a; clear d; hand empty; on b c; table a; table c\ngoal: clear a; on c b"
    )
    assert first.tree.problem.answer == "clear a; on c b" and first.tree.problem.meta["query"] == QUERY
    assert [(s.text, s.kind) for s in first.tree.steps[1:]] == [
        ("unstack b c", "reason"), ("put-down b", "reason"), ("end", "answer"),
    ]  # fmt: skip
    assert first.tree.outcomes[-1].correct is False and texts(second) == ["end"]
    assert second.tree.outcomes[-1] == Outcome(status="unparsed")
    assert [r.tree.problem.meta["model"] for r in (first, second)] == ["m1", "m2"]
    assert first.tree.problem.id == second.tree.problem.id


@pytest.mark.parametrize(
    "old, new, named",
    [("red", "pink", "'pink'"), ("is clear", "is blue", "no Blocksworld fact"), ("goal", "aim", "looked for")],
)
def test_planbench_words_that_cannot_be_read_are_named(tmp_path, old, new, named):
    samples = [{"model": "m", "extracted_plan": "", "correct": False}]
    with pytest.raises(ValueError, match=named):
        one(tmp_path, {"query": QUERY.replace(old, new), "samples": samples})


# writing


def test_formats_that_hold_plain_steps_refuse_tool_results(tmp_path):
    records = list(read(written(tmp_path, TURNS)))
    for format in set(WRITABLE) - {"native"}:
        with pytest.raises(ValueError, match="steps the policy did not write"):
            write(tmp_path / "b.jsonl", records, format=format)
    assert not (tmp_path / "b.jsonl").exists()


def test_the_formats_are_the_files_of_the_folder():
    assert set(FORMATS) == {
        "bigbench_mistake", "chat", "intercode", "math_shepherd", "native", "plain", "planbench", "prm800k", "processbench", "stepwise",
        "tau_bench",
    }  # fmt: skip
    assert set(WRITABLE) == {"native", "plain", "stepwise", "processbench"}


# the real files, whole


def statuses(records):
    return Counter(
        None if (o := r.tree.outcomes[-1]) is None else o.correct if o.status == "scored" else o.status for r in records
    )


def round_trip(tmp_path, records):
    write(tmp_path / "all.jsonl.gz", records)
    for given, found in zip(records, read(tmp_path / "all.jsonl.gz"), strict=True):
        assert given.tree.steps == found.tree.steps and given.tree.outcomes[-1] == found.tree.outcomes[-1]
        for name, credit in given.credits.items():
            np.testing.assert_array_equal(credit.values_N, found.credits[name].values_N)


@pytest.mark.parametrize("name, rows, problems", [("gsm8k", 204, 195), ("math", 526, 503), ("olympiadbench", 482, 273)])
def test_processbench_files_are_read_whole(tmp_path, name, rows, problems):
    records = list(read(real("processbench", f"{name}.dev.jsonl.gz")))
    assert len(records) == rows and len({record.tree.problem.id for record in records}) == problems
    round_trip(tmp_path, records)


@pytest.mark.parametrize(
    "name, right, wrong",
    [
        ("dyck_languages", 240, 231),
        ("multistep_arithmetic", 24, 135),
        ("tracking_shuffled_objects", 24, 116),
        ("word_sorting", 21, 123),
    ],
)
def test_bigbench_mistake_files_are_read_whole(tmp_path, name, right, wrong):
    records = list(read(real("bigbench_mistake", f"{name}.dev.jsonl.gz")))
    assert statuses(records) == {True: right, False: wrong}
    round_trip(tmp_path, records)


# rows without actions: 8 + 11; trajectories that are one filtered reply: 5 (bash)
@pytest.mark.parametrize(
    "name, rows, bad, right, problems",
    [("bash", 726, 13, 222, 92), ("python", 142, 0, 87, 72), ("sql", 5220, 11, 1283, 522)],
)
def test_intercode_files_are_read_whole(name, rows, bad, right, problems):
    errors = []
    records = list(read(real("intercode", f"{name}.dev.jsonl.gz"), on_error="skip", errors=errors))
    assert (len(records), len(errors)) == (rows, bad) and statuses(records)[True] == right
    assert len({record.tree.problem.id for record in records}) == problems
    for record in records:
        truth_N = record.credits["truth"].values_N
        assert np.array_equal(np.isnan(truth_N), ~record.tree.sampled_N)
        assert np.all(truth_N[record.tree.sampled_N][:-1] == 0)  # success ends an episode


def test_the_prm800k_file_is_read_whole(tmp_path):
    records = list(read(real("prm800k_partial", "prm800k.dev.jsonl.gz"), neutral="unknown"))
    labels = Counter(as_text(np.concatenate([record.credits["truth"].values_N[1:] for record in records])))
    assert len(records) == 750 and labels == {1.0: 4126, 0.0: 643, None: 402}
    round_trip(tmp_path, records)


def test_a_chat_file_of_trials_is_read_whole_as_chats(tmp_path):
    records = list(read(real("tau_bench", "gpt4o_airline.dev.jsonl.gz"), format="chat"))
    assert len(records) == 80 and statuses(records) == {True: 34, False: 46}
    round_trip(tmp_path, records)


def valid(init, goal, actions):
    """A blocks world in ten lines: every action allowed and the goal holds at the end."""
    facts = set(init)
    for name, *blocks in (action.split() for action in actions):
        if len(blocks) != (2 if name in ("stack", "unstack") else 1):
            return False
        x, y = blocks[0], blocks[-1]
        free, held = {f"clear {x}", "hand empty"}, {f"holding {x}"}
        needs, adds = {
            "pick-up": (free | {f"table {x}"}, held),
            "put-down": (held, free | {f"table {x}"}),
            "unstack": (free | {f"on {x} {y}"}, held | {f"clear {y}"}),
            "stack": (held | {f"clear {y}"}, free | {f"on {x} {y}"}),
        }[name]
        if not needs <= facts:
            return False
        facts = facts - needs | adds
    return set(goal) <= facts


def test_planbench_prompts_agree_with_every_recorded_verdict_and_gold_plan():
    path = real("planbench_r1", "blocksworld_multimodel_zero_shot.dev.jsonl.gz")
    records = list(read(path))
    assert len(records) == 2750 and statuses(records) == {True: 1140, False: 1570, "unparsed": 40}
    assert len({record.tree.problem.id for record in records}) == 250
    for record in records:
        init, goal = (line.split(": ", 1)[1].split("; ") for line in record.tree.problem.prompt.split("\n"))
        assert init == sorted(init) and record.tree.problem.answer == "; ".join(goal)
        if record.tree.outcomes[-1].status == "scored":
            assert valid(init, goal, texts(record)[:-1]) == record.tree.outcomes[-1].correct
        gold = [line.strip("()") for line in record.tree.problem.meta["ground_truth_plan"].splitlines()]
        assert valid(init, goal, gold)
    with gzip.open(path, "rt") as lines:
        assert sum(len(json.loads(line)["samples"]) for line in lines) == len(records)
