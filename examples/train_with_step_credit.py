"""Reinforcement learning with step credit on TRL, from nothing: demonstrations, a tiny policy, trees, advantages, updates.

python examples/train_with_step_credit.py        (needs `pip install 'stepcredit[rl]'`; a minute on two cores)

Put your own model folder in `hf(...)`, your problems and verifier in `rollout`, any method of `stepcredit list credit` of kind
advantage or reward in `credit`.
"""

from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.policy.hf import hf
from stepcredit.recipes._pools import text_of
from stepcredit.recipes._rl import verified_rollout
from stepcredit.rollout.branch import branch
from stepcredit.train.grpo import Settings, grpo
from stepcredit.train.tiny import train_language_model


def main(num_updates: int = 40, num_demonstrations: int = 3000, policy_updates: int = 600) -> None:
    task = bind("tasks", "chain")(max_ops=3)
    problems, draw = task.problems(num_demonstrations + 500, rng(0, "problems")), rng(0, "demonstrations")
    shown = [text_of(p, task.demonstrate(p, draw), task.delimiter) for p in problems[:num_demonstrations]]
    policy = hf(str(train_language_model(shown, "runs/example", hidden=64, num_updates=policy_updates, progress=False)))

    rollout = verified_rollout(branch, task.verify, num_trees=2, num_nodes=3, max_new_tokens=48)
    credit = bind("credit", "tree_advantage")  # Tree-GRPO; or group_mean, sibling, ...
    settings = Settings(num_updates=num_updates, learning_rate=3e-4, max_new_tokens=48)
    done = grpo(policy, problems[num_demonstrations:], rollout=rollout, credit=credit, settings=settings)
    first, last = (sum(row["accuracy"] for row in part) / len(part) for part in (done.curve[:5], done.curve[-5:]))
    print(f"share of right attempts: {first:.2f} in the first five batches, {last:.2f} in the last; "
          f"{done.cost.generated_tokens} tokens generated")  # fmt: skip
    policy.model.save_pretrained("runs/example/trained")


if __name__ == "__main__":
    main()
