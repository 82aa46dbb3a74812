"""Step credit for SkyRL: an advantage estimator of its own contract, that adds no reward up.

    f(token_level_rewards [B, T], response_mask [B, T], index [B], ..., **kwargs) -> (advantages [B, T], returns [B, T])

What is computed stands in `_estimator`. Read in SkyRL (utils/ppo_utils.compute_advantages_and_returns): every estimator is given
rewards, mask, index, values, grpo_norm_by_std, gamma, lambd and config; and its response mask is 1 on all of a response, what
the environment said included: that is left out by the loss mask, which an estimator does not see. So turns cannot be told
from the mask, and step rewards need `step_ends`, from a trainer whose compute_advantages_and_returns passes them on (spread="split" then counts a step's observation too). Outcomes need nothing.
SkyRL is not imported before `register_with_skyrl` is called.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from stepcredit.train._estimator import Normalize, Rewards, Spread, token_advantages
from stepcredit.train.step_advantages import Returns

MODULES = ("skyrl.backends.skyrl_train.utils.ppo_utils", "skyrl_train.utils.ppo_utils")  # since 2026, before


def skyrl_estimator(
    token_level_rewards: Tensor, response_mask: Tensor, index: Sequence[Any], *, rewards: Rewards,
    returns: Returns = "mean", spread: Spread = "same", step_ends: Sequence[Sequence[int]] | None = None,
    grpo_norm_by_std: bool = True, **others: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Advantages and returns of a batch, [B, T] each. `grpo_norm_by_std` is SkyRL's own switch, for rewards="outcome".

    Raises ValueError for step rewards without `step_ends`, and as `_estimator` does.
    """
    if rewards == "steps" and step_ends is None:
        raise ValueError("SkyRL's response mask does not say where steps end: step_ends is needed, for each row the response "
                         "tokens past its steps; allowed without: rewards='outcome'")  # fmt: skip
    scale: Normalize = "std" if grpo_norm_by_std else "none"
    advantages = token_advantages(token_level_rewards, response_mask, index, rewards=rewards, returns=returns, spread=spread,
                                  normalize=scale, step_ends=step_ends)  # fmt: skip
    return advantages, advantages.clone()


def register_with_skyrl(
    name: str = "stepcredit", *, rewards: Rewards, returns: Returns = "mean", spread: Spread = "same",
) -> Callable[..., tuple[Tensor, Tensor]]:  # fmt: skip
    """Enter the estimator under a name, for `trainer.algorithm.advantage_estimator=<name>`, and return it.

    Raises RuntimeError where SkyRL is missing; SkyRL refuses a name that is taken.
    """
    for module in MODULES:
        try:
            registry = importlib.import_module(module).AdvantageEstimatorRegistry
        except ImportError:
            continue
        found = functools.partial(skyrl_estimator, rewards=rewards, returns=returns, spread=spread)
        registry.register(name, found)
        return found
    raise RuntimeError(f"SkyRL cannot be imported: looked for {' and '.join(MODULES)}")
