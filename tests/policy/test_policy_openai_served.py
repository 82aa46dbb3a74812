"""Against a real server: `transformers serve` with a model trained from scratch, on loopback."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from transformers.utils.import_utils import is_serve_available

from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.policy.hf import hf
from stepcredit.train.tiny import train_language_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_serve_available(), reason="transformers serve is not installed: pip install 'stepcredit[dev]'"),
]  # fmt: skip
PREFIXES = ["3 +4 *0\n", "1 -2 *3\n1-2=4\n"]


@pytest.fixture(scope="module")
def served(tmp_path_factory, one_thread):
    """The model's folder and the url it is served at."""
    folder = tmp_path_factory.mktemp("served")
    texts = [f"{a} +{b} *{c}\n{a}+{b}={(a + b) % 5}\n" for a in range(5) for b in range(5) for c in range(5)]
    # Bytes: where a tokenizer does not know every text, the server cannot look for stop strings (transformers 5.23).
    model = train_language_model(texts, folder, tokenizer="bpe", vocab_size=300, hidden=16, layers=1, heads=2,
                                 num_updates=30, precision="float32", progress=False)  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--host", "127.0.0.1",
               "--port", str(port), "--device", "cpu"]  # fmt: skip
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log,
                               env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})  # fmt: skip
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        yield str(model), f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()
        log.close()


def test_it_is_recognised_and_samples_the_models_own_distribution(served):
    model, url = served
    own, local = bind("policy", "openai", url=url)(model), hf(model, device="cpu")
    assert own.kind == "transformers"
    num = 300
    (group,) = own.sample(PREFIXES[:1], num, rng(0), max_new_tokens=1)
    texts = sorted({one.text for one in group})
    assert len(texts) > 20  # greedy, as `temperature` alone would be, gives one
    # By the text of the first token: what a top-k of 50 leaves out has a share of its own here.
    pieces = local._vocabulary()
    p_V = np.exp(_first_token(local, PREFIXES[0]))
    assert np.sort(p_V)[:-50].sum() > 0.05
    for text in texts:
        p = p_V[[piece == text for piece in pieces]].sum()
        share = sum(one.text == text for one in group) / num
        assert abs(share - p) < 5 * np.sqrt(p / num) + 2 / num, text
    beyond = set(np.argsort(-p_V)[50:])
    rare = [text for text in texts if all(v in beyond for v in np.flatnonzero([piece == text for piece in pieces]))]
    assert rare
    assert own.cost.generated_tokens == num and own.cost.forwarded_tokens == num * len(
        local.tokenizer(PREFIXES[0])["input_ids"]
    )
    assert own.num_uncounted == 0


def _first_token(local, prefix):
    import torch

    with torch.no_grad():
        return (
            local.model(torch.tensor([local.tokenizer(prefix)["input_ids"]]))
            .logits[0, -1]
            .log_softmax(-1)
            .double()
            .numpy()
        )


def test_greedy_continuations_and_stop_strings_are_those_of_the_embedded_engine(served):
    model, url = served
    own, local = bind("policy", "openai", url=url, temperature=0.0)(model), hf(model, temperature=0.0, device="cpu")
    for stop in ((), ("\n",), ("=", "+4")):
        expected = local.sample(PREFIXES, 2, rng(0), stop=stop, max_new_tokens=24)
        found = own.sample(PREFIXES, 2, rng(0), stop=stop, max_new_tokens=24)
        assert [[one.text for one in group] for group in found] == [[one.text for one in group] for group in expected]
        assert [[one.finish for one in group] for group in found] == [
            [one.finish for one in group] for group in expected
        ]


def test_one_at_a_time_the_same_generator_gives_the_same_text(served):
    model, url = served
    own = bind("policy", "openai", url=url, concurrency=1)(model)
    first, again, other = (
        [[one.text for one in group] for group in own.sample(PREFIXES, 3, rng(seed), max_new_tokens=12)]
        for seed in (0, 0, 1)
    )
    assert first == again != other and len({text for group in first for text in group}) > 3


def test_another_model_is_refused_in_the_servers_words(served):
    _, url = served
    with pytest.raises(ValueError, match="answers 400: Server is pinned to"):
        bind("policy", "openai", url=url)("another").sample(["p"], 1, rng(0))
