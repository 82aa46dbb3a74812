"""`stepcredit train`: attempts with outcomes (or step labels) in, a scorer's folder out."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from stepcredit.commands._parser import unescaped
from stepcredit.commands._reading import Reading, cut_of, hint_ids, records
from stepcredit.core.layout import ReadAt
from stepcredit.core.protocols import Judge
from stepcredit.core.readout import Link
from stepcredit.core.types import Record
from stepcredit.judge._manifest import Manifest

EPOCHS, FEWEST, MOST = 20, 100, 2000  # what decides the updates when they are not given
SCRATCH_RATE, BACKBONE_RATE = 1e-3, 2e-5


def run(  # noqa: D417  # the parser fills in what is not described
    input: str,
    out: str,
    *,
    judge: Literal["head", "shared_head", "linear"] = "head",
    pooling: str = "latent_chain",
    link: Link = "derivation",
    recovery: float | Literal["learned"] = 0.0,
    fp: float = 0.0,
    fn: float = 0.0,
    temperature: float = 1.0,
    credit: str | None = None,
    chain_labels: bool = False,
    label_updates: int = 0,
    self_supervised: Literal["off", "paper", "released"] = "off",
    warmup_updates: int = 0,
    backbone: str | None = None,
    layer: int = -2,
    gradient_scale: float = 0.0,
    dropout: float = 0.5,
    tokenizer: Literal["bpe", "word"] = "bpe",
    vocab_size: int = 4096,
    hidden: int = 128,
    layers: int = 2,
    heads: int = 4,
    updates: int | None = None,
    batch_size: int = 32,
    token_budget: int = 16384,
    lr: float | None = None,
    dtype: Literal["auto", "float32", "bfloat16"] = "float32",
    max_tokens: int = 4096,
    on_long: Literal["raise", "skip"] = "raise",
    marker: str | None = None,
    prompt_end: str = "\n",
    within: str = " ",
    read: ReadAt = "on",
    show_problem: bool = True,
    choose_on: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    reading: Reading,
    config: Mapping[str, Any],
) -> None:
    r"""Train a scorer of steps on attempts, from their outcomes or from a credit's labels.

    A killed run goes on where it was when the same command is given again (its state is in OUT.partial-train). The whole
    file is held in memory, measured at 20 kB an attempt of eight steps and 450 characters.

    Args:
        input: The file of attempts.
        out: Folder of the scorer; an earlier scorer there is replaced when the new one is done.
        judge: head, a network; shared_head, a small head on the policy that --backbone names, which stays the policy;
            or linear, in the words of each turn alone, which takes seconds and of the options below only link, fp, fn and
            credit.
        pooling: Outcome loss: `stepcredit list pooling`.
        link: For latent_chain: derivation (sound until a step breaks it), retry (fails until a step succeeds), free.
        recovery: For latent_chain: the rate at which a broken state recovers, or "learned".
        fp: The verifier's rate of calling a wrong attempt right.
        fn: The verifier's rate of calling a right attempt wrong.
        temperature: For softmin.
        credit: Learn from the labels of this credit in the file, instead of an outcome loss or before it.
        chain_labels: The credit's labels say of each step whether it keeps a sound state sound: read them as a chain.
        label_updates: With credit: its labels teach this many updates, the pooling the rest; 0 means labels alone.
        self_supervised: Learn from the outcome where the judge agrees: the paper's filter, or its released code's.
        warmup_updates: For self_supervised: updates on the plain outcome first.
        backbone: Folder or hub name of a causal language model or encoder; none is a small network from scratch.
        layer: For shared_head: the hidden states it reads; 1 is the first layer's output, -1 the last's.
        gradient_scale: For shared_head: share of its gradient that reaches the policy; 0 leaves the policy as it is.
        dropout: For shared_head: dropout inside it.
        tokenizer: From scratch: the tokenizer that is learned from the attempts.
        vocab_size: From scratch: at most this many tokens.
        hidden: From scratch: width.
        layers: From scratch: depth.
        heads: From scratch: attention heads.
        updates: Updates; when not given 20 passes over the data, at least 100 and at most 2000.
        batch_size: Attempts of an update.
        token_budget: Tokens of a batch, at most.
        lr: Learning rate; when not given 1e-3 for what starts from scratch, 2e-5 where a backbone learns.
        dtype: What the network computes in; auto is bfloat16 where the processor computes in it.
        max_tokens: Tokens of an attempt, at most.
        on_long: What a longer attempt does: stop, or be left out.
        marker: Token put behind each step, where it is scored (<step>, and \n for shared_head, when not given); \n
            and \t may be typed.
        prompt_end: Text between problem and first step.
        within: Text between a step and what the environment answered.
        read: Score at the marker, or at the token before it.
        show_problem: Whether the judge sees the problem; what it cannot see cannot excuse a step.
        choose_on: A file with step truth, for a judge that is no chain: the threshold on step scores with the best F1
            on it is kept in scorer.json (else 0.5), which is step supervision; `evaluate --scorer` uses it.
        seed: The same seed gives the same scorer.
        threads: Processor threads (all when not given).
    """
    from stepcredit.commands import _show, _threshold, _torch
    from stepcredit.core import registry
    from stepcredit.core.layout import Layout
    from stepcredit.recipes._fit import Backbone, Budget, Teaching, check_phases, fit_scorer
    from stepcredit.recipes._save import save_scorer

    if credit == "truth":
        raise ValueError(
            "recorded truth is only measured against; for a control, copy it first: stepcredit credit IN OUT --method oracle"
        )
    target = _checked_target(out)
    if judge == "linear":
        _linear(input, reading, target, Teaching(link=link, fp=fp, fn=fn, credit=credit), choose_on, seed)
        return
    registry.get("pooling", pooling)
    if marker is None:
        marker = "\n" if judge == "shared_head" else "<step>"
    layout = Layout(unescaped(marker), unescaped(prompt_end), unescaped(within), read, show_problem)
    if backbone is not None and backbone.lower() == "none":
        backbone = None
    if judge == "shared_head" and backbone is None:
        raise ValueError("a shared_head sits on a policy's network: name the policy with --backbone")
    if lr is not None and lr <= 0:
        raise ValueError(f"lr is {lr}; allowed: above 0")
    if batch_size < 1 or (updates is not None and updates < 1):
        raise ValueError(f"updates are {updates}, batch_size {batch_size}; allowed: 1 or more")
    teaching = Teaching(
        pooling=pooling, link=link, recovery=recovery, fp=fp, fn=fn, temperature=temperature, credit=credit,
        chain_labels=chain_labels, self_supervised=self_supervised, warmup_updates=warmup_updates,
        label_updates=label_updates,
    )  # fmt: skip
    marked = _threshold.marked(choose_on, teaching.readout, reading)
    rows = _rows(input, reading)
    num_updates = _updates(rows, batch_size) if updates is None else updates
    check_phases(teaching, num_updates)
    _torch.prepare(threads)
    from stepcredit.judge.head import ScorerJudge

    if backbone is not None:
        from stepcredit.policy.hf import locate

        backbone = locate(backbone)
    new_alone = backbone is None or (judge == "shared_head" and gradient_scale == 0)
    network = Backbone(
        path=backbone, tokenizer=tokenizer, vocab_size=vocab_size, hidden=hidden, layers=layers, heads=heads, kind=judge,
        layer=layer, gradient_scale=gradient_scale, dropout=dropout,
    )  # fmt: skip
    budget = Budget(
        num_updates=num_updates, batch_size=batch_size, token_budget=token_budget, dtype=dtype, max_tokens=max_tokens,
        learning_rate=lr if lr is not None else SCRATCH_RATE if new_alone else BACKBONE_RATE, on_long=on_long,
    )  # fmt: skip
    work = _work_folder(target, input, config)
    try:
        with _torch.weights_of(backbone), _show.bar("training", num_updates) as advance:
            every = max(1, num_updates // 100)
            fitted = fit_scorer(
                rows, teaching=teaching, backbone=network, budget=budget, layout=layout, seed=seed, work_dir=work, every=every,
                on_update=lambda update, judge: advance(every),
            )  # fmt: skip
    except (ValueError, RuntimeError):  # going on would only fail again
        shutil.rmtree(work, ignore_errors=True)
        raise
    if not _first_process():
        return
    fitted.scorer.manifest = _finished(fitted.scorer.manifest, ScorerJudge(fitted.scorer), input, reading, marked)
    save_scorer(fitted.scorer, target)
    shutil.rmtree(work, ignore_errors=True)
    last = f", last loss {fitted.fit.loss[-1][1]:.4f}" if fitted.fit.loss else ""
    print(
        f"wrote {target}: {fitted.num_attempts} attempts, {num_updates} updates, {fitted.fit.cost.seconds:.1f} s{last}"
    )
    if fitted.fit.recovery is not None:
        print(f"learned recovery rate: {fitted.fit.recovery:.3f}")
    for line in fitted.lines:
        print(line)


def _rows(source: str, reading: Reading) -> list[Record]:
    from stepcredit.commands import _show

    rows = list(_show.progress(records(source, reading), "reading"))
    hint_ids((row.tree.problem.id, row.tree.problem.prompt) for row in rows)
    return rows


def _linear(source: str, reading: Reading, target: Path, teaching: Any, choose_on: str | None, seed: int) -> None:
    from stepcredit.commands import _threshold
    from stepcredit.judge.linear import LinearScorer
    from stepcredit.recipes._fit import identifiability
    from stepcredit.recipes._save import save_scorer

    marked = _threshold.marked(choose_on, teaching.readout, reading)
    rows = _rows(source, reading)
    scorer = LinearScorer.fit(rows, credit=teaching.credit, link=teaching.link, fp=teaching.fp, fn=teaching.fn)
    scorer.manifest = _finished(scorer.manifest, scorer, source, reading, marked)
    save_scorer(scorer, target)
    print(f"wrote {target}: linear, {sum(len(record.tree.leaves) for record in rows)} attempts")
    for line in identifiability(rows, scorer, scorer.manifest.readout, teaching, seed):
        print(line)


def _finished(
    manifest: Manifest, judge: Judge, source: str, reading: Reading, marked: Sequence[Record] | None
) -> Manifest:
    """With how the training file was cut into steps, and the threshold chosen on marked attempts where there are any."""
    from stepcredit.commands import _threshold

    if (cut := cut_of(source, reading)) is not None:
        manifest = replace(manifest, segment=cut.segment, delimiter=cut.delimiter)
    return manifest if marked is None else _threshold.chosen(manifest, judge, marked)


def _checked_target(out: str) -> Path:
    target = Path(out)
    if not target.parent.is_dir():
        raise ValueError(f"{out}: the folder {target.parent} does not exist")
    if target.is_file():
        raise ValueError(f"{out} is a file; a scorer needs a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / "scorer.json").is_file():
        raise ValueError(f"{out} is a folder with something else in it than a scorer; name a new one")
    return target


def _updates(rows: Sequence[Record], batch_size: int) -> int:
    num = sum(len(record.tree.leaves) for record in rows)
    return min(MOST, max(FEWEST, EPOCHS * math.ceil(num / max(batch_size, 1))))


def _first_process() -> bool:
    """Whether this is the one of several processes (`accelerate launch`) that writes."""
    return os.environ.get("RANK", "0") == "0"


def _work_folder(target: Path, source: str, config: Mapping[str, Any]) -> Path:
    """Where a run keeps its state: emptied unless it is of the same data and options."""
    work = target.with_name(target.name + ".partial-train")
    if not _first_process():
        return work
    digest = hashlib.sha256()
    with Path(source).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    own = {name: value for name, value in config.items() if name not in ("out", "threads")}
    made_from = json.dumps({"options": own, "sha256": digest.hexdigest()}, sort_keys=True, default=str)
    note = work / "made_from.json"
    if work.exists() and not (note.is_file() and note.read_text(encoding="utf-8") == made_from):
        shutil.rmtree(work)
    work.mkdir(exist_ok=True)
    note.write_text(made_from, encoding="utf-8")
    return work
