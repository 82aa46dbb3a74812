"""`scorer.json`: everything needed to read a scorer the way it was trained, and a proof that it still is.

Beside the weights lie the template, marker and its token id, read position, positive class, activation, readout, how
text was cut into steps (None: the training file came in steps), threshold with where it came from, the digest of
`tokenizer.json`, and what a golden attempt gave when the scorer was saved: token ids, read positions, step scores.
Loading encodes and scores that attempt again and refuses a scorer whose tokenizer, template, weights or readout no
longer agree. Data format: version 1; older folders lack `segment`, `delimiter` and `threshold_problems`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepcredit.core.layout import Encoded, Layout
from stepcredit.core.readout import Readout
from stepcredit.core.segment import How, check_how
from stepcredit.core.types import Problem, Step

FILE = "scorer.json"
GOLDEN = (
    Problem("golden", "2 +3 *4"),
    (
        Step("given", sampled=False),
        Step("2+3=5"),
        Step("5*4=20", kind="tool_call"),
        Step("20", kind="tool_result", sampled=False),
        Step("end", kind="answer"),
    ),
)
ACTIVATIONS = {"head": "sigmoid(logit[positive] - logit[negative])", "shared_head": "sigmoid"}


@dataclass(frozen=True)
class Manifest:
    """The contents of scorer.json. `kind` is the judge module that loads it."""

    kind: str
    layout: Layout = field(default_factory=Layout)
    readout: Readout = field(default_factory=Readout)
    marker_id: int = -1
    positive_class: int = 1
    activation: str = ACTIVATIONS["head"]
    segment: How | None = None
    delimiter: str | None = None
    threshold: float = 0.5
    threshold_source: Literal["fixed", "chosen"] = "fixed"
    threshold_problems: tuple[str, ...] = ()
    max_tokens: int = 4096
    golden_ids: tuple[int, ...] = ()
    golden_reads: tuple[int, ...] = ()
    golden_scores: tuple[float, ...] = ()
    tokenizer_sha256: str = ""
    trained: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    format: int = 1

    def save(self, folder: Path) -> None:
        """Write scorer.json."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def load_manifest(folder: str | Path) -> Manifest:
    """Read scorer.json. Raises ValueError for a folder that is missing or is not a scorer."""
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"no scorer folder at {str(path)!r}")
    if not (path / FILE).is_file():
        raise ValueError(f"{str(path)!r} holds no {FILE}: not a finished scorer")
    try:
        given = json.loads((path / FILE).read_text(encoding="utf-8"))
        if given.get("format") != 1:
            raise ValueError(f"format {given.get('format')!r}; this version reads format 1")
        given["layout"], given["readout"] = Layout(**given["layout"]), Readout(**given["readout"])
        given["threshold_problems"] = tuple(given.get("threshold_problems", ()))
        for name in ("golden_ids", "golden_reads", "golden_scores"):
            given[name] = tuple(given[name])
        found = Manifest(**given)
        if found.segment is not None:
            check_how(found.segment, found.delimiter)
        if found.threshold_source not in ("fixed", "chosen"):
            raise ValueError(f"threshold_source is {found.threshold_source!r}; allowed: fixed, chosen")
        if found.positive_class != 1 or found.activation != ACTIVATIONS.get(found.kind, found.activation):
            raise ValueError(f"class {found.positive_class} through {found.activation!r}; a {found.kind} reads class 1 "
                             f"through {ACTIVATIONS.get(found.kind)!r}")  # fmt: skip
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / FILE} is not a scorer manifest: {error}") from error


def check_kind(manifest: Manifest, kind: str, folder: str | Path) -> None:
    """Raise ValueError for a scorer that another judge loads."""
    if manifest.kind != kind:
        raise ValueError(f"{str(folder)!r} holds a scorer of kind {manifest.kind!r}, not {kind!r}")


def digest_of(tokenizer: Path) -> str:
    """Of the file's bytes: the golden attempt meets only some of a tokenizer's tokens."""
    return hashlib.sha256(tokenizer.read_bytes()).hexdigest()


def check_golden(manifest: Manifest, encoded: Sequence[Encoded]) -> None:
    """Raise ValueError unless the golden attempt still gives the recorded tokens and read positions."""
    now = encoded[0]
    if tuple(now.token_ids_T.tolist()) != manifest.golden_ids or tuple(now.read_S.tolist()) != manifest.golden_reads:
        raise ValueError(
            f"this scorer's tokenizer no longer gives the tokens it was trained on: {list(manifest.golden_ids)} read at "
            f"{list(manifest.golden_reads)}, now {now.token_ids_T.tolist()} read at {now.read_S.tolist()}"
        )


def check_scores(manifest: Manifest, scores: Sequence[float], tolerance: float) -> None:
    """Raise ValueError unless the golden attempt still gets its recorded step scores."""
    now, then = np.asarray(scores, dtype=np.float64), np.asarray(manifest.golden_scores)
    if now.shape != then.shape or not np.allclose(now, then, rtol=0, atol=tolerance):
        raise ValueError(
            f"this scorer no longer gives the scores it was saved with: {then.round(4).tolist()}, now "
            f"{now.round(4).tolist()}; its weights, readout or library have changed"
        )


def with_golden(manifest: Manifest, encoded: Sequence[Encoded]) -> Manifest:
    """The manifest with its golden encoding filled in."""
    ids, reads = encoded[0].token_ids_T.tolist(), encoded[0].read_S.tolist()
    return replace(manifest, golden_ids=tuple(ids), golden_reads=tuple(reads))
