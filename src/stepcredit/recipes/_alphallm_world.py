"""One seed of `recipes/alphallm` and `recipes/judge_search`: problems, policies, attempts, and the judges they teach.

Everything is made when first needed and kept under `out/cache`, found again by content: policy and fast policy by
`train/tiny`, judges by all that decides them. Judges are taught on the policy's own attempts; of these, outcomes alone,
but for the judge of oracle labels. All start from the policy's weights.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepcredit.core.layout import Layout
from stepcredit.core.protocols import Judge, Policy, Task
from stepcredit.core.rng import rng
from stepcredit.core.truth import verified, with_truth
from stepcredit.core.types import Problem, Record, Tree
from stepcredit.recipes._alphallm_task import either_way, text_of
from stepcredit.recipes._fit import Backbone, Budget, Teaching, fit_scorer
from stepcredit.recipes._pools import problems_of, until_first_error
from stepcredit.recipes._save import save_scorer

REVISION = 1  # raise it when code, or a default, that decides attempts or judges changes
MODULUS = 5
CHANCE = 1 / MODULUS  # of a broken attempt to end right: known of the domain, not measured on it
LAYOUT = Layout(marker="\n")
MAX_NEW_TOKENS = 64
JUDGES = {
    "value": Teaching("value"),
    "prm": Teaching("latent_chain", fp=CHANCE),
    "orm": Teaching("last"),
    "latent_chain": Teaching("latent_chain", fp=CHANCE),
    "outcome_broadcast": Teaching("broadcast"),
    "oracle": Teaching(credit="oracle", chain_labels=True),
}


@dataclass(frozen=True)
class Scale:
    """How much is trained, on how much. `num_imagined` problems are new in each of `num_rounds` rounds."""

    num_demonstrations: int
    policy_updates: int
    fast_updates: int
    num_train: int
    num_train_attempts: int
    judge_updates: int
    num_test: int
    num_attempts: int
    num_imagined: int = 0
    num_rounds: int = 2
    hidden: int = 64
    layers: int = 2
    fast_hidden: int = 32
    task: tuple[tuple[str, float], ...] = ()


@dataclass
class World:
    """One seed."""

    scale: Scale
    seed: int
    out: Path
    progress: bool = False

    @functools.cached_property
    def task(self) -> Task:
        """The task, whose gold answers decide outcomes in training and measure in the end."""
        return either_way(modulus=MODULUS, **dict(self.scale.task))  # type: ignore[arg-type]

    @functools.cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Distinct problems: shown, train, test, and round 1, 2, ... for the loop, which the task makes up."""
        scale = self.scale
        sizes = {"shown": scale.num_demonstrations, "train": scale.num_train, "test": scale.num_test,
                 **{f"round {k}": scale.num_imagined for k in range(1, scale.num_rounds + 1)}}  # fmt: skip
        return problems_of(self.task, sizes, self.seed)

    @functools.cached_property
    def texts(self) -> list[str]:
        """Noisy demonstrations, slips included."""
        draw = rng(self.seed, "demonstrations")
        return ["".join(text_of(p, self.task.demonstrate(p, draw))) for p in self.problems["shown"]]

    @functools.cached_property
    def policy_folder(self) -> Path:
        """The model that imitates the demonstrations."""
        return self._model(self.scale.hidden, self.scale.layers, self.scale.policy_updates)

    @functools.cached_property
    def fast_folder(self) -> Path:
        """The one-layer model that writes fast rollouts, from the same demonstrations."""
        return self._model(self.scale.fast_hidden, 1, self.scale.fast_updates)

    def _model(self, hidden: int, layers: int, num_updates: int) -> Path:
        from stepcredit.train.tiny import train_language_model

        return train_language_model(self.texts, self.out / "cache", hidden=hidden, layers=layers, num_updates=num_updates,
                                    max_positions=128, seed=self.seed, progress=self.progress)  # fmt: skip

    def policy(self, folder: Path | None = None, temperature: float = 1.0) -> Any:
        """A fresh policy, whose costs start at nothing; greedy at temperature 0."""
        from stepcredit.policy.hf import hf

        return hf(str(folder or self.policy_folder), temperature=temperature)

    def write(self, policy: Policy, problems: Sequence[Problem], num: int, stream: str) -> list[Tree]:
        """`num` attempts at each problem, with what they cost and without outcomes."""
        from stepcredit.rollout.chains import chains

        return chains(problems, policy=policy, rng=rng(self.seed, stream), num=num, max_new_tokens=MAX_NEW_TOKENS)

    @functools.cached_property
    def train(self) -> list[Record]:
        """The policy's own attempts with their outcomes; step truth beside them for the oracle's judge alone."""
        trees = self.write(self.policy(), self.problems["train"], self.scale.num_train_attempts, "attempts")
        return [with_truth(verified(Record(tree), self.task.verify), self.task) for tree in trees]

    def judge(self, name: str) -> Judge:
        """One of `JUDGES`, trained, or read back from its folder."""
        from stepcredit.judge.head import HeadScorer, ScorerJudge

        folder = self.out / "cache" / f"judge-{self._key(name)}"
        if not (folder / "scorer.json").is_file():
            teaching = JUDGES[name]
            records = [until_first_error(r) for r in self.train] if teaching.credit == "oracle" else self.train
            done = fit_scorer(records, teaching=teaching, backbone=Backbone(str(self.policy_folder)), budget=self.budget,
                              layout=LAYOUT, seed=self.seed, progress=self.progress, diagnose=False)  # fmt: skip
            save_scorer(done.scorer, folder)
        return ScorerJudge(HeadScorer.load(folder))

    @property
    def budget(self) -> Budget:
        """Equal for all judges."""
        return Budget(
            num_updates=self.scale.judge_updates, batch_size=64, learning_rate=1e-3, max_tokens=120, dtype="auto"
        )

    @property
    def parts(self) -> list[Any]:
        """What decides this seed's policies, attempts and judges."""
        return [REVISION, asdict(self.scale), self.seed, MODULUS, asdict(LAYOUT), asdict(self.budget)]

    def _key(self, name: str) -> str:
        return key_of([*self.parts, asdict(JUDGES[name])])


def key_of(parts: Any) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def tokens_of(tree: Tree, leaf: int) -> int:
    """Generated tokens of one attempt."""
    return sum(len(step.token_ids or ()) for step in tree.solution(leaf))


def affordable(tree: Tree, budget: int) -> int:
    """How many of the attempts, in the order they were written, are paid for until the budget is reached.

    The last one may go over it, as a search's last round may. All of them where they cost less.
    """
    total = 0
    for num, leaf in enumerate(tree.leaves, start=1):
        total += tokens_of(tree, leaf)
        if total >= budget:
            return num
    return len(tree.leaves)
