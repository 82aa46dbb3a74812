"""Searches over real models: the judge forwards each token once, and the policy's own end token ends an attempt."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.core.types import Outcome, Problem
from stepcredit.judge.head import HeadScorer, IncrementalScorer, quiet
from stepcredit.policy.hf import HFPolicy
from stepcredit.rollout._mcts_options import draw
from stepcredit.rollout._writing import Writing
from stepcredit.rollout.mcts import mcts
from stepcredit.search.beam import beam
from stepcredit.search.chunk_reset import chunk_reset
from stepcredit.search.guided_mcts import guided_mcts
from stepcredit.train.tiny import build_tokenizer, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENIZER = build_tokenizer(["3 +4 *0 -2\n3+4=2\n2*0=0\n", "1 -2\n1-2=4\n"], kind="word", vocab_size=300)
BYTES = build_tokenizer(["3+4=2\n2*0=0 ab"], kind="bpe", vocab_size=290)
PROBLEMS = [Problem("p", "3 +4 *0 -2 +1"), Problem("q", "1 -2 +3")]

SHORT = {"max_steps": 3, "max_new_tokens": 8}


def policy():
    """An untrained model whose probabilities are far from uniform."""
    torch.manual_seed(0)
    config = tiny_config(TOKENIZER, hidden=16, layers=2, heads=2, max_positions=64)
    config.initializer_range = 0.5
    return HFPolicy(LlamaForCausalLM(config), TOKENIZER)


def scorer():
    with quiet():
        found = HeadScorer.create(tiny_config(BYTES, hidden=16, layers=2, heads=2), tokenizer=BYTES, seed=0)
    return found.eval()


class Watched:
    """A judge, what it was asked call by call, and the tokens it forwarded."""

    def __init__(self, judge):
        self.judge, self.calls, self.forwarded = judge, [], 0

    def __call__(self, attempts):
        found = self.judge(attempts)
        self.calls.append(attempts)
        self.forwarded += sum(one.cost.forwarded_tokens for one in found)
        return found


SEARCHES = {
    "beam": (beam, {"num": 4, "width": 2}),
    "chunk_reset": (chunk_reset, {"num_tries": 3, "threshold": 0.6}),
    "guided_mcts": (guided_mcts, {"num_searches": 8, "root_min_children": 2}),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_the_judge_forwards_only_what_it_has_not_read(name):
    search, knobs = SEARCHES[name]
    own = scorer()
    judge = Watched(IncrementalScorer(own))
    found = search(PROBLEMS, policy=bind("policy", "tabular")(), judge=judge, rng=rng(0), **knobs)
    known, new, whole = set(), 0, 0
    with own.reading():
        for attempts in judge.calls:
            tokens = [one.token_ids_T.tolist() for one in own.encode(attempts)]
            beginnings = [[tuple(ids[: n + 1]) for n in range(len(ids))] for ids in tokens]
            # Attempts of one call may be read side by side; what an earlier call read is never read again.
            new += sum(each not in known for own_beginnings in beginnings for each in own_beginnings)
            whole += sum(map(len, tokens))
            known.update(each for own_beginnings in beginnings for each in own_beginnings)
    assert len(known) <= judge.forwarded <= new < whole
    # This policy forwards nothing: what the trees' costs say was forwarded is the judge's.
    assert sum(one.tree.cost.forwarded_tokens for one in found) == judge.forwarded
    assert sum(one.tree.cost.judge_calls for one in found) == sum(map(len, judge.calls)) > len(judge.calls) > 2


def test_a_models_own_end_ends_the_attempt_and_a_newline_does_not():
    own = policy()
    prefixes = ["3 +4 *0\n", "1 -2\n1-2=4\n"]
    options = [o for group in draw(own, prefixes, 60, rng(0), Writing(max_new_tokens=12)) for o in group]
    seen = set()
    for option in options:
        last = option.step.token_ids[-1] if option.step is not None else own.tokenizer.eos_token_id
        ended = last == own.tokenizer.eos_token_id
        assert option.ended == ended and option.cut == (not ended and "\n" not in own.tokenizer.decode([last]))
        seen.add((option.ended, option.cut, option.step is None))
    assert {(True, False, False), (False, False, False), (False, True, False)} <= seen


def test_a_models_search_is_kept_with_its_tokens_and_read_back(tmp_path):
    def verify(problem, solutions):
        return [Outcome(float(len(steps) % 2), len(steps) % 2 == 1) for steps in solutions]

    class Silent:
        token_ends = staticmethod(policy().token_ends)

        def sample(self, *args, **kwargs):
            raise AssertionError("all of it was kept")

    knobs = {"verify": verify, "num_searches": 6, "num_rollouts": 2, "folder": str(tmp_path), **SHORT}
    writer = policy()
    first = mcts(PROBLEMS, policy=writer, rng=rng(0), **knobs)
    second = mcts(PROBLEMS, policy=Silent(), rng=rng(0), **knobs)
    for one, two in zip(first, second, strict=True):
        assert (
            one.steps == two.steps
            and replace(one.cost, seconds=0) == replace(two.cost, seconds=0)
            and repr(one.outcomes) == repr(two.outcomes)
        )
        assert any(step.token_ids for step in one.steps)
    assert sum(one.cost.generated_tokens for one in first) == writer.cost.generated_tokens
    assert sum(one.cost.forwarded_tokens for one in first) == writer.cost.forwarded_tokens
