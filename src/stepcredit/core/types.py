"""The data that flows through stepcredit: frozen records, one worked example each.

One file on purpose, though over 300 lines: it is the vocabulary of the package, read whole once.
Everything else in the package is a function between these types. Axes stand in array names (N nodes, S steps,
T tokens, C channels); NaN or None always means "never computed", zero means "computed, and zero".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

StepKind = Literal["prompt", "reason", "tool_call", "tool_result", "answer", "evaluation"]
OutcomeStatus = Literal["scored", "unparsed", "truncated", "timeout", "abstained", "error"]
CreditKind = Literal["value", "advantage", "reward", "label"]
JudgmentStatus = Literal["scored", "abstained", "truncated", "error"]
Ratio = Literal["on_policy", "shaped", "none"]

NO_ANSWER: tuple[OutcomeStatus, ...] = (
    "truncated",
    "unparsed",
)  # the attempt's own fault: wrong, where one must count it
_EMPTY: Mapping[str, Any] = MappingProxyType({})


def _one_of(what: str, value: object, allowed: object) -> None:
    if value not in get_args(allowed):
        raise ValueError(f"{what} is {value!r}; allowed: {', '.join(get_args(allowed))}")


def _read_only(array: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """A private, read-only copy: the caller's array is never aliased, ours never written."""
    copy = np.array(array, dtype=dtype)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True)
class Cost:
    """What was spent. Costs add; methods are compared at equal cost, never at nominal rollouts.

    >>> Cost(generated_tokens=10) + Cost(generated_tokens=5, verifier_calls=1)
    Cost(generated_tokens=15, forwarded_tokens=0, verifier_calls=1, judge_calls=0, seconds=0.0)
    """

    generated_tokens: int = 0
    forwarded_tokens: int = 0
    verifier_calls: int = 0
    judge_calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.generated_tokens + other.generated_tokens,
            self.forwarded_tokens + other.forwarded_tokens,
            self.verifier_calls + other.verifier_calls,
            self.judge_calls + other.judge_calls,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class Problem:
    """A question, with what its verifier needs.

    `answer` is read by the verifier alone; `reference` holds expert steps where there are any.

    >>> Problem("p1", "2+3=?", answer="5").prompt
    '2+3=?'
    """

    id: str
    prompt: str
    answer: Any = None
    reference: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step of an attempt.

    `sampled=False` marks text the policy did not write (a prompt, a tool's result): it is context, and never
    trained on. `context` is the text the step was sampled from when that is not its path in the tree.

    >>> Step("2+3=5").sampled, Step("42 rows", kind="tool_result", sampled=False).sampled
    (True, False)
    """

    text: str
    kind: StepKind = "reason"
    sampled: bool = True
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    context: str | None = None

    def __post_init__(self) -> None:
        _one_of("step kind", self.kind, StepKind)
        if self.token_ids is not None and self.logprobs is not None and len(self.token_ids) != len(self.logprobs):
            raise ValueError(f"a step has {len(self.token_ids)} token ids but {len(self.logprobs)} log-probabilities")


@dataclass(frozen=True)
class Outcome:
    """What a verifier said of a finished attempt: the anchor of every step signal.

    Format (`well_formed`) and task (`correct`) are separate fields. Only `status="scored"` has a finite reward:
    a failure to score is never a score.

    >>> Outcome(reward=1.0, correct=True, verifier="exact").status
    'scored'
    >>> Outcome(status="unparsed", verifier="exact").reward
    nan
    """

    reward: float = float("nan")
    correct: bool | None = None
    well_formed: bool | None = None
    answer: str | None = None
    status: OutcomeStatus = "scored"
    verifier: str = "recorded"

    def __post_init__(self) -> None:
        _one_of("outcome status", self.status, OutcomeStatus)
        if (self.status == "scored") != bool(np.isfinite(self.reward)):
            raise ValueError(
                f"an outcome is scored exactly when its reward is finite; got {self.status}, {self.reward}"
            )


@dataclass(frozen=True, eq=False)
class Tree:
    """Every set of attempts: node 0 is the prompt, parents come before children, a leaf ends an attempt.

    A chain is a tree with one leaf, a group of samples a star of chains. `outcomes[n]` is None where no verifier
    has looked; `visits_N` counts search visits; `group_N` says which of several trees a node belongs to.
    Arrays are read-only.

    >>> tree = Tree(Problem("p", "2+3=?"), (Step("2+3=?", kind="prompt", sampled=False), Step("5")), [-1, 0],
    ...             (None, Outcome(reward=1.0, correct=True)))
    >>> tree.leaves, tree.path(1), tree.reward_N
    ((1,), (1,), array([nan,  1.]))
    """

    problem: Problem
    steps: tuple[Step, ...]
    parent_N: Ints
    outcomes: tuple[Outcome | None, ...]
    visits_N: Ints | None = None
    group_N: Ints | None = None
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        num = len(self.steps)
        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "outcomes", tuple(self.outcomes))
        object.__setattr__(self, "parent_N", _read_only(self.parent_N, np.int64))
        for name in ("visits_N", "group_N"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _read_only(given, np.int64))
                if getattr(self, name).shape != (num,):
                    raise ValueError(f"{name}: expected [{num}], got {list(np.shape(given))}")
        if num == 0 or self.steps[0].sampled:
            raise ValueError("a tree starts with its prompt: node 0 must be a step with sampled=False")
        if self.parent_N.shape != (num,) or len(self.outcomes) != num:
            raise ValueError(
                f"{num} steps need [{num}] parents and outcomes, got {list(self.parent_N.shape)}, {len(self.outcomes)}"
            )
        order = np.arange(num)
        if self.parent_N[0] != -1 or np.any(self.parent_N[1:] < 0) or np.any(self.parent_N[1:] >= order[1:]):
            raise ValueError("parents come first: parent_N[0] is -1 and 0 <= parent_N[n] < n for every other node")

    @property
    def num_nodes(self) -> int:
        """N, the prompt included."""
        return len(self.steps)

    @property
    def leaves(self) -> tuple[int, ...]:
        """Nodes without children, in node order. A tree that is only its prompt has none."""
        inner = set(self.parent_N.tolist())
        return tuple(n for n in range(1, self.num_nodes) if n not in inner)

    @property
    def sampled_N(self) -> Bools:
        """True where the policy wrote the step."""
        return np.array([step.sampled for step in self.steps], dtype=np.bool_)

    @property
    def reward_N(self) -> Floats:
        """Verifier reward per node, NaN where unscored."""
        return np.array([np.nan if o is None else o.reward for o in self.outcomes], dtype=np.float64)

    def path(self, node: int) -> tuple[int, ...]:
        """Nodes from the first step to `node`, the prompt left out."""
        nodes = []
        while node > 0:
            nodes.append(node)
            node = int(self.parent_N[node])
        return tuple(reversed(nodes))

    def solution(self, leaf: int) -> tuple[Step, ...]:
        """The steps of the attempt that ends at `leaf`."""
        return tuple(self.steps[n] for n in self.path(leaf))


@dataclass(frozen=True, eq=False)
class Credit:
    """A number on each node, and what kind of number it is.

    `kind` stops a probability being used as an advantage: value V in [0, 1], advantage A, reward r, label y in
    [0, 1]. A value is NaN exactly where its weight is 0: never assigned is not zero.

    >>> Credit([float("nan"), 0.5], "value", [0, 1], "monte_carlo").values_N
    array([nan, 0.5])
    """

    values_N: Floats
    kind: CreditKind
    weight_N: Floats
    method: str
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        _one_of("credit kind", self.kind, CreditKind)
        object.__setattr__(self, "values_N", _read_only(self.values_N, np.float64))
        object.__setattr__(self, "weight_N", _read_only(self.weight_N, np.float64))
        if self.values_N.ndim != 1 or self.values_N.shape != self.weight_N.shape:
            raise ValueError(f"values and weights: expected one [N], got {self.values_N.shape}, {self.weight_N.shape}")
        if np.any(self.weight_N < 0) or not np.all(np.isfinite(self.weight_N)):
            raise ValueError("weights must be finite and not negative")
        wrong = np.flatnonzero(np.isnan(self.values_N) != (self.weight_N == 0))
        if wrong.size:
            raise ValueError(f"a value is NaN exactly where its weight is 0; broken at node {wrong[0]}")
        known = self.values_N[self.weight_N > 0]
        if self.kind in ("value", "label") and np.any((known < 0) | (known > 1)):
            raise ValueError(f"a {self.kind} lies in [0, 1]; got {known[(known < 0) | (known > 1)][0]}")


@dataclass(frozen=True, eq=False)
class Judgment:
    """What a judge says of one attempt: a score for the whole, one per step it scored.

    `step_scores_S` are probabilities of "sound so far", one per *sampled* step; `channels` holds the head's named
    per-step outputs (`ok`; `keep`, `fix`). A judge that cannot read an attempt abstains; it never scores 0.

    >>> Judgment(0.9, [0.95, 0.9], channels={"keep": [0.95, 0.95]}).step_scores_S
    array([0.95, 0.9 ])
    """

    score: float
    step_scores_S: Floats
    channels: Mapping[str, Floats] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    critique: str | None = None
    status: JudgmentStatus = "scored"
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        _one_of("judgment status", self.status, JudgmentStatus)
        object.__setattr__(self, "step_scores_S", _read_only(self.step_scores_S, np.float64))
        channels = {name: _read_only(values, np.float64) for name, values in self.channels.items()}
        object.__setattr__(self, "channels", MappingProxyType(channels))
        for name, values in channels.items():
            if values.shape != self.step_scores_S.shape:
                raise ValueError(f"channel {name}: expected {self.step_scores_S.shape}, got {values.shape}")
        if (self.status == "scored") != bool(np.isfinite(self.score)):
            raise ValueError(f"a judgment is scored exactly when its score is finite; got {self.status}, {self.score}")

    @property
    def local_scores_S(self) -> Floats:
        """What the judge says of each step by itself: `keep`, the `fix` of a retry chain, `ok`, `right`; else its scores.

        Two chains always agree on running scores, which fall along every attempt; on these they need not.
        """
        for name in ("keep", "fix", "ok", "right"):
            if name in self.channels:
                return self.channels[name]
        return self.step_scores_S


@dataclass(frozen=True)
class Preference:
    """A pairwise verdict: the probability that `first` is the better of two attempts.

    >>> Preference("a", "b", 0.75).p_first
    0.75
    """

    first: str
    second: str
    p_first: float
    critique: str | None = None


@dataclass(frozen=True)
class Completion:
    """What a policy wrote after a prefix.

    >>> Completion("5", finish="stop").text
    '5'
    """

    text: str
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    finish: Literal["stop", "length"] = "stop"


@dataclass(frozen=True, eq=False)
class Sample:
    """All a trainer sees of one attempt; it never learns which method made it.

    `loss_mask_T` is True at the S read positions, in step order; `label_CT` and `weight_CT` have one row per
    channel; `outcome` is the attempt's reward in [0, 1] for outcome losses, NaN where unscored; `ratio` says how
    an RL loss treats the tokens.

    >>> Sample([5, 6, 7], [False, True, True], [[np.nan, 1.0, 0.0]], [[0.0, 1.0, 1.0]]).num_steps
    2
    """

    token_ids_T: Ints
    loss_mask_T: Bools
    label_CT: Floats
    weight_CT: Floats
    outcome: float = float("nan")
    advantage_T: Floats | None = None
    old_logprob_T: Floats | None = None
    ratio: Ratio = "none"
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids_T", _read_only(self.token_ids_T, np.int64))
        object.__setattr__(self, "loss_mask_T", _read_only(self.loss_mask_T, np.bool_))
        object.__setattr__(self, "label_CT", _read_only(self.label_CT, np.float64))
        object.__setattr__(self, "weight_CT", _read_only(self.weight_CT, np.float64))
        num = len(self.token_ids_T)
        if self.loss_mask_T.shape != (num,):
            raise ValueError(f"loss_mask_T: expected [{num}], got {list(self.loss_mask_T.shape)}")
        if self.label_CT.shape != self.weight_CT.shape or self.label_CT.shape[1:] != (num,):
            raise ValueError(f"label_CT: expected [C, {num}] twice, got {self.label_CT.shape}, {self.weight_CT.shape}")

    @property
    def num_steps(self) -> int:
        """S, the number of read positions."""
        return int(self.loss_mask_T.sum())


@dataclass(frozen=True)
class Estimate:
    """A reported number: value, interval, how many units it rests on, and its unit.

    >>> Estimate(0.5, 0.4, 0.6, 100, "accuracy").n
    100
    """

    value: float
    low: float
    high: float
    n: int
    unit: str


@dataclass(frozen=True, eq=False)
class Record:
    """A tree with what has been said of it: the unit that travels through files and commands.

    `credits` are per node, by name; `"truth"` is reserved for recorded step truth (a `label` credit: 1 right,
    0 wrong, NaN unknown) that is only ever measured against. `judgments` align with `tree.leaves`.

    >>> tree = Tree(Problem("p", "2+3=?"), (Step("2+3=?", kind="prompt", sampled=False), Step("5")), [-1, 0], (None, None))
    >>> Record(tree).judgments
    ()
    """

    tree: Tree
    credits: Mapping[str, Credit] = field(default_factory=dict)
    judgments: tuple[Judgment, ...] = ()

    def __post_init__(self) -> None:
        for name, credit in self.credits.items():
            if len(credit.values_N) != self.tree.num_nodes:
                raise ValueError(f"credit {name}: expected [{self.tree.num_nodes}], got [{len(credit.values_N)}]")
        if self.judgments and len(self.judgments) != len(self.tree.leaves):
            raise ValueError(f"{len(self.tree.leaves)} attempts need as many judgments, got {len(self.judgments)}")
