"""The trainer that does not know the methods: its gradient, what it masks, what it counts, what it refuses."""

import importlib.util

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit import Credit, Outcome, Problem, Step
from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.policy.hf import hf
from stepcredit.rollout.chains import chains as rollout_chains
from stepcredit.train._grpo import _row_is_attempt
from stepcredit.train.grpo import Settings, grpo
from stepcredit.train.policy_samples import Rules, policy_samples
from stepcredit.train.tiny import build_tokenizer, tiny_config

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed"),
]

PROBLEMS = [Problem("one", "0 1"), Problem("two", "1 0")]
MEAN = bind("credit", "group_mean", normalize="none")
SGD = {"optim": "sgd"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A policy with random weights over few tokens."""
    where = tmp_path_factory.mktemp("policy")
    tokenizer = build_tokenizer(["0 1\n2"], kind="word", max_positions=48)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=48)).save_pretrained(where)
    tokenizer.save_pretrained(where)
    return str(where)


def weights(policy):
    return torch.cat([p.detach().flatten().clone() for p in policy.model.parameters()])


def even(text):
    return Outcome(float(len(text) % 2 == 0), correct=len(text) % 2 == 0)


def chains(num=4, max_new_tokens=8):

    def rollout(problems, policy, draw):
        trees = rollout_chains(problems, policy=policy, rng=draw, num=num, max_new_tokens=max_new_tokens)
        return [star(t.problem, [t.solution(leaf) for leaf in t.leaves],
                     [even("".join(s.text for s in t.solution(leaf))) for leaf in t.leaves], cost=t.cost) for t in trees]  # fmt: skip

    return rollout


def episodes(problems, policy, draw):
    """Two turns with a tool's result between them, and a fold of the second under a text of its own in one of two attempts."""
    found = []
    for problem in problems:
        attempts = []
        for place in range(2):
            (call,) = policy.sample([problem.prompt + "\n"], 1, draw, max_new_tokens=1)[0]
            context = "1 1\n" if place else None
            before = context or problem.prompt + "\n" + "".join(policy.tokenizer.decode(call.token_ids)) + "\n2 2\n"
            (answer,) = policy.sample([before], 1, draw, max_new_tokens=4)[0]
            attempts.append([
                Step(call.text, "tool_call", token_ids=call.token_ids, logprobs=call.logprobs),
                Step("\n2 2", "tool_result", sampled=False),
                Step(answer.text, "answer", token_ids=answer.token_ids, logprobs=answer.logprobs, context=context),
            ])  # fmt: skip
        found.append(star(problem, attempts, [Outcome(1.0), Outcome(0.0)]))
    return found


def by_hand(policy, samples, attempts, length):
    """-1 / (attempts x length) sum over trained tokens of A_t grad log pi(t), by a plain pass a row."""
    policy.model.zero_grad()
    loss = 0.0
    for sample in samples:
        ids = torch.from_numpy(sample.token_ids_T.copy())[None]
        logprob_T = policy.model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        mask_T = torch.from_numpy(sample.loss_mask_T[1:].copy())
        loss = loss - (logprob_T * torch.from_numpy(sample.advantage_T[1:].copy()).float() * mask_T).sum()
    (loss / attempts / length).backward()
    gradient = torch.cat([p.grad.flatten().clone() for p in policy.model.parameters()])
    policy.model.zero_grad()
    return gradient


@pytest.mark.parametrize("rollout", [chains(), episodes], ids=["chains", "episodes with tools and folds"])
def test_an_update_is_the_policy_gradient_of_the_rows(folder, rollout):
    """Against autograd on what the policy wrote alone: results, prompts and other folds' prompts carry no gradient."""
    policy, seen = hf(folder), []

    def watched(problems, own, draw):
        seen.extend(rollout(problems, own, draw))
        return seen

    before = weights(policy)
    settings = Settings(num_updates=1, num_problems=2, learning_rate=0.5, max_grad_norm=1e9, max_new_tokens=8, trl=SGD)
    grpo(policy, PROBLEMS, rollout=watched, credit=MEAN, settings=settings)
    moved = weights(policy) - before
    other = hf(folder)
    samples = policy_samples(seen, MEAN(seen), other.tokenizer)
    assert (
        torch.allclose(moved, -0.5 * by_hand(other, samples, sum(len(tree.leaves) for tree in seen), 8), atol=2e-6)
        and moved.abs().max() > 1e-4
    )


def test_log_probabilities_are_those_of_sampling_under_every_folds_own_prompt(folder):
    settings = Settings(num_updates=2, num_problems=2, num_iterations=2, learning_rate=0.0, max_new_tokens=8)
    done = grpo(hf(folder), PROBLEMS, rollout=episodes, credit=MEAN, settings=settings)
    assert len(done.curve) == 1 and done.curve[0]["sampling_gap"] < 1e-4
    assert done.curve[0]["rows"] == 6  # of two problems: one unfolded attempt, and two rows of the folded one


def test_a_text_that_the_policy_was_given_otherwise_shows_as_a_gap(folder):
    """The result that the row holds is not the one the policy saw: what a wrong template or tokenizer border does."""

    def told_otherwise(problems, policy, draw):
        return [star(t.problem, [[s if s.sampled else Step("1 0", sampled=False) for s in t.solution(leaf)] for leaf in t.leaves],
                     [Outcome(1.0), Outcome(0.0)]) for t in episodes(problems, policy, draw)]  # fmt: skip

    settings = Settings(num_updates=2, num_problems=2, num_iterations=2, learning_rate=0.0, max_new_tokens=8)
    done = grpo(hf(folder), PROBLEMS, rollout=told_otherwise, credit=MEAN, settings=settings)
    assert done.curve[0]["sampling_gap"] > 1e-3


def test_a_fold_that_tells_the_path_again_changes_no_update(folder):
    """The rows an attempt is laid out in are no matter: a context that is the path's own text cuts a row in two, and no more."""
    moved = []
    for cut in (False, True):
        policy = hf(folder)
        before = weights(policy)

        def rollout(problems, own, draw, cut=cut):
            found = []
            for problem in problems:
                attempts = []
                for text in ("0", "1"):
                    ids = own.tokenizer(text, add_special_tokens=False)["input_ids"]
                    line = own.tokenizer("\n", add_special_tokens=False)["input_ids"]
                    first, second = (*ids, *line), tuple(ids)
                    context = f"{problem.prompt}\n{text}\n" if cut else None
                    attempts.append([Step(text, token_ids=first), Step(text, token_ids=second, context=context)])
                found.append(star(problem, attempts, [Outcome(1.0), Outcome(0.0)]))
            return found

        settings = Settings(
            num_updates=1, num_problems=2, learning_rate=0.5, max_grad_norm=1e9, max_new_tokens=8, trl=SGD
        )
        grpo(policy, PROBLEMS, rollout=rollout, credit=MEAN, settings=settings)
        moved.append(weights(policy) - before)
    assert torch.allclose(*moved, atol=2e-6) and moved[0].abs().max() > 1e-4


def test_other_losses_are_refused_where_a_row_is_no_attempt(folder):
    settings = Settings(num_updates=1, num_problems=2, learning_rate=0.0, max_new_tokens=8, loss="grpo")
    grpo(hf(folder), PROBLEMS, rollout=chains(), credit=MEAN, settings=settings)
    with pytest.raises(ValueError, match="loss 'grpo' averages over rows, and here attempts share steps or fold"):
        grpo(hf(folder), PROBLEMS, rollout=episodes, credit=MEAN, settings=settings)


def test_a_row_is_an_attempt_unless_steps_are_shared_or_folded():
    """A first step that was read with other tokens, or a refinement, is still a row of its own; a fold is two."""
    end = [Outcome(1.0)]
    read = star(PROBLEMS[0], [[Step("1", context="0 1\n"), Step("2")]], end)
    refined = star(PROBLEMS[0], [[Step("1", context="a critique"), Step("2")]], end)
    fold = star(PROBLEMS[0], [[Step("1"), Step("2", context="a memory")]], end)
    assert [_row_is_attempt(tree, Rules(contexts="own")) for tree in (read, refined, fold)] == [True, True, False]
    assert [_row_is_attempt(tree, Rules(contexts="path")) for tree in (read, refined, fold)] == [True, True, False]


def test_a_rollout_without_outcomes_is_refused(folder):
    def unverified(problems, policy, draw):
        return rollout_chains(problems, policy=policy, rng=draw, num=2, max_new_tokens=8)

    settings = Settings(num_updates=1, num_problems=2, max_new_tokens=8, wrong=())
    with pytest.raises(ValueError, match="have no outcomes: verify their leaves"):
        grpo(hf(folder), PROBLEMS, rollout=lambda *given: [star(t.problem, [t.solution(n) for n in t.leaves]) for t in unverified(*given)],
             credit=MEAN, settings=settings)  # fmt: skip


def test_narrow_weights_are_refused(folder):
    with pytest.raises(ValueError, match=r"weights are torch\.bfloat16: updates at small rates vanish"):
        grpo(hf(folder, dtype="bfloat16"), PROBLEMS, rollout=chains(), credit=MEAN, settings=Settings(num_problems=2))


def test_groups_without_signal_move_nothing_and_are_counted(folder):
    policy = hf(folder)
    before = weights(policy)

    def same(problems, own, draw):
        return [star(t.problem, [t.solution(leaf) for leaf in t.leaves], [Outcome(0.3)] * len(t.leaves), cost=t.cost)
                for t in chains()(problems, own, draw)]  # fmt: skip

    settings = Settings(num_updates=2, num_problems=2, learning_rate=0.1, max_new_tokens=8)
    done = grpo(policy, PROBLEMS, rollout=same, credit=bind("credit", "group_mean"), settings=settings)
    assert torch.equal(weights(policy), before) and [row["silent"] for row in done.curve] == [1.0, 1.0]


def test_an_attempt_that_never_ends_is_wrong_unless_told_otherwise(folder):
    def cut(problems, own, draw):
        return [star(t.problem, [t.solution(leaf) for leaf in t.leaves],
                     [Outcome(1.0, True), *[Outcome(status="truncated")] * (len(t.leaves) - 1)], cost=t.cost)
                for t in chains()(problems, own, draw)]  # fmt: skip

    settings = {"num_updates": 1, "num_problems": 2, "learning_rate": 0.0, "max_new_tokens": 8}
    wrong = grpo(hf(folder), PROBLEMS, rollout=cut, credit=MEAN, settings=Settings(**settings)).curve[0]
    left_out = grpo(hf(folder), PROBLEMS, rollout=cut, credit=MEAN, settings=Settings(**settings, wrong=())).curve[0]
    assert (wrong["accuracy"], wrong["silent"], wrong["rows"]) == (0.25, 0.0, 8.0)
    assert (left_out["accuracy"], left_out["silent"], left_out["rows"]) == (1.0, 1.0, 2.0)


def refined(problems, own, draw):
    """A wrong attempt and a right one that was sampled behind another text."""
    found = []
    for tree in chains(num=2)(problems, own, draw):
        first, second = (list(tree.solution(leaf)) for leaf in tree.leaves)
        second[0] = Step(second[0].text, token_ids=second[0].token_ids, context="a critique")
        found.append(star(tree.problem, [first, second], [Outcome(0.0), Outcome(1.0)], cost=tree.cost))
    return found


def test_a_shaped_row_has_the_gradient_of_its_shaped_ratio(folder):
    """d pi / (pi + g) = g pi / (pi + g)^2 d log pi: by autograd on the rows, the others under the plain ratio."""
    policy, seen = hf(folder), []

    def watched(problems, own, draw):
        seen.extend(refined(problems, own, draw))
        return seen

    before, rules = weights(policy), Rules(contexts="path")
    settings = Settings(num_updates=1, num_problems=2, learning_rate=0.5, max_grad_norm=1e9, max_new_tokens=8, trl=SGD)
    grpo(policy, PROBLEMS, rollout=watched, credit=MEAN, settings=settings, rules=rules)
    other = hf(folder)
    loss = 0.0
    samples = policy_samples(seen, MEAN(seen), other.tokenizer, rules=rules)
    for sample in samples:
        ids = torch.from_numpy(sample.token_ids_T.copy())[None]
        logprob_T = other.model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        weight_T = torch.from_numpy((sample.advantage_T * sample.loss_mask_T)[1:].copy()).float()
        pi_T = logprob_T.exp()
        ratio_T = pi_T / (pi_T + 0.1) if sample.ratio == "shaped" else logprob_T
        loss = loss - (ratio_T * weight_T).sum() / 4 / 8  # four attempts
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in other.model.parameters()])
    moved = weights(policy) - before
    assert {sample.ratio for sample in samples} == {"shaped", "on_policy"}
    assert torch.allclose(moved, -0.5 * gradient, atol=2e-6) and moved.abs().max() > 1e-4


def test_it_learns_what_the_outcome_asks_for(folder):
    """Two tokens or four, not three: the share of even answers rises from chance."""
    settings = Settings(num_updates=40, num_problems=2, learning_rate=3e-3, max_new_tokens=8)
    done = grpo(hf(folder), PROBLEMS, rollout=chains(num=16), credit=MEAN, settings=settings, seed=3)
    accuracy = [row["accuracy"] for row in done.curve]
    assert np.mean(accuracy[:3]) < 0.65 and np.mean(accuracy[-5:]) > 0.8


def test_same_seed_same_weights_and_the_global_state_is_given_back(folder):
    settings = Settings(num_updates=2, num_problems=2, num_mini_batches=2, learning_rate=0.01, max_new_tokens=8)
    ends = []
    for _ in range(2):
        policy = hf(folder)
        state = torch.random.get_rng_state()
        grpo(policy, PROBLEMS, rollout=chains(), credit=MEAN, settings=settings, seed=5)
        assert torch.equal(torch.random.get_rng_state(), state)
        ends.append(weights(policy))
    assert torch.equal(*ends)


def test_the_budget_ends_a_run(folder):
    settings = Settings(num_updates=50, num_problems=2, learning_rate=0.0, max_new_tokens=8, max_generated_tokens=100)
    done = grpo(hf(folder), PROBLEMS, rollout=chains(), credit=MEAN, settings=settings)
    assert done.curve[-2]["tokens"] < 100 <= done.curve[-1]["tokens"] == done.cost.generated_tokens
    assert done.cost.forwarded_tokens > 0 and len(done.curve) < 50


def test_a_reward_credit_trains_too(folder):
    def reward(trees):
        return [Credit(np.where(t.sampled_N, rng(0).random(t.num_nodes), np.nan), "reward", t.sampled_N.astype(float), "made_up")
                for t in trees]  # fmt: skip

    policy = hf(folder)
    before = weights(policy)
    settings = Settings(num_updates=1, num_problems=2, learning_rate=0.1, max_new_tokens=8)
    grpo(policy, PROBLEMS, rollout=chains(), credit=reward, settings=settings)
    assert not torch.equal(weights(policy), before)


def test_generation_may_be_the_trainers_own(folder):
    settings = Settings(num_updates=2, num_problems=2, learning_rate=0.01, max_new_tokens=8, generation="trl")
    done = grpo(hf(folder), PROBLEMS, rollout=chains(), credit=MEAN, settings=settings)
    assert len(done.curve) == 2 and done.curve[-1]["attempts"] == 8 and done.cost.generated_tokens > 0


def test_adapters_are_trained_and_nothing_else(folder):
    peft = pytest.importorskip("peft")
    policy = hf(folder)
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    adapter = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    settings = Settings(num_updates=2, num_problems=2, learning_rate=0.05, max_new_tokens=8)
    grpo(policy, PROBLEMS, rollout=chains(), credit=MEAN, settings=settings, peft_config=adapter)
    after = dict(policy.model.named_parameters())
    for name, old in before.items():
        new = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
        assert torch.equal(new, old), name
    moved = [name for name, p in after.items() if "lora_B" in name and bool(p.abs().max() > 0)]
    assert len(moved) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_problems": 3}, "2 problems do not fill a batch of 3"),
        ({"temperature": 0.7}, "the policy samples at temperature 1.0, top_p 1.0; the ratio needs temperature 0.7"),
    ],
)
def test_what_cannot_train_is_refused(folder, change, says):
    with pytest.raises(ValueError, match=says):
        grpo(hf(folder), PROBLEMS, rollout=chains(), credit=MEAN, settings=Settings(**{"num_problems": 2, **change}))


def test_a_policy_that_cuts_its_distribution_is_refused(folder):
    with pytest.raises(ValueError, match=r"top_p 0\.9; the ratio needs temperature 1\.0 and top_p 1"):
        grpo(hf(folder, top_p=0.9), PROBLEMS, rollout=chains(), credit=MEAN, settings=Settings(num_problems=2))


def test_a_value_is_no_advantage(folder):
    with pytest.raises(ValueError, match="is a label; a policy is trained by an advantage or a reward"):
        grpo(hf(folder), PROBLEMS, rollout=chains(), credit=bind("credit", "outcome_broadcast"),
             settings=Settings(num_updates=1, num_problems=2, max_new_tokens=8))  # fmt: skip


def test_settings_out_of_range_are_refused():
    for given, says in (({"clip": 1.5}, "clip 1.5"), ({"num_updates": 0}, "num_updates is 0"), ({"shaping": 0.0}, "shaping"),
                        ({"loss": "ppo"}, "loss is 'ppo'"), ({"clip_high": 0.0}, "clip_high is 0"), ({"max_generated_tokens": -5}, "max_gen"),
                        ({"loss": "cispo"}, "largest ratio"), ({"trl": {"use_vllm": True}}, "generation='trl'"), ({"num_problems": 2, "num_mini_batches": 3}, "do not split")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            Settings(**given)
