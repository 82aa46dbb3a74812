"""B4's machinery on tiny sizes: every arm writes as much, from the same distribution, and what enters the model is counted."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))


def made(**changes):
    import b4_rollouts

    sizes = dataclasses.replace(b4_rollouts.QUICK, **changes)
    policy, prefixes = b4_rollouts.random_policy(sizes), b4_rollouts.texts(sizes)
    return policy, prefixes, sizes, b4_rollouts.arms(policy, prefixes, sizes)


def test_a_prompt_is_as_long_as_the_attempt_and_prefixes_are_its_tenths():
    import b4_rollouts

    sizes = b4_rollouts.Rollouts()
    assert sizes.prompt == sizes.attempt and (sizes.prefixes, sizes.num) == (10, 8)
    policy, prefixes, sizes, _ = made()
    lengths = [len(policy.tokenizer(prefix)["input_ids"]) for prefix in prefixes]
    assert lengths == [40, 50, 60, 70]
    assert all(later.startswith(prefix) for prefix, later in pairwise(prefixes))


def test_all_arms_write_as_much_and_the_counts_are_of_what_enters_the_model():
    from b4_rollouts import counted

    policy, _, sizes, arms = made()
    with torch.random.fork_rng(devices=[]):
        for arm in arms.values():
            assert np.array(arm()).shape == (sizes.prefixes, sizes.num, sizes.new)
        found = {name: counted(policy, arm) for name, arm in arms.items()}
    # Prefixes of 40, 50, 60, 70 tokens, two continuations of 4 tokens each, of which 3 are read again.
    assert found["independent"] == found["grouped"] == 2 * (40 + 50 + 60 + 70) + 8 * 3
    assert found["padded"] == 8 * 70 + 8 * 3
    # The longest but for its last token, the last token of each.
    assert found["ours"] == 69 + 4 + 8 * 3


def test_ours_and_generate_write_from_the_same_distribution():
    # First tokens behind each prefix; two samples of 400, Pearson's statistic over words seen 10 times or more in both.
    *_, arms = made(num=400, new=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours, theirs = (np.array(arms[name]())[:, :, 0] for name in ("ours", "padded"))
    for own, other in zip(ours, theirs, strict=True):
        counts = np.array([np.bincount(each, minlength=64) for each in (own, other)])
        counts = counts[:, counts.sum(0) >= 10]
        cells = counts.shape[1]
        statistic = ((counts[0] - counts[1]) ** 2 / counts.sum(0)).sum()
        assert cells > 5 and statistic < cells + 5 * np.sqrt(2 * cells)
    # The same with another model's words would be seen.
    shuffled = np.array([np.bincount(each, minlength=64) for each in (ours[0], (ours[1] + 1) % 64)])
    shuffled = shuffled[:, shuffled.sum(0) >= 10]
    assert ((shuffled[0] - shuffled[1]) ** 2 / shuffled.sum(0)).sum() > shuffled.shape[1] + 5 * np.sqrt(
        2 * shuffled.shape[1]
    )


def test_the_rows_are_those_of_the_design():
    import b4_rollouts

    rows, about = b4_rollouts.run(b4_rollouts.QUICK, 2, 1)
    found = {row["name"]: row for row in rows}
    assert about["prompt_tokens"] == about["attempt_tokens"] == 40 and about["prefix_tokens"] == [40, 50, 60, 70]
    assert found["b4_forward_ratio"]["value"] == pytest.approx(464 / 97) and "b4_wall_ratio" in found
    assert found["b4_forward_ratio"]["value"] == min(
        found[f"b4_{name}_forward_ratio"]["value"] for name in b4_rollouts.RIVALS
    )
    assert found["b4_max_abs_diff"]["value"] < 1e-5
    assert found["b4_logprob_difference"]["low"] <= 0 <= found["b4_logprob_difference"]["high"]
