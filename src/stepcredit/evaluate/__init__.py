"""How far to believe a judge: step truth, calibration, what its picks are worth, and the nulls beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stepcredit.core.aggregate import Scoring
from stepcredit.core.protocols import Rng
from stepcredit.core.types import Estimate, Record
from stepcredit.evaluate._attempts import NothingToMeasure
from stepcredit.evaluate.calibration import calibration
from stepcredit.evaluate.curves import curves, picked
from stepcredit.evaluate.decode import Threshold, choose_threshold, predict_first_error
from stepcredit.evaluate.f1 import binary_f1, processbench_f1
from stepcredit.evaluate.nulls import nulls
from stepcredit.evaluate.process import process

__all__ = [
    "Summary",
    "Threshold",
    "binary_f1",
    "calibration",
    "choose_threshold",
    "curves",
    "evaluate",
    "nulls",
    "picked",
    "predict_first_error",
    "process",
    "processbench_f1",
]


@dataclass(frozen=True, eq=False)
class Summary(Mapping[str, Estimate]):
    """What could be measured, by name; what could not, and why; the same for each null; how errors were decoded."""

    estimates: Mapping[str, Estimate]
    skipped: Mapping[str, str]
    nulls: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    decoding: str = ""

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)


def evaluate(
    records: Sequence[Record],
    *,
    rng: Rng,
    num_list: Sequence[int] = (1, 2, 4, 8, 16),
    threshold: Threshold | float | None = None,
    split: Collection[str] | None = None,
    scoring: Scoring = "judge",
    with_nulls: bool = True,
    num_resamples: int = 1000,
) -> Summary:
    """Measure judged records on all that their truth and outcomes allow; what they do not allow is named with a reason.

    Numbers are those of `process`, `calibration` (`step_brier`, ..., `attempt_ece`), `curves`, and `picked` at the
    largest N (`picked: <kind>`). `threshold` None decodes without one (see `evaluate.decode`). `split` names the
    problems declared for choosing (the null `constant_location`); they, and those a threshold was chosen on, are left
    out of everything measured; nulls are never cut at a chosen threshold. Raises ValueError where no problem is left,
    no record is judged, or step scores do not line up with steps.
    """
    if isinstance(threshold, int | float):
        threshold = Threshold(float(threshold))
    chosen_on = frozenset(split or ()) | (threshold.split if threshold is not None else frozenset())
    rest = [record for record in records if record.tree.problem.id not in chosen_on]
    if not rest:
        raise ValueError(
            f"no problem is left to measure on: {len(records)} records, {len(chosen_on)} problems chosen on"
        )
    if not any(record.judgments for record in rest):
        raise ValueError("no record has judgments: score the attempts first")
    skipped: dict[str, str] = {}

    def measure(of: Sequence[Record], prefix: str, cut: Threshold | None, baselines: bool) -> dict[str, Estimate]:
        parts: dict[str, Callable[[], dict[str, Estimate]]] = {
            "process": lambda: process(of, rng=rng, threshold=cut, num_resamples=num_resamples),
            "curves": lambda: curves(
                of, rng=rng, num_list=num_list, scoring=scoring, num_resamples=num_resamples, baselines=baselines
            ),
        }
        if baselines:
            parts["step calibration"] = lambda: _renamed("step_", calibration(of, rng=rng, num_resamples=num_resamples))
            parts["attempt calibration"] = lambda: _renamed(
                "attempt_", calibration(of, rng=rng, of="attempt", scoring=scoring, num_resamples=num_resamples)
            )
        found: dict[str, Estimate] = {}
        for name, part in parts.items():
            if name in skipped:  # what the data lack for the judge they lack for its nulls
                continue
            try:
                found |= part()
            except NothingToMeasure as reason:
                skipped[prefix + name] = str(reason)
        return found

    estimates = measure(rest, "", threshold, True)
    sizes = [num for num in num_list if f"best_of_{num}" in estimates]
    if sizes:
        kinds = picked(rest, num=max(sizes), rng=rng, scoring=scoring, num_resamples=num_resamples)
        estimates |= _renamed("picked: ", kinds)
    tables: dict[str, Mapping[str, Estimate]] = {}
    if with_nulls:
        made, absent = nulls(records, rng=rng, split=split)
        skipped |= {f"null {name}": reason for name, reason in absent.items()}
        for name, judged in made.items():
            kept = [record for record in judged if record.tree.problem.id not in chosen_on]
            tables[name] = measure(kept, f"null {name}: ", None, False)
    return Summary(estimates, skipped, tables, _decoding(rest, threshold))


def _renamed(prefix: str, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {prefix + name: estimate for name, estimate in found.items()}


def _decoding(records: Sequence[Record], threshold: Threshold | None) -> str:
    if threshold is not None:
        return threshold.describe()
    if any("keep" in judgment.channels for record in records for judgment in record.judgments):
        return "no threshold: decoded from keep"
    return Threshold().describe()
