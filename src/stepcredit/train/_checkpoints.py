"""A training run's checkpoints: which one to continue from, and what to remove afterwards.

A key written beside them says which data, batches and arguments they belong to, so that no run continues another's.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import Trainer

from stepcredit.core.types import Sample

KEY_FILE = "run.sha256"


def run_key(samples: Sequence[Sample], plan: list[list[int]], made_with: str) -> str:
    """What a checkpoint belongs to: the data, the batches and the arguments."""
    digest = hashlib.sha256(made_with.encode())
    digest.update(repr(plan).encode())
    for s in samples:
        for array in (s.token_ids_T, s.loss_mask_T, s.label_CT, s.weight_CT, np.float64(s.outcome)):
            digest.update(array.tobytes())
    return digest.hexdigest()


def last_checkpoint(folder: Path, key: str, trainer: Trainer) -> str | None:
    """The newest whole checkpoint; those a kill cut short (the Trainer writes its state last) are removed.

    Raises ValueError for checkpoints of another run.
    """
    stored = folder / KEY_FILE
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    if found and (not stored.is_file() or stored.read_text() != key):
        raise ValueError(f"{str(folder)!r} holds checkpoints of a run with other data or arguments; remove it, or choose "
                         "another work_dir")  # fmt: skip
    trainer.accelerator.wait_for_everyone()
    whole = [path for path in found if (path / "trainer_state.json").is_file()]
    if trainer.is_world_process_zero():
        stored.write_text(key)
        for path in set(found) - set(whole):
            shutil.rmtree(path)
    return str(whole[-1]) if whole else None


def clear(folder: Path) -> None:
    """Remove what a run wrote, and the folder where nothing else is in it."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)
    (folder / KEY_FILE).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
