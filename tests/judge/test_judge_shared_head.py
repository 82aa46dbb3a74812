"""SPRM's head on the policy's own network: what reaches the backbone, what stays of the policy, which layer is read."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from stepcredit import Problem, Sample, Step
from stepcredit.core import registry
from stepcredit.core.layout import Layout, pad
from stepcredit.core.readout import Readout
from stepcredit.judge.head import HeadScorer, ScorerJudge, quiet
from stepcredit.judge.shared_head import SharedHeadScorer
from stepcredit.train.prm import Objective, fit
from stepcredit.train.tiny import build_tokenizer, tiny_config

ATTEMPTS = [
    (Problem("a", "2 +3 *4\ngo"), [Step("2+3=5"), Step("5*4=20")]),
    (Problem("b", "0 -2"), [Step("0-2=3"), Step("look"), Step("end")]),
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A two-layer policy with random weights."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = build_tokenizer(["2+3=5\n5*4=20", "given 0123456789 +4 *0 -2 go look end"], kind="word")
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=2, heads=2)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def scorer(policy, **knobs):
    """A judge whose last layer says something."""
    found = SharedHeadScorer.create(policy, **knobs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.nn.init.normal_(found.head[-1].weight)
    return found


def tensors(found):
    return [torch.as_tensor(array) for array in pad(found.encode(ATTEMPTS), found.pad_id)[:3]]


def backbone_gradients(found):
    found.eval()
    found(*tensors(found)).sum().backward()
    return {name: p.grad for name, p in found.model.named_parameters() if p.grad is not None}


def samples_of(found):
    rows = []
    for index, encoded in enumerate(found.encode(ATTEMPTS)):
        mask = np.zeros(len(encoded.token_ids_T), dtype=bool)
        mask[encoded.read_S] = True
        none = np.zeros((1, len(mask)))
        rows.append(Sample(encoded.token_ids_T, mask, none * np.nan, none, outcome=float(index)))
    return rows


def policy_logits(folder):
    with quiet():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return model(**tokenizer("2 +3 *4\n2+3=5\n", return_tensors="pt")).logits


def step_scores(judge):
    return np.concatenate([one.step_scores_S for one in judge(ATTEMPTS)])


def test_the_gradient_scale_weighs_what_reaches_the_backbone(policy):
    """None at 0, all at 1, and a tenth of all at .1; the head's own gradient is the same."""
    full = scorer(policy, gradient_scale=1.0)
    gradients = backbone_gradients(full)
    assert gradients and all(bool(g.abs().sum() > 0) for g in gradients.values() if g.dim() == 2)
    none = scorer(policy, gradient_scale=0.0)
    assert backbone_gradients(none) == {}
    tenth = scorer(policy, gradient_scale=0.1)
    for name, gradient in backbone_gradients(tenth).items():
        assert torch.allclose(gradient, 0.1 * gradients[name], atol=1e-6), name
    for a, b, c in zip(full.head.parameters(), none.head.parameters(), tenth.head.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6) and torch.allclose(a.grad, c.grad, atol=1e-6)


@pytest.mark.parametrize(("scale", "same"), [(0.0, True), (1.0, False)])
def test_a_judge_trained_at_scale_zero_leaves_the_policy_bit_for_bit(policy, tmp_path, scale, same):
    """Weight decay included. The folder is a plain causal LM, and our judge, in one."""
    found = scorer(policy, gradient_scale=scale)
    before = step_scores(ScorerJudge(found))
    done = fit(found, samples_of(found), objective=Objective("broadcast"), num_updates=4, weight_decay=0.1,
               learning_rate=1e-2, pad_id=found.pad_id)  # fmt: skip
    assert len(done.loss) == 4 and not np.allclose(before, step_scores(ScorerJudge(found)))
    found.save(tmp_path)
    assert torch.equal(policy_logits(policy), policy_logits(tmp_path)) == same
    judge = registry.get("judge", "shared_head").function(str(tmp_path))
    assert np.array_equal(step_scores(judge), step_scores(ScorerJudge(found)))


def test_the_saved_policy_samples_as_the_one_it_came_from(policy, tmp_path):
    scorer(policy).save(tmp_path)
    own, saved = (registry.get("policy", "hf").function(str(folder)) for folder in (policy, tmp_path))
    continuation = ["2+3=5\n"]
    assert np.array_equal(own.logprob(["2 +3\n"], continuation), saved.logprob(["2 +3\n"], continuation))


def test_a_new_marker_adds_a_token_and_changes_no_other_logit(policy, tmp_path):
    scorer(policy, layout=Layout()).save(tmp_path)
    before, after = policy_logits(policy), policy_logits(tmp_path)
    assert after.shape[-1] == before.shape[-1] + 1 and torch.equal(after[..., :-1], before)


def test_the_layer_is_the_users_choice(policy):
    """Of two layers: -2 is the first's output, and so is 1; -1 and 2 are the last's."""
    found = {layer: step_scores(ScorerJudge(scorer(policy, layer=layer))) for layer in (-2, -1, 1, 2)}
    assert np.array_equal(found[-2], found[1]) and np.array_equal(found[-1], found[2])
    assert not np.allclose(found[-2], found[-1])
    for layer in (0, 3, -3):
        with pytest.raises(ValueError, match=f"layer is {layer}; this backbone has layers 1 to 2, or -2 to -1"):
            SharedHeadScorer.create(policy, layer=layer)


def test_the_head_reads_the_hidden_state_transformers_shows(policy):
    """Against the causal LM's own hidden states, at and before the newline."""
    for read, shift in (("on", 0), ("pre", 1)):
        found = scorer(policy, layout=Layout(marker="\n", read=read)).eval()
        token_ids_BT, attention_BT, read_BS = tensors(found)
        newline = found.tokenizer("\n", add_special_tokens=False)["input_ids"][0]
        last = torch.nonzero(token_ids_BT[0] == newline)[-2:, 0] - shift  # its prompt has newlines of its own
        assert torch.equal(read_BS[0, :2], last)
        with torch.inference_mode():
            hidden = found.model(token_ids_BT, attention_BT.long(), output_hidden_states=True).hidden_states[-2]
            assert torch.allclose(
                found.head(hidden[0, last]), found(token_ids_BT, attention_BT, read_BS)[0, :2], atol=1e-6
            )


def test_a_fresh_head_is_undecided_and_takes_a_bias(policy):
    found = SharedHeadScorer.create(policy)
    assert np.all(step_scores(ScorerJudge(found)) == 0.5)
    found.reset_head(1.0)
    assert np.allclose(step_scores(ScorerJudge(found)), 1 / (1 + np.exp(-1.0)))
    assert ScorerJudge(found)(ATTEMPTS)[0].score == pytest.approx(0.7311, abs=1e-4)  # geometric mean of equals


def test_dropout_is_off_when_judging(policy):
    found = scorer(policy, dropout=0.5).train()
    assert np.array_equal(step_scores(ScorerJudge(found)), step_scores(ScorerJudge(found)))


def test_the_free_link_has_two_channels(policy, tmp_path):
    found = scorer(policy, readout=Readout(link="free"))
    found.save(tmp_path)
    first = ScorerJudge(SharedHeadScorer.load(tmp_path))(ATTEMPTS)[0]
    assert set(first.channels) == {"keep", "fix"} and np.all(first.channels["keep"] >= first.channels["fix"])


def test_making_and_knobs_are_checked(policy):
    before = torch.get_rng_state()
    first, second = SharedHeadScorer.create(policy, seed=5), SharedHeadScorer.create(policy, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    for scale in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"gradient_scale lies in \[0, 1\]"):
            SharedHeadScorer.create(policy, gradient_scale=scale)
    with pytest.raises(ValueError, match=r"dropout lies in \[0, 1\)"):
        SharedHeadScorer.create(policy, dropout=1.0)
    with pytest.raises(ValueError, match="no model folder"):
        SharedHeadScorer.create("./nothing")


def test_what_is_not_the_saved_scorer_is_refused(policy, tmp_path):
    scorer(policy).save(tmp_path)
    with pytest.raises(ValueError, match="of kind 'shared_head', not 'head'"):
        HeadScorer.load(tmp_path)
    manifest = json.loads((tmp_path / "scorer.json").read_text())
    manifest["extra"]["layer"] = -1
    (tmp_path / "scorer.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="no longer gives the scores"):
        SharedHeadScorer.load(tmp_path)
    (tmp_path / "score_head.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no score_head\.safetensors"):
        SharedHeadScorer.load(tmp_path)
