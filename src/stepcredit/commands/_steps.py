"""What is said of a credit when it is written: counted on the steps while the records stream by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stepcredit.core.types import Credit, Record


@dataclass
class Steps:
    """Counts, mean and range of a credit."""

    num_records: int = 0
    num_steps: int = 0
    num_known: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    kind: str = ""

    def add(self, record: Record, credit: Credit) -> None:
        """Count one record's credit, on the steps that were sampled."""
        value_S = credit.values_N[record.tree.sampled_N]
        known = value_S[~np.isnan(value_S)]
        self.num_records, self.kind = self.num_records + 1, credit.kind
        self.num_steps, self.num_known = self.num_steps + value_S.size, self.num_known + known.size
        if known.size:
            self.total += float(known.sum())
            self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))

    def line(self) -> str:
        """One line, without the name."""
        mean = (
            f", mean {self.total / self.num_known:.3f}, from {self.low:.3f} to {self.high:.3f}"
            if self.num_known
            else ""
        )
        return f"({self.kind}) on {self.num_known} of {self.num_steps} steps in {self.num_records} records{mean}"
