"""Post-completion learning: what inference pays, what each track teaches, what is graded, the whole run, its claims."""

import importlib
import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit import Outcome, Problem, Step
from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star, with_outcomes
from stepcredit.policy.hf import hf
from stepcredit.recipes import pcl as recipe
from stepcredit.recipes._pcl_arms import ARMS, as_tree, credit_of_tracks, with_tracks
from stepcredit.recipes._pcl_world import (
    MARKER,
    Scale,
    World,
    evaluation_text,
    graded,
    grown,
    inference_tokens,
    sound_lines,
)
from stepcredit.report import write_report
from stepcredit.train.grpo import Settings, grpo
from stepcredit.train.tiny import build_tokenizer, tiny_config

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
RL = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")
SCALE = Scale(6, 2, 1, 1, 1, 4, 4, 2, max_new_tokens=16, task=recipe.TASK)
REASONING = ("2 +1\n", "2+1=0\n<eoc>\n", False)
EVALUATION = ("2 +1\n2+1=0\n<eoc>\n", "1\n1 1", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A policy with random weights that may write the marker, its end and anything else at any time."""
    where = tmp_path_factory.mktemp("policy")
    tokenizer = build_tokenizer(["0 1 2 +0 +1 +2\n2+1=0"], extra_tokens=(MARKER,), max_positions=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=64)).save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


@pytest.fixture
def world(tmp_path):
    return World(SCALE, 3, tmp_path)


def test_inference_stops_at_the_marker_with_the_tokens_it_would_have_had(folder, world):
    """Same draws: the tokens up to the marker are the same whether generation stops there or goes past it."""
    policy, problems = hf(str(folder)), world.problems["test"]
    marker = policy.tokenizer.convert_tokens_to_ids(MARKER)
    past, there = (grown(world, problems, policy, rng(0), num=16, past_end=past_end) for past_end in (True, False))
    num_marked = 0
    for one, other in zip(past, there, strict=True):
        for a, b in zip(one.leaves, other.leaves, strict=True):
            long, short = (
                [t for step in tree.solution(leaf) for t in step.token_ids] for tree, leaf in ((one, a), (other, b))
            )
            num = inference_tokens(one.solution(a), marker)
            assert short == long[: len(short)] and len(short) == num == inference_tokens(other.solution(b), marker)
            num_marked += marker in long and num < len(long)
    assert num_marked > 10  # of 64: the comparison is not of attempts that never reach it


def test_what_stands_behind_the_marker_changes_no_logit_before_it(folder):
    policy = hf(str(folder))
    ids = [policy.tokenizer(text)["input_ids"] for text in ("2 +1\n2+1=0\n<eoc>", "2 +1\n2+1=0\n<eoc>\n1\n0 1")]
    with torch.inference_mode():
        short, long = (policy.model(input_ids=torch.tensor([row])).logits[0] for row in ids)
    assert len(long) > len(short) and torch.allclose(short, long[: len(short)], atol=1e-6)


def test_the_marker_is_a_token_of_its_own_and_not_the_end(folder):
    tokenizer = hf(str(folder)).tokenizer
    ids = tokenizer("0<eoc>1", add_special_tokens=False)["input_ids"]
    assert len(ids) == 3 and ids[1] == tokenizer.convert_tokens_to_ids(MARKER) != tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "0<eoc>1"


@RL
def test_demonstrations_in_a_batch_have_the_gradient_of_weighted_cross_entropy(folder):
    """One update on demonstrations alone, against autograd on w x (sum of log p of what is learnt) / (rows x constant)."""
    policy, weight, length = hf(str(folder)), 0.3, 8
    before = torch.cat([p.detach().flatten().clone() for p in policy.model.parameters()])
    settings = Settings(
        num_updates=1, num_problems=1, learning_rate=0.5, max_grad_norm=1e9, max_new_tokens=length, trl={"optim": "sgd"}
    )
    drawn = with_tracks(lambda *_: [], [([REASONING], 1), ([EVALUATION], 1)])

    def rollout(
        problems, own, draw
    ):  # the trainer asks for outcomes; the advantage of demonstrations does not read them
        return [with_outcomes(tree, {tree.leaves[0]: Outcome(1.0)}) for tree in drawn(problems, own, draw)]

    credit = credit_of_tracks(lambda trees: [], weight)
    grpo(policy, [Problem("none", "0")], rollout=rollout, credit=credit, settings=settings)
    moved = torch.cat([p.detach().flatten() for p in policy.model.parameters()]) - before
    other, loss = hf(str(folder)), 0.0
    for prefix, continuation, ends in (REASONING, EVALUATION):
        head = other.tokenizer(prefix)["input_ids"]
        ids = other.tokenizer(prefix + continuation)["input_ids"] + [other.tokenizer.eos_token_id] * ends
        row = torch.tensor([ids])
        logprob_T = other.model(input_ids=row).logits[0, :-1].log_softmax(-1).gather(-1, row[0, 1:, None])[:, 0]
        loss = loss - weight * logprob_T[len(head) - 1 :].sum() / 2 / length
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in other.model.parameters()])
    assert torch.allclose(moved, -0.5 * gradient, atol=2e-6) and moved.abs().max() > 1e-4


def test_demonstrations_never_share_a_group_with_attempts(folder):
    tokenizer = hf(str(folder)).tokenizer
    one, other = as_tree(REASONING, tokenizer), as_tree(EVALUATION, tokenizer)
    assert one.problem.id != other.problem.id and one.problem.prompt == other.problem.prompt == "2 +1"
    assert other.sampled_N.tolist() == [False, False, False, True]
    assert other.steps[-1].token_ids[-1] == tokenizer.eos_token_id != one.steps[-1].token_ids[-1]
    seen = []
    credit = credit_of_tracks(lambda trees: seen.extend(trees) or registry.bind("credit", "post_completion")(trees))
    tree = star(Problem("p", "2 +1"), [[Step("a")], [Step("b")]], [Outcome(1.0), Outcome(0.0)])
    found = credit([one, tree, other])
    assert seen == [tree] and [c.method for c in found] == ["track", "post_completion", "track"]
    assert found[0].values_N[1] == 0.1 and np.isnan(found[2].values_N[1:3]).all()


def attempt(*texts):
    steps = [Step(text) for text in texts]
    at = texts.index(MARKER) if MARKER in texts else len(texts)
    return [step if place <= at else replace(step, kind="evaluation") for place, step in enumerate(steps)]


@pytest.mark.parametrize(
    ("texts", "reward", "well_formed"),
    [
        (("2+1=0", "0+1=1", MARKER, "1 1", "1 1"), 1.0, True),
        (("2+1=0", "0+1=1", MARKER, "0 0", "0 0"), 1.0, True),  # what is said is not what is graded
        (("2+1=0", "0+1=1", MARKER, "1", "1 1"), 1.0, False),
        (("2+1=0", "0+1=1", MARKER, "1 1", "1"), 1.0, False),
        (("2+1=0", "0+1=1", MARKER), 1.0, False),
        (("2+1=0", "0+1=1"), 1.0, False),
        (("2+1=0", "0+1=2", MARKER, "1 1", "1 1"), 0.0, True),
        (("2+1=0", MARKER, "0+1=1", "1 1"), 0.0, False),
    ],
)
def test_the_answer_is_what_stands_before_the_marker(world, texts, reward, well_formed):
    problem = Problem("p", "2 +1 +1", "1", meta={"modulus": 3})
    found = graded(world.task.verify, evaluated=True)(problem, [attempt(*texts)])[0]
    assert (found.reward, found.well_formed) == (reward, well_formed)


class Cut:
    """Writes one text, cut or not."""

    def __init__(self, text, finish):
        self.text, self.finish = text, finish

    def sample(self, prefixes, num, draw, *, stop=(), max_new_tokens=256):
        from stepcredit.core.types import Completion

        return [[Completion(self.text, finish=self.finish)] * num for _ in prefixes]


def test_an_attempt_cut_behind_its_marker_has_answered(world):
    problem = Problem("p", "2 +1", "0", meta={"modulus": 3})

    def outcome(text, finish):
        (tree,) = grown(world, [problem], Cut(text, finish), rng(0), num=1, past_end=True)
        return tree.outcomes[tree.leaves[0]]

    whole, cut, before = (
        outcome("2+1=0\n<eoc>\n1\n1 1", "stop"),
        outcome("2+1=0\n<eoc>\n1\n1 1", "length"),
        outcome("2+1=0", "length"),
    )
    assert (whole.reward, whole.well_formed) == (1.0, True)
    assert (cut.reward, cut.well_formed) == (1.0, False)
    assert before.status == "truncated"


def test_labels_come_from_outcomes_not_from_the_step_oracle(world, monkeypatch):
    """The oracle may be wrong about everything: no example changes."""
    before = world.track("evaluation")
    other = World(SCALE, 3, world.out)
    blind = replace(other.task, label_steps=lambda *_: pytest.fail("the oracle was asked"))
    monkeypatch.setitem(other.__dict__, "task", blind)
    assert other.track("evaluation") == before


def test_a_line_is_sound_where_attempts_that_hold_it_are_right_as_often_as_any():
    """Right 2 of 4. "a" is in 2 of 3 right ones, "b" in 1 of 2, "c" in 0 of 1; twice in an attempt counts once."""
    attempts = [[Step("a"), Step("b")], [Step("a"), Step("a")], [Step("a"), Step("b")], [Step("c")]]
    tree = star(Problem("p", "?"), attempts, [Outcome(float(r), bool(r), True) for r in (1, 1, 0, 0)])
    sound = sound_lines([tree])
    assert sound == {"a": True, "b": True, "c": False}
    assert [evaluation_text(tree, leaf, sound) for leaf in tree.leaves] == [
        "1 1\n1 1",
        "1 1\n1 1",
        "1 1\n0 1",
        "0\n0 1",
    ]


def test_the_reasoning_track_may_hold_right_attempts_alone(world):
    every, right = world.track("reasoning"), world.track("reasoning", right_only=True)
    num_right = sum(bool(o.correct) for tree in world.demonstrations for o in tree.outcomes if o is not None)
    assert len(right) == num_right < len(every) and not any(ends for _, _, ends in every)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return str(tmp_path_factory.mktemp("pcl"))


@pytest.fixture(scope="module")
def run(out, one_thread):
    return recipe.pcl(size="quick", seeds=(3, 4), out=out)


@RL
@pytest.mark.slow
def test_the_run_has_every_arm_and_can_be_shown(run, tmp_path):
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    assert set(rows) == set(ARMS)
    for name, row in rows.items():
        assert {"accuracy", "inference tokens"} <= set(row["cells"]) and row["cost"]["trained_tokens"] > 0
        assert ("readable" in row["cells"]) == (ARMS[name].base == "post")
        assert (row["cost"]["generated_tokens"] >= 300) == (ARMS[name].knobs is not None)
    write_report(run, tmp_path / "report.html")


@RL
@pytest.mark.slow
def test_a_second_run_reads_everything_back(run, out, monkeypatch):
    monkeypatch.setattr(World, "base", lambda *_: pytest.fail("a policy was made"))
    assert str(recipe.pcl(size="quick", seeds=(3, 4), out=out)) == str(run)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": "huge"}, "size 'huge'"),
        ({"seeds": ()}, "give one seed or more"),
        ({"seeds": (1, 1)}, "each once"),
        ({"arms": ("PPO",)}, "no arm 'PPO'; there are: SFT"),
    ],
)
def test_wrong_knobs_are_named(knobs, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        recipe.pcl(**{"size": "quick", "out": str(tmp_path), **knobs})


@RL
@pytest.mark.slow
def test_every_claim_names_numbers_that_the_recipe_measures(run, out, monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.delitem(sys.modules, "pcl", raising=False)
    claims = importlib.import_module("pcl")
    assert {claim.slug for claim in claims.CLAIMS} == set(claims.SIDES)
    for claim in claims.CLAIMS:
        gap, cost = claims.measure(replace(claim, seeds=(3, 4)), size="quick", out=out)
        assert gap.n == 2 and cost["trained_tokens"] > 0
        assert math.isfinite(gap.value) or claim.metric.startswith(
            ("auroc", "ece")
        )  # so small a policy may say nothing that can be read
