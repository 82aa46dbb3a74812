"""Fitting a step scorer: the same run whether killed or not, the same data in every epoch, and what stops it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stepcredit import Sample
from stepcredit.core.filter_state import FilterCollapse
from stepcredit.train import prm
from stepcredit.train._watch import WINDOW, CollapseWatch
from stepcredit.train.prm import Fitting, Objective, fit, schedule

pytestmark = pytest.mark.usefixtures("one_thread")


class Bag(nn.Module):
    """A scorer without attention: an embedding, dropout, a linear head; padding and length cannot matter."""

    def __init__(self, channels=1, vocab=12, dropout=0.1, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed, self.drop = nn.Embedding(vocab, 8), nn.Dropout(dropout)
            self.score = nn.Linear(8, channels)

    def forward(self, token_ids_BT, attention_BT, read_BS):
        hidden = self.drop(self.embed(token_ids_BT)) * attention_BT[..., None]
        return self.score(torch.gather(hidden, 1, read_BS[..., None].expand(-1, -1, 8)))


def sample(tokens, outcome, labels=None):
    """Every token a step."""
    num = len(tokens)
    label = np.full((1, num), np.nan) if labels is None else np.array([labels], dtype=np.float64)
    return Sample(tokens, np.ones(num, bool), label, np.isfinite(label).astype(float), outcome=outcome)


def data(num=40, seed=0, labelled=False):
    """Attempts of 1 to 6 steps; token 0 is an error, the others are sound: right iff there is no 0."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num):
        tokens = np.where(rng.random(size := int(rng.integers(1, 7))) < 0.2, 0, rng.integers(1, 12, size))
        labels = (tokens > 0).astype(float) if labelled else None
        found.append(sample(tokens, float(np.all(tokens > 0)), labels))
    return found


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def run(scorer=None, rows=None, objective=None, **knobs):
    scorer = scorer or Bag()
    done = fit(scorer, rows or data(), objective=objective or Objective(),
               **{"num_updates": 10, "batch_size": 8, **knobs})  # fmt: skip
    return scorer, done


# the schedule


def test_every_attempt_is_visited_once_an_epoch():
    lengths = np.random.default_rng(0).integers(1, 50, 1000).tolist()
    plan = schedule(lengths, 400, 16, 10_000, seed=0)
    order = [i for batch in plan for i in batch]
    for epoch in range(3):
        assert sorted(order[epoch * 1000 : (epoch + 1) * 1000]) == list(range(1000))
    assert len(plan) == 400 and order[:1000] != order[1000:2000]


def test_batches_respect_the_token_budget_and_hold_nearly_equal_lengths():
    lengths = np.random.default_rng(0).integers(1, 100, 2000).tolist()
    plan = schedule(lengths, 300, 32, 640, seed=0)
    padded = [len(batch) * max(lengths[i] for i in batch) for batch in plan]
    assert max(padded) <= 640 and max(len(batch) for batch in plan) == 32
    assert sum(lengths[i] for batch in plan for i in batch) / sum(padded) > 0.95
    firsts = [lengths[batch[0]] for batch in plan]
    assert abs(np.corrcoef(firsts, range(len(firsts)))[0, 1]) < 0.2  # lengths mix over the run


def test_the_schedule_is_its_seeds_and_grows_at_its_end():
    lengths = list(range(1, 100))
    assert schedule(lengths, 20, 8, 1000, 1) == schedule(lengths, 20, 8, 1000, 1)[:20]
    assert schedule(lengths, 50, 8, 1000, 1)[:20] == schedule(lengths, 20, 8, 1000, 1)
    assert schedule(lengths, 20, 8, 1000, 2) != schedule(lengths, 20, 8, 1000, 1)
    for given in (([], 1, 1), ([3], 0, 1), ([3], 1, 0)):
        with pytest.raises(ValueError, match="need an attempt, an update and a row"):
            schedule(*given, 100, 0)


# the run


def test_an_outcome_loss_finds_the_step_that_is_wrong():
    scorer, done = run(Bag(dropout=0.0), data(400), num_updates=150, batch_size=32, learning_rate=0.05)
    keep = torch.sigmoid(scorer.score(scorer.embed.weight))[:, 0]
    assert keep[0] < 0.1 and bool((keep[1:] > 0.9).all())
    assert done.loss[-1][1] < 0.2 < done.loss[0][1] and done.recovery is None and not scorer.training


def test_equal_seeds_give_equal_weights_and_the_global_generators_are_given_back():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second, third = (weights(run(seed=seed)[0]) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])


def relabel_all(score_BS, outcome_B, step_BS):
    return np.broadcast_to(outcome_B[:, None], score_BS.shape), step_BS.astype(float)


OBJECTIVES = {
    "outcome": Objective(),
    "recovery": Objective(knobs={"recovery": "learned"}),
    "relabel": Objective(None, relabel=relabel_all, warmup_updates=8),
}


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("half_written", [False, True])
def test_a_killed_run_ends_as_the_uninterrupted_one(tmp_path, objective, half_written):
    """Ten updates, a checkpoint every five, killed at seven; dropout and the warm-up's clock go on where they were.

    A checkpoint that the kill cut short (no trainer_state.json) is passed over.
    """
    whole, _ = run(objective=objective)
    work, seen = tmp_path / "work", []

    def kill(update):
        seen.append(update)
        if update == 7:
            raise Killed

    knobs = {"objective": objective, "work_dir": work, "save_every": 5, "every": 1}
    with pytest.raises(Killed):
        run(**knobs, on_update=kill)
    assert (work / "checkpoint-5").is_dir()
    if half_written:
        (work / "checkpoint-7").mkdir()
        (work / "checkpoint-7" / "model.safetensors").write_bytes(b"half")
    resumed, done = run(**knobs, on_update=lambda update: seen.append(update))
    assert seen == [*range(1, 8), *range(6, 11)]
    assert torch.equal(weights(whole), weights(resumed)) and [u for u, _ in done.loss] == list(range(1, 11))
    assert not work.exists()


def test_the_checkpoint_of_another_run_is_not_continued(tmp_path):
    def kill(update):
        raise Killed

    knobs = {"work_dir": tmp_path, "save_every": 2, "every": 3}
    with pytest.raises(Killed):
        run(**knobs, on_update=kill)
    for other in ({"rows": data(seed=1)}, {"learning_rate": 0.1}, {"seed": 1}, {"scorer": Bag(vocab=20)}):
        with pytest.raises(ValueError, match="holds checkpoints of a run with other data or arguments"):
            run(**knobs, **other)
    run(**knobs)


def test_what_else_is_in_the_working_folder_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    run(work_dir=tmp_path, save_every=5)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_left_on_disk_without_a_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    run()
    assert list(tmp_path.iterdir()) == []


def test_tied_weights_are_checkpointed(tmp_path):
    class Tied(Bag):
        def __init__(self):
            super().__init__()
            self.again = self.embed

    def kill(update):
        raise Killed

    whole, _ = run(Tied())
    with pytest.raises(Killed):
        run(Tied(), work_dir=tmp_path, save_every=5, every=7, on_update=kill)
    resumed, _ = run(Tied(), work_dir=tmp_path, save_every=5)
    assert torch.equal(weights(whole), weights(resumed)) and resumed.again.weight is resumed.embed.weight


def test_bfloat16_trains_close_to_float32():
    a, b = (weights(run(Bag(dropout=0.0), dtype=dtype)[0]) for dtype in ("float32", "bfloat16"))
    assert torch.allclose(a, b, atol=0.01) and not torch.equal(a, b) and b.dtype == torch.float32


def test_the_cost_counts_tokens_without_padding():
    rows = data(64)
    _, done = run(rows=rows, num_updates=8)  # 8 batches of 8: one epoch
    assert done.cost.forwarded_tokens == sum(len(s.token_ids_T) for s in rows) and done.cost.seconds > 0


def test_a_learned_recovery_rate_starts_at_its_prior_and_is_reported_before_each_look():
    seen = []
    _, done = run(objective=OBJECTIVES["recovery"], learning_rate=0.1, every=5,
                  on_recovery=seen.append, on_update=lambda update: seen.append(update))  # fmt: skip
    assert seen[1::2] == [5, 10] and seen[2] == done.recovery
    assert 0 < done.recovery < 1 and done.recovery != pytest.approx(1 / (1 + math.exp(2)), abs=1e-4)
    with pytest.raises(ValueError, match="learned recovery rate needs latent_chain with link=derivation"):
        Objective(knobs={"recovery": "learned", "link": "retry"})


def test_only_attempts_that_carry_a_signal_are_forwarded():
    silent = [sample([3, 3, 3], float("nan"))] * 20
    rows = data(16)
    first, second = run(rows=rows), run(rows=rows + silent)
    assert torch.equal(weights(first[0]), weights(second[0]))
    assert first[1].cost.forwarded_tokens == second[1].cost.forwarded_tokens
    with pytest.raises(ValueError, match="none of 20 samples has a scored outcome or a label to learn from"):
        run(rows=silent)
    with pytest.raises(ValueError, match="none of 16 samples"):
        run(rows=rows, objective=Objective(None))  # outcomes, and no labels


def test_callbacks_see_the_scorer_in_eval_mode_and_training_goes_on():
    scorer, modes = Bag(), []
    scorer.register_forward_pre_hook(lambda module, given: modes.append(module.training))
    run(scorer, num_updates=4, every=2, on_update=lambda update: scorer(*[torch.zeros(1, 1, dtype=torch.long)] * 3))
    assert modes == [True, True, False, True, True, False]


def test_a_diverged_run_is_stopped():
    with pytest.raises(
        ValueError, match=r"the loss is nan at update \d+: training has diverged; lower the learning rate"
    ):
        run(rows=data(200), learning_rate=1e38, num_updates=40, max_grad_norm=1e38)


def test_unknown_knobs_are_refused_before_training():
    with pytest.raises(ValueError, match="pooling/softmin has no knob link; allowed: temperature, detach_weights"):
        Objective("softmin", {"link": "free"})
    with pytest.raises(ValueError, match="no pooling method 'mean'; there are: "):
        Objective("mean")


@pytest.mark.parametrize("every", [0, 2])
def test_a_run_is_silent(capfd, every):
    run(every=every, on_update=lambda update: None)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


# labels, and labels made per batch


def test_labels_are_a_weighted_mean_of_cross_entropies():
    """u = 0 everywhere: log 2 whatever the labels. With bias log 3 (p = 3/4): labels 1, 0 of weights 2, 1 and one unknown:
    (2 * -log .75 + -log .25) / 3 = .6539.
    """
    scorer = Bag(dropout=0.0)
    nn.init.zeros_(scorer.score.weight)
    one = Sample([1, 2, 3], np.ones(3, bool), [[1.0, 0.0, np.nan]], [[2.0, 1.0, 0.0]])
    batch = prm.Batches([one], [[0]], pad_id=0)[0]
    for bias, loss in ((0.0, math.log(2)), (math.log(3), 0.6539)):
        nn.init.constant_(scorer.score.bias, bias)
        assert Fitting(scorer, Objective(None))(**batch)["loss"].item() == pytest.approx(loss, abs=1e-4)


def test_labels_may_teach_before_the_outcomes_do():
    """Labels that call token 5 wrong, outcomes that do not know it: after two label updates of 40 the outcomes win."""
    rng = np.random.default_rng(0)
    rows = [sample([5, other], float(other > 0), [0.0, 1.0]) for other in rng.integers(0, 5, 64)]
    by_labels, by_outcomes = (
        run(Bag(dropout=0.0), rows, Objective(label_updates=num), num_updates=60, learning_rate=0.1)[0]
        for num in (60, 2)
    )
    keep = [torch.sigmoid(one.score(one.embed.weight))[5, 0].item() for one in (by_labels, by_outcomes)]
    assert keep[0] < 0.1 < 0.9 < keep[1]
    only_labels = sample([1, 2], float("nan"), [1.0, 0.0])
    assert Objective(label_updates=1).teaches(only_labels) and not Objective().teaches(only_labels)


def test_soft_labels_are_learned_as_they_are():
    rows = [sample([1], 1.0, [0.9]), sample([2], 1.0, [0.3])] * 8
    scorer, _ = run(Bag(dropout=0.0), rows, Objective(None), num_updates=200, learning_rate=0.1)
    p = torch.sigmoid(scorer.score(scorer.embed.weight))[:, 0]
    assert p[1].item() == pytest.approx(0.9, abs=0.02) and p[2].item() == pytest.approx(0.3, abs=0.02)


def agreeing(score_BS, outcome_B, step_BS):
    """SPRM's filter, paper weights."""
    label_BS = np.broadcast_to(outcome_B[:, None], score_BS.shape)
    return label_BS, ((score_BS > 0.5) == (label_BS > 0.5)) * step_BS.astype(float)


def one_sided(bias):
    scorer = Bag(dropout=0.0)
    nn.init.zeros_(scorer.score.weight)
    nn.init.constant_(scorer.score.bias, bias)
    return scorer


@pytest.mark.parametrize(("bias", "lost"), [(3.0, "wrong"), (-3.0, "right")])
def test_a_filter_that_collapses_stops_the_run_and_says_why(bias, lost):
    objective = Objective(None, relabel=agreeing)
    with pytest.raises(FilterCollapse, match=f"COLLAPSED: steps of {lost} attempts no longer receive a gradient"):
        run(one_sided(bias), data(200), objective, num_updates=WINDOW + 10)


def test_a_warm_up_on_plain_outcomes_prevents_the_collapse():
    objective = Objective(None, relabel=agreeing, warmup_updates=60)
    _, done = run(one_sided(3.0), data(200), objective, num_updates=60 + 2 * WINDOW, learning_rate=0.1)
    assert [line.split(":")[0].split(" (")[0] for line in done.warnings] == ["Filter", "Filter while training"]
    assert [sorted(row) for row in done.watched] == [["kept_right", "kept_wrong", "positive", "update"]] * len(
        done.watched
    )
    assert done.watched and all(0 < row["positive"] < 1 for row in done.watched)


def test_the_warm_up_lasts_as_many_updates_as_asked():
    calls = []

    def counted(*given):
        calls.append(1)
        return relabel_all(*given)

    run(objective=Objective(None, relabel=counted, warmup_updates=7))
    assert len(calls) == 3


def test_the_watch_looks_at_whole_windows_and_is_quiet_without_a_filter():
    watch = CollapseWatch()
    assert watch.lines() == ()
    right = np.tile([1.0, 0.0], 10)
    for _ in range(WINDOW - 1):
        watch.update(np.full(20, 0.9), right)
    assert any("COLLAPSED" in line for line in watch.lines())
    with pytest.raises(FilterCollapse):
        watch.update(np.full(20, 0.9), right)
    healthy = CollapseWatch()
    for _ in range(WINDOW):
        healthy.update(right * 0.8 + 0.1, right)
    assert healthy.lines() == (
        "Filter: 50.0% of the scores are above one half; the filter keeps 100.0% of 500 steps of right attempts and "
        "100.0% of 500 of wrong ones.",
    )


# several workers


@pytest.mark.slow
def test_two_workers_train_one_scorer_and_leave_nothing(tmp_path):
    """`torchrun`, which `accelerate launch` starts too: equal weights in both, and one worker's files."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_prm\n"
        "scorer, done = test_prm.run(work_dir='work', save_every=4)\n"
        "import os\n"
        "print('RESULT', os.environ['RANK'], test_prm.weights(scorer).double().sum().item(), done.cost.forwarded_tokens)\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29677", str(script)],
        capture_output=True, text=True, cwd=tmp_path, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    results = [line.split()[1:] for line in found.stdout.splitlines() if line.startswith("RESULT")]
    assert found.returncode == 0, found.stderr
    assert sorted(rank for rank, *_ in results) == ["0", "1"] and results[0][1:] == results[1][1:]
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["train.py"]
