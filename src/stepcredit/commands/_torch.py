"""What a command does before it uses a network: the number of threads, and no talk from the libraries underneath."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def prepare(threads: int | None) -> None:
    """Use `threads` processor threads (None: as many as there are), and silence transformers' own progress and notes."""
    import torch
    from transformers.utils import logging

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; allowed: 1 or more")
        torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def weights_of(folder: str | None) -> Iterator[None]:
    """Say of damaged weights whose they are: a ValueError that names the folder."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"the weights in {str(folder)!r} cannot be read ({error}); was it copied whole?") from error
