"""Every registered rollout, killed and given again: the tree of an uninterrupted run, nothing asked or paid twice."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from resume_world import KNOBS, Slow, grown, same

from stepcredit.core import registry
from stepcredit.core.environment import Reply
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Cost, Outcome, Problem, Step
from stepcredit.policy.scripted import Scripted
from stepcredit.rollout._folding import last_facts
from stepcredit.rollout._log import Log, digest
from stepcredit.rollout._resumable import KeptPolicy, _pieces
from stepcredit.rollout.chains import chains
from stepcredit.rollout.episodes import episodes
from stepcredit.rollout.restart import restart
from stepcredit.rollout.reveal import reveal

NAMES = registry.names("rollout")
SCRIPT = Path(__file__).with_name("resume_world.py")
KILLED_AT = 3  # lines on disk


def lines(folder):
    return [line for path in Path(folder).glob("*.jsonl") for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of each rollout, killed without mercy in a process of its own once it holds a few lines; all at once."""
    folders = {name: tmp_path_factory.mktemp(name) for name in NAMES}
    running = {
        name: subprocess.Popen([sys.executable, str(SCRIPT), name, str(folder), "0.1"])
        for name, folder in folders.items()
    }
    until = time.monotonic() + 600  # a busy machine takes its time to start a process
    while running and time.monotonic() < until:
        for name, process in list(running.items()):
            assert process.poll() is None, f"{name} was done before it could be killed"
            if len(lines(folders[name])) >= KILLED_AT:
                os.kill(process.pid, signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
                del running[name]
        time.sleep(0.005)
    assert not running
    return folders


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_rollout_goes_on_to_the_trees_of_an_uninterrupted_one(name, killed, tmp_path):
    whole, *_ = grown(name, policy=Slow())  # without a folder, each call asked at once
    before = len(lines(killed[name]))
    policy = Slow()
    trees, *others = grown(name, policy=policy, folder=str(killed[name]))
    assert len(trees) == 3 and all(map(same, whole, trees))
    # Each line that is new was asked for now, and nothing else: what was kept was not asked again.
    kept = lines(killed[name])
    assert before >= KILLED_AT and len(kept) - before == sum(one.num_calls for one in (policy, *others)) > 0
    # The file is the one that an uninterrupted run leaves, but for the time.
    grown(name, policy=Slow(), folder=str(tmp_path))
    assert [(row["asked"], row["answer"]) for row in map(json.loads, kept)] == [
        (row["asked"], row["answer"]) for row in map(json.loads, lines(tmp_path))
    ]
    # What was waited for before the kill, a tenth of a second a call, is on the trees.
    waited = sum(row["seconds"] for row in map(json.loads, kept[:before]) if "groups" in row["answer"])
    assert 0.1 <= waited <= sum(tree.cost.seconds for tree in trees) + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_wherever_it_is_interrupted_it_ends_with_the_same_trees(name, tmp_path):
    whole, *_ = grown(name, policy=Slow())
    counted = Slow()
    grown(name, policy=counted, folder=str(tmp_path / "whole"))
    assert counted.num_calls > 3 and counted.largest <= counted.batch_size
    for stop in sorted({0, 1, counted.num_calls // 2, counted.num_calls - 1}):
        folder = str(tmp_path / str(stop))
        with pytest.raises(KeyboardInterrupt):
            grown(name, policy=Slow(fail_after=stop), folder=folder)
        (path,) = Path(folder).glob("*.jsonl") if stop else [None]
        if path:
            path.write_bytes(path.read_bytes() + b'{"asked": "00')  # a line that a kill cut off
        policy = Slow()
        trees, *_ = grown(name, policy=policy, folder=folder)
        assert all(map(same, whole, trees)) and policy.num_calls == counted.num_calls - stop
        assert len([json.loads(line) for line in lines(folder)]) == len(lines(tmp_path / "whole"))
    # A finished rollout is there, and costs no call at all.
    trees, *others = grown(name, policy=Slow(fail_after=0), folder=str(tmp_path / "whole"))
    assert all(map(same, whole, trees)) and not any(one.num_calls for one in others)


def test_the_worlds_ask_verifiers_judges_and_environments_too():
    """The tests above would say little if nobody but the policy was asked."""
    asked = {name: grown(name, policy=Slow())[1:] for name in NAMES}
    assert {"adaptive", "bisect", "mcts", "reveal"} <= {
        name for name, (verify, *_) in asked.items() if verify.num_calls
    }
    assert {"adaptive", "branch", "episodes", "mcts"} <= {
        name for name, (_, judge, _) in asked.items() if judge.num_calls
    }
    assert {name for name, (*_, environment) in asked.items() if environment.num_calls} == {"episodes"}
    assert set(KNOBS) <= set(NAMES)


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.PCG64])
def test_the_rng_is_left_as_the_policy_left_it_whatever_it_is_made_of(bits, tmp_path):
    for _ in range(2):
        generator, other = np.random.Generator(bits(3)), np.random.Generator(bits(3))
        policy = KeptPolicy(Slow(), Log(tmp_path / "log.jsonl"))
        found = policy.sample(["3 +4 -1\n"] * 3, 5, generator)
        assert found == Slow().sample(["3 +4 -1\n"] * 3, 5, other) and generator.random() == other.random()


def test_a_large_call_is_asked_in_pieces_of_the_policys_batch():
    for num_prefixes, num, most, sizes in ((5, 3, 8, [6, 6, 3]), (2, 20, 8, [8, 8, 4, 8, 8, 4]), (3, 8, 8, [8] * 3)):
        pieces = list(_pieces(num_prefixes, num, most))
        assert [len(places) * each for places, each in pieces] == sizes
        of = [0] * num_prefixes
        for places, each in pieces:
            for place in places:
                of[place] += each
        assert of == [num] * num_prefixes


class Spelling:
    """A policy whose token i spells `pieces[i]`; token 0 is the end; it forwards 7 tokens a call and speaks NumPy."""

    pieces = ("", "a", "\n", "b")

    def __init__(self):
        self.cost = Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.cost += Cost(forwarded_tokens=7, generated_tokens=4)
        ids = np.array([1, 2, 3, 0])
        logprobs = tuple(np.float32([-0.5, -0.25, -1.5, 0.0]))
        return [[Completion("a\nb", tuple(ids), logprobs) for _ in range(num)] for _ in prefixes]

    def logprob(self, prefixes, continuations):
        return np.array([-1.0] * len(prefixes))

    def token_ends(self, token_ids):
        return [len("".join(self.pieces[i] for i in token_ids[: t + 1])) for t in range(len(token_ids))]


def test_tokens_and_costs_come_back_as_they_were_and_the_policy_can_still_be_asked_the_rest(tmp_path):
    problems = [Problem("p", "?"), Problem("q", "!")]
    plain = chains(problems, policy=Spelling(), rng=rng(0), num=2)
    for _ in range(2):
        kept = chains(problems, policy=Spelling(), rng=rng(0), num=2, folder=str(tmp_path))
        assert all(map(same, plain, kept))
        assert kept[0].steps[1].token_ids == (1, 2) and type(kept[0].steps[1].token_ids[0]) is int
        assert [tree.cost.forwarded_tokens for tree in kept] == [4, 3]
    policy = KeptPolicy(Spelling(), Log(tmp_path / "other.jsonl"))
    assert policy.logprob(["a"], ["b"]).tolist() == [-1.0] and policy.token_ends([1, 2]) == [1, 2]


def test_another_request_has_a_file_of_its_own(tmp_path):
    def grow(seed=0, **knobs):
        return chains(
            [Problem("p", "?")], policy=Spelling(), rng=rng(seed), folder=str(tmp_path), **{"num": 2, **knobs}
        )

    grow()
    for knobs in ({"num": 3}, {"seed": 1}, {"stop": ["x"]}, {"max_new_tokens": 9}, {"prompt_end": ":"}):
        before = len(list(tmp_path.iterdir()))
        grow(**knobs)
        assert len(list(tmp_path.iterdir())) == before + 1, knobs
    grow(delimiter="\n")  # the default, said aloud
    assert len(list(tmp_path.iterdir())) == before + 1


def test_trees_are_told_apart_by_all_that_a_rollout_reads():
    tree = star(Problem("p", "?"), [[Step("a"), Step("b")]], [Outcome(1.0)])
    others = [
        *(
            star(problem, [[Step("a"), Step("b")]], [Outcome(1.0)])
            for problem in (
                Problem("q", "?"),
                Problem("p", "!"),
                Problem("p", "?", "5"),
                Problem("p", "?", reference=("a", "b")),
                Problem("p", "?", meta={"modulus": 5}),
                Problem("p", "?", meta={"on": datetime.date(2026, 1, 1)}),
            )
        ),
        star(Problem("p", "?"), [[Step("a"), Step("b")]], [Outcome(1.0, verifier="other")]),
        star(Problem("p", "?"), [[Step("a"), Step("c")]], [Outcome(1.0)]),
        star(Problem("p", "?"), [[Step("a"), Step("b", sampled=False)]], [Outcome(1.0)]),
        star(Problem("p", "?"), [[Step("a"), Step("b")]], [Outcome(0.0)]),
        star(Problem("p", "?"), [[Step("a"), Step("b")]], [Outcome(status="timeout")]),
        star(Problem("p", "?"), [[Step("a"), Step("b")]]),
        replace(tree, visits_N=[1, 0, 0]),
        replace(tree, group_N=[0, 1, 1]),
        replace(tree, parent_N=[-1, 0, 0]),
    ]
    assert len({digest(each) for each in [tree, *others]}) == 1 + len(others)
    assert digest(tree) == digest(replace(tree, cost=Cost(5)))


def test_other_gold_answers_are_not_answered_with_the_outcomes_of_the_old(tmp_path):
    def verify(problem, solutions):
        return [Outcome(float(steps[-1].text == problem.answer)) for steps in solutions]

    def first(answer):
        tree = star(Problem("p", "?", answer), [[Step("a"), Step("b")]], [Outcome(1.0)])
        (grown,) = reveal([tree], policy=Spelling(), verify=verify, rng=rng(0), max_rollouts=1, folder=str(tmp_path))
        return float(grown.reward_N[grown.leaves[-1]])

    assert [first("b"), first("c"), first("b")] == [1.0, 0.0, 1.0]  # what it writes ends with b


def test_nodes_may_be_any_sequence(tmp_path):
    tree = star(Problem("p", "?"), [[Step("a"), Step("b"), Step("c")]])

    def grow(nodes):
        return restart([tree], policy=Spelling(), rng=rng(0), num=1, nodes=nodes, folder=str(tmp_path))[0]

    assert same(grow([range(1, 3)]), grow([[1, 2]])) and same(grow(((1, 2),)), grow([np.array([1, 2])]))
    assert len(list(tmp_path.iterdir())) == 1


def test_an_environment_is_not_asked_twice_even_where_it_would_answer_otherwise(tmp_path):
    said = iter(range(100))

    def moody(playing, draw):
        return [Reply("answer") if len(steps) > 3 else Reply("tool_call", f"{next(said)}") for _, steps in playing]

    def play(fold):
        policy = Scripted(["go"] * 6, {})
        return episodes([Problem("p", "?")], policy=policy, environment=moody, rng=rng(0), num=2, fold=fold,
                        folder=str(tmp_path))  # fmt: skip

    first, again = play(None), play(None)
    assert all(map(same, first, again)) and [s.text for s in first[0].steps if not s.sampled][1:] == [
        "0",
        "2",
        "1",
        "3",
    ]
    # How it is folded is told by the function's name.
    assert not same(play(last_facts)[0], first[0]) and len(list(tmp_path.iterdir())) == 2


def test_a_policy_of_another_batch_size_is_named_among_the_causes(tmp_path):
    small, large = Slow(), Slow()
    large.batch_size = 16
    grown("chains", policy=small, folder=str(tmp_path))
    with pytest.raises(ValueError, match="batch_size of the policy; remove the file"):
        grown("chains", policy=large, folder=str(tmp_path))


def test_a_file_that_is_not_what_was_asked_is_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    assert log.answered(["a"], lambda: (1, float("nan")))[0] == 1 and log.answered(["b"], lambda: 2) == 2
    again = Log(path)
    assert again.answered(["a"], lambda: 0)[0] == 1
    with pytest.raises(ValueError, match=r"log.jsonl, line 2: what was kept there was asked for otherwise"):
        again.answered(["c"], lambda: 0)
    path.write_bytes(b"what?\n")
    with pytest.raises(ValueError, match=r"line 1: cannot be read .* remove the file"):
        Log(path).answered(["a"], lambda: 0)
    with pytest.raises(ValueError, match="is a file; allowed: a folder"):
        chains([Problem("p", "?")], policy=Spelling(), rng=rng(0), folder=str(path))
    with pytest.raises(TypeError, match="cannot be kept in a folder"):
        Log(tmp_path / "x").answered([object()], lambda: 0)
