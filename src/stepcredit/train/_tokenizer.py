"""A tokenizer from its folder, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer


def load(folder: str | Path) -> Any:
    """The tokenizer of a model's folder. Raises ValueError for a folder that is missing or holds none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"there is no tokenizer folder {str(folder)!r}; give the folder of a model or a tokenizer")
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(folder)!r} holds no tokenizer: {str(error).strip().splitlines()[0]}") from error
