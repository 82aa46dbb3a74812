"""From records to a saved scorer, end to end on a few chain problems: each way of teaching, and what is left behind."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit import Credit, Outcome, Record
from stepcredit.core import registry
from stepcredit.core.layout import Layout
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.judge._manifest import load_manifest
from stepcredit.judge.head import ScorerJudge, quiet
from stepcredit.judge.shared_head import SharedHeadScorer
from stepcredit.recipes._fit import Backbone, Budget, Teaching, fit_scorer
from stepcredit.recipes._save import save_scorer
from stepcredit.recipes._sprm_filter import sprm_filter
from stepcredit.train.tiny import build_tokenizer, tiny_config

SMALL = Backbone(tokenizer="word", hidden=16, layers=1, heads=2)
SHORT = Budget(num_updates=6, batch_size=32, learning_rate=1e-2, max_tokens=200)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def records():
    """Sixty problems, three attempts each, with outcomes and the oracle's labels under "truth"."""
    task, generator = registry.bind("tasks", "chain")(), rng(0, "test_fit")
    found = []
    for problem in task.problems(60, generator):
        attempts = [task.demonstrate(problem, generator) for _ in range(3)]
        tree = star(problem, attempts, task.verify(problem, attempts))
        label_N = np.r_[np.nan, np.concatenate([task.label_steps(problem, steps) for steps in attempts])]
        found.append(Record(tree, {"truth": Credit(label_N, "label", ~np.isnan(label_N), "oracle")}))
    return found


@pytest.fixture(scope="module")
def policy(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    texts = [
        Layout(marker="\n").render(r.tree.problem, r.tree.solution(leaf))[0] for r in records for leaf in r.tree.leaves
    ]
    tokenizer = build_tokenizer(texts, kind="word")
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=2, heads=2)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fitted(records, teaching=None, backbone=SMALL, budget=SHORT, **knobs):
    return fit_scorer(records, teaching=teaching or Teaching(), backbone=backbone, budget=budget, **knobs)


def attempts(records):
    return [(r.tree.problem, r.tree.solution(leaf)) for r in records for leaf in r.tree.leaves]


def step_scores(judge, records):
    """Of the first ten records."""
    return np.concatenate([one.step_scores_S for one in judge(attempts(records[:10]))])


TEACHINGS = {
    "derivation": Teaching(),
    "learned recovery": Teaching(recovery="learned"),
    "noisy verifier": Teaching(fp=0.1, fn=0.05),
    "retry": Teaching(link="retry"),
    "free": Teaching(link="free"),
    **{name: Teaching(pooling=name) for name in ("softmin", "geometric_mean", "broadcast", "last", "buffer", "value")},
    "oracle": Teaching(credit="truth", chain_labels=True),
    "labels": Teaching(credit="truth"),
    "released filter": Teaching(self_supervised="released", warmup_updates=3),
    "paper filter": Teaching(self_supervised="paper", warmup_updates=3),
    "labels, then outcomes": Teaching(link="free", credit="truth", label_updates=3),
}


@pytest.mark.parametrize("teaching", TEACHINGS.values(), ids=TEACHINGS)
def test_every_teaching_trains_saves_and_scores(records, tmp_path, teaching):
    done = fitted(records, teaching)
    folder = save_scorer(done.scorer, tmp_path / "scorer")
    judge = registry.get("judge", "head").function(str(folder))
    # Weights that lie elsewhere in memory may be multiplied by another kernel: the last digits of a float32 are its own.
    assert np.allclose(step_scores(judge, records), step_scores(ScorerJudge(done.scorer), records), rtol=0, atol=1e-6)
    assert {one.status for one in judge(attempts(records[:10]))} == {"scored"}
    manifest = load_manifest(folder)
    assert manifest.trained["num_attempts"] == done.num_attempts == 180
    assert manifest.trained["teaching"]["link"] == teaching.link and manifest.trained["budget"]["num_updates"] == 6
    expected = replace(teaching.readout, recovery=done.fit.recovery or 0.0)
    assert manifest.readout == expected
    assert len(done.fit.loss) == 6 and all(np.isfinite(loss) for _, loss in done.fit.loss)
    assert done.fit.cost.forwarded_tokens > 0
    chain = manifest.readout.is_chain and not teaching.labels_only
    assert any("last step takes the" in line for line in done.lines) == chain


def test_every_registered_pooling_has_a_teaching():
    assert {t.pooling for t in TEACHINGS.values()} == set(registry.names("pooling"))


def test_a_learned_recovery_rate_lands_in_the_manifest_and_in_every_look(records, tmp_path):
    looks = []
    done = fitted(records, Teaching(recovery="learned"), every=3,
                  on_update=lambda update, judge: looks.append((update, judge.scorer.manifest.readout.recovery)))  # fmt: skip
    save_scorer(done.scorer, tmp_path / "scorer")
    rate = load_manifest(tmp_path / "scorer").readout.recovery
    assert rate == done.fit.recovery != pytest.approx(1 / (1 + math.exp(2)), abs=1e-6)
    assert [update for update, _ in looks] == [3, 6] and looks[1][1] == rate != looks[0][1]
    channels = ScorerJudge(done.scorer)(attempts(records)[:1])[0].channels
    assert np.allclose(channels["fix"], rate) and np.all(channels["keep"] >= rate)


def test_a_fresh_chain_predicts_the_base_rate(records):
    """keep = base_rate^(1 / mean steps): without an update to speak of, P(right) of an attempt of mean length."""
    done = fitted(records, budget=replace(SHORT, num_updates=1, learning_rate=1e-9), diagnose=False)
    rewards = np.concatenate([r.tree.reward_N[list(r.tree.leaves)] for r in records])
    mean_steps = np.mean([len(steps) for _, steps in attempts(records)])
    keep = ScorerJudge(done.scorer)(attempts(records)[:1])[0].channels["keep"]
    assert np.allclose(keep**mean_steps, rewards.mean(), atol=1e-3)


def test_the_same_seed_gives_the_same_scorer(records):
    first, second, third = (fitted(records, seed=seed, diagnose=False) for seed in (0, 0, 1))
    scores = [step_scores(ScorerJudge(one.scorer), records) for one in (first, second, third)]
    assert np.array_equal(scores[0], scores[1]) and not np.allclose(scores[0], scores[2])


def test_a_policys_network_may_carry_the_judge(records, policy, tmp_path):
    """As a token classifier of its own, or as SPRM's head, which leaves the policy as it was by default."""
    plain = fitted(records, backbone=Backbone(path=str(policy)), diagnose=False)
    assert plain.scorer.manifest.kind == "head" and plain.scorer.manifest.layout.marker == "<step>"
    shared = fitted(records, Teaching(pooling="broadcast"), Backbone(path=str(policy), kind="shared_head", layer=-1, dropout=0.0),
                    diagnose=False)  # fmt: skip
    assert isinstance(shared.scorer, SharedHeadScorer) and shared.scorer.manifest.layout.marker == "\n"
    assert shared.scorer.manifest.extra == {"layer": -1, "gradient_scale": 0.0, "dropout": 0.0}
    folder = save_scorer(shared.scorer, tmp_path / "scorer")
    judge = registry.get("judge", "shared_head").function(str(folder))
    assert np.array_equal(step_scores(judge, records), step_scores(ScorerJudge(shared.scorer), records))
    own, same = (registry.get("policy", "hf").function(str(path)) for path in (policy, folder))
    problem, steps = attempts(records)[0]
    given = [problem.prompt + "\n"], [steps[0].text + "\n"]
    assert np.array_equal(own.logprob(*given), same.logprob(*given))


def test_wrong_backbones_are_refused():
    with pytest.raises(ValueError, match="a shared_head sits on a policy's network: give the policy's folder"):
        Backbone(kind="shared_head")
    with pytest.raises(ValueError, match="kind is 'generative'; allowed: head, shared_head"):
        Backbone(kind="generative")


def test_a_first_phase_leaves_updates_to_the_second(records):
    with pytest.raises(
        ValueError, match=r"warmup_updates is 6 of 6 updates; .* the self-supervised filter never starts"
    ):
        fitted(records, Teaching(self_supervised="paper", warmup_updates=6))
    with pytest.raises(ValueError, match=r"label_updates is 9 of 6 updates; .* the pooling softmin never starts"):
        fitted(records, Teaching(pooling="softmin", credit="truth", label_updates=9))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"label_updates": 3}, "label_updates is 3, without a credit"),
        ({"warmup_updates": 3}, "warmup_updates is 3, without the self-supervised filter"),
        ({"credit": "truth", "self_supervised": "paper"}, "not by both"),
    ],
)
def test_teachings_that_contradict_themselves_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Teaching(**given)


@pytest.mark.parametrize(("reward", "said"), [(1.0, "right"), (0.0, "wrong")])
def test_outcomes_that_never_differ_are_refused(records, reward, said):
    alike = [
        Record(star(r.tree.problem, [s for _, s in attempts([r])], [Outcome(reward=reward)] * 3)) for r in records[:5]
    ]
    with pytest.raises(ValueError, match=f"all 15 scored attempts are {said}"):
        fitted(alike)
    with pytest.raises(ValueError, match="no attempt to train on"):
        fitted([])


def test_a_long_attempt_is_named_or_left_out(records):
    tight = replace(SHORT, max_tokens=60)
    with pytest.raises(ValueError, match=r"row \d+ \(problem 'chain-.*'\) has \d+ tokens, the limit is 60"):
        fitted(records, budget=tight)
    assert 0 < fitted(records, budget=replace(tight, on_long="skip"), diagnose=False).num_attempts < 180


def test_a_marker_that_occurs_in_a_step_is_named_by_row(records):
    with pytest.raises(ValueError, match=r"row \d+ \(problem 'chain-.*'\): the marker '-' occurs inside step \d"):
        fitted(records, layout=Layout(marker="-"))


def test_the_filter_reads_padded_batches_as_the_credit_does():
    """Scores .9, .2 of a right attempt and .3 of a wrong one: kept are .9 and .3; a padded step and an unscored are not."""
    label_BS, weight_BS = sprm_filter("paper")(
        np.array([[0.9, 0.2], [0.3, 0.7], [0.9, 0.1]]),
        np.array([1.0, 0.0, np.nan]),
        np.array([[True, True], [True, False], [False, False]]),
    )
    assert weight_BS.tolist() == [[1, 0], [1, 0], [0, 0]] and label_BS[0, 0] == 1 and label_BS[1, 0] == 0


# saving


class Broken:
    """A scorer whose save fails half-way."""

    def save(self, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_text("half")
        raise OSError("disk full")


def test_a_failed_save_leaves_the_older_scorer_and_nothing_else(records, tmp_path):
    done = fitted(records, diagnose=False)
    folder = save_scorer(done.scorer, tmp_path / "deep" / "scorer")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OSError, match="disk full"):
        save_scorer(Broken(), folder)
    with pytest.raises(OSError, match="disk full"):
        save_scorer(Broken(), folder.with_name("new"))
    assert [path.name for path in folder.parent.iterdir()] == ["scorer"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    done.scorer.reset_head(2.0)
    save_scorer(done.scorer, folder)  # replaces it
    assert json.loads((folder / "scorer.json").read_text())["golden_scores"][0] == pytest.approx(1 / (1 + math.exp(-2)))
    assert [path.name for path in folder.parent.iterdir()] == ["scorer"]


def test_a_folder_that_holds_something_else_is_not_overwritten(records, tmp_path, monkeypatch):
    done = fitted(records, diagnose=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is no scorer"):
        save_scorer(done.scorer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("RANK", "1")  # the second of several workers writes nothing
    save_scorer(done.scorer, tmp_path / "empty")
    assert not any((tmp_path / "empty").iterdir())
    monkeypatch.setenv("RANK", "0")
    assert (save_scorer(done.scorer, tmp_path / "empty") / "scorer.json").is_file()


def test_bfloat16_trains_and_leaves_the_network_as_it_was(records):
    done = fitted(records, budget=replace(SHORT, dtype="bfloat16"), diagnose=False)
    assert done.scorer.model.config._attn_implementation == "sdpa"
    assert {p.dtype for p in done.scorer.parameters()} == {torch.float32}
    close = fitted(records, diagnose=False)
    assert np.allclose(
        step_scores(ScorerJudge(done.scorer), records), step_scores(ScorerJudge(close.scorer), records), atol=0.05
    )


@pytest.mark.slow
def test_a_killed_fit_goes_on_from_its_working_folder(records, tmp_path):
    class Killed(Exception):
        pass

    def kill(update, judge):
        raise Killed

    budget = replace(SHORT, num_updates=203, batch_size=4)
    with pytest.raises(Killed):
        fitted(records[:8], budget=budget, work_dir=tmp_path / "work", every=201, on_update=kill, diagnose=False)
    assert (tmp_path / "work" / "checkpoint-200").is_dir()
    resumed = fitted(records[:8], budget=budget, work_dir=tmp_path / "work", diagnose=False)
    whole = fitted(records[:8], budget=budget, diagnose=False)
    scores = [step_scores(ScorerJudge(one.scorer), records[:8]) for one in (resumed, whole)]
    assert np.array_equal(*scores) and not (tmp_path / "work").exists()
