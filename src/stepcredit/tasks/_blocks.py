"""Blocksworld with its four operators: facts, prompts, the strict simulator, states drawn uniformly, shortest plans.

A state is a set of facts spelled as in the prompt: "on b c", "table a", "clear a", "hand empty", "holding a".
Operators as in PlanBench (arXiv:2206.10498, appendix).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import comb, factorial

from stepcredit.core.protocols import Rng

Facts = frozenset[str]
Places = dict[str, str]
TABLE, HAND = "table", "hand"

_FACT = re.compile(r"on [a-z] [a-z]|(table|clear|holding) [a-z]|hand empty")
_ACTION = re.compile(r"(pick-up|put-down) [a-z]|(stack|unstack) [a-z] [a-z]")


def render_prompt(init: Iterable[str], goal: Iterable[str]) -> str:
    """The canonical prompt: sorted initial facts, sorted goal facts, one line each."""
    return f"init: {'; '.join(sorted(init))}\ngoal: {'; '.join(sorted(goal))}"


def parse_prompt(text: str) -> tuple[Facts, Facts]:
    r"""(init, goal) of a canonical prompt; ValueError names the line or fact that is none.

    >>> init, goal = parse_prompt("init: clear a; hand empty; on a b; table b\ngoal: on b a")
    >>> sorted(init), sorted(goal)
    (['clear a', 'hand empty', 'on a b', 'table b'], ['on b a'])
    """
    lines = text.split("\n")
    if len(lines) != 2 or not lines[0].startswith("init: ") or not lines[1].startswith("goal: "):
        raise ValueError(f"Blocksworld prompt {text!r}; expected a line 'init: ...' and a line 'goal: ...'")
    init, goal = (line[len("init: ") :].split("; ") for line in lines)
    for fact in (*init, *goal):
        if not _FACT.fullmatch(fact):
            raise ValueError(f"fact {fact!r}; allowed: 'on b c', 'table a', 'clear a', 'holding a', 'hand empty'")
    return frozenset(init), frozenset(goal)


def blocks_of(facts: Iterable[str]) -> list[str]:
    """The blocks named in facts, sorted."""
    return sorted({word for fact in facts for word in fact.split()[1:] if len(word) == 1})


def is_action(text: str, blocks: Iterable[str]) -> bool:
    """Whether this is an operator with the right number of blocks of the problem."""
    return bool(_ACTION.fullmatch(text)) and set(text.split()[1:]) <= set(blocks)


def apply_action(state: Facts, action: str) -> Facts | None:
    """The state after an action, None where a precondition does not hold.

    >>> sorted(apply_action(frozenset({"clear a", "hand empty", "on a b", "table b"}), "unstack a b"))
    ['clear b', 'holding a', 'table b']
    >>> apply_action(frozenset({"clear a", "hand empty", "on a b", "table b"}), "pick-up a") is None
    True
    """
    verb, *args = action.split()
    x, y = args[0], args[-1]
    lifted = {
        "pick-up": {f"clear {x}", f"table {x}", "hand empty"},
        "unstack": {f"clear {x}", f"on {x} {y}", "hand empty"},
    }
    if verb in lifted:
        needs, adds = lifted[verb], {f"holding {x}"} | ({f"clear {y}"} if verb == "unstack" else set())
    elif verb == "put-down":
        needs, adds = {f"holding {x}"}, {f"clear {x}", f"table {x}", "hand empty"}
    else:
        needs, adds = {f"holding {x}", f"clear {y}"}, {f"clear {x}", f"on {x} {y}", "hand empty"}
    return (state - needs) | adds if needs <= state else None  # each operator deletes exactly what it needs


def move(places: Mapping[str, str], action: str) -> Places:
    """Where the blocks are after an action, taken at its word: no precondition is looked at.

    The named block goes where the action says and everything else makes room: another block in the hand goes to the
    table, what stood on the named block sinks to where that was, what stood on its new place now stands on it. So the
    result is a proper arrangement whatever the action, and what the hand holds depends on the action alone: neither
    tells an allowed action from a forbidden one. After an allowed action it is the true state.

    >>> move({"a": "table", "b": "a", "c": "hand"}, "pick-up a")
    {'a': 'hand', 'b': 'table', 'c': 'table'}
    """
    verb, *args = action.split()
    x, to = args[0], {"pick-up": HAND, "unstack": HAND, "put-down": TABLE}.get(verb, args[-1])
    after = {z: TABLE if y == HAND and z != x else places[x] if y == x else y for z, y in places.items()}
    if to not in (HAND, TABLE) and to != x:
        after = {z: x if y == to and z != x else y for z, y in after.items()}
    return {**after, x: TABLE if to == x else to}


def places_of(facts: Iterable[str]) -> Places:
    """Block -> what it is on (a block, the table or the hand), sorted by block."""
    words = [fact.split() for fact in facts]
    places = {
        w[1]: {"table": TABLE, "holding": HAND}.get(w[0], w[-1]) for w in words if w[0] in ("on", "table", "holding")
    }
    return dict(sorted(places.items()))


def facts_of(places: Mapping[str, str]) -> Facts:
    """The facts of a state with an empty hand."""
    stands = {f"table {x}" if y == TABLE else f"on {x} {y}" for x, y in places.items()}
    return frozenset(stands | {f"clear {x}" for x in places if x not in places.values()} | {"hand empty"})


def random_places(num_blocks: int, rng: Rng) -> Places:
    """One of the arrangements of n blocks into towers, each equally likely.

    k towers have Lah(n, k) = C(n-1, k-1) n! / k! arrangements; given k, a permutation cut at k - 1 places hits each of
    them k! times.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"[:num_blocks]
    lah = [comb(num_blocks - 1, k - 1) * factorial(num_blocks) // factorial(k) for k in range(1, num_blocks + 1)]
    num_towers = 1 + int(rng.choice(num_blocks, p=[count / sum(lah) for count in lah]))
    order = [letters[i] for i in rng.permutation(num_blocks)]
    cuts = (
        sorted(int(c) + 1 for c in rng.choice(num_blocks - 1, size=num_towers - 1, replace=False))
        if num_towers > 1
        else []
    )
    places: Places = {}
    for start, end in pairwise([0, *cuts, num_blocks]):
        places[order[start]] = TABLE
        places.update({above: below for below, above in pairwise(order[start:end])})
    return dict(sorted(places.items()))


def lift_and_put(places: Mapping[str, str], block: str, to: str) -> tuple[str, str]:
    """The two actions that carry a block from where it is to a block or the table."""
    lift = f"pick-up {block}" if places[block] == TABLE else f"unstack {block} {places[block]}"
    return lift, f"put-down {block}" if to == TABLE else f"stack {block} {to}"


def shortest_plan(places: Mapping[str, str], goal: Mapping[str, str], rng: Rng) -> list[str]:
    """One of the shortest plans from an empty hand to "block on block" goals; ties are drawn.

    Breadth-first over carries (a lift and a put), of which every shortest plan consists.
    Raises ValueError where no plan reaches the goal.
    """
    blocks = sorted(places)
    start = tuple(places[x] for x in blocks)
    came: dict[tuple[str, ...], tuple[tuple[str, ...], int] | None] = {start: None}
    frontier = [start]
    while frontier:
        reached = [state for state in frontier if all(state[blocks.index(x)] == y for x, y in goal.items())]
        if reached:
            state, plan = reached[int(rng.integers(len(reached)))], []
            while (step := came[state]) is not None:
                before, index = step
                plan.append(lift_and_put(dict(zip(blocks, before, strict=True)), blocks[index], state[index]))
                state = before
            return [action for carry in reversed(plan) for action in carry]
        ahead = []
        for number in rng.permutation(len(frontier)):
            state = frontier[int(number)]
            clear = [i for i, x in enumerate(blocks) if x not in state]
            for i in clear:
                for to in [TABLE, *(blocks[j] for j in clear if j != i)]:
                    after = (*state[:i], to, *state[i + 1 :])
                    if after not in came:
                        came[after] = (state, i)
                        ahead.append(after)
        frontier = ahead
    raise ValueError(f"no plan reaches {dict(goal)} from {dict(places)}")
