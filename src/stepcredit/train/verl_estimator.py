"""Step credit for verl: an advantage estimator of its own contract, that adds no reward up.

    f(token_level_rewards [B, T], response_mask [B, T], index [B], config) -> (advantages [B, T], returns [B, T])

What is computed stands in `_estimator`. Read in verl 0.9.1 (trainer/ppo/ray_trainer.compute_advantage): an estimator of a name of
one's own is given rewards, mask, config and, as `index`, the rows' uid; nothing of non_tensor_batch. So a step is a turn there, a
run of the response mask, which is 0 on what tools and users say; finer steps need a trainer that passes `step_ends` on.
Without a critic the returns are the advantages, as those of verl's own GRPO are.
verl is not imported before `register_with_verl` is called.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from stepcredit.train._estimator import Normalize, Rewards, Spread, token_advantages
from stepcredit.train.step_advantages import Returns

ByConfig = Literal["config", "std", "none"]


def verl_estimator(
    token_level_rewards: Tensor, response_mask: Tensor, index: Sequence[Any] | None = None, config: Any = None, *,
    rewards: Rewards, returns: Returns = "mean", spread: Spread = "same", normalize: ByConfig = "config",
    step_ends: Sequence[Sequence[int]] | None = None, non_tensor_batch: Mapping[str, Any] | None = None, **others: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Advantages and returns of a batch, [B, T] each.

    `rewards` says what the rewards of tokens are: one a step, or one an attempt ("outcome"). `step_ends` may also stand in
    `non_tensor_batch`. normalize="config" reads `norm_adv_by_std_in_grpo` for outcomes; step rewards are not normalised.
    `others` is what verl passes to estimators that need more.
    Raises ValueError where rows have no uid, where `use_kl_in_reward` has put a penalty on every token's reward, and as
    `_estimator` does.
    """
    if index is None:
        raise ValueError("the batch has no uid, so rows have no group: index is needed")
    if _of(config, "use_kl_in_reward", False):
        raise ValueError("algorithm.use_kl_in_reward puts a penalty on the reward of every token, and a step's reward can "
                         "no longer be read; allowed: actor_rollout_ref.actor.use_kl_loss")  # fmt: skip
    by_std = _of(config, "norm_adv_by_std_in_grpo", True) if normalize == "config" else normalize == "std"
    scale: Normalize = "std" if by_std else "none"
    if step_ends is None and non_tensor_batch is not None:
        step_ends = non_tensor_batch.get("step_ends")
    advantages = token_advantages(token_level_rewards, response_mask, index, rewards=rewards, returns=returns, spread=spread,
                                  normalize=scale, step_ends=step_ends)  # fmt: skip
    return advantages, advantages.clone()


def register_with_verl(
    name: str = "stepcredit", *, rewards: Rewards, returns: Returns = "mean", spread: Spread = "same",
    normalize: ByConfig = "config",
) -> Callable[..., tuple[Tensor, Tensor]]:  # fmt: skip
    """Enter the estimator under a name, for `algorithm.adv_estimator=<name>`, and return it. Doing so twice is once.

    It must be called in the process that computes advantages, verl's task runner: VERL_USE_EXTERNAL_MODULES names a module
    that does. Raises RuntimeError where verl is missing, and as verl does where the name is taken by another.
    """
    try:
        algorithms = importlib.import_module("verl.trainer.ppo.core_algos")
    except ImportError as error:
        raise RuntimeError(f"verl cannot be imported ({error}): pip install verl") from error
    enter = algorithms.register_adv_est(name)
    found: Callable[..., tuple[Tensor, Tensor]] = enter(_with(rewards, returns, spread, normalize))
    return found


@functools.cache
def _with(rewards: Rewards, returns: Returns, spread: Spread, normalize: ByConfig) -> Callable[..., tuple[Tensor, Tensor]]:  # fmt: skip
    """One function for one choice, so that registering it again is no conflict."""
    return functools.partial(verl_estimator, rewards=rewards, returns=returns, spread=spread, normalize=normalize)


def _of(config: Any, name: str, default: Any) -> Any:
    """A field of verl's config, which is a dataclass with `get`, an OmegaConf, or absent."""
    return (
        default
        if config is None
        else config.get(name, default)
        if hasattr(config, "get")
        else getattr(config, name, default)
    )
