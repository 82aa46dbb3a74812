"""From records to a trained scorer: the one path that the CLI, the recipes and the demo share.

Builds the scorer (a backbone folder, or a small one from scratch with its own tokenizer), the samples and the readout
that belongs to the objective, trains, writes the learned recovery rate into the readout, and says in sentences whether
the credit it learned is identified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepcredit.core import diagnostics, link_choice
from stepcredit.core.aggregate import Aggregation
from stepcredit.core.layout import Layout
from stepcredit.core.readout import Link, Readout, logit, start_rate
from stepcredit.core.rng import rng
from stepcredit.core.types import Record
from stepcredit.recipes._sprm_filter import sprm_filter

AGGREGATION: dict[str, Aggregation] = {
    "softmin": "min",
    "geometric_mean": "geometric_mean",
    "broadcast": "min",
    "last": "last",
    "buffer": "min",
    "value": "last",  # what OVM's released scorer reads
}
RARE = -3.0  # logit: a free chain starts with repairs at 5 %, or it would start without memory
MAX_DIAGNOSED = 2000  # attempts; the diagnostics are shares, and this many settle them


@dataclass(frozen=True)
class Teaching:
    """How a judge is taught: an outcome loss (`pooling`), or a Credit's labels (`credit`), or the one after the other.

    With `credit` alone the pooling is ignored; with `label_updates` the labels teach that many updates, then the pooling.

    `chain_labels` says that the credit's labels are the soundness of each step given the steps before it, so that they
    are read out as a chain. `recovery` is a rate or "learned".
    """

    pooling: str = "latent_chain"
    link: Link = "derivation"
    recovery: float | Literal["learned"] = 0.0
    fp: float = 0.0
    fn: float = 0.0
    temperature: float = 1.0
    credit: str | None = None
    chain_labels: bool = False
    self_supervised: Literal["off", "paper", "released"] = "off"
    warmup_updates: int = 0
    label_updates: int = 0
    beta: float = 0.5
    factor: Literal["fixed", "random"] = "fixed"
    squash: bool = False
    by_length: bool = False

    def __post_init__(self) -> None:
        if self.label_updates and self.credit is None:
            raise ValueError(f"label_updates is {self.label_updates}, without a credit whose labels would teach them")
        if self.credit is not None and self.self_supervised != "off":
            raise ValueError(f"teach by the credit {self.credit!r} or by the self-supervised filter, not by both")
        if self.warmup_updates and self.self_supervised == "off":
            raise ValueError(
                f"warmup_updates is {self.warmup_updates}, without the self-supervised filter it warms up for"
            )

    @property
    def labels_only(self) -> bool:
        """Whether no outcome loss is used."""
        return self.credit is not None and self.label_updates == 0

    @property
    def readout(self) -> Readout:
        """How the head is read after this teaching."""
        fixed = 0.0 if self.recovery == "learned" else self.recovery
        if self.labels_only or self.self_supervised != "off":
            if self.chain_labels:
                return Readout("latent_chain", "derivation")
            return Readout("labels", aggregation="geometric_mean" if self.self_supervised != "off" else "min")
        if self.pooling == "latent_chain":
            return Readout("latent_chain", self.link, fixed)
        return Readout(self.pooling, aggregation=AGGREGATION[self.pooling], squash=self.squash)

    @property
    def knobs(self) -> dict[str, Any]:
        """Knobs of the pooling."""
        if self.pooling == "latent_chain":
            return {"link": self.link, "recovery": self.recovery, "fp": self.fp, "fn": self.fn}
        of = {"softmin": ("temperature",), "buffer": ("beta", "factor"), "value": ("squash", "by_length")}
        return {name: getattr(self, name) for name in of.get(self.pooling, ())}


@dataclass(frozen=True)
class Backbone:
    """The judge's network: a local folder or hub id, else a small Llama from scratch; and the head on it.

    kind="head" is a token classifier, "shared_head" SPRM's head on the policy's own network, which needs a `path`;
    `layer`, `gradient_scale` and `dropout` are of the latter.
    """

    path: str | None = None
    tokenizer: Literal["word", "bpe"] = "bpe"
    vocab_size: int = 4096
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    kind: Literal["head", "shared_head"] = "head"
    layer: int = -2
    gradient_scale: float = 0.0  # SPRM's 1e-4 is beside a policy loss; alone, Adam would make a full step of it
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("head", "shared_head"):
            raise ValueError(f"the judge's kind is {self.kind!r}; allowed: head, shared_head")
        if self.kind == "shared_head" and self.path is None:
            raise ValueError(
                "a shared_head sits on a policy's network: give the policy's folder as the backbone's path"
            )


@dataclass(frozen=True)
class Budget:
    """Equal for every arm that is compared."""

    num_updates: int = 1000
    batch_size: int = 64
    token_budget: int = 16384
    learning_rate: float = 1e-3
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"  # auto: bfloat16 where the processor computes in it
    max_tokens: int = 4096
    on_long: Literal["raise", "skip"] = "raise"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained scorer, its training run, and what the diagnostics say of it."""

    scorer: Any
    fit: Any
    lines: list[str] = field(default_factory=list)
    num_attempts: int = 0


def fit_scorer(
    records: Sequence[Record], *, teaching: Teaching, backbone: Backbone, budget: Budget, layout: Layout | None = None,
    seed: int = 0, every: int = 0, on_update: Callable[[int, Any], None] | None = None, work_dir: Path | None = None,
    progress: bool = False, diagnose: bool = True,
) -> Fitted:  # fmt: skip
    """Train a judge on records. Same seed, same scorer.

    `layout` defaults to Layout(), and to a newline as marker for a shared head, whose policy writes no other. Raises
    ValueError for data that cannot teach (see `train/samples.py`), a first phase that leaves no update to the second, a
    filter that collapses, a run that diverges.
    """
    from stepcredit.judge.head import ScorerJudge
    from stepcredit.train.prm import fit
    from stepcredit.train.samples import samples

    check_phases(teaching, budget.num_updates)
    layout = layout or (Layout(marker="\n") if backbone.kind == "shared_head" else Layout())
    readout = teaching.readout
    scorer = _new_scorer(records, backbone, layout, readout, budget.max_tokens, seed)
    limit = scorer.manifest.max_tokens
    rows = samples(records, scorer.encode, credit=teaching.credit, max_tokens=limit, on_long=budget.on_long)
    scorer.reset_head(*start_biases(rows, readout))
    objective = objective_of(teaching)

    def recovered(rate: float) -> None:
        scorer.manifest = replace(scorer.manifest, readout=replace(readout, recovery=rate))

    done = fit(
        scorer, rows, objective=objective, num_updates=budget.num_updates, batch_size=budget.batch_size,
        token_budget=budget.token_budget, learning_rate=budget.learning_rate, dtype=_dtype(budget), seed=seed,
        pad_id=scorer.pad_id, work_dir=work_dir, save_every=200 if work_dir else 0, progress=progress, every=every,
        on_update=(lambda update: on_update(update, ScorerJudge(scorer))) if on_update else None, on_recovery=recovered,
    )  # fmt: skip
    if done.recovery is not None:
        recovered(done.recovery)
    readout = scorer.manifest.readout
    trained = {"teaching": _plain(teaching), "budget": _plain(budget), "seed": seed, "num_attempts": len(rows)}
    scorer.manifest = replace(scorer.manifest, trained=trained)
    lines = identifiability(records, ScorerJudge(scorer), readout, teaching, seed) if diagnose else []
    return Fitted(scorer, done, [*lines, *done.warnings], len(rows))


def objective_of(teaching: Teaching) -> Any:
    """What the trainer minimises (`train.prm.Objective`)."""
    from stepcredit.train.prm import Objective

    if teaching.self_supervised != "off":
        return Objective(None, relabel=sprm_filter(teaching.self_supervised), warmup_updates=teaching.warmup_updates)
    if teaching.labels_only:
        return Objective(None)
    return Objective(teaching.pooling, teaching.knobs, label_updates=teaching.label_updates)


def check_phases(teaching: Teaching, num_updates: int) -> None:
    """Raise ValueError where a warm-up, or the labels that come first, leave no update to what they prepare."""
    for name, first, then in (("warmup_updates", teaching.warmup_updates, "the self-supervised filter"),
                              ("label_updates", teaching.label_updates, f"the pooling {teaching.pooling}")):  # fmt: skip
        if not 0 <= first < max(num_updates, 1):
            raise ValueError(f"{name} is {first} of {num_updates} updates; allowed: from 0 to {num_updates - 1}, "
                             f"or {then} never starts")  # fmt: skip


def _new_scorer(
    records: Sequence[Record], backbone: Backbone, layout: Layout, readout: Readout, max_tokens: int, seed: int
) -> Any:
    from stepcredit.judge.head import HeadScorer
    from stepcredit.judge.shared_head import SharedHeadScorer
    from stepcredit.train.tiny import build_tokenizer, tiny_config

    if backbone.path is not None:
        knobs: dict[str, Any] = {"layout": layout, "readout": readout, "max_tokens": max_tokens, "seed": seed}
        if backbone.kind == "head":
            return HeadScorer.create(backbone.path, **knobs)
        return SharedHeadScorer.create(backbone.path, layer=backbone.layer, gradient_scale=backbone.gradient_scale,
                                       dropout=backbone.dropout, **knobs)  # fmt: skip
    texts = [layout.render(r.tree.problem, r.tree.solution(leaf))[0] for r in records for leaf in r.tree.leaves
             if r.tree.sampled_N[list(r.tree.path(leaf))].any()]  # fmt: skip
    if not texts:
        raise ValueError("no attempt to train on")
    tokenizer = build_tokenizer(
        texts, kind=backbone.tokenizer, vocab_size=backbone.vocab_size, extra_tokens=[layout.marker]
    )
    longest = max(len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"])
    config = tiny_config(tokenizer, hidden=backbone.hidden, layers=backbone.layers, heads=backbone.heads,
                         max_positions=max(max_tokens, longest))  # fmt: skip
    return HeadScorer.create(
        config, tokenizer=tokenizer, layout=layout, readout=readout, max_tokens=max_tokens, seed=seed
    )


def _plain(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _dtype(budget: Budget) -> Literal["float32", "bfloat16"]:
    from stepcredit.train.tiny import computes_bfloat16

    if budget.dtype == "auto":
        return "bfloat16" if computes_bfloat16() else "float32"
    return budget.dtype


def start_biases(rows: Sequence[Any], readout: Readout) -> list[float]:
    """Keep = base_rate^(1 / mean steps) for a chain, so that a fresh judge predicts the base rate; fix starts rare."""
    outcomes = np.array([row.outcome for row in rows])
    if not readout.is_chain or not np.isfinite(outcomes).any():
        return []
    base = float(np.clip(np.nanmean(outcomes), 0.02, 0.98))
    mean_steps = float(np.mean([row.num_steps for row in rows]))
    return [logit(start_rate(base, mean_steps, readout.link)), *([RARE] if readout.link == "free" else [])]


def identifiability(
    records: Sequence[Record], judge: Any, readout: Readout, teaching: Teaching, seed: int
) -> list[str]:
    """Sentences on whether a chain's step credit is identified; empty for judges that are no chain."""
    if not readout.is_chain or teaching.labels_only:
        return []
    flat = [(r, leaf) for r in records for leaf in r.tree.leaves if np.isfinite(r.tree.reward_N[leaf])][:MAX_DIAGNOSED]
    judged = judge([(r.tree.problem, r.tree.solution(leaf)) for r, leaf in flat])
    kept = [(pair, j) for pair, j in zip(flat, judged, strict=True) if j.status == "scored"]
    fix = [j.channels["fix"] for _, j in kept]
    keep = [j.channels.get("keep", np.ones_like(j.channels["fix"])) for _, j in kept]
    right = np.array([r.tree.reward_N[leaf] > 0.5 for (r, leaf), _ in kept])
    problems = [r.tree.problem.id for (r, _), _ in kept]
    blame = diagnostics.last_step_blame(keep, fix, right.tolist(), start=0.0 if readout.link == "retry" else 1.0,
                                        fp=teaching.fp, fn=teaching.fn, clusters=problems, rng=rng(seed, "blame"))  # fmt: skip
    stop = link_choice.stop_on_success(np.array([len(k) for k in keep]), right, problems, rng=rng(seed, "diagnostics"))
    found = [*(blame.lines() if blame else []), *(stop.lines() if stop else [])]
    repairs = readout.link == "free" or readout.recovery > 0
    return [*found, *(diagnostics.kappa(keep, fix).lines() if repairs else [])]
