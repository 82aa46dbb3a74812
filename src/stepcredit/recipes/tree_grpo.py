"""Tree-GRPO: attempts that branch at an agent's turns, at a fraction of the tokens of chains; deep look-ups, and a single hop.

    M episodes a problem, N of their turns continued, L rounds -> leaves' outcomes -> A = inter + intra -> train/grpo

Tree-GRPO, arXiv:2509.21240: `rollout/episodes` (M = N = 2, L = 1), `credit/tree_advantage` (equations 6 and 7). Beside it each half
of the advantage alone, the advantage among siblings (TreeRL, 2506.11902) with weight 1 a step, and exactly as the policy
gradient has it (the other siblings' mean, each step for what it stands for: `train/policy_samples`, "branches"); larger trees
(N = 6, half the problems a batch); nodes chosen by entropy; and chains (GRPO, 2402.03300): as many tokens a problem as the tree
("chains"), as N = 6 ("chains, nine a problem", half the problems a batch), and four times as many ("chains x4"). All arms stop at the
same generated tokens, but for "chains x4", which makes as many updates and pays four times the tokens, as in the paper's comparison
at 1/4 of the budget.
World: `tasks/kg_hop`, three hops, where a chain is 17 tokens, and one hop, the control, where a tree has nothing to share;
size "deep": six hops, 31 tokens, where a continuation costs 4/7 of a chain.
Departs: 140,000 parameters from scratch taught on demonstrations with slips, no KL, a constant for the length, tree and
chain nodes trained once with the weight of their leaves. What can transfer is the order, not the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepcredit.core.registry import bind, register
from stepcredit.recipes._arms import ArmResult
from stepcredit.recipes._rl import Cells, RlArm, run_of, train_arm
from stepcredit.recipes._tool_rl import ToolWorld
from stepcredit.train.grpo import CreditFn, Settings
from stepcredit.train.policy_samples import Rules


@dataclass(frozen=True)
class Size:
    """The tokens of an arm by world, problems a batch, and how often it is tested."""

    tokens: int
    num_problems: int
    every: int
    worlds: tuple[tuple[str, ToolWorld], ...]


def _worlds(**given: Any) -> tuple[tuple[str, ToolWorld], ...]:
    return (("three hops", ToolWorld("kg_hop", (("hops", 3),), max_turns=6, **given)),
            ("one hop", ToolWorld("kg_hop", (("hops", 1),), max_turns=4, **{**given, "policy_updates": given["policy_updates"] // 2})))  # fmt: skip


SIZES = {
    "quick": Size(
        400, 2, 1, _worlds(num_demonstrations=40, policy_updates=4, num_train=8, num_test=3, num_tested=2, hidden=16)
    ),
    "small": Size(40_000, 8, 20, _worlds(policy_updates=600)),
    "deep": Size(40_000, 8, 25, (("six hops", ToolWorld("kg_hop", (("hops", 6),), max_turns=9)),)),
}


@dataclass(frozen=True)
class Trees:
    """An arm of trees: its credit, N, how nodes are chosen, what shared steps weigh."""

    credit: CreditFn
    num_nodes: int = 2
    choose: Literal["random", "entropy"] = "random"
    shared: Literal["credit", "branches"] = "credit"


CHAINS, X4, NINE = "chains", "chains x4", "chains, nine a problem"
TREES = {
    "tree, inter + intra": Trees(bind("credit", "tree_advantage")),
    "tree, inter": Trees(bind("credit", "tree_advantage", over="inter")),
    "tree, intra": Trees(bind("credit", "tree_advantage", over="intra")),
    "tree, siblings": Trees(bind("credit", "sibling")),
    "tree, siblings, exact": Trees(bind("credit", "sibling", leave_one_out=True), shared="branches"),
    "tree, N = 6": Trees(bind("credit", "tree_advantage"), num_nodes=6),
    "tree, by entropy": Trees(bind("credit", "tree_advantage"), choose="entropy"),
}
ARMS = (CHAINS, X4, NINE, *TREES)
KINDS = {name: "control" if name in (CHAINS, X4, NINE) else "label-free" for name in ARMS}
EXPECTATION = (
    "Written before seeds 720 to 724. At three hops and equal generated tokens the tree with both advantages is above chains, and not "
    "below chains at four times the tokens; inter alone lies between, intra alone, with three leaves a tree, learns less than both "
    "together. Siblings are level with both. At one hop every difference is within two points of nothing. "
    "Size deep, written before seeds 725 to 729, after seed 1 (chains .69, both .59, siblings exact .66, N = 6 .65, by entropy .62): "
    "trees with both advantages are not above chains at equal tokens, and well below four times the tokens, at six hops as at three. "
    "Siblings as the policy gradient has them are above siblings with weight 1, and level with chains, within three points. Larger "
    "trees and nodes chosen by entropy are two to five points above small random ones, and not above chains. "
    "Nine chains a problem, the control of N = 6 (as many tokens a problem, as many problems a batch), were added after those arms "
    "had come out and before this one was run: level with N = 6, as groups of nine are what is gained, and not the tree."
)


@register("recipes", paper="arXiv:2509.21240")
def tree_grpo(
    *, size: Literal["quick", "small", "deep"] = "small", seeds: Sequence[int] = (1,), worlds: Sequence[str] = (), arms: Sequence[str] = (),
    out: str = "runs/tree_grpo",
) -> dict[str, Any]:  # fmt: skip
    """Train every arm in every world; finished arms are kept under `out/arms`. Returns the run for run.json.

    Raises ValueError for an unknown size, world or arm, or no seed; RuntimeError where TRL is missing.
    """
    found = results(size, seeds, worlds, arms, out=out)
    flat = {f"{arm} ({world})": of for world, each in found.items() for arm, of in each.items()}
    kinds = {f"{arm} ({world})": KINDS[arm] for world, each in found.items() for arm in each}
    return run_of(flat, kinds, ["success", "sound calls", "calls"], title="Trees of episodes against chains", seeds=seeds,
                  expectation=EXPECTATION, config={"size": size, "plan": asdict(SIZES[size])})  # fmt: skip


def results(
    size: str,
    seeds: Sequence[int],
    worlds: Sequence[str] = (),
    arms: Sequence[str] = (),
    *,
    out: str = "runs/tree_grpo",
) -> dict[str, dict[str, list[ArmResult]]]:
    """Each arm's result per seed, by world; read back where it is finished."""
    if size not in SIZES or not seeds:
        raise ValueError(f"size {size!r}, {len(seeds)} seeds; there are: {', '.join(SIZES)}; give one seed or more")
    plan = SIZES[size]
    there = dict(plan.worlds)
    for given, allowed in ((worlds, there), (arms, KINDS)):
        if unknown := sorted(set(given) - set(allowed)):
            raise ValueError(f"no {unknown[0]!r}; there are: {', '.join(map(repr, allowed))}")
    found: dict[str, dict[str, list[ArmResult]]] = {w: {a: [] for a in arms or ARMS} for w in worlds or there}
    for seed in seeds:
        for world, each in found.items():
            run = _arms(plan, there[world], seed, Path(out))
            cells = Cells(Path(out), asdict(plan))
            for arm, of in each.items():
                of.append(cells.result(f"{world}, {arm}", seed, lambda arm=arm, run=run: run(arm)))  # type: ignore[misc]
    return found


def _arms(plan: Size, world: ToolWorld, seed: int, out: Path) -> Any:
    """A function that trains an arm of this world and seed."""
    train, test = world.problems(seed)

    def run(name: str) -> ArmResult:
        # M = N = 2, L = 1: 4.5 chains at three hops; N = 6: about nine
        knobs: Mapping[str, Any] = {"num": {CHAINS: 5, X4: 20, NINE: 9}.get(name, 0)}
        credit, rules, num_problems = bind("credit", "group_mean"), Rules(), plan.num_problems
        if tree := TREES.get(name):
            knobs = {"num": 2, "num_nodes": tree.num_nodes, "num_rounds": 1, "choose": tree.choose}
            credit, rules = tree.credit, Rules(shared=tree.shared)
            num_problems = max(1, round(num_problems * 4 / (2 + tree.num_nodes)))  # as many tokens a batch
        if name == NINE:
            num_problems = max(1, num_problems // 2)
        tokens = plan.tokens * (4 if name == X4 else 1)
        settings = Settings(num_updates=10_000, num_problems=num_problems, learning_rate=3e-4, max_new_tokens=32,
                            max_generated_tokens=tokens)  # fmt: skip
        arm = RlArm(world.rollout(**knobs), credit, settings, rules)
        policy = world.policy(seed, out / "cache")
        return train_arm(policy, train, arm, test=world.test(test, seed), seed=seed, every=plan.every)

    return run
