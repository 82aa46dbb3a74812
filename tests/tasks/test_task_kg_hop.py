import math

import numpy as np
import pytest

from stepcredit.core.registry import bind, get
from stepcredit.core.rng import rng
from stepcredit.core.types import Problem, Step
from stepcredit.tasks.kg_hop import ENTITIES, NONE, RELATIONS, environment, graph, kg_hop, label_steps, verify


def turns(*texts):
    return [Step(text) for text in texts]


def reply(problem, *texts):
    return environment([(problem, turns(*texts))], rng(0))[0]


def labels(problem, *texts):
    return label_steps(problem, turns(*texts)).tolist()


@pytest.fixture(scope="module")
def problem():
    return kg_hop(hops=3).problems(1, rng(0))[0]


def test_the_reference_is_right_and_every_result_on_it_leads_to_the_next_call():
    for hops in (1, 2, 3, 4):
        for problem in kg_hop(hops=hops).problems(50, rng(hops)):
            calls = problem.meta["calls"]
            found = [reply(problem, call).result for call in calls]
            assert len(calls) == hops and [call.split()[1] for call in calls[1:]] == found[:-1]
            assert found[-1] == problem.answer
            assert problem.prompt.split() == ["q", calls[0].split()[1], *(call.split()[2] for call in calls)]
            assert len(set(problem.prompt.split()[2:])) == hops  # distinct relations
            assert problem.reference == (*calls, f"a {problem.answer}")
            assert verify(problem, [turns(*problem.reference)])[0].correct
            assert labels(problem, *problem.reference) == [1] * (hops + 1)


def test_problems_are_repeatable_and_each_has_a_graph_of_its_own():
    task = kg_hop()
    problems = task.problems(200, rng(0))
    assert problems == task.problems(200, rng(0)) != task.problems(200, rng(1))
    assert len({p.id for p in problems}) == len({p.meta["graph"] for p in problems}) == 200


def test_a_graph_is_functional_without_loops_and_has_its_share_of_edges():
    tables = np.stack([graph(seed, 24, 6, 0.8) for seed in range(100)])
    assert not (tables == np.arange(24)[:, None]).any() and tables.min() == -1 and tables.max() == 23
    # 14,400 cells: standard error of the share sqrt(.16 / 14400) = .0033
    assert abs((tables >= 0).mean() - 0.8) < 0.014
    with pytest.raises(ValueError, match="read-only"):
        graph(0, 24, 6, 0.8)[0, 0] = 1


def test_the_environment_answers_with_the_object_or_none_whatever_came_before(problem):
    table_ER = graph(problem.meta["graph"], 24, 6, 0.8)
    e, r = (int(one[0]) for one in np.nonzero(table_ER < 0))
    assert reply(problem, f"s {ENTITIES[e]} {RELATIONS[r]}").result == NONE
    for text in (f"s {ENTITIES[-1]} boss", "s ada partner"):
        assert reply(problem, text).result == NONE and reply(problem, text).kind == "tool_call"
    for text in ("", "s", "s ada", "s ada boss ", "s ada boss boss", "x ada boss"):
        assert reply(problem, text).result == "ERROR cannot be read" and reply(problem, text).kind == "tool_call"
    call = problem.meta["calls"][0]
    assert reply(problem, "s ada boss", "a ada", call) == reply(problem, call)
    assert reply(problem, f"a {problem.answer}").kind == "answer" == reply(problem, "a nobody").kind


def test_a_call_is_sound_where_it_is_the_next_one_and_a_guess_is_not(problem):
    one, two, three = problem.meta["calls"]
    right = f"a {problem.answer}"
    assert labels(problem, one, one, two, three, right) == [1, 0, 1, 1, 1]  # asking again is not the next call
    assert labels(problem, two, one, three, two, three, right) == [0, 1, 0, 1, 1, 1]  # recovers
    assert labels(problem, one, two, right) == [1, 1, 0]  # a guess
    assert labels(problem, one, "what", "a xx") == [1, 0, 0]
    assert label_steps(problem, []).shape == (0,)
    # Results between them are not steps of the policy.
    seen = kg_hop().observe(problem, turns(one, two))
    assert [s.sampled for s in seen] == [True, False] * 2 and label_steps(problem, seen).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("texts", "status", "reward", "well_formed"),
    [
        (["a RIGHT"], "scored", 1.0, True),
        (["s ada boss", "a RIGHT"], "scored", 1.0, True),
        (["hm", "a RIGHT"], "scored", 1.0, False),  # format and task are separate
        (["a ada ada"], "unparsed", math.nan, False),
        (["a WRONG"], "scored", 0.0, True),
        (["a RIGHT", "s ada boss"], "unparsed", math.nan, False),
        (["the answer is a RIGHT"], "unparsed", math.nan, False),
        ([], "unparsed", math.nan, False),
    ],
)
def test_the_outcome_is_the_last_turns(problem, texts, status, reward, well_formed):
    wrong = next(name for name in ENTITIES if name != problem.answer)
    given = turns(*(text.replace("RIGHT", problem.answer).replace("WRONG", wrong) for text in texts))
    outcome = verify(problem, [given])[0]
    assert (outcome.status, outcome.well_formed) == (status, well_formed)
    assert outcome.reward == reward or (math.isnan(reward) and math.isnan(outcome.reward))


def test_the_demonstrator_slips_at_its_rate_and_carries_slips_on():
    """The first call is right with .6; of 1,500 the standard error is .013."""
    task = kg_hop(slip=0.4)
    stream = rng(1)
    found = [(problem, task.demonstrate(problem, stream)) for problem in task.problems(1500, rng(1))]
    first = np.array([label_steps(problem, steps)[0] for problem, steps in found])
    assert abs(first.mean() - 0.6) < 0.05
    for problem, steps in found:
        assert steps[-1].kind == "answer" and [s.sampled for s in steps] == [True, False] * (len(steps) // 2) + [True]
        assert steps[-1].text.split()[1] == next(
            (s.text for s in reversed(steps) if not s.sampled and s.text != NONE), problem.prompt.split()[1]
        )
        assert len(steps) <= 2 * 6 + 1 and task.observe(problem, steps) == steps
    # A hop goes right with .6 / (1 - .4 * .2) = .652, three of them .277, and wrong ways meet at the answer now and then.
    assert 0.22 < np.mean([verify(problem, [steps])[0].reward for problem, steps in found]) < 0.42
    perfect = kg_hop(slip=0.0)
    assert all(tuple(s.text for s in perfect.demonstrate(p, stream) if s.sampled) == p.reference for p, _ in found[:50])


def test_it_is_registered_and_has_an_environment():
    assert get("tasks", "kg_hop").knobs["hops"] == 3
    assert bind("tasks", "kg_hop", hops=1)().environment is environment


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"hops": 0}, "0 hops"), ({"hops": 7}, "7 hops, 6 relations"), ({"num_relations": 9}, "9 relations"),
     ({"num_entities": 1}, "1 entities"), ({"num_entities": 99}, "99 entities"), ({"density": 0.0}, "density 0.0"),
     ({"slip": 1.5}, "slip 1.5")],
)  # fmt: skip
def test_impossible_knobs_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        kg_hop(**knobs)


def test_graphs_without_a_path_are_refused():
    with pytest.raises(ValueError, match=r"no path of 6 hops found in graphs of density 0.01"):
        kg_hop(hops=6, density=0.01).problems(1, rng(0))
    assert isinstance(kg_hop(hops=2, density=0.1).problems(1, rng(0))[0], Problem)
