"""What tests of training share."""

import gc

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """One thread, and the Trainer's garbage collection after each run spared the libraries' own objects."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
