"""GRPO and the head's loss on one backbone: what is read, what reaches the policy, what an outcome is worth to each."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit import Outcome, Problem, Step
from stepcredit.core.filter_state import FilterCollapse
from stepcredit.core.layout import Layout, pad
from stepcredit.judge.head import ScorerJudge
from stepcredit.judge.shared_head import SharedHeadScorer
from stepcredit.train._joint import Rollouts, kept_states, read_positions
from stepcredit.train.joint import Grpo, joint
from stepcredit.train.prm import Objective
from stepcredit.train.tiny import build_tokenizer, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed")

BROADCAST = Objective("broadcast")
SMALL = {"num_problems": 2, "num_attempts": 4, "num_mini_batches": 2, "max_new_tokens": 20}


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A two-layer policy with random weights over nine tokens: noise, one in nine a delimiter and one in nine the end."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = build_tokenizer(["0\n1"], kind="word", max_positions=32)
    assert len(tokenizer) == 9
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=2, heads=2, max_positions=32)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def scorer(policy, speaking=True, **knobs):
    """A judge whose last layer says something."""
    found = SharedHeadScorer.create(policy, layout=Layout(marker="\n", **knobs.pop("layout", {})), **knobs)
    if speaking:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            torch.nn.init.normal_(found.head[-1].weight)
    return found


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def even(problem, solutions):
    """Right iff the attempt has an even number of characters: something to learn from noise."""
    lengths = [sum(len(step.text) for step in solution) for solution in solutions]
    return [Outcome(float(length % 2 == 0), correct=length % 2 == 0) for length in lengths]


PROBLEMS = [Problem("a", "0 1"), Problem("b", "1"), Problem("c", "0 0")]


def run(found, **knobs):
    grpo = Grpo(
        **{**SMALL, "num_updates": 4, "learning_rate": 1e-2, "head_learning_rate": 1e-2, **knobs.pop("grpo", {})}
    )
    return joint(found, PROBLEMS, even, **{"objective": BROADCAST, "grpo": grpo, **knobs})


def test_read_positions_are_the_marked_places_in_order():
    marked = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    read, step = read_positions(marked, start=10)
    assert read.tolist() == [[11, 13], [0, 0], [10, 0]]
    assert step.tolist() == [[True, True], [False, False], [True, False]]
    assert read_positions(marked[1:2], start=3)[0].shape == (1, 0)


@pytest.mark.parametrize("read", ["on", "pre"])
def test_a_rollout_is_read_where_and_as_the_judge_reads_it(policy, read):
    """Left-padded prompt and sampled tokens here, right-padded text there: the same logits at the same steps."""
    found = scorer(policy, layout={"read": read}).eval()
    attempts = [(PROBLEMS[0], [Step("1 1"), Step("0")]), (Problem("long", "1 0 0 1 1"), [Step("0")])]
    judged = found.logits(*pad(found.encode(attempts), found.pad_id)[:3])
    prompts = [found.tokenizer(problem.prompt + "\n")["input_ids"] for problem, _ in attempts]
    answers = [found.tokenizer("".join(s.text + "\n" for s in steps), add_special_tokens=False)["input_ids"]
               for _, steps in attempts]  # fmt: skip
    before, after = max(map(len, prompts)), max(map(len, answers))
    ids, mask = torch.zeros(2, before + after, dtype=torch.long), torch.zeros(2, before + after, dtype=torch.long)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, before - len(prompt) : before + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, before - len(prompt) : before + len(answer)] = 1
    marker = (ids[:, before:] == found.manifest.marker_id) & mask[:, before:].bool()
    place, step = read_positions(marker, before - (read == "pre"))
    with torch.no_grad(), kept_states(found.model.base_model) as states:
        found.model(input_ids=ids, attention_mask=mask)
        found.model(input_ids=ids[:1], attention_mask=mask[:1])
    assert [len(one) for one in states] == [3, 3] and step.tolist() == [[True, True], [True, False]]
    with torch.no_grad():
        np.testing.assert_allclose(found.of_states(states[0], place).numpy()[step], judged[step], rtol=1e-5, atol=1e-6)
        assert not found.model.base_model._forward_hooks and not found.model.base_model._forward_pre_hooks


@pytest.mark.parametrize(("scale", "share"), [(1.0, 1.0), (0.25, 0.25), (0.0, None)])
def test_the_heads_gradient_reaches_the_backbone_scaled(policy, scale, share):
    def gradient(scale):
        found = scorer(policy, gradient_scale=scale).eval()
        with kept_states(found.model.base_model) as states:
            found.model(input_ids=torch.tensor([[3, 4, 5]]))
        loss = found.of_states(states[0], torch.tensor([[1, 2]])).sum()
        loss.backward()
        return found.model.base_model.layers[0].mlp.up_proj.weight.grad, found.head[0].weight.grad

    backbone, head = gradient(scale)
    whole, head_whole = gradient(1.0)
    torch.testing.assert_close(head, head_whole)
    assert backbone is None if share is None else torch.allclose(backbone, share * whole, rtol=1e-4)


def test_an_outcome_is_worth_a_reward_to_grpo_and_a_label_to_the_head():
    def said(problem, solutions):
        return {"ok": [Outcome(1.0, correct=True)], "odd": [Outcome(status="unparsed")],
                "late": [Outcome(status="timeout")]}[solutions[0][-1].text]  # fmt: skip

    rollouts = Rollouts([Problem("p", "?")], said, "\n", ends=[2])
    texts, ids = ["a\nok\n", "odd", "late", "ok"], [[7, 8, 7, 2], [7, 2], [8, 2], [7, 7]]
    assert rollouts.reward(texts, ids, [0, 0, 0, 0], trainer_state=None) == [1.0, 0.0, None, 0.0]
    assert [o.status for o in rollouts.last] == ["scored", "unparsed", "timeout", "truncated"]
    assert (rollouts.num_attempts, rollouts.num_tokens) == (4, 10)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"num_attempts": 1}, "num_attempts is 1; allowed: 2 or more"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"num_problems": 3, "num_attempts": 3, "num_mini_batches": 2}, "3 problems with 3 attempts each"),
    ],
)
def test_impossible_settings_are_refused(knobs, said):
    with pytest.raises(ValueError, match=said):
        Grpo(**knobs)


def test_without_trl_the_extra_is_named(policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(RuntimeError, match=r"pip install 'stepcredit\[rl\]'"):
        run(scorer(policy))


@needs_trl
@pytest.mark.parametrize(
    ("knobs", "layout", "said"),
    [
        ({"objective": Objective(None)}, {}, "needs a pooling or a filter"),
        ({}, {"show_problem": False}, "show_problem must be True"),
        ({"grpo": {"num_problems": 4}}, {}, "3 problems do not fill a batch of 4"),
        ({"grpo": {"max_new_tokens": 31}}, {}, "beyond the policy's 32 positions"),
    ],
)
def test_what_cannot_be_trained_jointly_is_refused(policy, knobs, layout, said):
    with pytest.raises(ValueError, match=said):
        run(scorer(policy, layout=layout), **knobs)


@needs_trl
@pytest.mark.parametrize("read", ["on", "pre"])
def test_the_curve_is_what_the_judge_says_of_the_rollouts(policy, monkeypatch, read):
    """At rate 0 nothing moves; the judge then reads the same attempts as text. Those it would read as other tokens, or
    whose last step was never closed, are left without an outcome, and so out of both means."""
    found, seen, reward = scorer(policy, layout={"read": read}), [], Rollouts.reward

    def spy(self, completions, completion_ids, row, **others):
        given = reward(self, completions, completion_ids, row, **others)
        for place, (text, ids, index) in enumerate(zip(completions, completion_ids, row, strict=True)):
            prompt = PROBLEMS[index].prompt + "\n"
            alone = found.tokenizer(prompt)["input_ids"]
            if text.endswith("\n") and found.tokenizer(prompt + text)["input_ids"] == [*alone, *ids[:-1]]:
                steps = [Step(piece) for piece in text.split("\n")[:-1]]
                seen.append((PROBLEMS[index], steps, self.last[place].reward))
            else:
                self.last[place] = Outcome(status="abstained")
        return given

    monkeypatch.setattr(Rollouts, "reward", spy)
    still = {"num_updates": 1, "num_problems": 3, "num_attempts": 256, "num_mini_batches": 1, "learning_rate": 0.0,
             "head_learning_rate": 0.0}  # fmt: skip
    row = run(found, grpo=still).curve[0]
    judged = ScorerJudge(found)([(problem, steps) for problem, steps, _ in seen])
    for name, outcome in (("score_right", 1.0), ("score_wrong", 0.0)):
        of = [j.score for j, (_, _, reward) in zip(judged, seen, strict=True) if reward == outcome]
        assert len(of) >= 3 and row[name] == pytest.approx(np.mean(of), abs=1e-5)
    assert abs(row["score_right"] - row["score_wrong"]) > 1e-4


@needs_trl
def test_a_head_of_scale_zero_leaves_the_policy_to_grpo_alone(policy):
    """The control of the joint claim: the head learns, and the policy is the one GRPO makes without it."""
    rows = []
    with_head, alone, again = (scorer(policy, gradient_scale=g, seed=3) for g in (0.0, 1.0, 0.0))
    state = torch.random.get_rng_state()
    done = run(with_head, seed=5, on_row=rows.append)
    run(alone, seed=5, grpo={"coefficient": 0.0})
    assert torch.equal(weights(with_head.model), weights(alone.model))
    assert not torch.equal(weights(with_head.head), weights(alone.head))
    assert torch.equal(torch.random.get_rng_state(), state)
    start = scorer(policy, seed=3)
    assert not torch.equal(weights(with_head.model), weights(start.model))  # GRPO moves it
    run(again, seed=5)
    assert torch.equal(weights(with_head.model), weights(again.model))  # same seed, same weights
    assert torch.equal(weights(with_head.head), weights(again.head))
    assert rows == done.curve and [row["update"] for row in rows] == [1, 2, 3, 4]
    assert all(0 <= row["accuracy"] <= 1 for row in rows) and any("score_right" in row for row in rows)
    # 2 batches of rollouts of 2 problems with 4 attempts; three passes over each token: loss, old policy, first policy
    assert done.cost.verifier_calls == 16 and done.cost.forwarded_tokens % 3 == 0
    assert not with_head.training and "forward" not in vars(with_head.model)


@needs_trl
def test_an_update_that_teaches_the_head_nothing_leaves_it_no_gradient(policy):
    """The Trainer empties the gradients of the policy alone: what the first update left must not act again."""
    calls = []

    def once(score, outcome, step):
        calls.append(len(score))
        labels = np.broadcast_to(outcome[:, None], score.shape)
        return labels, (step & np.isfinite(labels)) * float(len(calls) == 1)

    found, start = scorer(policy), scorer(policy)
    run(found, objective=Objective(None, relabel=once), grpo={"num_updates": 2})
    assert len(calls) == 2 and not torch.equal(weights(found.head), weights(start.head))
    assert all(p.grad is not None and not p.grad.any() for p in found.head.parameters())


@needs_trl
def test_at_scale_one_the_head_moves_the_policy(policy):
    """The planted opposite of the test above: without it, that test could not fail."""
    found, alone = scorer(policy, gradient_scale=1.0), scorer(policy, gradient_scale=1.0)
    run(found, grpo={"num_updates": 1})
    run(alone, grpo={"num_updates": 1, "coefficient": 0.0})
    assert not torch.equal(weights(found.model), weights(alone.model))


@needs_trl
def test_a_jointly_trained_scorer_is_a_policy_and_a_judge_on_disk(policy, tmp_path):
    from stepcredit.policy.hf import hf

    found = scorer(policy)
    run(found, grpo={"num_updates": 2})
    found.save(tmp_path / "joint")
    SharedHeadScorer.load(tmp_path / "joint")  # checks its golden scores
    assert torch.equal(weights(hf(str(tmp_path / "joint")).model.cpu()), weights(found.model))


@needs_trl
def test_a_collapsed_filter_stops_the_run_or_is_noted_and_leaves_the_policy_its_run(policy, monkeypatch):
    """From zero logits nothing is above one half: no step of a right attempt is ever kept."""
    monkeypatch.setattr("stepcredit.train._watch.WINDOW", 1)
    monkeypatch.setattr("stepcredit.core.filter_state.MIN_STEPS", 1)
    nothing = Objective(
        None, relabel=lambda score, outcome, step: (np.full(score.shape, np.nan), np.zeros(score.shape))
    )
    rows = []
    with pytest.raises(FilterCollapse, match="COLLAPSED"):
        run(scorer(policy, speaking=False), objective=nothing, on_row=rows.append)
    assert len(rows) < 4 and all(row["head_loss"] == 0 for row in rows)
    found = scorer(policy, speaking=False)
    done = run(found, objective=nothing, on_collapse="note")
    assert len(done.curve) == 4 and f"collapsed by update {len(rows) + 1}." in done.collapsed
    assert run(scorer(policy), on_collapse="note").collapsed == ""
    with pytest.raises(ValueError, match="on_collapse is 'never'; allowed: raise, note"):
        run(found, on_collapse="never")
