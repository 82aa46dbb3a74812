"""A training run that trains in turns with others: between two turns it waits for a line on its standard input.

Needs the standard library alone: it is imported in the rival's own virtual environment too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


class Turns:
    """Call `update` after each update: each `length` updates are a turn, whose seconds are told to the parent process.

    It waits after the last turn as well: what a side does then must not run beside the others' turns.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.parent = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what a library prints goes to standard error

    def wait(self) -> None:
        """Say that the next turn can begin, and wait for it."""
        self.say({"ready": True})
        sys.stdin.readline()
        self.started = time.perf_counter()

    def update(self, number: int) -> None:
        """After update `number`, counted from 1."""
        if number % self.length == 0:
            self.say({"seconds": time.perf_counter() - self.started})
            self.wait()

    def say(self, what: dict[str, Any]) -> None:
        """A line to the parent."""
        print(json.dumps(what), file=self.parent, flush=True)


def held_out_loss(model: Any, rows: list[dict[str, list[int]]]) -> list[float]:
    """Of each row, the mean over its steps of - log p(label): the loss both sides train, by one and the same code."""
    import torch

    model.eval()
    found = []
    with torch.inference_mode():
        for row in rows:
            labels = torch.tensor(row["labels"])
            logit_TL = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
            found.append(torch.nn.functional.cross_entropy(logit_TL[labels >= 0], labels[labels >= 0]).item())
    return found
