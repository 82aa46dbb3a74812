"""Training an implicit reward: against closed forms, and read back by the judge that uses it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from stepcredit import Outcome, Problem, Record, Step
from stepcredit.core.tree import star
from stepcredit.judge.implicit import implicit
from stepcredit.policy.hf import hf
from stepcredit.train._log_ratio_rows import attempts, collate, rows
from stepcredit.train.implicit import LogRatio, fit
from stepcredit.train.tiny import build_tokenizer, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["3 +4 *0 -2\n3+4=2\n2*0=0\n", "1 -2\n1-2=4\n", "seen: 5; 6 7 8 9 =\n"]
RIGHT, WRONG = Outcome(reward=1.0, correct=True), Outcome(reward=0.0, correct=False)


def record(number=3, results=((2, 0), (2, 1)), outcomes=(RIGHT, WRONG)):
    """Attempts "a+4=x, x*0=y" at one problem."""
    attempts = [[Step(f"{number}+4={x}"), Step(f"{x}*0={y}")] for x, y in results]
    return Record(star(Problem(f"p{number}", f"{number} +4 *0"), attempts, outcomes))


RECORDS = [record(a, ((2, 0), (2, 1), (6, 0)), (RIGHT, WRONG, WRONG)) for a in (1, 2, 3)]


def network(tokenizer, seed=0):
    torch.manual_seed(seed)
    config = tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=64)
    config.initializer_range, config.attention_dropout = 0.3, 0.5
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A folder with an untrained model, whose dropout would be seen were it on."""
    folder = tmp_path_factory.mktemp("reference")
    tokenizer = build_tokenizer(TEXTS)
    with torch.random.fork_rng(devices=[]):
        network(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(reference, folder, records=RECORDS, **knobs):
    return fit(records, reference, folder, **{"num_updates": 3, "batch_size": 4, "learning_rate": 3e-3, **knobs})


def every(records):
    return [(r.tree.problem, r.tree.solution(leaf)) for r in records for leaf in r.tree.leaves]


def batch_of(records, tokenizer, reference_B=None):
    data = attempts(records, tokenizer, limit=64, on_long="raise", prompt_end="\n", delimiter="\n")
    zeros = torch.zeros(len(data), dtype=torch.double) if reference_B is None else reference_B
    return {**collate(data, 0), "reference_B": zeros}


# texts and tokens


def test_an_attempt_is_one_row_whose_tokens_are_the_policys_and_whose_prompt_does_not_count():
    tokenizer = build_tokenizer(TEXTS)
    (only,) = attempts([record(outcomes=(RIGHT, None)), record(1, outcomes=(None, WRONG))], tokenizer, limit=64,
                       on_long="raise", prompt_end="\n", delimiter="\n")[:1]  # fmt: skip
    ((ids, counts),) = only.rows
    assert ids == tokenizer("3 +4 *0\n3+4=2\n2*0=0")["input_ids"]
    prompt = len(tokenizer("3 +4 *0\n")["input_ids"])
    assert counts.tolist() == [0.0] * prompt + [1.0] * (len(ids) - prompt) and only.num_tokens == only.room == len(ids)


def test_what_a_tool_says_is_read_and_not_counted():
    tokenizer = build_tokenizer(TEXTS)
    seen = Step("seen: 5", kind="tool_result", sampled=False)
    tree = star(Problem("p", "1"), [[Step("3+4=2"), seen, Step("2")], [Step("3")]], [RIGHT, WRONG])
    first, _ = attempts([Record(tree)], tokenizer, limit=64, on_long="raise", prompt_end="\n", delimiter=";")
    ((ids, counts),) = first.rows
    assert tokenizer.decode(ids, skip_special_tokens=True) == "1\n3+4=2;seen: 5;2"
    counted = [token for token, count in zip(ids, counts, strict=True) if count]
    assert tokenizer.decode(counted) == "3+4=2;2"


def test_a_step_sampled_from_another_text_has_its_own_row_and_equal_ones_count_twice():
    tokenizer = build_tokenizer(TEXTS)
    found = rows(tokenizer, [("1\n", "2\n"), ("1\n2\n", "3"), ("4\n", "5"), ("4\n", "5")])
    texts = {tokenizer.decode(ids, skip_special_tokens=True): counts.tolist() for ids, counts in found}
    assert texts == {"1\n2\n3": [0, 0, 0, 1, 1, 1], "4\n5": [0, 0, 0, 2]}  # <bos> first


# the loss


class Bigram(nn.Module):
    """log pi(v | u) = log softmax(table[u])_v."""

    def __init__(self, size):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(size, size, dtype=torch.double))

    def forward(self, input_ids, attention_mask, use_cache):
        return SimpleNamespace(logits=self.table[input_ids])


def test_loss_and_gradient_of_a_bigram_model_by_hand():
    """One row <bos> 1 2 3, tokens 2 and 3 counted, of 4 equally likely: log pi = -2 log 4. log pi_ref = -2 log 4 - 2.

    beta .5: q = 1, y = 0: L = log(1 + e), dL/dlog pi = .5 sigmoid(1); d log pi/d table[1] = [2 == v] - 1/4.
    """
    model = LogRatio(Bigram(4), beta=0.5)
    loss = model(
        torch.tensor([[0, 1, 2, 3, 0]]), torch.tensor([[1, 1, 1, 1, 0]]),
        torch.tensor([[0.0, 0, 1, 1, 0]], dtype=torch.double), torch.ones(1, 1, dtype=torch.double),
        torch.zeros(1, dtype=torch.double), torch.tensor([-2 * np.log(4) - 2]),
    )["loss"]  # fmt: skip
    loss.backward()
    assert loss.item() == pytest.approx(np.log(1 + np.e))
    scale = 0.5 / (1 + np.exp(-1))
    expected = np.zeros((4, 4))
    expected[1], expected[2] = [-0.25, -0.25, 0.75, -0.25], [-0.25, -0.25, -0.25, 0.75]
    assert np.allclose(model.policy.table.grad, scale * expected)


def test_a_count_of_two_counts_twice_and_rows_of_an_attempt_add_up():
    model = LogRatio(Bigram(4), beta=1.0)
    ids = torch.tensor([[0, 1, 2], [0, 3, 0], [0, 1, 0]])
    weight = torch.tensor([[0, 1, 2], [0, 1, 0], [0, 1, 0]], dtype=torch.double)
    owner = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.double)
    with torch.no_grad():
        found = model.logprob(ids, torch.ones_like(ids), weight, owner)
    assert np.allclose(found, [-4 * np.log(4), -np.log(4)])


def test_the_gradient_is_the_finite_difference_of_the_loss():
    tokenizer = build_tokenizer(TEXTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        # Not a Llama, whose norms compute in single precision whatever its weights.
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=1,
                            eos_token_id=2, initializer_range=0.3)  # fmt: skip
        model = LogRatio(GPT2LMHeadModel(config).double(), beta=0.2)
        ways = [torch.randn_like(p) for p in model.parameters()]
    batch = batch_of(RECORDS, tokenizer)
    with torch.no_grad():
        # Half an attempt's own log-probability as reference: q of every size, none saturated.
        base = {name: batch[name] for name in ("token_ids_RT", "attention_RT", "weight_RT", "owner_BR")}
        batch["reference_B"] = model.logprob(**base) + torch.linspace(-5, 5, len(batch["outcome_B"]))
    model(**batch)["loss"].backward()
    slope = sum((p.grad * way).sum().item() for p, way in zip(model.parameters(), ways, strict=True))
    found = []
    for move in (1e-5, -1e-5):
        with torch.no_grad():
            for p, way in zip(model.parameters(), ways, strict=True):
                p += move * way
            found.append(model(**batch)["loss"].item())
            for p, way in zip(model.parameters(), ways, strict=True):
                p -= move * way
    assert slope == pytest.approx((found[0] - found[1]) / 2e-5, rel=1e-5) and abs(slope) > 1e-3


def test_padding_and_the_company_of_others_change_nothing(reference):
    policy = hf(str(reference))
    model = LogRatio(policy.model, beta=1.0).train()
    mixed = [*RECORDS, record(9, ((8, 8),) * 2)]
    mixed.append(Record(star(Problem("short", "1"), [[Step("2")], [Step("3")]], [RIGHT, WRONG])))
    batch = batch_of(mixed, policy.tokenizer)
    with torch.no_grad():
        found = model.logprob(*(batch[n] for n in ("token_ids_RT", "attention_RT", "weight_RT", "owner_BR")))
    alone = [policy.logprob([p.prompt + "\n"], ["\n".join(s.text for s in steps)])[0] for p, steps in every(mixed)]
    assert np.allclose(found, alone, rtol=0, atol=1e-4)  # with the copy in "training": there is no dropout


# training, and the judge of what came out


def test_without_a_step_every_reward_is_zero_and_right_and_wrong_are_even(reference, tmp_path):
    done = run(reference, tmp_path / "copy", num_updates=1, learning_rate=0.0)
    assert done.loss[0][1] == pytest.approx(np.log(2), abs=1e-6)
    for found in implicit(policy=hf(str(done.folder)), reference=hf(str(reference)))(every(RECORDS)):
        assert found.channels["reward"].tolist() == [0.0, 0.0]
        assert found.score == 0.5 and found.step_scores_S.tolist() == [0.5, 0.5]


def test_training_lowers_the_loss_and_the_judge_tells_right_from_wrong(reference, tmp_path):
    done = run(reference, tmp_path / "new", num_updates=30, batch_size=9, learning_rate=2e-2, beta=0.5,
               warmup_share=0.0)  # fmt: skip
    assert done.loss[0][1] > 0.5 and done.loss[-1][1] < 0.2
    judge = implicit(policy=hf(str(done.folder)), reference=hf(str(reference)), beta=0.5)
    scores = np.array([found.score for found in judge(every(RECORDS))]).reshape(3, 3)
    assert scores[:, 0].min() > 0.5 > scores[:, 1:].max()
    said = json.loads((done.folder / "training.json").read_text())
    assert said["beta"] == 0.5 and said["num_attempts"] == 9 and said["delimiter"] == "\n"


def test_attempts_that_are_right_three_times_in_four_come_to_three_quarters(reference, tmp_path):
    """The minimum of 3/4 log sigmoid(q) + 1/4 log sigmoid(-q) is q = log 3, whatever the model."""
    same = record(results=((2, 0),) * 4, outcomes=(RIGHT, RIGHT, WRONG, RIGHT))
    done = run(reference, tmp_path / "new", [same], num_updates=30, beta=0.5, learning_rate=2e-2)
    judge = implicit(policy=hf(str(done.folder)), reference=hf(str(reference)), beta=0.5)
    assert judge(every([same]))[0].score == pytest.approx(0.75, abs=0.02)


def test_the_steps_rewards_add_up_to_beta_times_the_attempts_log_ratio(reference, tmp_path):
    done = run(reference, tmp_path / "new", beta=0.3)
    tuned, start = hf(str(done.folder)), hf(str(reference))
    judged = implicit(policy=tuned, reference=start, beta=0.3)(every(RECORDS))
    for found, (problem, steps) in zip(judged, every(RECORDS), strict=True):
        text = [problem.prompt + "\n"], ["\n".join(step.text for step in steps)]
        whole = 0.3 * (tuned.logprob(*text)[0] - start.logprob(*text)[0])
        assert found.channels["reward"].sum() == pytest.approx(whole, abs=1e-5) and abs(whole) > 1e-3
        assert found.score == pytest.approx(1 / (1 + np.exp(-whole)), abs=1e-5)


def test_the_judge_forwards_an_attempt_once_and_says_what_step_by_step_asking_says(reference, tmp_path):
    done = run(reference, tmp_path / "new", beta=0.3)
    tuned, start = hf(str(done.folder)), hf(str(reference))

    class OneByOne:
        def __init__(self, policy):
            self.policy = policy

        def logprob(self, prefixes, continuations):
            return np.array([self.policy.logprob([p], [c])[0] for p, c in zip(prefixes, continuations, strict=True)])

    attempt = every(RECORDS)[:1]
    fast = implicit(policy=tuned, reference=start, beta=0.3)(attempt)[0]
    tokens = len(tuned.tokenizer("1 +4 *0\n1+4=2\n2*0=0")["input_ids"])
    assert fast.cost.forwarded_tokens == 2 * tokens
    slow = implicit(policy=OneByOne(tuned), reference=OneByOne(start), beta=0.3)(attempt)[0]
    assert np.allclose(fast.channels["reward"], slow.channels["reward"], rtol=0, atol=1e-5)


def test_the_loss_that_was_trained_is_the_cross_entropy_of_what_the_judge_says(reference, tmp_path):
    """All nine attempts in each batch: the loss of update 2 is that of the model after update 1."""
    knobs = {"batch_size": 9, "beta": 0.3, "warmup_share": 0.0}
    once = run(reference, tmp_path / "once", num_updates=1, learning_rate=1.5e-3, **knobs)
    twice = run(reference, tmp_path / "twice", num_updates=2, learning_rate=1.5e-3, **knobs)
    judged = implicit(policy=hf(str(once.folder)), reference=hf(str(reference)), beta=0.3)(every(RECORDS))
    said = [f.score if n % 3 == 0 else 1 - f.score for n, f in enumerate(judged)]
    assert twice.loss[1][1] == pytest.approx(-np.log(said).mean(), abs=1e-4)
    assert twice.loss[1][1] < twice.loss[0][1] - 1e-3


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_same_seed_same_weights_and_the_global_generators_are_given_back(reference, tmp_path):
    torch.manual_seed(3), np.random.seed(3)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(3), np.random.seed(3)
    first = run(reference, tmp_path / "a", seed=1)
    assert (torch.rand(1).item(), np.random.rand()) == expected
    again, other = run(reference, tmp_path / "b", seed=1), run(reference, tmp_path / "c", seed=2)
    assert weights(first.folder) == weights(again.folder) != weights(other.folder) and first.loss == again.loss


def test_bfloat16_computes_roughly_the_same_and_keeps_whole_weights(reference, tmp_path):
    whole = run(reference, tmp_path / "a", num_updates=8, batch_size=9, beta=0.2)
    half = run(reference, tmp_path / "b", num_updates=8, batch_size=9, beta=0.2, dtype="bfloat16")
    assert half.loss[0][1] == pytest.approx(np.log(2), abs=0.02)  # the reference's pass is in bfloat16 too
    assert half.loss != whole.loss and half.loss[-1][1] == pytest.approx(whole.loss[-1][1], abs=0.1)
    assert next(hf(str(half.folder)).model.parameters()).dtype == torch.float32


def test_the_cost_is_a_pass_for_the_reference_and_the_training(reference, tmp_path):
    """Four updates of all nine attempts, and the reference before them: five passes."""
    done = run(reference, tmp_path / "new", num_updates=4, batch_size=9)
    tokens = sum(len(hf(str(reference)).tokenizer(f"{a} +4 *0\n{a}+4=2\n2*0=0")["input_ids"]) * 3 for a in (1, 2, 3))
    assert done.cost.forwarded_tokens == 5 * tokens and done.cost.seconds > 0


# what is refused


def test_data_that_teach_nothing_are_refused(reference, tmp_path):
    with pytest.raises(ValueError, match="none of 2 attempts has a scored outcome"):
        run(reference, tmp_path / "x", [record(outcomes=(None, Outcome(status="unparsed")))])
    with pytest.raises(ValueError, match="all 2 scored attempts have the reward 1: outcomes that never differ"):
        run(reference, tmp_path / "x", [record(outcomes=(RIGHT, RIGHT))])
    with pytest.raises(ValueError, match=r"row 2 \(problem 'p3'\) has the reward -1; cross-entropy needs rewards in"):
        run(reference, tmp_path / "x", [record(outcomes=(RIGHT, Outcome(reward=-1.0)))])
    with pytest.raises(ValueError, match="none of 0 attempts"):
        run(reference, tmp_path / "x", [])
    assert not list(tmp_path.iterdir())


def test_an_attempt_over_the_limit_is_named_by_its_row_or_left_out(reference, tmp_path):
    long = Record(star(Problem("long", "1 " * 70), [[Step("2")]], [RIGHT]))  # over the 64 positions of the model
    with pytest.raises(ValueError, match=r"row 4 \(problem 'long'\) has \d+ tokens, the limit is 64; raise max_tokens"):
        run(reference, tmp_path / "x", [RECORDS[0], long])
    with pytest.raises(ValueError, match=r"row 1 \(problem 'p1'\) has \d+ tokens, the limit is 10;"):
        run(reference, tmp_path / "x", max_tokens=10)
    left = run(reference, tmp_path / "new", [RECORDS[0], long], on_long="skip")
    assert json.loads((left.folder / "training.json").read_text())["num_attempts"] == 3
    unscored = Record(star(Problem("long", "1 " * 70), [[Step("2")]], [None]))
    run(reference, tmp_path / "other", [RECORDS[0], unscored])  # which nobody reads


def test_wrong_knobs_and_folders_are_named(reference, tmp_path):
    for knobs, said in (({"beta": 0.0}, "beta must be positive, got 0.0"),
                        ({"beta": float("inf")}, "beta must be positive, got inf"),
                        ({"dtype": "float16"}, "dtype is 'float16'; allowed: float32, bfloat16"),
                        ({"on_long": "cut"}, "on_long is 'cut'; allowed: raise, skip"),
                        ({"num_updates": 0}, "need an attempt, an update and a row in each batch")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            run(reference, tmp_path / "x", **knobs)
    with pytest.raises(ValueError, match="is no model folder"):
        run(tmp_path / "nothing", tmp_path / "x")
    with pytest.raises(ValueError, match="is there already"):
        run(reference, reference)


def test_a_run_that_diverges_stops_and_leaves_no_folder(reference, tmp_path):
    with pytest.raises(ValueError, match=r"diverged|log-probability"):
        run(reference, tmp_path / "x", num_updates=20, learning_rate=1e30, max_grad_norm=1e30)
    assert not list(tmp_path.iterdir())
