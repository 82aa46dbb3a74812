"""Critique-GRPO: what the trainer makes of a refinement, the released code's defects, the arms, the whole run, its claims."""

import importlib
import math
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Outcome, Problem, Step
from stepcredit.credit.group_mean import group_mean
from stepcredit.recipes import critique_grpo as recipe
from stepcredit.recipes._critique_grpo_arms import (
    ARMS,
    CRITIC_ARMS,
    Counted,
    arm_of,
    by_origin,
    copied,
    reference_steps,
)
from stepcredit.recipes._critique_grpo_critics import ASKED, CriticScale, CriticWorld, critic_of, turned_round
from stepcredit.recipes._critique_grpo_study import Plateau, plateau_test
from stepcredit.recipes._critique_grpo_world import World
from stepcredit.report import write_report
from stepcredit.train._grpo import CreditLoss
from stepcredit.train.grpo import Settings, grpo
from stepcredit.train.policy_samples import Rules, policy_samples, without_signal

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
PROBLEM = Problem("p", "3 +4 *2", answer="4", meta={"modulus": 5, "num_ops": 2})
CONTEXT = "3 +4 *2\n3+4=1\n1*2=2\nStep 1 is wrong, it should be 2.\n"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    plan = recipe.SIZES["quick"]
    return World(plan.scale, 3, tmp_path_factory.mktemp("world"))


def attempt(tokenizer, *lines, context=None):
    """Steps as they are sampled: the last has the end token."""
    texts = [line + "\n" * (place + 1 < len(lines)) for place, line in enumerate(lines)]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    ids[-1].append(tokenizer.eos_token_id)
    return [Step(line, token_ids=tuple(own), logprobs=(-0.1,) * len(own), context=None if place else context)
            for place, (line, own) in enumerate(zip(lines, ids, strict=True))]  # fmt: skip


def group(tokenizer):
    """Seven wrong attempts and a right refinement."""
    wrong = [attempt(tokenizer, "3+4=1", "1*2=2") for _ in range(7)]
    right = attempt(tokenizer, "3+4=2", "2*2=4", context=CONTEXT)
    return star(PROBLEM, [*wrong, right], [Outcome(0.0, False)] * 7 + [Outcome(1.0, True)])


def test_a_refinement_is_trained_under_the_question_alone(world):
    tokenizer = world.policy().tokenizer
    tree = group(tokenizer)
    rows = policy_samples([tree], group_mean([tree], normalize="none"), tokenizer, rules=Rules(contexts="path"))
    head = tokenizer("3 +4 *2\n")["input_ids"]
    assert len(rows) == 8 and [row.ratio for row in rows] == ["on_policy"] * 7 + ["shaped"]
    refined = rows[-1]
    assert refined.token_ids_T[: len(head)].tolist() == head and not refined.loss_mask_T[: len(head)].any()
    assert "Step" not in tokenizer.decode(refined.token_ids_T)
    # Every token behind the question is trained, the end token too: 6 for the first line, 5 for the last, and the end.
    assert refined.loss_mask_T[len(head) :].all() and len(refined.token_ids_T) == len(head) + 12
    assert set(refined.advantage_T[len(head) :]) == {7 / 8} and set(rows[0].advantage_T[len(head) :]) == {-1 / 8}
    # Left as it was sampled, the row would hold the critique.
    own = policy_samples([tree], group_mean([tree], normalize="none"), tokenizer, rules=Rules(contexts="own"))
    assert "Step" in tokenizer.decode(own[-1].token_ids_T) and own[-1].ratio == "on_policy"


class Ordinary:
    """Stands where TRL's trainer stands: the loss of ordinary rows is 0, log-probabilities are given."""

    loss_type, max_completion_length, current_gradient_accumulation_steps = "dr_grpo", 40, 1

    def _compute_loss(self, model, inputs):
        return torch.zeros(())

    def _get_per_token_logps_and_entropies(self, model, ids_BT, mask_BT, width):
        return model[ids_BT[:, 0]], None  # row b's ids are all b


class Loss(CreditLoss, Ordinary):
    shaping = 0.1


def gradient(p_BT, advantage_BT, shaped_B, there_BT=None):
    """d loss / d log pi, [B, T], of rows under the mixed-in loss."""
    logprob_BT = torch.tensor(np.log(p_BT), requires_grad=True)
    rows, width = logprob_BT.shape
    there_BT = torch.ones(rows, width) if there_BT is None else torch.tensor(there_BT, dtype=torch.float32)
    ids_BT = torch.arange(rows)[:, None].expand(rows, width)
    inputs = {"prompt_ids": ids_BT[:, :1], "prompt_mask": torch.ones(rows, 1), "completion_ids": ids_BT,
              "completion_mask": there_BT, "tool_mask": torch.ones(rows, width), "shaped": torch.tensor(shaped_B),
              "advantages": torch.tensor(advantage_BT)}  # fmt: skip
    Loss()._compute_loss(logprob_BT, inputs).backward()
    return logprob_BT.grad.numpy()


@pytest.mark.parametrize(("p", "gain"), [(0.1, 0.25), (0.001, 0.0098), (1.0, 0.0826), (0.4, 0.16)])
def test_the_gain_of_a_shaped_token_is_largest_where_its_chance_is_gamma(p, gain):
    """gamma pi / (pi + gamma)^2: .01 / .04 = .25;  1e-4 / .010201 = .0098;  .1 / 1.21 = .0826;  .04 / .25 = .16."""
    found = gradient([[p]], [[1.0]], [True])[0, 0]
    assert -found * 40 == pytest.approx(gain, abs=1e-4)
    # Nothing is clipped: a token that is to become less likely moves as far, whatever its chance.
    assert gradient([[p]], [[-0.5]], [True])[0, 0] * 40 == pytest.approx(gain / 2, abs=1e-4)


def test_how_far_a_row_moves_does_not_depend_on_what_stands_beside_it():
    """The released actor scales by the number of keys of a dict of metrics (D8); ours by rows and a constant length."""
    beside_long = gradient([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]], [[1.0] * 3] * 2, [True, True])
    beside_short = gradient([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]], [[1.0] * 3] * 2, [True, True], [[1, 1, 1], [1, 0, 0]])
    beside_plain = gradient([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]], [[1.0] * 3] * 2, [True, False])
    expected = [-0.25 / (2 * 40)] * 3
    for found in (beside_long, beside_short, beside_plain):
        assert found[0] == pytest.approx(expected)


@pytest.mark.parametrize("shaping", [0.1, None])
def test_the_trainers_update_is_the_gradient_of_the_loss_written_down(world, shaping):
    """One step of plain gradient descent on TRL's trainer against autograd on the formula, weights and all."""
    policy = world.policy()
    tree = group(policy.tokenizer)
    settings = Settings(num_updates=1, num_problems=1, learning_rate=0.5, max_grad_norm=1e9, max_new_tokens=40, shaping=shaping,
                        trl={"optim": "sgd"})  # fmt: skip
    before = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    trained = grpo(policy, [PROBLEM], rollout=lambda problems, policy, draw: [tree], settings=settings, rules=Rules(contexts="path"),
                   credit=registry.bind("credit", "group_mean", normalize="none"))  # fmt: skip
    after = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    assert trained.curve[0]["rows"] == 8 and trained.curve[0]["silent"] == 0.0
    other = world.policy()
    other.model.train()
    loss = torch.zeros(())
    for lines, advantage, is_refined in ((("3+4=1", "1*2=2"), -7 / 8, False), (("3+4=2", "2*2=4"), 7 / 8, True)):
        head = other.tokenizer("3 +4 *2\n")["input_ids"]
        ids = torch.tensor([head + [t for step in attempt(other.tokenizer, *lines) for t in step.token_ids]])
        logprob_T = other.model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[len(head) - 1 :, 0]
        p_T = logprob_T.exp()
        gain_T = p_T / (p_T + 0.1) if is_refined and shaping else logprob_T
        loss = loss - advantage * gain_T.sum() / (8 * 40)
    loss.backward()
    moved = 0.0
    for name, value in other.model.named_parameters():
        step = after[name] - before[name]
        assert torch.allclose(step, -0.5 * value.grad, atol=2e-6), name
        moved = max(moved, float(step.abs().max()))
    assert moved > 1e-4


def test_a_group_of_copies_of_one_refinement_teaches_nothing(world):
    """The released script's n_prefix = -1 makes the whole group one refinement, eight times (D6): all rewards are equal."""
    tokenizer = world.policy().tokenizer
    tree = copied(group(tokenizer), 8)
    credits = group_mean([tree], normalize="none")
    own, again = by_origin(tree)
    assert (len(own), len(again)) == (0, 8) and without_signal([tree], credits) == (1, 1)
    assert np.all(credits[0].values_N[list(tree.leaves)] == 0.0)
    policy = world.policy()
    before = [value.detach().clone() for value in policy.model.parameters()]
    settings = Settings(num_updates=2, num_problems=1, learning_rate=1e-2, max_new_tokens=40)
    grpo(policy, [PROBLEM], rollout=lambda problems, policy, draw: [tree], settings=settings, rules=Rules(contexts="path"),
         credit=registry.bind("credit", "group_mean", normalize="none"))  # fmt: skip
    assert all(torch.equal(old, new) for old, new in zip(before, policy.model.parameters(), strict=True))


def test_no_arm_divides_by_the_deviation_of_its_group(world):
    """The released trainer reads another flag than its script sets, and normalises (D7). With one right of eight: 7/8."""
    arm, _ = arm_of("shaped", world, recipe.SIZES["quick"].settings)
    (credit,) = arm.credit([group(world.policy().tokenizer)])
    assert np.nanmax(credit.values_N) == 7 / 8 and arm.settings.shaping == 0.1 and arm.rules.contexts == "path"
    assert arm_of("shaped_gamma_01", world, recipe.SIZES["quick"].settings)[0].settings.shaping == 0.01
    assert arm_of("unshaped", world, recipe.SIZES["quick"].settings)[0].settings.shaping is None


def test_groups_are_refined_where_all_fail_and_counted(world):
    """D9: the released code refines every problem. One group of two has a right attempt."""
    tokenizer = world.policy().tokenizer
    solved = star(PROBLEM, [attempt(tokenizer, "3+4=2", "2*2=4")] * 8, [Outcome(1.0, True)] + [Outcome(0.0, False)] * 7)
    counted = Counted(lambda problems, policy, draw: [group(tokenizer), solved])
    counted([], None, rng(0))
    assert counted.shares() == {
        "attempts all wrong": 0.5,
        "still all wrong": 0.0,
        "refined": 0.5,
        "refinements right": 1.0,
    }
    arm, counted = arm_of("shaped", world, recipe.SIZES["quick"].settings)
    trees = arm.rollout(world.problems["train"], world.policy(), rng(1))
    for tree in trees:
        own, again = by_origin(tree)
        failed = not any(tree.outcomes[leaf].status == "scored" and tree.outcomes[leaf].reward > 0.5 for leaf in own)
        assert len(own) == 7 and len(again) == failed
    assert sum(len(by_origin(tree)[1]) for tree in trees) == counted.rows[0][3] > 0


def test_what_critiques_and_references_take_is_counted(world):
    policy = world.policy()
    arm, _ = arm_of("shaped", world, recipe.SIZES["quick"].settings)
    trees = arm.rollout(world.problems["train"], policy, rng(1))
    num_refined = sum(len(by_origin(tree)[1]) for tree in trees)
    # "Step 1 is wrong, it should be 2." and "No step is wrong.": 10 and 5 tokens.
    spent = sum(tree.cost.generated_tokens for tree in trees) - policy.cost.generated_tokens
    assert 5 * num_refined <= spent <= 10 * num_refined and num_refined > 0
    policy = world.policy()
    arm, counted = arm_of("reference", world, recipe.SIZES["quick"].settings)
    trees = arm.rollout(world.problems["train"], policy, rng(1))
    assert counted.shares()["still all wrong"] == 0.0 and counted.shares()["refinements right"] == 1.0
    spent = sum(tree.cost.generated_tokens for tree in trees) - policy.cost.generated_tokens
    assert spent == sum(
        len(step.token_ids) for tree in trees for leaf in by_origin(tree)[1] for step in tree.solution(leaf)
    )


def test_a_reference_reads_as_if_it_had_been_sampled(world):
    tokenizer = world.policy().tokenizer
    problem = world.problems["train"][0]
    steps = reference_steps(problem, tokenizer)
    ids = [token for step in steps for token in step.token_ids]
    assert ids == [
        *tokenizer("\n".join(problem.reference), add_special_tokens=False)["input_ids"],
        tokenizer.eos_token_id,
    ]
    assert steps[0].context is not None and all(step.context is None for step in steps[1:])


def test_both_modes_are_shown_and_a_critique_is_obeyed(world):
    plain = [pair for pair in world.examples if "\n" not in pair[0].removesuffix("\n")]
    again = [pair for pair in world.examples if "\n" in pair[0].removesuffix("\n")]
    assert len(plain) == len(again) == len(world.problems["shown"])
    named = 0
    for context, written in again:
        critique = context.rstrip("\n").split("\n")[-1]
        if critique.startswith("Step"):
            place, said = int(critique.split()[1]), critique.removesuffix(".").split()[-1]
            assert written.split("\n")[place - 1].endswith(f"={said}")
            named += 1
        else:
            assert critique == "No step is wrong." and written in context
    assert named > len(again) / 2


def test_correction_and_falsehood_follow_the_line_before(world):
    steps = [Step("3+4=1"), Step("1*2=3")]
    assert world.correction(PROBLEM, steps, 0) == "2" and world.correction(PROBLEM, steps, 1) == "2"
    assert world.correction(PROBLEM, steps, 2) == "nothing" and world.falsehood(PROBLEM, steps, 0) == "3"


def test_nobody_is_shown_a_critique_in_the_test(world):
    policy, asked = world.policy(), []
    sample = policy.sample
    policy.sample = lambda prefixes, *given, **named: asked.extend(prefixes) or sample(prefixes, *given, **named)
    stuck = Plateau(world.problems["train"][:2], world.problems["test"][:1])
    found = plateau_test(world, stuck, 2, 20)(policy)
    assert set(asked) == {problem.prompt + "\n" for problem in [*world.problems["test"], *stuck.train]}
    assert found["train plateau, solved"].n == 2 and found["held-out plateau"].n == 1 and found["surprise"].value > 0
    assert math.isnan(plateau_test(world, Plateau([], []), 2, 20)(policy)["held-out plateau"].value)


WRONG, RIGHT = [Step("3+4=1"), Step("1*2=2")], [Step("3+4=2"), Step("2*2=4")]


def no_truth(*_):
    raise AssertionError("a step's truth was asked for")


@pytest.fixture(scope="module")
def critics(tmp_path_factory):
    """A world whose policy is told all critiques, and whose step oracle nobody may ask."""
    plan = recipe.SIZES["quick"]
    world = CriticWorld(CriticScale(**asdict(plan.scale)), 3, tmp_path_factory.mktemp("critics"))
    world.__dict__["task"] = replace(world.task, label_steps=no_truth)
    return world


class Says:
    """A policy that answers whatever it is asked with one text of four tokens."""

    def __init__(self, text):
        self.text, self.asked = text, []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked.extend((prefix, stop, max_new_tokens) for prefix in prefixes)
        return [[Completion(self.text, token_ids=(5, 6, 7, 8)) for _ in range(num)] for _ in prefixes]


@pytest.mark.parametrize(
    ("arm", "of_wrong", "of_right"),
    [
        ("unshaped_verdict", "The generated solution is incorrect.", "The generated solution is correct."),
        ("unshaped_answer", "The generated solution is incorrect, the ground truth is 4.",
         "The generated solution is correct, the ground truth is 4."),
        ("unshaped_inverted_every", "The generated solution is correct.", "The generated solution is incorrect."),
        ("unshaped_own", "Step 1 is odd.", "Step 1 is odd."),
    ],
)  # fmt: skip
def test_critics_without_the_oracle_say_what_they_may_know(critics, arm, of_wrong, of_right):
    policy = Says("Step 1 is odd.")
    judge = critic_of(CRITIC_ARMS[arm].critic, critics, lambda critique: len(critique.split()))(policy, rng(0))
    wrong, right = judge([(PROBLEM, WRONG), (PROBLEM, RIGHT)])
    assert (wrong.critique, right.critique) == (of_wrong, of_right)
    words = len(of_wrong.split())
    assert wrong.cost.generated_tokens == (4 if arm == "unshaped_own" else words) and wrong.cost.judge_calls == 1
    assert [asked for asked, *_ in policy.asked] == ([ASKED.format(prompt="3 +4 *2", attempt=text) for text in (
        "3+4=1\n1*2=2", "3+4=2\n2*2=4")] if arm == "unshaped_own" else [])  # fmt: skip


def test_the_oracle_and_the_liar_do_ask(critics):
    for arm in ("unshaped", "unshaped_every", "shaped_3x", "unshaped_tried_7", "misleading"):
        with pytest.raises(AssertionError, match="truth"):
            critic_of((ARMS | CRITIC_ARMS)[arm].critic, critics, len)(None, rng(0))([(PROBLEM, WRONG)])


def test_a_verifier_turned_round_leaves_open_what_is_open(world):
    found = turned_round(world.task.verify)(PROBLEM, [WRONG, RIGHT, [Step("?")]])
    assert [(one.reward, one.correct) for one in found[:2]] == [(1.0, True), (0.0, False)]
    assert found[2] == world.task.verify(PROBLEM, [[Step("?")]])[0] and found[2].status == "unparsed"


def test_a_start_policy_is_made_without_the_truth_of_any_step_and_knows_three_modes(critics):
    shown = len(critics.problems["shown"])
    kinds = Counter()
    for context, written in critics.examples:
        last = context.removesuffix("\n").split("\n")[-1]
        if "\n" not in context.removesuffix("\n"):
            kinds["solve"] += 1
        elif last == "Which step is wrong?":
            assert written == "No step is wrong." or written.startswith("Step ")
            kinds["criticise"] += 1
        else:
            before = context.split("\n")[1:-2]
            kinds["again"] += 1
            kinds["mistake" if "tep" in last else "answer" if "truth" in last else "verdict"] += 1
            lines = written.split("\n")
            assert len(lines) == len(before)
            if last in ("No step is wrong.", "The generated solution is correct."):
                assert lines == before
            elif last.startswith("Step"):  # "Step 2 is wrong, it should be 3.": obeyed, and nothing before it touched
                place, said = int(last.split()[1]), last.removesuffix(".").split()[-1]
                assert lines[: place - 1] == before[: place - 1] and lines[place - 1].endswith(f"={said}")
                assert lines[place - 1] != before[place - 1]
            elif "truth" in last:
                end = last.removesuffix(".").split()[-1]
                assert lines[-1].endswith(f"={end}") and ("incorrect" in last) == (not before[-1].endswith(f"={end}"))
                assert "incorrect" in last or lines == before
            else:
                assert last == "The generated solution is incorrect." and lines != before
    assert (kinds["solve"], kinds["again"], shown) == (60, 2 * 60, 60) and 15 < kinds["criticise"] < 45  # half of them
    assert min(kinds[form] for form in ("mistake", "verdict", "answer")) > 5


def test_what_is_said_to_be_right_need_not_be(critics):
    """Five numbers, one of which the attempt ends in: told which is drawn (.8 of the time), 1 - .8 * .8 = .36 are copies."""
    told = Counter(critics.told("answer", PROBLEM, WRONG, rng(seed))[0] for seed in range(400))
    assert 0.26 < told["The generated solution is correct, the ground truth is 2."] / 400 < 0.46
    assert {text.removesuffix(".")[-1] for text in told} == set("01234")
    verdicts = Counter(
        critics.told("verdict", PROBLEM, steps, rng(seed))[0] for seed in range(100) for steps in (WRONG, RIGHT)
    )
    assert 0.1 < verdicts["The generated solution is correct."] / 200 < 0.3


def test_the_own_critique_is_a_change_that_the_verifier_accepted(critics):
    """3+4=1, 1*2=2 for 4: the first line changed to 2 makes it right, and so does the last changed to 4, unsound as it is."""
    assert critics.own_critique(PROBLEM, RIGHT, rng(0)) == "No step is wrong."
    said = Counter(critics.own_critique(PROBLEM, WRONG, rng(seed)) for seed in range(200))
    first, last = (said[f"Step {place} is wrong, it should be {result}."] for place, result in ((1, 2), (2, 4)))
    assert first > 50 and last > 50 and first + last > 180  # the rest: a slip behind another change came out right


def knobs_of(arm, monkeypatch, critics):
    """What an arm asks of `rollout/refine`."""
    asked = {}
    monkeypatch.setattr(
        "stepcredit.recipes._critique_grpo_arms.refine", lambda problems, **knobs: asked.update(knobs) or []
    )
    made, _ = arm_of(arm, critics, recipe.SIZES["quick"].settings)
    made.rollout([], None, rng(0))
    return asked["num"], asked["refine"], asked["num_tried"], asked["num_refinements"], made.settings


@pytest.mark.parametrize(
    ("arm", "of", "tried", "kept", "shaping", "rate"),
    [
        ("unshaped_verdict", "all_fail", 1, 1, None, 1), ("unshaped_inverted_every", "all", 1, 1, None, 1),
        ("unshaped_every", "all", 1, 1, None, 1), ("unshaped_tried_7", "all_fail", None, 1, None, 1),
        ("unshaped_verdict_tried_7", "all_fail", None, 1, None, 1), ("unshaped_k_3", "all_fail", 3, 3, None, 1),
        ("shaped_3x", "all_fail", 1, 1, 0.1, 3), ("unshaped_3x", "all_fail", 1, 1, None, 3), ("shaped_10x", "all_fail", 1, 1, 0.1, 10),
    ],
)  # fmt: skip
def test_an_arm_is_what_its_name_says(arm, of, tried, kept, shaping, rate, monkeypatch, critics):
    *knobs, settings = knobs_of(arm, monkeypatch, critics)
    assert knobs == [7, of, tried, kept] and settings.shaping == shaping
    assert settings.learning_rate == pytest.approx(rate * recipe.SIZES["quick"].settings.learning_rate)


def test_right_refinements_with_a_wrong_line_are_counted_apart(world):
    """3+4=1, 1*2=4 ends right by two mistakes: of two right refinements one is sound."""
    tokenizer = world.policy().tokenizer
    unsound = group(tokenizer)
    lines = attempt(tokenizer, "3+4=1", "1*2=4", context=CONTEXT)
    unsound = star(PROBLEM, [attempt(tokenizer, "3+4=1", "1*2=2"), lines], [Outcome(0.0, False), Outcome(1.0, True)])
    counted = Counted(lambda *_: [group(tokenizer), unsound], label_steps=world.task.label_steps)
    counted([], None, rng(0))
    assert counted.shares()["right ones sound"] == 0.5 and counted.shares()["refinements right"] == 1.0


@pytest.mark.slow
def test_all_arms_of_size_critics_run(tmp_path, monkeypatch):
    plan = recipe.SIZES["quick"]
    monkeypatch.setitem(recipe.SIZES, "critics", replace(plan, scale=CriticScale(**asdict(plan.scale))))
    run = recipe.critique_grpo(size="critics", seeds=(3,), out=str(tmp_path))
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    assert list(rows) == ["start", *recipe.CRITIC_ARMS]
    assert all(row["cost"]["generated_tokens"] >= 600 for name, row in rows.items() if name != "start")
    refined = {name: row["cells"]["refined"]["value"] for name, row in rows.items() if name != "start"}
    assert refined["grpo_8"] == 0.0 < refined["unshaped"] <= 1.0 == refined["unshaped_every"] < refined["unshaped_k_3"]
    write_report(run, tmp_path / "report.html")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return str(tmp_path_factory.mktemp("critique_grpo"))


@pytest.fixture(scope="module")
def run(out, one_thread):
    return recipe.critique_grpo(size="quick", seeds=(3, 4), arms=("grpo_8", "shaped"), out=out)


@pytest.mark.slow
def test_the_run_has_each_arm_beside_the_start_policy_and_can_be_shown(run, tmp_path):
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    assert list(rows) == ["start", "grpo_8", "shaped"]
    budget = recipe.SIZES["quick"].settings.max_generated_tokens
    for name in ("grpo_8", "shaped"):
        assert rows[name]["cost"]["generated_tokens"] >= budget and "attempts all wrong" in rows[name]["cells"]
    assert rows["grpo_8"]["cells"]["refined"]["value"] == 0 < rows["shaped"]["cells"]["refined"]["value"]
    write_report(run, tmp_path / "report.html")


@pytest.mark.slow
def test_a_second_run_reads_everything_back(run, out, monkeypatch):
    monkeypatch.setattr(World, "policy", lambda *_: pytest.fail("a policy was made"))
    assert str(recipe.critique_grpo(size="quick", seeds=(3, 4), arms=("grpo_8", "shaped"), out=out)) == str(run)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [({"size": "huge"}, "size 'huge'"), ({"seeds": ()}, "one seed or more"), ({"arms": ("ppo",)}, "no arm 'ppo' in size 'quick'; there are: grpo_8"), ({"arms": ("unshaped_own",)}, "no arm 'unshaped_own'")],
)  # fmt: skip
def test_wrong_knobs_are_named(knobs, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        recipe.critique_grpo(**{"size": "quick", "out": str(tmp_path), **knobs})


@pytest.mark.slow
def test_every_claim_names_numbers_that_the_recipe_measures(run, out, monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.delitem(sys.modules, "critique_grpo", raising=False)
    claims = importlib.import_module("critique_grpo")
    assert {claim.slug for claim in claims.CLAIMS} == set(claims.ARMS)
    for arms, seeds, unclaimed in (
        (recipe.ARMS, claims.SEEDS, {"unshaped_misleading", "unshaped_reference", "shaped_gamma_01"}),
        (recipe.CRITIC_ARMS, claims.CRITIC_SEEDS, {"unshaped_tried_7", "unshaped_k_3", "shaped_10x"}),
    ):
        own = [claim for claim in claims.CLAIMS if claim.seeds == seeds]
        named = {claims.ARMS[claim.slug] for claim in own} | {claim.control for claim in own}
        assert named - {"start"} == set(arms) - unclaimed
        assert {claim.metric for claim in own} <= set(recipe.COLUMNS)
    for claim in claims.CLAIMS:
        if {claims.ARMS[claim.slug], claim.control} == {"shaped", "grpo_8"}:
            gap, cost = claims.measure(replace(claim, seeds=(3, 4)), size="quick", out=out)
            assert gap.n == 2 and math.isfinite(gap.value) and cost["generated_tokens"] > 0
