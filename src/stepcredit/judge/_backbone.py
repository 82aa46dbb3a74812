"""What a tokenizer and a backbone must have for a scorer: a folder that is there, a marker of one token, positions.

No torch here: objects are touched through their own methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def start_biases(given: Sequence[float], num_channels: int) -> list[float]:
    """One start per channel, 0 where not given. Raises ValueError for more starts than channels."""
    if len(given) > num_channels:
        raise ValueError(f"{len(given)} biases for {num_channels} channels")
    return [*given, *[0.0] * (num_channels - len(given))]


def check_local(path: str | Path) -> None:
    """Raise ValueError at once for a local folder that is not there, instead of asking a hub for it."""
    text = str(path)
    looks_local = (
        text.startswith((".", "/", "~")) or isinstance(path, Path) or text.count("/") > 1 or text.endswith("/")
    )
    if looks_local and not Path(text).expanduser().is_dir():
        raise ValueError(f"no model folder at {text!r}")


def ensure_marker(tokenizer: Any, marker: str) -> int:
    """The marker's single token id, added to the tokenizer as a special token where it has none."""
    if marker not in tokenizer.get_vocab() and len(tokenizer(marker, add_special_tokens=False)["input_ids"]) != 1:
        tokenizer.add_tokens([marker], special_tokens=True)
    return int(tokenizer(marker, add_special_tokens=False)["input_ids"][0])


def fit_embeddings(model: Any, tokenizer: Any) -> None:
    """Give a new marker its embedding."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)


def within_positions(config: Any, max_tokens: int) -> int:
    """`max_tokens`, cut to the positions a backbone knows."""
    known = getattr(config, "max_position_embeddings", None)
    return min(max_tokens, known) if isinstance(known, int) and known > 0 else max_tokens


def pad_token(tokenizer: Any) -> int:
    """A padding id: the tokenizer's own, else its end token, else 0 (padding is masked and never read)."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return 0


def check_weights(path: str | Path, report: dict[str, Any], allowed: tuple[str, ...] = ()) -> None:
    """Raise ValueError for weights that were missing in a folder, or had another shape, and were made up at random."""
    missing = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    missing = {key for key in missing if not key.startswith(allowed)} if allowed else missing
    if missing:
        raise ValueError(f"{str(path)!r} lacks weights of this model: {', '.join(sorted(missing)[:5])}")
