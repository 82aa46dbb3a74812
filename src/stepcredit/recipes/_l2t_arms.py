"""The arms of `recipes/l2t`: ways to credit the same attempts, and what is logged about them.

    grpo        z-score in the group of the outcome                    released   the released code's sum, on our gain
    penalty     of the outcome - weight tokens / needed                paper      Ahat R_k / rbar, tokens by their surprise
    sum         of outcome + alpha sum_k dI_k           (beta 0)       full       repaired: gains less what learning costs,
    mean        of that divided by the attempt's tokens (beta 0)                  next to outcomes (the recipe's default)
    gains       repaired without what learning costs (beta 0): what the costs of the next add is told by it
    charged     repaired, but costs are never a bonus: C apart from the comparison, on its step and those before it

"sum" and "mean" differ by 1 / tokens alone, and put one advantage on every token. All but "paper" give the tokens of a step the
same. `flipped` counts the paper's form: the tokens whose advantage has another sign than their attempt's Ahat.
Departs: "mean" is the plain mean, without the paper's truncation; the policy that is probed is the one that wrote the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stepcredit.core import registry
from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.types import Credit, Estimate, Floats, Problem, Tree
from stepcredit.credit._assign import assign
from stepcredit.credit.group_mean import advantages
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._l2t_world import AGAIN, ANSWER, World, needed, verify
from stepcredit.recipes._rl import RlArm, success, tokens_of, train_arm, verified_rollout
from stepcredit.rollout.chains import chains
from stepcredit.train.grpo import Settings
from stepcredit.train.policy_samples import Rules

ARMS = ("grpo", "penalty", "sum", "mean", "full", "gains", "charged", "paper", "released")
KINDS = {"base": "null", "grpo": "control", "penalty": "control", "sum": "label-free", "mean": "label-free", "full": "label-free",
         "gains": "control", "charged": "label-free", "paper": "label-free", "released": "control"}  # fmt: skip
FORMS = {"full": "repaired", "gains": "repaired", "charged": "charged", "paper": "paper", "released": "released"}
WITHOUT_COSTS = ("sum", "mean", "gains")
ATTEMPT = 100  # tokens an attempt may have: more than one with every line rechecked


@dataclass(frozen=True)
class Plan:
    """Generated tokens of an arm, problems a batch, attempts at each, and the knobs of the credits."""

    budget: int
    num_problems: int = 8
    num: int = 8
    learning_rate: float = 3e-4
    alpha: float = 0.8
    beta: float = 0.6
    length_weight: float = 0.3
    num_attempts: int = 4


@dataclass
class Signs:
    """Tokens whose advantage has another sign than their attempt's, of all with one."""

    flipped: int = 0
    tokens: int = 0

    def count(self, tree: Tree, credit: Credit) -> None:
        """Sum_k A_k = Ahat sum_k R_k / rbar, which has the sign of Ahat, as rbar is the mean of what sum_k R_k is the sum of."""
        for leaf in tree.leaves:
            path = [node for node in tree.path(leaf) if credit.weight_N[node] > 0 and credit.values_N[node] != 0]
            length = np.array([len(tree.steps[node].token_ids or ()) for node in path])
            own = np.sign(credit.values_N[path])
            self.flipped += int(length[own != np.sign(credit.values_N[path].sum())].sum())
            self.tokens += int(length.sum())


@dataclass
class Rechecks:
    """Advantages of rechecks and of the other lines, answers left out: where rechecks have more, they are reinforced."""

    rechecks: list[float] = field(default_factory=list)
    lines: list[float] = field(default_factory=list)

    def count(self, tree: Tree, credit: Credit) -> None:
        """Every sampled line of the batch."""
        for node in np.flatnonzero(credit.weight_N > 0):
            text = tree.steps[node].text
            if not text.startswith(ANSWER):
                (self.rechecks if text.startswith(AGAIN) else self.lines).append(float(credit.values_N[node]))

    @property
    def gap(self) -> float:
        """Mean advantage of a recheck minus that of a line; NaN without either."""
        return float(np.mean(self.rechecks) - np.mean(self.lines)) if self.rechecks and self.lines else float("nan")


@dataclass
class Probe:
    """The credit of an arm, asked of the policy that the rollout was given."""

    name: str
    plan: Plan
    signs: Signs = field(default_factory=Signs)
    told: Rechecks = field(default_factory=Rechecks)
    policy: Policy | None = None

    def rollout(self, grow: Callable[..., Sequence[Tree]]) -> Callable[..., Sequence[Tree]]:
        """The rollout, remembering who wrote."""

        def own(problems: Sequence[Problem], policy: Policy, draw: Rng) -> Sequence[Tree]:
            self.policy = policy
            return grow(problems, policy, draw)

        return own

    def __call__(self, trees: Sequence[Tree]) -> list[Credit]:
        """The credits of one batch, counted."""
        found = self.credits(trees)
        for tree, credit in zip(trees, found, strict=True):
            self.told.count(tree, credit)
            if self.name == "paper":
                self.signs.count(tree, credit)
        return found

    def credits(self, trees: Sequence[Tree]) -> list[Credit]:
        """As the arm has them."""
        assert self.policy is not None
        plan = self.plan
        if self.name == "grpo":
            found: list[Credit] = registry.bind("credit", "group_mean")(trees)
            return found
        if self.name == "penalty":
            return [
                whole(tree, _outcomes(tree) - plan.length_weight * _tokens(tree) / needed(tree.problem))
                for tree in trees
            ]
        plain = self.name in ("sum", "mean")
        credits: list[Credit] = registry.bind(
            "credit", "information_gain", policy=self.policy, alpha=plan.alpha,
            beta=0.0 if self.name in WITHOUT_COSTS else plan.beta, form=FORMS.get(self.name, "reward"), suffix=ANSWER,
        )(trees)  # fmt: skip
        if not plain:
            return credits
        return [replace(whole(tree, totals(tree, credit, per_token=self.name == "mean")), cost=credit.cost)
                for tree, credit in zip(trees, credits, strict=True)]  # fmt: skip


def whole(tree: Tree, reward_G: Floats) -> Credit:
    """The z-score of each attempt's reward, on all of its steps; the attempts are a star's, in the order of its leaves."""
    value_N = np.full(tree.num_nodes, np.nan)
    for leaf, advantage in zip(tree.leaves, advantages(reward_G), strict=True):
        value_N[list(tree.path(leaf))] = advantage
    return assign(tree, value_N, "advantage", "l2t")


def totals(tree: Tree, credit: Credit, *, per_token: bool) -> Floats:
    """Sum of an attempt's step rewards, or that by its tokens, [G].

    Rounded: a sum's last digits depend on how many steps it has, and a z-score would make a whole advantage of them.
    """
    sum_G = np.round([np.nansum(credit.values_N[list(tree.path(leaf))]) for leaf in tree.leaves], 9)
    return sum_G / np.maximum(_tokens(tree), 1) if per_token else sum_G


def _outcomes(tree: Tree) -> Floats:
    """Every attempt is scored: the trainer has made wrong ones of those that cannot be read."""
    return tree.reward_N[list(tree.leaves)]


def _tokens(tree: Tree) -> Floats:
    return np.array([tokens_of(tree, leaf) for leaf in tree.leaves], dtype=np.float64)


def run_arm(world: World, plan: Plan, name: str) -> ArmResult:
    """Train and test one arm; "base" only tests."""
    grow = verified_rollout(chains, verify, num=plan.num, max_new_tokens=ATTEMPT)
    test = success(world.problems["test"], verified_rollout(chains, verify, num=plan.num_attempts, max_new_tokens=ATTEMPT),
                   seed=world.seed, name="accuracy")  # fmt: skip
    if name == "base":
        from stepcredit.policy.hf import hf

        return ArmResult(dict(test(hf(str(world.folder)))), cost={"generated_tokens": 0.0})
    probe = Probe(name, plan)
    settings = Settings(num_updates=100_000, num_problems=plan.num_problems, learning_rate=plan.learning_rate,
                        max_new_tokens=ATTEMPT, max_generated_tokens=plan.budget)  # fmt: skip
    rules = Rules(spread="surprise") if name == "paper" else Rules()
    arm = RlArm(probe.rollout(grow), probe, settings, rules)
    result = train_arm(world.folder, world.problems["train"], arm, test=test, seed=world.seed)
    nan = float("nan")
    logged = {"recheck minus line": Estimate(probe.told.gap, nan, nan, len(probe.told.rechecks), "advantage")}
    if probe.signs.tokens:
        share = probe.signs.flipped / probe.signs.tokens
        logged["signs flipped"] = Estimate(share, nan, nan, probe.signs.tokens, "share of tokens")
    return replace(result, estimates={**result.estimates, **logged})
