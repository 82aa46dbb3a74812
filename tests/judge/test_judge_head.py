"""The token-classifier judge: what plain transformers sees of it, when it refuses to load, when it says nothing."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, BertConfig, LlamaForCausalLM

from stepcredit import Problem, Step
from stepcredit.core import registry
from stepcredit.core.layout import Layout
from stepcredit.core.readout import Readout
from stepcredit.judge.head import HeadScorer, ScorerJudge, ensure_marker, quiet
from stepcredit.train.tiny import build_tokenizer, tiny_config

TEXTS = ["2+3=5\n5*4=20", "given 0123456789 +4 *0 -2 look end"]
ATTEMPTS = [
    (Problem("a", "2 +3 *4"), [Step("2+3=5"), Step("5*4=20")]),
    (Problem("b", "0 -2"), [Step("0-2=3"), Step("3", sampled=False), Step("look"), Step("end")]),
    (Problem("c", "9"), [Step("9")]),
]


def tokenizer():
    return build_tokenizer(TEXTS, kind="bpe", vocab_size=300)


def config(**knobs):
    return tiny_config(tokenizer(), hidden=16, layers=1, heads=2, **knobs)


def scorer(seed=0, **knobs):
    """A judge whose head says something: random weights and a bias."""
    found = HeadScorer.create(config(), tokenizer=tokenizer(), seed=seed, **knobs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.nn.init.normal_(found.model.score.weight, std=2.0)
        torch.nn.init.normal_(found.model.score.bias)
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head") / "scorer"
    scorer().save(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "scorer")


def step_scores(judge):
    return np.concatenate([one.step_scores_S for one in judge(ATTEMPTS)])


# portability


def test_plain_transformers_gives_the_same_logits_at_the_markers(saved):
    """No code of ours: the standard class, the saved tokenizer and the text; the last S markers are the steps."""
    manifest = json.loads((saved / "scorer.json").read_text())
    with quiet():
        model = AutoModelForTokenClassification.from_pretrained(saved).eval()
        plain = AutoTokenizer.from_pretrained(saved)
    loaded = HeadScorer.load(saved)
    text, spans = loaded.manifest.layout.render(*ATTEMPTS[1])
    ids = plain(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = model(ids).logits[0, ids[0] == manifest["marker_id"]]
    ours = loaded.logits(
        ids.numpy(), np.ones_like(ids, dtype=bool), np.flatnonzero(ids[0] == manifest["marker_id"])[None]
    )
    assert logits.shape == (len(spans), 2)
    assert np.allclose((logits[:, 1] - logits[:, 0]).numpy(), ours[0, :, 0], atol=1e-6)
    probability = torch.sigmoid(logits[:, manifest["positive_class"]] - logits[:, 0]).double().numpy()
    found = ScorerJudge(loaded)([ATTEMPTS[1]])[0]
    assert np.allclose(found.channels["keep"], probability, atol=1e-6)
    assert np.ptp(probability) > 1e-3


def test_a_fresh_head_starts_at_its_bias_everywhere_and_its_bias_is_saved(tmp_path):
    fresh = HeadScorer.create(config(), tokenizer=tokenizer())
    fresh.reset_head(1.5)
    fresh.save(tmp_path)
    with quiet():
        model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert torch.allclose(model.score.bias, torch.tensor([-0.75, 0.75]))
    judged = ScorerJudge(fresh)(ATTEMPTS)
    assert all(np.allclose(one.channels["keep"], 1 / (1 + np.exp(-1.5))) for one in judged)


def test_a_family_without_a_bias_on_its_head_gets_one(tmp_path):
    without = config()
    without.token_classification_bias = False
    found = HeadScorer.create(without, tokenizer=tokenizer())
    found.reset_head(1.0)
    found.save(tmp_path)
    assert step_scores(ScorerJudge(HeadScorer.load(tmp_path)))[0] == pytest.approx(0.7311, abs=1e-4)
    with quiet():
        assert AutoModelForTokenClassification.from_pretrained(tmp_path).score.bias is not None
    assert without.token_classification_bias is False  # the caller's config is left as it was


def test_saving_and_loading_gives_identical_scores(saved):
    before, after = step_scores(ScorerJudge(scorer())), step_scores(registry.get("judge", "head").function(str(saved)))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_scores_are_close(saved, dtype):
    found = registry.get("judge", "head").function(str(saved), dtype=dtype)
    assert np.allclose(step_scores(found), step_scores(ScorerJudge(scorer())), atol=0.05)


def test_no_pickle_is_written(saved):
    assert {path.name for path in saved.iterdir()} == {
        "config.json", "model.safetensors", "scorer.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_an_encoder_is_a_backbone_too(tmp_path):
    bert = BertConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    found = HeadScorer.create(bert, tokenizer=tokenizer(), readout=Readout("broadcast"), max_tokens=4096)
    torch.nn.init.normal_(found.model.classifier.weight)
    found.save(tmp_path)
    assert np.array_equal(step_scores(ScorerJudge(found)), step_scores(ScorerJudge(HeadScorer.load(tmp_path))))
    assert found.manifest.max_tokens == 64  # no more than the backbone has positions


def test_the_free_link_has_two_channels_in_four_labels(tmp_path):
    found = scorer(readout=Readout(link="free"))
    found.save(tmp_path)
    loaded = HeadScorer.load(tmp_path)
    assert loaded.model.config.num_labels == 4
    first = ScorerJudge(loaded)(ATTEMPTS)[0]
    assert np.all(first.channels["keep"] >= first.channels["fix"]) and np.ptp(first.channels["fix"]) > 0


# backbones


def test_a_policy_folder_is_a_backbone_and_lends_its_weights(tmp_path):
    with quiet():
        policy = LlamaForCausalLM(config())
        policy.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    found = HeadScorer.create(tmp_path)
    theirs = policy.model.layers[0].mlp.up_proj.weight
    assert torch.equal(found.model.model.layers[0].mlp.up_proj.weight, theirs)
    assert found.model.get_input_embeddings().num_embeddings == policy.vocab_size + 1  # the marker
    again = HeadScorer.create(tmp_path)
    assert torch.equal(found.model.get_input_embeddings().weight, again.model.get_input_embeddings().weight)


def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    with quiet():
        LlamaForCausalLM(config()).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of this model: model\.layers\.0\.mlp\.up_proj\.weight"):
        HeadScorer.create(tmp_path)


def test_wrong_backbones_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no model folder at '\./nothing'"):
        HeadScorer.create("./nothing")
    with pytest.raises(ValueError, match="needs its tokenizer"):
        HeadScorer.create(config())


def test_making_a_judge_leaves_the_callers_objects_and_generators_alone():
    given, own = config(), tokenizer()
    size, labels = len(own), given.num_labels
    before = torch.get_rng_state()
    made = HeadScorer.create(given, tokenizer=own, readout=Readout(link="free"), seed=3)
    assert len(own) == size and given.num_labels == labels and torch.equal(before, torch.get_rng_state())
    same = HeadScorer.create(given, tokenizer=own, readout=Readout(link="free"), seed=3)
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), same.parameters(), strict=True))


def test_a_marker_that_is_one_token_already_is_not_added():
    own = tokenizer()
    assert ensure_marker(own, "\n") == own("\n", add_special_tokens=False)["input_ids"][0] and len(own) == len(
        tokenizer()
    )
    assert ensure_marker(own, "<step>") == len(tokenizer())


# judging


def test_judgments_do_not_depend_on_the_batch():
    found = scorer()
    together = ScorerJudge(found)(ATTEMPTS)
    for budget in (1, 40, 10_000):
        for one, alone in zip(together, ScorerJudge(found, token_budget=budget)(ATTEMPTS), strict=True):
            assert np.allclose(one.step_scores_S, alone.step_scores_S, atol=1e-6)
    sizes = [len(found.encode([attempt])[0].token_ids_T) for attempt in ATTEMPTS]
    assert [one.cost.forwarded_tokens for one in together] == sizes and all(o.cost.judge_calls == 1 for o in together)


def test_one_score_for_each_sampled_step():
    assert [len(one.step_scores_S) for one in ScorerJudge(scorer())(ATTEMPTS)] == [2, 3, 1]


def test_an_attempt_without_a_step_is_abstained_on_and_the_others_are_scored():
    judge = ScorerJudge(scorer())
    empty = (Problem("e", "?"), [])
    found = judge([ATTEMPTS[0], empty, (Problem("f", "?"), [Step("seen", sampled=False)]), ATTEMPTS[2]])
    assert [one.status for one in found] == ["scored", "abstained", "abstained", "scored"]
    assert np.allclose(found[3].step_scores_S, judge([ATTEMPTS[2]])[0].step_scores_S) and judge([]) == []


def test_an_attempt_over_the_limit_is_truncated_never_scored_in_part():
    found = scorer()
    found.manifest = replace(found.manifest, max_tokens=16)
    judged = ScorerJudge(found)(ATTEMPTS)
    assert [one.status for one in judged] == ["truncated", "truncated", "scored"]
    assert (
        np.isnan(judged[0].score)
        and judged[0].step_scores_S.shape == (2,)
        and np.all(np.isnan(judged[0].step_scores_S))
    )


def test_judging_leaves_the_training_mode_as_it_was():
    found = scorer().train()
    ScorerJudge(found)(ATTEMPTS)
    assert found.training
    with pytest.raises(ValueError, match="marker '<step>' occurs inside step 0"):
        ScorerJudge(found)([(Problem("a", "?"), [Step("<step>")])])
    assert found.training


def test_a_diverged_scorer_abstains_and_is_not_saved(tmp_path):
    found = scorer()
    torch.nn.init.constant_(found.model.score.bias, float("nan"))
    assert {one.status for one in ScorerJudge(found)(ATTEMPTS)} == {"abstained"}
    with pytest.raises(ValueError, match="training has diverged"):
        found.save(tmp_path / "scorer")
    assert not (tmp_path / "scorer").exists()


# what is refused on load


def edit(folder, **changes):
    """Change fields of scorer.json; "layout.marker" reaches inside."""
    given = json.loads((folder / "scorer.json").read_text())
    for name, value in changes.items():
        *path, last = name.split(".")
        inner = given
        for part in path:
            inner = inner[part]
        inner[last] = value
    (folder / "scorer.json").write_text(json.dumps(given))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("layout.marker", "\n", "should be token"),
        ("layout.prompt_end", " ", "no longer gives the tokens"),
        ("layout.within", "", "no longer gives the tokens"),
        ("layout.read", "pre", "no longer gives the tokens"),
        ("layout.read", "post", "not a scorer manifest: read is 'post'"),
        ("marker_id", 5, "should be token 5"),
        ("readout.recovery", 0.4, "no longer gives the scores"),
        ("readout.link", "retry", "no longer gives the scores"),
        ("positive_class", 0, "reads class 1"),
        ("activation", "softmax", "reads class 1"),
        ("golden_reads", [1, 2, 3], "no longer gives the tokens"),
        ("golden_scores", [], "no longer gives the scores"),
        ("kind", "linear", "of kind 'linear', not 'head'"),
        ("format", 2, "reads format 1"),
        ("surprise", 1, "not a scorer manifest"),
        ("segment", "lines", "segment by 'lines'; allowed: newline"),
        ("segment", "delimiter", "needs a delimiter"),
        ("threshold_source", "guessed", "threshold_source is 'guessed'; allowed: fixed, chosen"),
    ],
)
def test_a_tampered_manifest_is_refused(copied, field, value, said):
    edit(copied, **{field: value})
    with pytest.raises(ValueError, match=said):
        HeadScorer.load(copied)


def test_a_folder_from_before_these_fields_loads(copied):
    given = json.loads((copied / "scorer.json").read_text())
    for name in ("segment", "delimiter", "threshold_problems"):
        del given[name]
    (copied / "scorer.json").write_text(json.dumps(given))
    found = HeadScorer.load(copied).manifest
    assert found.segment is None and found.delimiter is None and found.threshold_problems == ()


def test_how_text_was_cut_and_where_the_threshold_comes_from_travel(tmp_path):
    made = scorer()
    said = {"segment": "delimiter", "delimiter": "; ", "threshold": 0.3, "threshold_source": "chosen",
            "threshold_problems": ("a", "b")}  # fmt: skip
    made.manifest = replace(made.manifest, **said)
    made.save(tmp_path)
    found = HeadScorer.load(tmp_path).manifest
    assert {name: getattr(found, name) for name in said} == said


@pytest.mark.parametrize(
    ("kept", "said"),
    [(0, "no longer gives the tokens it was trained on"), (-1, "is not the file this scorer was saved")],
)
def test_a_tampered_tokenizer_is_refused(copied, kept, said):
    """Without any merge the golden attempt has other tokens; without the last alone it has not, but the file changed."""
    tampered = json.loads((copied / "tokenizer.json").read_text())
    tampered["model"]["merges"] = tampered["model"]["merges"][:kept]
    (copied / "tokenizer.json").write_text(json.dumps(tampered))
    with pytest.raises(ValueError, match=said):
        HeadScorer.load(copied)


def test_weights_of_another_scorer_are_refused(copied, tmp_path):
    scorer(seed=1).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", copied)
    with pytest.raises(ValueError, match="no longer gives the scores it was saved with"):
        HeadScorer.load(copied)


def test_folders_that_are_no_finished_scorer_are_refused(tmp_path, copied):
    with pytest.raises(ValueError, match="no scorer folder at"):
        HeadScorer.load(tmp_path / "nothing")
    (copied / "scorer.json").write_text("{")
    with pytest.raises(ValueError, match="is not a scorer manifest"):
        HeadScorer.load(copied)
    (copied / "scorer.json").unlink()
    with pytest.raises(ValueError, match=r"holds no scorer\.json: not a finished scorer"):
        HeadScorer.load(copied)


def test_a_head_may_be_read_before_the_marker():
    on, pre = scorer(), scorer(layout=Layout(read="pre"))
    assert np.array_equal(on.encode(ATTEMPTS)[0].read_S - 1, pre.encode(ATTEMPTS)[0].read_S)
    assert not np.allclose(step_scores(ScorerJudge(on)), step_scores(ScorerJudge(pre)))
