"""Supervised fine-tuning on texts of which some end and some do not: the two tracks of post-completion learning.

    loss = - 1/T sum_t log pi(x_t | prefix, x_<t)      over the continuations' tokens, with the end token where they end

PCL, arXiv:2507.20252: a reasoning track that stops behind the end-of-completion marker, so that the end token is never learnt
behind an answer, and an evaluation track with the loss on the evaluation and the end token alone. `train/sft` ends every text.
The folder is found again by content, like those of `train/tiny`. Departs: one loss over the tokens of both; the weight of a
track is how many of its examples there are. Degenerate: examples none of which ends give a model that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcredit.core.log_ratios import token_ids
from stepcredit.train._tuned import ending_tokenizer, key_of, tuned

RECIPE = 1  # enters the cache key: raise it when the same arguments would give other weights
Example = tuple[str, str, bool]  # what is read, what is learnt, whether the end token is learnt behind it


def fine_tune_tracks(
    model: str | Path, examples: Sequence[Example], out_dir: str | Path, *, num_tokens: int, batch_size: int = 32,
    learning_rate: float = 5e-4, warmup: float = 0.1, weight_decay: float = 0.01, seed: int = 0, progress: bool = False,
) -> Path:  # fmt: skip
    """Train the model folder `model` until about `num_tokens` tokens had a loss; returns `out_dir/tracks-<key>`.

    The number of updates is `num_tokens` over the mean number of learnt tokens of a batch, rounded, at least 1.
    Raises ValueError for no examples, numbers below 1, or a folder without weights or end token.
    """
    if not examples or num_tokens < 1 or batch_size < 1:
        raise ValueError(
            f"{len(examples)} examples, num_tokens {num_tokens}, batch_size {batch_size}; allowed: 1 or more of each"
        )
    made_with = {"tracks": RECIPE, "num_tokens": num_tokens, "batch_size": batch_size, "learning_rate": learning_rate,
                 "warmup": warmup, "weight_decay": weight_decay, "seed": seed, "ends": [ends for _, _, ends in examples]}  # fmt: skip
    folder = Path(out_dir) / f"tracks-{key_of(Path(model), [(a, b) for a, b, _ in examples], made_with)}"
    if folder.is_dir():
        return folder
    tokenizer = ending_tokenizer(model)
    rows = track_rows(tokenizer, examples)
    learnt = sum(sum(label != -100 for label in row["labels"]) for row in rows)
    num_updates = max(1, round(num_tokens * len(rows) / (learnt * batch_size)))
    tuned(model, tokenizer, rows, folder, num_updates=num_updates, batch_size=batch_size, learning_rate=learning_rate,
          warmup=warmup, weight_decay=weight_decay, seed=seed, stream="tracks", bfloat16=False, progress=progress,
          report={**made_with, "ends": None, "num_updates": num_updates})  # fmt: skip
    return folder


def track_rows(tokenizer: Any, examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """Tokens, and what is learnt of each row: nothing (-100) of what is read."""
    texts, start_n = token_ids(tokenizer, [(prefix, continuation) for prefix, continuation, _ in examples])
    rows = []
    for (_, _, ends), ids, start in zip(examples, texts, start_n.tolist(), strict=True):
        whole = [*ids, *([tokenizer.eos_token_id] if ends else [])]
        rows.append({"input_ids": whole, "labels": [-100] * start + whole[start:]})
    return rows
