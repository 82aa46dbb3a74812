"""`scorer.json`: everything needed to read a scorer the way it was trained, and a proof that it still is.

Beside the weights lie the template, marker and its token id, read position, positive class, activation, readout,
threshold with where it came from, and one golden encoding (text, token ids, read positions). Loading re-encodes the
golden attempt and refuses a scorer whose tokenizer or template no longer agrees. Data format: version 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stepcredit.core.layout import Encoded, Layout
from stepcredit.core.readout import Readout
from stepcredit.core.types import Problem, Step

FILE = "scorer.json"
GOLDEN = (Problem("golden", "2 +3 *4"), (Step("2+3=5"), Step("5*4=20"), Step("end", kind="answer")))


@dataclass(frozen=True)
class Manifest:
    """The contents of scorer.json. `kind` is the judge module that loads it."""

    kind: str
    layout: Layout = Layout()
    readout: Readout = Readout()
    marker_id: int = -1
    positive_class: int = 1
    activation: str = "sigmoid(logit[positive] - logit[negative])"
    threshold: float = 0.5
    threshold_source: str = "fixed"
    max_tokens: int = 4096
    golden_ids: tuple[int, ...] = ()
    golden_reads: tuple[int, ...] = ()
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
        given["golden_ids"], given["golden_reads"] = tuple(given["golden_ids"]), tuple(given["golden_reads"])
        return Manifest(**given)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / FILE} is not a scorer manifest: {error}") from error


def check_golden(manifest: Manifest, encoded: Sequence[Encoded]) -> None:
    """Raise ValueError unless the golden attempt still gives the recorded tokens and read positions."""
    now = encoded[0]
    if tuple(now.token_ids_T.tolist()) != manifest.golden_ids or tuple(now.read_S.tolist()) != manifest.golden_reads:
        raise ValueError(
            f"this scorer's tokenizer no longer gives the tokens it was trained on: {list(manifest.golden_ids)} read at "
            f"{list(manifest.golden_reads)}, now {now.token_ids_T.tolist()} read at {now.read_S.tolist()}"
        )


def with_golden(manifest: Manifest, encoded: Sequence[Encoded]) -> Manifest:
    """The manifest with its golden encoding filled in."""
    ids, reads = encoded[0].token_ids_T.tolist(), encoded[0].read_S.tolist()
    return replace(manifest, golden_ids=tuple(ids), golden_reads=tuple(reads))
