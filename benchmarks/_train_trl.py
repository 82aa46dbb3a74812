"""B2, the rival: TRL 1.13's PRMTrainer in its own virtual environment, `python _train_trl.py job.json`, in lockstep."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from _lockstep import Turns, held_out_loss
from datasets import Dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer, TrainerCallback
from transformers.utils import logging
from trl.experimental.prm import PRMConfig, PRMTrainer


class InTurns(TrainerCallback):
    """Waits between turns."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """After each update."""
        self.turns.update(state.global_step)


def main(job: dict[str, object]) -> None:
    """Train in turns, then say the loss on what was held out."""
    torch.set_num_threads(job["threads"])
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    turns = Turns(job["updates_per_turn"])
    model = AutoModelForTokenClassification.from_pretrained(job["model"])
    with tempfile.TemporaryDirectory() as folder:
        config = PRMConfig(
            output_dir=folder, use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=job["updates"],
            per_device_train_batch_size=job["batch_size"], learning_rate=job["learning_rate"],
            lr_scheduler_type="linear", warmup_steps=math.ceil(job["warmup_share"] * job["updates"]),
            weight_decay=job["weight_decay"], max_grad_norm=job["max_grad_norm"], seed=job["seed"], max_length=None,
            report_to=[], save_strategy="no", logging_steps=max(1, job["updates"] // 20), disable_tqdm=True,
            train_sampling_strategy=job["sampling"],
        )  # fmt: skip
        trainer = PRMTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(job["train"]),
            processing_class=AutoTokenizer.from_pretrained(job["model"]), callbacks=[InTurns(turns)],
        )  # fmt: skip
        turns.wait()
        trainer.train()
    turns.say({"loss": held_out_loss(model, job["held_out"])})


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
