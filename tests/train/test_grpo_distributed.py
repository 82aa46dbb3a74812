"""Two processes under accelerate: each has whole groups of its own, and both end with the same weights."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit.train.tiny import build_tokenizer, tiny_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL, the extra rl, is not installed"),
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this build of torch has no gloo"),
]


def test_groups_are_whole_on_a_process_and_weights_agree(tmp_path):
    tokenizer = build_tokenizer(["0 1\n2"], kind="word", max_positions=48)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(tokenizer, hidden=16, layers=1, heads=2, max_positions=48)).save_pretrained(
            tmp_path
        )
    tokenizer.save_pretrained(tmp_path)
    script = Path(__file__).with_name("distributed_run.py")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        "29617",
        script,
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})  # fmt: skip
    # Two processes write to one pipe: what each says is found, not what stands on a line.
    said = sorted(re.findall(r"RANK (\d) (\[[^\]]*\]) ([\d.]+) (\d+)", done.stdout))
    assert len(said) == 2, done.stderr[-2000:]
    _, groups, totals, batches = zip(*said, strict=True)
    assert totals[0] == totals[1] and batches[0] == batches[1]
    assert 1 < int(batches[0]) < 9  # the budget is of both together, and ends both
    assert not set(ids_of(groups[0])) & set(ids_of(groups[1]))


def ids_of(text):
    return text.strip("[]").replace("'", "").split(", ")
