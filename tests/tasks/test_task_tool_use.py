import math

import numpy as np
import pytest

from stepcredit.core.environment import turn
from stepcredit.core.registry import get
from stepcredit.core.rng import rng
from stepcredit.core.types import Step
from stepcredit.rollout._log import digest
from stepcredit.tasks._tool import value_of
from stepcredit.tasks.tool_use import TOOLS, tool_use

BACKENDS = list(TOOLS)
MARKS = {"sqlite": 8, "calculator": 4, "store": 3}  # words of a call, at most


def turns(*texts):
    return [Step(text) for text in texts]


def played(task, problem, *texts, seed=0):
    """The episode of these texts."""
    steps = []
    draw = rng(seed)
    for text in texts:
        steps += turn(task.environment, problem, steps, Step(text), draw)
    return steps


def results(task, problem, *texts, seed=0):
    return [s.text for s in played(task, problem, *texts, seed=seed) if not s.sampled]


def reward(task, problem, *texts):
    return task.verify(problem, [played(task, problem, *texts)])[0].reward


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_reference_is_right_sound_and_needs_every_call(backend):
    task = tool_use(backend=backend)
    problems = task.problems(100, rng(0))
    assert problems == task.problems(100, rng(0)) and len({p.id for p in problems}) == 100
    assert {len(p.meta["calls"]) for p in problems} == {2, 3, 4}
    for problem in problems:
        calls = problem.meta["calls"]
        assert problem.reference == (*calls, f"answer {problem.answer}")
        assert results(task, problem, *calls) == [f"= {result}" for result in problem.meta["results"]]
        steps = played(task, problem, *problem.reference)
        assert task.verify(problem, [steps])[0].correct and task.label_steps(problem, steps).tolist() == [1] * (
            len(calls) + 1
        )
        # Each call takes the value before it; short enough for a small model.
        value = str(problem.meta["start"])
        for call, result in zip(calls, problem.meta["results"], strict=True):
            assert value in call.split() and len(call.split()) <= MARKS[backend]
            value = value_of(result) or value
        assert value == problem.answer and len(problem.prompt.split()) < 40
        assert digest(problem)  # JSON can hold it


@pytest.mark.parametrize("backend", BACKENDS)
def test_problems_do_not_depend_on_how_the_tool_behaves(backend):
    plain, noisy, clean = (
        tool_use(backend=backend, **k).problems(20, rng(3))
        for k in ({}, {"real": 0.3, "slip": 0.1}, {"simulated": True})
    )
    assert plain == noisy == clean


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_busy_tool_fails_at_its_rate_changes_nothing_and_writes_as_it_likes(backend):
    task = tool_use(backend=backend, real=0.3)
    problem = task.problems(1, rng(0))[0]
    call = problem.meta["calls"][0]
    said = [results(task, problem, call, seed=seed)[0] for seed in range(800)]
    # 800 calls, standard error .016; of the others a quarter each way, standard error .018.
    busy = np.mean([text == "ERROR busy" for text in said])
    assert abs(busy - 0.3) < 0.065
    ways = {text for text in said if text != "ERROR busy"}
    assert len(ways) == 4 and {value_of(text) for text in ways} == {problem.meta["results"][0]}
    assert all(abs(np.mean([t == way for t in said if t != "ERROR busy"]) - 0.25) < 0.075 for way in ways)
    # The same state of the rng, the same reply; and a clean tool draws nothing.
    assert said == [results(task, problem, call, seed=seed)[0] for seed in range(800)]
    draw = rng(0)
    turn(tool_use(backend=backend).environment, problem, [], Step(call), draw)
    assert draw.random() == rng(0).random()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_simulator_knows_the_right_calls_and_nothing_else(backend):
    task = tool_use(backend=backend, simulated=True)
    for problem in task.problems(20, rng(0)):
        calls = problem.meta["calls"]
        assert results(task, problem, *calls) == [f"= {result}" for result in problem.meta["results"]]
        for call in ("select 1", "calc 1 + 1 + 1", "get 99", "what"):
            assert results(task, problem, call) == ["ERROR unknown call"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_soundness_is_the_next_right_call_that_was_not_carried_out(backend):
    task = tool_use(backend=backend, min_calls=3, max_calls=3)
    problem = next(p for p in task.problems(50, rng(1)) if len(set(p.meta["calls"])) == 3)
    one, two, three = problem.meta["calls"]
    right = f"answer {problem.answer}"

    def labels(*texts):
        return task.label_steps(problem, turns(*texts)).tolist()

    assert labels(one, one, two, three, right) == [1, 0, 1, 1, 1]
    assert labels(two, one, "what", two, three, right, right) == [0, 1, 0, 1, 1, 1, 1]
    assert labels(one, two, right) == [1, 1, 0]  # a guess
    assert labels(f" {one.upper()}  ", two) == [1, 1]  # spaces and case are nothing
    # A call that failed has to be made again, which is sound.
    busy = Step("ERROR busy", kind="tool_result", sampled=False)
    found = Step("= 1", kind="tool_result", sampled=False)
    again = [Step(one), busy, Step(two), found, Step(one), found, Step(two), found]
    assert task.label_steps(problem, again).tolist() == [1, 0, 1, 1]
    # Two calls of one turn, the first of which failed, as a chat has them: the second was not yet due.
    both = [Step(call, kind="tool_call") for call in (one, two)]
    assert task.label_steps(problem, [*both, busy, found, Step(one), found]).tolist() == [1, 0, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_outcomes_are_read_off_the_last_turn(backend):
    task = tool_use(backend=backend)
    problem = task.problems(1, rng(0))[0]
    calls, right = problem.meta["calls"], f"answer {problem.answer}"
    assert reward(task, problem, *calls, right) == 1 and reward(task, problem, *calls, "answer 12345") == 0
    assert reward(task, problem, right) == float(backend != "store")  # a guess may be right, but is not in the store
    for last in (calls[0], "answer", "answer x", f"{right} or 3", ""):
        outcome = task.verify(problem, [turns(*calls, last)])[0]
        assert outcome.status == "unparsed" and math.isnan(outcome.reward)
    assert task.verify(problem, [[]])[0].status == "unparsed"
    assert task.verify(problem, [played(task, problem, "hm", *calls, right)])[0].well_formed is False
    busy = [Step(calls[0]), Step("ERROR busy", kind="tool_result", sampled=False), Step(right)]
    assert task.verify(problem, [busy])[0].well_formed is True  # not the policy's fault


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("knobs", [{}, {"real": 0.3}, {"simulated": True}])
def test_the_demonstrator_slips_at_its_rate_and_its_episodes_are_real(backend, knobs):
    """The first call is right with .6; of 300 the standard error is .03."""
    task = tool_use(backend=backend, **knobs)
    stream = rng(1)
    found = [(problem, task.demonstrate(problem, stream)) for problem in task.problems(300, rng(1))]
    assert abs(np.mean([task.label_steps(problem, steps)[0] for problem, steps in found]) - 0.6) < 0.11
    for problem, steps in found:
        assert steps[-1].kind == "answer" and [s.sampled for s in steps] == [True, False] * (len(steps) // 2) + [True]
        assert len(steps) <= 2 * (len(problem.meta["calls"]) + 2) + 1
        if not knobs.get("real"):
            assert task.observe(problem, steps) == steps
    rewards = np.array([task.verify(problem, [steps])[0].reward for problem, steps in found])
    assert 0.1 < rewards.mean() < 0.95
    # It believes what it reads: all calls sound is right, and a wrong start mostly wrong unless the tool says so.
    sound = np.array([bool(task.label_steps(problem, steps).all()) for problem, steps in found])
    assert rewards[sound].min() == 1 and sound.any()
    perfect = tool_use(backend=backend, slip=0.0)
    assert all(tuple(s.text for s in perfect.demonstrate(p, stream) if s.sampled) == p.reference for p, _ in found[:20])


def test_what_one_branch_puts_no_other_branch_finds():
    """Branches share a path up to a node and nothing else: the state is rebuilt from each path."""
    task = tool_use(backend="store", min_calls=2, max_calls=2)
    problem = task.problems(1, rng(0))[0]
    shared = played(task, problem, "put 3 7", "get 3")
    assert [s.text for s in shared if not s.sampled] == ["= ok", "= 7"]
    first = [*shared, *turn(task.environment, problem, shared, Step("put 3 9"), rng(0))]
    draw = rng(0)
    here, there = task.environment([(problem, [*first, Step("get 3")]), (problem, [*shared, Step("get 3")])], draw)
    assert (here.result, there.result) == ("= 9", "= 7")
    # And another episode of the problem has the store as it was.
    before = problem.meta["store"][2]
    assert results(task, problem, "get 3") == [f"= {before}"] and problem.meta["store"][2] == before


def test_a_put_that_failed_is_not_in_the_store_at_the_end():
    task = tool_use(backend="store", min_calls=2, max_calls=2)
    problem = task.problems(1, rng(0))[0]
    get, put = (Step(call) for call in problem.meta["calls"])
    busy, ok = (Step(text, kind="tool_result", sampled=False) for text in ("ERROR busy", "= ok"))
    answer = Step(f"answer {problem.answer}")
    assert task.verify(problem, [[get, ok, put, busy, answer]])[0].reward == 0
    assert task.verify(problem, [[get, ok, put, busy, put, ok, answer]])[0].reward == 1
    over = Step(f"put {problem.meta['plan'][-1][1]} 99")  # overwritten afterwards
    assert task.verify(problem, [[get, ok, put, ok, over, ok, answer]])[0].reward == 0


@pytest.mark.parametrize(
    "text",
    [
        "drop table person", "insert into person values (99, 1, 1)", "update person set city = 1", "delete from person",
        "select * from sqlite_master", "pragma table_info(person)", "select * from pragma_table_info('person')",
        "attach ':memory:' as other", "select load_extension('x')", "select randomblob(10)", "select 1; select 2",
        "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t",
        "select count(*) from person a, person b, person c, person d, person e, person f, person g, person h",
        "vacuum into 'x.db'", "begin", "select mayor from person where id = 1", "selec", "a\0b", "\ud800", "(" * 500,
    ],
)  # fmt: skip
def test_a_query_can_only_read_its_tables_and_not_for_long(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = tool_use()
    problem = task.problems(1, rng(0))[0]
    check = ["select count(*), sum(city), sum(boss) from person"]
    before = results(task, problem, *check)
    said = results(task, problem, text, *check)
    assert said[0].startswith("ERROR ") and "\n" not in said[0] and said[1:] == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select city, boss from person where id = 1", "= 7, 2"),
        ("select id from city order by id desc", "= 4; 3; 2; ..."),
        ("select city from person where id = 9", "= none"),
        ("SELECT count(*) FROM person WHERE boss = 2;", "= 3"),
        ("select null", "= null"),
        ("select p.id from person p join city c on c.mayor = p.id where c.id = 1", "= 3"),
    ],
)
def test_rows_are_written_as_text(text, said):
    tables = {"person": [[7, 2], [1, 2], [1, 2], [1, 1]], "city": [[3, 1], [1, 1], [1, 1], [1, 1]], "river": []}
    problem = tool_use(size=5).problems(1, rng(0))[0]
    problem.meta["tables"].clear()
    problem.meta["tables"].update(tables)
    assert results(tool_use(), problem, text) == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("calc 7 + 5", "= 12"), ("calc (7) * -5", "= -35"), ("calc 7 / 2", "= 7/2"), ("calc 7 // 2", "= 3"),
        ("calc 7 % 4", "= 3"), ("calc 12", "= 12"), ("calc 1 / 0", "ERROR division by zero"),
        ("calc 1 + 2 + 3", "ERROR more than 1 operation a call"), ("calc 2 ** 9", "ERROR cannot be read"),
        ("calc 10 * 10", "ERROR too large"), ("calc 99 * -1", "= -99"), ("calc 1 / 100", "ERROR too large"), ("calc 1 +", "ERROR cannot be read"),
        ("calc 1; 2", "ERROR cannot be read"), ("calc __import__('os')", "ERROR cannot be read"), ("calc", "ERROR cannot be read"),
        ("calc " + "(" * 90, "ERROR cannot be read"), ("calc 0777", "ERROR cannot be read"), ("calc 5 (3)", "ERROR cannot be read"),
        ("calc " + "1" * 99 + " + 1", "ERROR cannot be read"),
    ],
)  # fmt: skip
def test_the_calculator_is_exact_and_reads_one_operation(text, said):
    task = tool_use(backend="calculator")
    assert results(task, task.problems(1, rng(0))[0], text) == [said]


def test_plans_of_the_calculator_stay_below_20():
    for problem in tool_use(backend="calculator").problems(200, rng(0)):
        assert all(0 <= int(result) < 20 for result in problem.meta["results"])


@pytest.mark.parametrize(
    ("text", "said"),
    [("get 99", "ERROR no such key"), ("put 99 1", "ERROR no such key"), ("get", "ERROR cannot be read"),
     ("put 3", "ERROR cannot be read"), ("get 3 ", "ERROR cannot be read"), ("put 3 99", "= ok")],
)  # fmt: skip
def test_the_store_has_its_keys_and_no_others(text, said):
    task = tool_use(backend="store")
    assert results(task, task.problems(1, rng(0))[0], text) == [said]


def test_it_is_registered_with_its_paper():
    entry = get("tasks", "tool_use")
    assert entry.paper == "arXiv:2510.21618" and entry.knobs["backend"] == "sqlite"


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"backend": "mysql"}, "backend is 'mysql'; allowed: sqlite, calculator, store"), ({"min_calls": 1}, "1 to 4 calls"),
     ({"min_calls": 4, "max_calls": 3}, "4 to 3 calls"), ({"size": 4}, "size 4"), ({"slip": -0.1}, "slip -0.1"),
     ({"real": 1.0}, "real 1.0"), ({"real": 0.3, "simulated": True}, "a simulator with real=0 alone")],
)  # fmt: skip
def test_impossible_knobs_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        tool_use(**knobs)
