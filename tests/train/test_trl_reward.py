"""TRL's contract of reward functions: one number or None a completion, and a failure to score is None."""

import importlib.util
import math

import pytest

from stepcredit import Judgment, Outcome
from stepcredit.core.registry import bind
from stepcredit.train.trl_reward import trl_reward

numeric = bind("verify", "numeric", extract="last_line")


def verdicts(problem, solutions):
    """Reads the last line: a status, or a reward."""
    said = [steps[-1].text for steps in solutions]
    return [Outcome(status=text) if text in ("timeout", "unparsed") else Outcome(reward=float(text)) for text in said]


def judge(attempts):
    """Half a point a step, but for attempts that say "unsure"."""
    return [Judgment(math.nan, [], status="abstained") if any(s.text == "unsure" for s in steps)
            else Judgment(len(steps) / 2, [0.5] * len(steps)) for _, steps in attempts]  # fmt: skip


def test_an_outcome_is_the_reward_and_a_failure_to_score_is_none():
    reward = trl_reward(verifier=verdicts, answer=None)
    completions = ["a\n0.25", "0", "timeout", "a\nunparsed", " \n "]
    assert reward(["p"] * 5, completions, completion_ids=[[1]] * 5) == [0.25, 0.0, None, None, None]


def test_what_counts_as_wrong_is_a_choice():
    completions = ["1", "timeout", "unparsed", " "]
    assert trl_reward(verifier=verdicts, answer=None, wrong=["unparsed"])(["p"] * 4, completions) == [
        1.0,
        None,
        0.0,
        0.0,
    ]
    with pytest.raises(ValueError, match="wrong is 'long'; allowed: scored, unparsed, truncated"):
        trl_reward(verifier=verdicts, wrong=["long"])


def test_the_answer_is_a_column_of_the_dataset():
    reward = trl_reward(verifier=numeric)
    given = {"prompts": ["1+1?", "1+1?", "2+2?"], "completions": ["so\n2", "3", "4"], "completion_ids": [[1]] * 3}
    assert reward(**given, answer=["2", "2", "4"]) == [1.0, 0.0, 1.0]
    assert trl_reward(verifier=numeric, answer="gold")(**given, gold=[2, 2, 5]) == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="no column 'answer' for the verifier; it has: gold; name it with answer="):
        reward(**given, gold=[2, 2, 5], trainer_state=None)


def test_a_group_of_completions_is_one_call():
    calls = []

    def counted(problem, solutions):
        calls.append((problem.prompt, problem.answer, len(solutions)))
        return verdicts(problem, solutions)

    reward = trl_reward(verifier=counted)
    assert reward(["p", "p", "p", "q"], ["1", "", "0", "1"], answer=["a", "a", "b", "b"]) == [1.0, None, 0.0, 1.0]
    assert calls == [("p", "a", 1), ("p", "b", 1), ("q", "b", 1)]  # the empty completion is not asked about


def test_a_judge_alone_and_with_a_verifier_where_none_of_either_is_none():
    completions = ["a\n1", "unsure\n1", "a\nb\ntimeout", "0"]
    assert trl_reward(judge=judge)(["p"] * 4, completions) == [1.0, None, 1.5, 0.5]
    both = trl_reward(verifier=verdicts, judge=judge, judge_weight=0.5, answer=None)
    assert both(["p"] * 4, completions) == [1.5, None, None, 0.25]  # 1 + 1/2, -, -, 0 + 1/4


def test_conversations_are_read_by_message_and_texts_by_segment():
    seen = []

    def remembered(attempts):
        seen.extend((problem.prompt, [(step.text, step.kind) for step in steps]) for problem, steps in attempts)
        return judge(attempts)

    prompt = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    completion = [call, {"role": "tool", "content": "R"}, {"role": "assistant", "content": "a\nb"}]
    trl_reward(judge=remembered)([prompt], [completion])
    trl_reward(judge=remembered, segment="delimiter", delimiter=";")(["p"], ["a; b\nc"])
    assert seen == [
        ("S\n\nU", [("f({})", "tool_call"), ("R", "tool_result"), ("a\nb", "reason")]),
        ("p", [("a", "reason"), ("b\nc", "reason")]),
    ]


def test_the_share_that_could_not_be_scored_is_logged():
    logged = {}
    reward = trl_reward(verifier=verdicts, answer=None, name="checked")
    assert reward.__name__ == "checked"
    reward(["p"] * 4, ["1", "timeout", "0", "1"], log_metric=logged.__setitem__)
    assert logged == {"checked/unscored": 0.25}


def test_nothing_to_score_with_is_refused():
    with pytest.raises(ValueError, match="give a verifier, a judge or both"):
        trl_reward()
    with pytest.raises(ValueError, match="needs a delimiter"):
        trl_reward(judge=judge, segment="delimiter")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed")
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_trl_trains_on_it_and_a_completion_that_was_not_scored_moves_nothing(tmp_path):
    import torch
    from datasets import Dataset
    from transformers import LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    from stepcredit.train.tiny import build_tokenizer, tiny_config

    tokenizer = build_tokenizer(["0 1\n2"], kind="word", max_positions=48)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=48))
    given = []

    def by_row(problem, solutions):
        """Whatever was written: right, wrong, not decided, not decided."""
        given.append((problem.prompt, problem.answer, len(solutions)))
        statuses = [Outcome(reward=1.0), Outcome(reward=0.0), Outcome(status="timeout"), Outcome(status="unparsed")]
        return statuses[: len(solutions)]

    class Watched(GRPOTrainer):
        def _compute_loss(self, model, inputs):
            advantages.append(inputs["advantages"].clone())
            return super()._compute_loss(model, inputs)

    advantages = []
    arguments = GRPOConfig(
        output_dir=str(tmp_path), max_steps=1, num_generations=4, per_device_train_batch_size=4, max_completion_length=6,
        learning_rate=1e-2, scale_rewards="none", beta=0.0, bf16=False, gradient_checkpointing=False, save_strategy="no",
        report_to=[], disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, logging_steps=1, log_level="error",
        generation_kwargs={"min_new_tokens": 2, "suppress_tokens": [tokenizer.eos_token_id]},
    )  # fmt: skip
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    trainer = Watched(
        model=model, reward_funcs=trl_reward(verifier=by_row), args=arguments, processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": ["0 1"], "answer": ["2"]}),
    )  # fmt: skip
    trainer.train()
    assert given == [("0 1", "2", 4)]
    # The mean is over the two that were scored: 1/2. As zeros the others would stand at -1/4.
    assert sorted(advantages[0].flatten().tolist()) == [-0.5, 0.0, 0.0, 0.5]  # TRL shuffles rows before the loss
    log = trainer.state.log_history[0]
    assert log["rewards/stepcredit/mean"] == 0.5 and log["stepcredit/unscored"] == 0.5
    assert not torch.equal(before, torch.cat([p.detach().flatten() for p in model.parameters()]))
