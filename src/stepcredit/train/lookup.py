"""A judge that knows each distinct step text by heart: nothing to compute, so that the credit alone limits it.

    u(step) = start + table[text of the step], [C] channels;      an unseen text keeps the start of the head

What it reaches under an objective of `train/prm` is what attempts and outcomes identify about steps that recur, without
the circuit that a network must first learn. It cannot generalise to a text it has not seen, nor read what stands around
a step: for worlds with few distinct steps. Ours, a control. Degenerate: an attempt without a sampled step is abstained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stepcredit.core.layout import Encoded
from stepcredit.core.protocols import Solution
from stepcredit.core.readout import Readout, judgment
from stepcredit.core.types import Judgment, Problem


class Lookup(nn.Module):
    """Logits beside a common start, [texts + 1, C], which weight decay draws to it; row 0 is every unknown text."""

    def __init__(self, texts: Sequence[str], readout: Readout, biases: Sequence[float]) -> None:
        super().__init__()
        self.row = {text: index for index, text in enumerate(dict.fromkeys(texts), start=1)}
        self.readout = readout
        self.table = nn.Embedding(len(self.row) + 1, readout.num_channels)
        nn.init.zeros_(self.table.weight)
        start = [*biases, *[0.0] * (readout.num_channels - len(biases))]
        self.start: Tensor
        self.register_buffer("start", torch.tensor(start))

    def encode(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Encoded]:
        """One token a sampled step, read where it stands."""
        rows = [[self.row.get(step.text, 0) for step in steps if step.sampled] for _, steps in attempts]
        return [Encoded(np.array(row, dtype=np.int64), np.arange(len(row))) for row in rows]

    def forward(self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor) -> Tensor:
        """Logits [B, S, C]."""
        found: Tensor = self.start + self.table(token_ids_BT.gather(1, read_BS.long()))
        return found

    def judge(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """A Judge: what the table says of each attempt."""
        weight = (self.start + self.table.weight).detach().double().numpy()
        return [judgment(weight[one.token_ids_T], self.readout) for one in self.encode(attempts)]
