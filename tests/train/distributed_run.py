"""What each of two processes runs in `test_grpo_distributed`: three updates, then what it saw and where its weights are."""

import os
import sys

import torch

from stepcredit import Outcome, Problem
from stepcredit.core.registry import bind
from stepcredit.core.tree import star
from stepcredit.policy.hf import hf
from stepcredit.rollout.chains import chains
from stepcredit.train.grpo import Settings, grpo

problems = [Problem(f"p{place}", f"{place % 2} {place // 2 % 2}") for place in range(8)]
seen = []


def rollout(chosen, policy, draw):
    seen.append([problem.id for problem in chosen])
    trees = chains(chosen, policy=policy, rng=draw, num=4, max_new_tokens=8)
    return [star(t.problem, [t.solution(leaf) for leaf in t.leaves],
                 [Outcome(float(len(t.solution(leaf)[0].text) % 2)) for leaf in t.leaves], cost=t.cost) for t in trees]  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    policy = hf(sys.argv[1])
    settings = Settings(
        num_updates=9,
        max_generated_tokens=150,
        num_problems=2,
        learning_rate=0.05,
        max_new_tokens=8,
        trl={"optim": "sgd"},
    )
    done = grpo(
        policy, problems, rollout=rollout, credit=bind("credit", "group_mean", normalize="none"), settings=settings
    )
    total = sum(float(p.detach().double().abs().sum()) for p in policy.model.parameters())
    print(f"RANK {os.environ['RANK']} {seen[0]} {total!r} {len(done.curve)}", flush=True)
