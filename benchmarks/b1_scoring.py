"""B1: seconds to score the steps of a pool, against the two ways a process reward model is read elsewhere.

    loop      one forward pass per step, over everything up to it: TRL 1.13's documentation of PRMTrainer. Its text
              pipeline's tokenising and post-processing are left out here, in its favour
    padded_B  one pass over B attempts in the order given, padded to the longest: B = 16, the attempts at a problem, as
              search-and-learn reads Skywork's model; B = 4, its `prm_batch_size`; B = 1, no padding at all

All read the same token ids with the same float32 weights, in one process with the same threads, in interleaved rounds.
`max_abs_diff` is the largest difference between any two arms' scores of a step, float32.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _measure import Row, added_megabytes, exact, interleaved, peak_megabytes, ratio, row
from _pool import Sizes, encoded, num_parameters, pool, random_scorer

from stepcredit.core.layout import Encoded, pad
from stepcredit.judge._scoring import score

BATCHES = (16, 4, 1)
Scores = list[Any]


def ours(scorer: Any, attempts: Sequence[Encoded]) -> Scores:
    """The library's own scoring."""
    with scorer.reading():
        return [1 / (1 + np.exp(-one.logit_SC[:, 0])) for one in score(scorer, attempts, 16384)]


@torch.inference_mode()
def loop(scorer: Any, attempts: Sequence[Encoded]) -> Scores:
    """Each step on its own: the probability of the second label at the last token."""
    return [
        np.array([
            scorer.model(input_ids=torch.from_numpy(one.token_ids_T[None, : at + 1])).logits[0, -1].softmax(-1)[1].item()
            for at in one.read_S
        ])
        for one in attempts
    ]  # fmt: skip


@torch.inference_mode()
def padded(scorer: Any, attempts: Sequence[Encoded], batch_size: int) -> Scores:
    """Each attempt whole, `batch_size` of them at a time."""
    found: Scores = []
    for start in range(0, len(attempts), batch_size):
        batch = attempts[start : start + batch_size]
        token_ids_BT, attention_BT, _, _ = (torch.from_numpy(array) for array in pad(batch, scorer.pad_id))
        logit_BTL = scorer.model(input_ids=token_ids_BT, attention_mask=attention_BT.long(), use_cache=False).logits
        p_BT = logit_BTL.softmax(-1)[:, :, 1].double().numpy()
        found += [p_T[one.read_S] for p_T, one in zip(p_BT, batch, strict=True)]
    return found


def padded_tokens(attempts: Sequence[Encoded], batch_size: int) -> int:
    """Tokens that `padded` forwards."""
    lengths = [len(one.token_ids_T) for one in attempts]
    parts = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    return sum(len(part) * max(part) for part in parts)


def arms(scorer: Any, attempts: Sequence[Encoded]) -> dict[str, Callable[[], Scores]]:
    """What is compared in float32."""
    return {
        "ours": lambda: ours(scorer, attempts),
        "loop": lambda: loop(scorer, attempts),
        **{f"padded_{size}": lambda size=size: padded(scorer, attempts, size) for size in BATCHES},
    }


def run(sizes: Sizes, rounds: int, threads: int) -> tuple[list[Row], dict[str, object]]:
    """The rows, and what they rest on."""
    torch.set_num_threads(threads)
    scorer, attempts = random_scorer(sizes), encoded(pool(sizes))
    half = copy.deepcopy(scorer).to(torch.bfloat16)
    for each in (*arms(scorer, attempts[:1]).values(), lambda: ours(scorer, attempts), lambda: ours(half, attempts)):
        each()  # warm
    seconds, gave = interleaved({**arms(scorer, attempts), "bfloat16": lambda: ours(half, attempts)}, rounds)
    flat = {name: np.concatenate(scores) for name, scores in gave.items()}
    num_steps, num_tokens = len(flat["ours"]), sum(len(one.token_ids_T) for one in attempts)
    float32 = [scores for name, scores in flat.items() if name != "bfloat16"]
    apart = float(np.ptp(float32, axis=0).max())
    unit = f"times the speed ({num_parameters(scorer):.0f}M parameters, float32)"
    rows = [row("b1_loop_ratio", ratio(seconds["loop"], seconds["ours"], unit)),
            row("b1_padded_ratio", ratio(seconds["padded_16"], seconds["ours"], unit))]  # fmt: skip
    rows += [row(f"b1_padded_{n}_ratio", ratio(seconds[f"padded_{n}"], seconds["ours"], unit)) for n in BATCHES[1:]]
    rows.append(row("b1_max_abs_diff", exact(apart, num_steps, "probability, float32")))
    rows.append(row("b1_bfloat16_ratio", ratio(seconds["ours"], seconds["bfloat16"], "times the speed of float32")))
    half_apart = float(np.abs(flat["bfloat16"] - flat["ours"]).max())
    rows.append(row("b1_bfloat16_max_abs_diff", exact(half_apart, num_steps, "probability")))
    rate = ratio([num_steps] * rounds, seconds["ours"], "steps/s")
    rows.append(row("b1_ours_steps_per_second", rate))
    with scorer.reading():
        read = sum(each.tokens for each in score(scorer, attempts, 16384))
    forwarded = {"ours": read, "loop": sum(int((one.read_S + 1).sum()) for one in attempts)}
    forwarded |= {f"padded_{size}": padded_tokens(attempts, size) for size in BATCHES}
    rows += [row(f"b1_{name}_tokens", exact(num, len(attempts), "tokens forwarded")) for name, num in forwarded.items()]
    for name in forwarded:
        if (peak := peak_megabytes("b1_scoring", name, sizes, threads)) is not None:
            rows.append(row(f"b1_{name}_peak_megabytes", exact(peak, 1, "MB above the loaded model")))
    about = {"attempts": len(attempts), "tokens": num_tokens, "steps": num_steps, "rounds": rounds, "threads": threads,
             "parameters_in_millions": round(num_parameters(scorer), 1)}  # fmt: skip
    return rows, about


if __name__ == "__main__":
    arm, given, threads = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    sizes = Sizes(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
    scorer, attempts = random_scorer(sizes), encoded(pool(sizes))
    if arm == "loop":  # one pass at a time: its longest attempt decides
        attempts = [max(attempts, key=lambda one: len(one.token_ids_T))]
    arms(scorer, attempts[:1])["padded_1"]()
    print(added_megabytes(arms(scorer, attempts)[arm]))
