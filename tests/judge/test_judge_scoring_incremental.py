"""Scoring for search: only new tokens are forwarded, every score is that of the whole attempt, memory is bounded."""

import numpy as np
import pytest
import torch
from transformers import BertConfig

from stepcredit import Problem, Step
from stepcredit.core.layout import Encoded, Layout
from stepcredit.judge import _scoring
from stepcredit.judge.head import HeadScorer, IncrementalScorer, ScorerJudge, quiet
from stepcredit.train.tiny import build_tokenizer, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENIZER = build_tokenizer(["2+3=5\n5*4=20 ab"], kind="bpe", vocab_size=290)
PROMPT = Problem("p", "2 +3 *4 ab 0123456789")
OTHER = Problem("q", "9 -5")


def scorer(seed=0, layout=None):
    with quiet():
        found = HeadScorer.create(
            tiny_config(TOKENIZER, hidden=16, layers=2, heads=2), tokenizer=TOKENIZER, seed=seed, layout=layout
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.nn.init.normal_(found.model.score.weight, std=2.0)
    return found.eval()


def attempt(*steps, problem=PROMPT):
    return problem, [Step(text) for text in steps]


def num_tokens(own, *attempts):
    return [len(one.token_ids_T) for one in own.encode(attempts)]


def forwarded(judgments):
    return [one.cost.forwarded_tokens for one in judgments]


def check(judge, attempts):
    """The judgments, having compared each with that of the attempt alone."""
    found = judge(attempts)
    for one, given in zip(found, attempts, strict=True):
        alone = ScorerJudge(judge.scorer)([given])[0]
        assert one.status == alone.status and np.allclose(one.step_scores_S, alone.step_scores_S, atol=1e-5)
        assert np.isclose(one.score, alone.score, atol=1e-5, equal_nan=True)
    return found


def test_a_step_more_costs_its_own_tokens():
    own = scorer()
    judge = IncrementalScorer(own)
    first, second, third = attempt("2+3=5"), attempt("2+3=5", "5*4=20"), attempt("2+3=5", "5*4=20", "20")
    size = num_tokens(own, first, second, third)
    assert forwarded(check(judge, [first])) == [size[0]]
    assert forwarded(check(judge, [second])) == [size[1] - size[0]]
    assert forwarded(check(judge, [third])) == [size[2] - size[1]]
    assert forwarded(check(judge, [third])) == forwarded(check(judge, [first])) == [0]
    assert judge.num_tokens == size[2]


def test_branches_share_their_trunk_and_are_batched():
    own = scorer()
    judge = IncrementalScorer(own)
    trunk = attempt("2+3=5")
    judge([trunk])
    branches = [attempt("2+3=5", text) for text in ("5*4=20", "5*4=9", "ab")]
    (size,), sizes = num_tokens(own, trunk), num_tokens(own, *branches)
    found = check(judge, [*branches, attempt("9", problem=OTHER)])
    # "5*4=" is common to two branches, too short to be read on its own: each pays for it.
    assert forwarded(found)[:3] == [each - size for each in sizes]
    assert forwarded(check(judge, [attempt("2+3=5", "ab", "ab")]))[0] < 6


def test_a_beam_pays_for_every_token_once(monkeypatch):
    """Width 3, depth 6, two children each: the cost is the number of distinct beginnings, far below reading each whole."""
    monkeypatch.setattr(_scoring, "CALL_TOKENS", {"cpu": 1})
    own, rng = scorer(), np.random.default_rng(0)
    judge, beam, paid, whole = IncrementalScorer(own), [()], 0, 0
    seen = set()
    for _ in range(6):
        children = [(*steps, f"{rng.integers(10**6)}") for steps in beam for _ in range(2)]
        attempts = [attempt(*steps) for steps in children]
        found = check(judge, attempts)
        paid += sum(forwarded(found))
        for one in own.encode(attempts):
            whole += len(one.token_ids_T)
            seen |= {tuple(one.token_ids_T[:stop]) for stop in range(1, len(one.token_ids_T) + 1)}
        beam = [children[place] for place in np.argsort([-one.score for one in found])[:3]]
    assert len(seen) <= paid < 1.1 * len(seen) and paid < 0.35 * whole


@pytest.mark.parametrize("read", ["on", "pre"])
@pytest.mark.parametrize("marker", ["\n", "<step>"])
def test_any_order_of_calls_gives_the_scores_of_each_attempt_alone(marker, read, monkeypatch):
    """Attempts that grow, shrink, branch and repeat, with a memory too small for all of them."""
    monkeypatch.setattr(_scoring, "CALL_TOKENS", {"cpu": 1})
    own, rng = scorer(layout=Layout(marker=marker, read=read)), np.random.default_rng(1)
    judge = IncrementalScorer(own, token_budget=64, memory_tokens=120)
    known = [()]
    for _ in range(12):
        drawn = [known[rng.integers(len(known))] for _ in range(3)]
        given = [
            (*steps[: rng.integers(len(steps) + 1)], f"{rng.integers(100)}+ ab"[rng.integers(2) :]) for steps in drawn
        ]
        known += given
        check(judge, [attempt(*steps, problem=(PROMPT, OTHER)[rng.integers(2)]) for steps in given])
        assert judge.num_tokens <= 120


def test_the_oldest_attempt_is_forgotten_first():
    own = scorer()
    first, second, third = attempt("2+3=5"), attempt("9", problem=OTHER), attempt("ab", problem=Problem("r", "5*4=20"))
    size = num_tokens(own, first, second, third)
    judge = IncrementalScorer(own, memory_tokens=sum(size) - 3)  # the start token they share is held once
    judge([first])
    judge([second])
    judge([first])  # used again: the second is older now
    judge([third])
    assert forwarded(judge([first, third])) == [0, 0]
    assert forwarded(judge([second])) == [size[1] - 1]


def test_a_call_larger_than_the_memory_is_scored_all_the_same():
    judge = IncrementalScorer(scorer(), memory_tokens=1)
    check(judge, [attempt("2+3=5"), attempt("ab", problem=OTHER)])
    assert judge.num_tokens == 0
    with pytest.raises(ValueError, match="memory_tokens is 0; allowed: 1 or more"):
        IncrementalScorer(scorer(), memory_tokens=0)


def test_changed_weights_are_read_afresh():
    own = scorer()
    judge = IncrementalScorer(own)
    given = [attempt("2+3=5", "5*4=20")]
    before = judge(given)[0]
    with torch.no_grad():
        own.model.model.layers[0].mlp.up_proj.weight.mul_(3.0)
    after = check(judge, given)[0]
    assert not np.allclose(before.step_scores_S, after.step_scores_S, atol=1e-3)
    assert forwarded([after]) == num_tokens(own, *given)
    judge.forget()
    assert judge.num_tokens == 0 and forwarded(judge(given)) == num_tokens(own, *given)


def test_a_position_that_was_not_read_before_is_read_now():
    """The same tokens cut into other steps: what lies behind the first unread position is forwarded again."""
    own = scorer()
    judge = IncrementalScorer(own)
    ids = np.arange(3, 33)
    with own.reading():
        judge._read([Encoded(ids, np.array([9, 29]))])
        again = judge._read([Encoded(ids, np.array([9, 19, 29])), Encoded(ids[:25], np.array([24]))])
        alone = _scoring.score(own, [Encoded(ids, np.array([9, 19, 29])), Encoded(ids[:25], np.array([24]))], 16384)
    assert [row.tokens for row in again] == [11, 1]  # from 19 and from 24 on
    for one, two in zip(again, alone, strict=True):
        assert np.allclose(one.logit_SC, two.logit_SC, atol=1e-5)


def test_an_attempt_without_a_step_and_one_over_the_limit_are_told_apart():
    own = scorer()
    judge = IncrementalScorer(own)
    found = judge([(PROMPT, []), attempt("2+3=5"), attempt(*["5*4=20"] * 400)])
    assert [one.status for one in found] == ["abstained", "scored", "truncated"]
    assert judge([]) == []


def test_a_failed_call_leaves_nothing_half_read(monkeypatch):
    own = scorer()
    judge = IncrementalScorer(own)
    judge([attempt("2+3=5")])
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(own, "logits", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        judge([attempt("2+3=5", "ab")])
    assert judge.num_tokens == 0 and not own.training
    check(judge, [attempt("2+3=5", "ab")])


def test_an_encoder_remembers_nothing():
    config = BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    judge = IncrementalScorer(HeadScorer.create(config, tokenizer=TOKENIZER))
    size = num_tokens(judge.scorer, attempt("2+3=5"))
    assert forwarded(check(judge, [attempt("2+3=5")])) == forwarded(judge([attempt("2+3=5")])) == size
    assert judge.num_tokens == 0
