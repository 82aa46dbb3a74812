"""A linear judge of steps: TF-IDF of a turn's words, taught by labels or by outcomes through the hidden chain.

    u_j = w . tfidf(turn_j) + b          labels: ok = s(u);  derivation: keep = s(u);  retry: fix = s(u)

TF-IDF: Salton and Buckley 1988. Chain: RSP, arXiv:2609.39220; derivation without recovery is CRM (arXiv:2509.26578),
retry is noisy-OR multiple-instance learning. Features in `_turns`, likelihoods and optimiser (L-BFGS) in `_ascent`.
It sees each turn alone, so it cannot read a verdict off the rest of the attempt, but it can read it off the last turn.
No torch; seconds on one core; same data, same bytes. Saved as safetensors beside `scorer.json`.
Degenerate: a turn without a word gets the bias; an attempt without a sampled step makes the judge abstain.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepcredit.core.aggregate import Aggregation
from stepcredit.core.layout import Encoded
from stepcredit.core.protocols import Judge, Solution
from stepcredit.core.readout import Readout, judgment
from stepcredit.core.registry import register
from stepcredit.core.types import Cost, Floats, Judgment, Problem, Record
from stepcredit.judge._ascent import Target, climb, label_target, outcome_target
from stepcredit.judge._manifest import (
    GOLDEN,
    Manifest,
    check_golden,
    check_kind,
    check_scores,
    load_manifest,
    with_golden,
)
from stepcredit.judge._turns import Hashing, Turns, inverse_document_frequency, turns, weighted

WEIGHTS = "model.safetensors"


@register("judge", paper="arXiv:2609.39220")
def linear(path: str) -> Judge:
    """Load a saved linear scorer. Raises ValueError for a missing folder, or features or scores that changed."""
    return LinearScorer.load(path)


class LinearScorer:
    """Weights [D], bias and idf [D] with their manifest; a Judge once fitted."""

    def __init__(self, manifest: Manifest, idf_D: Floats, weight_D: Floats, bias: float) -> None:
        self.manifest, self.idf_D, self.weight_D, self.bias = manifest, idf_D, weight_D, bias
        self.hashing = Hashing(**manifest.extra["hashing"])

    @classmethod
    def fit(
        cls, records: Sequence[Record], *, credit: str | None = None, link: Literal["derivation", "retry"] = "derivation",
        fp: float = 0.0, fn: float = 0.0, aggregation: Aggregation = "min", inverse_penalty: float = 1.0,
        num_iterations: int = 200, hashing: Hashing | None = None, counted: Turns | None = None,
    ) -> LinearScorer:  # fmt: skip
        """Fit on labels, where `credit` names a label of every record, else on the outcomes through `link`.

        `fp`, `fn`: the verifier's known error rates, in the likelihood of outcomes; labels are taken as they are.
        `counted` are the turns of the records' attempts, records first and leaves within, where they are already counted
        with `hashing`. Attempts without scored outcome (or label) take no part. Raises ValueError for a missing credit or
        one that is not a label, a reward outside [0, 1], impossible rates, and targets that are all alike.
        """
        hashing = hashing or Hashing()
        if credit is None and link not in ("derivation", "retry"):
            raise ValueError(f"link is {link!r}; allowed: derivation, retry")
        if inverse_penalty <= 0 or num_iterations < 1:
            raise ValueError(
                f"inverse_penalty and num_iterations must be positive; got {inverse_penalty}, {num_iterations}"
            )
        if counted is None:
            counted = turns(
                [(r.tree.problem, r.tree.solution(leaf)) for r in records for leaf in r.tree.leaves], hashing
            )
        target = _target(records, counted, credit, link, fp, fn).checked()
        if counted.word_UD.shape[1] != hashing.width:
            raise ValueError(f"turns counted in {counted.word_UD.shape[1]} columns, but hashing has {hashing.width}")
        readout = Readout("latent_chain", link) if credit is None else Readout("labels", aggregation=aggregation)
        idf_D = inverse_document_frequency(counted.word_UD)
        row_UD = weighted(counted.word_UD[target.rows], idf_D)
        ascent = climb(
            row_UD, target.likelihood, target.bias, inverse_penalty=inverse_penalty, num_iterations=num_iterations
        )
        trained = {
            "credit": credit, "link": None if credit else link, "fp": fp, "fn": fn, "inverse_penalty": inverse_penalty,
            "optimiser": f"L-BFGS, at most {num_iterations} iterations", "num_iterations": len(ascent.heights) - 1,
            "converged": ascent.converged, "first_height": ascent.heights[0], "last_height": ascent.heights[-1],
        }  # fmt: skip
        shape = {"num_features": hashing.num_features, "longest": hashing.longest, "problem_text": hashing.problem_text}
        manifest = Manifest(
            "linear", readout=readout, activation="sigmoid(u)", trained=trained, extra={"hashing": shape}
        )
        scorer = cls(manifest, idf_D, ascent.weight_D, ascent.bias)
        golden = turns([GOLDEN], hashing)
        scores = tuple(scorer.judge(golden)[0].step_scores_S.tolist())
        scorer.manifest = with_golden(replace(manifest, golden_scores=scores), [_encoded(golden)])
        return scorer

    def count(self, attempts: Sequence[tuple[Problem, Solution]]) -> Turns:
        """The features of attempts, for `judge`."""
        return turns(attempts, self.hashing)

    def logits(self, counted: Turns) -> Floats:
        """One u per turn, [U]."""
        return np.asarray(weighted(counted.word_UD, self.idf_D) @ self.weight_D + self.bias)

    def log_likelihood(self, records: Sequence[Record], counted: Turns) -> float:
        """Nats of the records' own targets, labels or outcomes as it was taught: to choose a penalty by, not a quality."""
        trained = self.manifest.trained
        rates = (float(trained.get("fp", 0.0)), float(trained.get("fn", 0.0)))
        target = _target(records, counted, trained["credit"], str(trained["link"]), *rates)
        return target.likelihood(self.logits(counted)[target.rows])[0]

    def judge(self, counted: Turns) -> list[Judgment]:
        """One judgment per attempt of turns that are already counted."""
        started = time.perf_counter()
        logit_U = self.logits(counted)
        cost = Cost(judge_calls=1, seconds=(time.perf_counter() - started) / max(counted.num_attempts, 1))
        bounds = zip(counted.start_A[:-1], counted.start_A[1:], strict=True)
        return [judgment(logit_U[start:end, None], self.manifest.readout, cost) for start, end in bounds]

    def __call__(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """One judgment per attempt, in order."""
        return self.judge(self.count(attempts))

    def save(self, folder: str | Path) -> None:
        """Weights, idf and bias (safetensors), scorer.json."""
        from safetensors.numpy import save_file

        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        arrays = {"weight": self.weight_D, "idf": self.idf_D, "bias": np.array([self.bias])}
        save_file(arrays, str(path / WEIGHTS))
        self.manifest.save(path)

    @classmethod
    def load(cls, folder: str | Path) -> LinearScorer:
        """The inverse of `save`; refuses another kind of scorer, and one whose golden features or scores changed."""
        from safetensors.numpy import load_file

        manifest = load_manifest(folder)
        check_kind(manifest, "linear", folder)
        path = Path(folder) / WEIGHTS
        if not path.is_file():
            raise ValueError(f"{str(folder)!r} holds no {WEIGHTS}: not a finished scorer")
        arrays: dict[str, Any] = load_file(str(path))
        scorer = cls(manifest, arrays["idf"], arrays["weight"], float(arrays["bias"][0]))
        golden = scorer.count([GOLDEN])
        check_golden(manifest, [_encoded(golden)])
        check_scores(manifest, scorer.judge(golden)[0].step_scores_S.tolist(), 1e-9)
        return scorer


def _encoded(golden: Turns) -> Encoded:
    """Turns in the manifest's terms: ids are the hashed columns of each turn in order, reads where each turn ends."""
    ids = [np.sort(golden.word_UD[turn].indices) for turn in range(golden.word_UD.shape[0])]
    return Encoded(np.concatenate(ids).astype(np.int64), np.cumsum([len(one) for one in ids]) - 1)


def _target(records: Sequence[Record], counted: Turns, credit: str | None, link: str, fp: float, fn: float) -> Target:
    """What the turns are taught: the labels of `credit`, else the outcomes through `link`."""
    num_attempts = sum(len(record.tree.leaves) for record in records)
    if counted.num_attempts != num_attempts:
        raise ValueError(f"the records have {num_attempts} attempts, but turns of {counted.num_attempts} were counted")
    if credit is not None:
        return label_target(*_labels(records, credit))
    reward_A = np.array([r.tree.reward_N[leaf] for r in records for leaf in r.tree.leaves], dtype=np.float64)
    return outcome_target(reward_A, counted.start_A, retry=link == "retry", fp=fp, fn=fn)


def _labels(records: Sequence[Record], credit: str) -> tuple[Floats, Floats]:
    """Labels and weights per turn; a node on several paths counts once for each."""
    label, weight = [np.zeros(0)], [np.zeros(0)]
    for number, record in enumerate(records, start=1):
        if credit not in record.credits or record.credits[credit].kind != "label":
            kinds = ", ".join(f"{name} ({one.kind})" for name, one in record.credits.items()) or "none"
            raise ValueError(
                f"record {number} (problem {record.tree.problem.id!r}) has no label {credit!r}; it has: {kinds}"
            )
        given, sampled_N = record.credits[credit], record.tree.sampled_N
        for leaf in record.tree.leaves:
            nodes = [node for node in record.tree.path(leaf) if sampled_N[node]]
            label.append(given.values_N[nodes])
            weight.append(given.weight_N[nodes])
    return np.concatenate(label), np.concatenate(weight)
