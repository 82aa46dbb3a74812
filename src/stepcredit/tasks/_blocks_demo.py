"""A planner that errs as language models do in Blocksworld: it loses track, takes short cuts, and carries on regardless.

An attempt first plans, then writes. The plan is a shortest one, or goal by goal: what stands in the way goes to the
table, then the block goes to its place. Slips of the plan leave carries out or confuse goals; slips of the pen change
single actions. The belief goes on as planned, so an illegal action is followed by what would fit had it worked. How
error-prone an attempt is is drawn first: recorded models differ more between than within themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stepcredit.core.protocols import Rng
from stepcredit.tasks._blocks import TABLE, Places, lift_and_put, shortest_plan

TIDY = 0.3
Carry = tuple[str, str]  # block, and the block or table it goes to
Slip = Callable[[float], bool]


@dataclass(frozen=True)
class Slips:
    """Probabilities per occasion at full error-proneness, fitted to the first errors of recorded plans.

    Of the plan: `blind` pursues a goal without clearing the block, `blind_target` without clearing its place; `leave`
    omits a carry; `misorder` takes the goals in any order and clears no block for them; `misread` reverses, drops or
    changes a goal; `stop` omits the last carry. Of the pen: `verb` is pick-up for a block that stands on another;
    `no_lift` before a stack, `bare_put` before a put-down and `no_put` omit half a carry; `lift_twice` picks up what
    was just unstacked; `swap` reverses a stack; `retarget` stacks elsewhere.
    """

    blind: float = 0.08
    blind_target: float = 1.0
    leave: float = 0.05
    misorder: float = 0.6
    misread: float = 0.06
    stop: float = 0.05
    verb: float = 0.2
    no_lift: float = 0.15
    bare_put: float = 0.03
    no_put: float = 0.15
    lift_twice: float = 0.065
    swap: float = 0.03
    retarget: float = 0.18


FITTED = Slips()


def write_plan(places: Mapping[str, str], goal: Mapping[str, str], *, careful: float, slip_scale: float, shortest: float,
               detour: float, rng: Rng, slips: Slips = FITTED) -> list[str]:  # fmt: skip
    """The actions of one attempt at "block on block" goals from an empty hand, "end" not included; at least one.

    With probability `careful` nothing slips, else all slips are scaled by `slip_scale` and one uniform draw. With
    probability `shortest` the plan is a shortest one. Each carry is preceded with probability `detour` by a needless one.
    """
    proneness = 0.0 if rng.random() < careful else slip_scale * float(rng.random())

    def slip(chance: float) -> bool:
        return proneness > 0.0 and rng.random() < proneness * chance

    aim = _misread(places, goal, rng) if slip(slips.misread) else dict(goal)
    if rng.random() < shortest:
        plan = shortest_plan(places, aim, rng)
        carries = [(lift.split()[1], TABLE if put.startswith("put") else put.split()[2]) for lift, put in _pairs(plan)]
    else:
        carries = _goal_by_goal(places, aim, slips, slip, rng)
    if len(carries) > 1 and slip(slips.stop):
        carries.pop()
    actions: list[str] = []
    believed = dict(places)
    for block, to in carries:
        if rng.random() < detour:
            actions += _needless(believed, rng)
        if not slip(slips.leave):
            actions += _pen(*lift_and_put(believed, block, to), sorted(places), slips, slip, rng)
        believed[block] = to
    return actions or list(lift_and_put(places, *carries[0]))


def _pairs(plan: list[str]) -> list[tuple[str, str]]:
    return list(zip(plan[::2], plan[1::2], strict=True))


def _misread(places: Mapping[str, str], goal: Mapping[str, str], rng: Rng) -> Places:
    """The goal with one fact reversed, dropped or on another block, unless that is impossible or holds already."""
    above = sorted(goal)[int(rng.integers(len(goal)))]
    below = goal[above]
    rest = {x: y for x, y in goal.items() if x != above}
    free = [y for y in sorted(places) if y != above and y not in rest.values()]
    kind = int(rng.integers(3))
    changed = (
        {**rest, below: above}
        if kind == 0
        else {**rest, above: free[int(rng.integers(len(free)))]}
        if kind == 1
        else rest
    )
    done = all(places[x] == y for x, y in changed.items())
    return dict(goal) if done or not _possible(changed) else changed


def _possible(goal: Mapping[str, str]) -> bool:
    """No block under two others and no tower that stands on itself."""
    if len(set(goal.values())) < len(goal):
        return False
    for start in goal:
        block, seen = start, set()
        while block in goal:
            if block in seen:
                return False
            seen.add(block)
            block = goal[block]
    return True


def _goal_by_goal(
    places: Mapping[str, str], goal: Mapping[str, str], slips: Slips, slip: Slip, rng: Rng
) -> list[Carry]:
    """Carries that fulfil the goals one after another, lowest first; some plans take all towers down before."""

    def height(block: str) -> int:
        return 1 + height(goal[block]) if block in goal else 0

    now, carries = dict(places), []

    def carry(block: str, to: str) -> None:
        now[block] = to
        carries.append((block, to))

    def clear(block: str) -> None:
        tower = [block]
        for below in tower:  # grows while it is read; a confused belief may go round in circles
            tower += [x for x, y in now.items() if y == below and x not in tower]
        for above in tower[:0:-1]:
            carry(above, TABLE)

    order = sorted(goal, key=lambda x: (height(x), rng.random()))
    misordered = slip(slips.misorder)
    if misordered:
        order = [order[int(i)] for i in rng.permutation(len(order))]
    if rng.random() < TIDY:
        for block in [x for x, y in places.items() if y == TABLE]:
            clear(block)
    for _ in range(1 if misordered else 2):  # clearing for one goal may undo another, found satisfied before
        for block in order:
            if now[block] != goal[block]:
                if not (misordered or slip(slips.blind)):
                    clear(block)
                if not slip(slips.blind_target):
                    clear(goal[block])
                carry(block, goal[block])
    return carries


def _needless(believed: Places, rng: Rng) -> list[str]:
    free = [x for x, y in sorted(believed.items()) if x not in believed.values()]
    if not free:
        return []
    block = free[int(rng.integers(len(free)))]
    return list(lift_and_put(believed, block, believed[block]))


def _pen(lift: str, put: str, blocks: list[str], slips: Slips, slip: Slip, rng: Rng) -> list[str]:
    """The two actions of a carry as written."""
    block = lift.split()[1]
    stacked, stacks = lift.startswith("unstack"), put.startswith("stack")
    written = (
        []
        if slip(slips.no_lift if stacks else slips.bare_put)
        else [f"pick-up {block}" if stacked and slip(slips.verb) else lift]
    )
    if stacked and written and slip(slips.lift_twice):
        written.append(f"pick-up {block}")
    if stacks and slip(slips.swap):
        put = f"stack {put.split()[2]} {block}"
    elif stacks and len(blocks) > 2 and slip(slips.retarget):
        others = [x for x in blocks if x not in put.split()]
        put = f"stack {block} {others[int(rng.integers(len(others)))]}"
    elif written and slip(slips.no_put):
        return written
    return [*written, put]
