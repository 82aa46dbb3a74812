"""B2, our side: `python _train_ours.py job.json`, in lockstep."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from _lockstep import Turns, held_out_loss
from transformers import AutoModelForTokenClassification
from transformers.utils import logging

from stepcredit.core.types import Sample
from stepcredit.judge.head import HeadScorer
from stepcredit.train.prm import Objective, fit


def sample(row: dict[str, list[int]]) -> Sample:
    """A row of TRL's columns as the trainer's own."""
    labels = np.array(row["labels"])
    mask = labels >= 0
    return Sample(row["input_ids"], mask, np.where(mask, labels, np.nan)[None], mask[None].astype(float))


def main(job: dict[str, object]) -> None:
    """Train in turns, then say the loss on what was held out."""
    torch.set_num_threads(job["threads"])
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    turns = Turns(job["updates_per_turn"])
    model = AutoModelForTokenClassification.from_pretrained(job["model"])
    scorer = HeadScorer(model, None, None)
    turns.wait()
    fit(
        scorer, [sample(row) for row in job["train"]], objective=Objective(pooling=None), num_updates=job["updates"],
        batch_size=job["batch_size"], learning_rate=job["learning_rate"], warmup_share=job["warmup_share"],
        weight_decay=job["weight_decay"], max_grad_norm=job["max_grad_norm"], seed=job["seed"],
        on_update=turns.update, every=job["updates_per_turn"],
    )  # fmt: skip
    turns.say({"loss": held_out_loss(model, job["held_out"])})


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
