"""Chains of look-ups in a graph that nobody has seen: the answer is found by asking the right next question, turn by turn.

    prompt   q ada boss rival friend         the friend of the rival of the boss of ada
    episode  s ada boss / ben / s ben rival / eve / s eve friend / zoe / a zoe
             a call `s entity relation` is answered with the object, with "none" where there is no such edge, with ERROR where
             it cannot be read

Tree-GRPO, arXiv:2509.21240, trains agents that search; this is their multi-hop question without the text around it. Every
problem has a random functional graph of its own, so that nothing is gained by remembering: results are lossless, and credit
is choosing the next query. `hops=1` is the single-hop control, where there is nothing to credit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from stepcredit.core.environment import FAILED, Reply, observed, one_by_one, turn
from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.rng import rng as rng_of
from stepcredit.core.types import Floats, Ints, Outcome, Problem, Step

ENTITIES = tuple(
    """
    ada ben cara dan eve finn gus hana ivo june kai lena max nora otto pia quin rosa sam tara uri vera wim xena yan zoe
    amos bea carl dora emil faye
    """.split()  # noqa: SIM905
)
RELATIONS = ("boss", "friend", "rival", "teacher", "neighbor", "cousin", "doctor", "partner")
NONE = "none"
SPARE_CALLS = 3  # beyond the hops, before the demonstrator answers with what it has
_CALL = re.compile(r"s ([a-z]+) ([a-z]+)")
_ANSWER = re.compile(r"a ([a-z]+)")


@register("tasks", paper="arXiv:2509.21240")
def kg_hop(*, hops: int = 3, num_entities: int = 24, num_relations: int = 6, density: float = 0.8, slip: float = 0.4) -> Task:  # fmt: skip
    """The task of `hops` look-ups.

    Problems: a graph in which each entity has each relation, to a uniform other entity, with probability `density`; a start,
    and `hops` distinct relations that lead on from it. `answer` is where they end; `meta` has the number that the graph is
    drawn from, the knobs that shape it, and the right `calls`; prompts may repeat, with other graphs behind them.

    `demonstrate` plays against the environment. Each call is wrong with probability `slip`: half of the wrong ones ask another
    relation of the right entity, half the right relation of another entity. It believes any result but "none", takes it for the
    hop's, and goes on from there; after "none" it asks for the hop again. It answers with the last result, after
    `hops` + 3 calls at the latest.

    `label_steps`: a call is sound iff it asks the next relation of where the sound calls before it have led; the answer iff it
    is right and all hops were asked; a guess is not sound, and may be right. What cannot be read is 0.

    `verify`: right iff the last turn is `a` with the answer. Another last turn: "unparsed". `well_formed`: all turns can be read.
    Raises ValueError for impossible knobs, and where graphs are so sparse that no path is found.
    """
    if not 1 <= hops <= num_relations <= len(RELATIONS) or not 2 <= num_entities <= len(ENTITIES):
        raise ValueError(f"{hops} hops, {num_relations} relations, {num_entities} entities; allowed: 1 to the relations, "
                         f"at most {len(RELATIONS)}, 2 to {len(ENTITIES)}")  # fmt: skip
    if not 0 < density <= 1 or not 0 <= slip <= 1:
        raise ValueError(f"density {density}, slip {slip}; allowed: above 0 up to 1, 0 to 1")
    shape = (num_entities, num_relations, density)

    def problems(num: int, rng: Rng) -> list[Problem]:
        return [_problem(int(seed), hops, shape, rng) for seed in rng.integers(2**53, size=num)]

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        _, at, *path = problem.prompt.split()
        steps: list[Step] = []
        done = 0
        for _ in range(hops + SPARE_CALLS):
            if done == len(path):
                break
            steps += turn(environment, problem, steps, Step(_call(at, path[done], rng, slip, shape)), rng)
            if steps[-1].text != NONE:
                at, done = steps[-1].text, done + 1
        return [*steps, *turn(environment, problem, steps, Step(f"a {at}"), rng)]

    def observe(problem: Problem, steps: Solution) -> list[Step]:
        return observed(environment, problem, steps, rng_of(0))

    return Task("kg_hop", problems, demonstrate, label_steps, verify, observe, environment=environment)


def label_steps(problem: Problem, steps: Solution) -> Floats:
    """The oracle, one entry a sampled step (see `kg_hop`)."""
    calls, done, label_S = problem.meta["calls"], 0, []
    for step in steps:
        if step.sampled:
            right = done < len(calls) and step.text == calls[done]
            label_S.append(float(right or (done == len(calls) and step.text == f"a {problem.answer}")))
            done += right
    return np.array(label_S, dtype=np.float64)


def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
    """Outcomes by the last turn."""
    found = []
    for solution in solutions:
        texts = [step.text for step in solution if step.sampled]
        said = _ANSWER.fullmatch(texts[-1]) if texts else None
        readable = all(_CALL.fullmatch(text) for text in texts[:-1])
        if said is None:
            found.append(Outcome(well_formed=False, status="unparsed", verifier="kg_hop"))
        else:
            right = said[1] == problem.answer
            found.append(Outcome(float(right), right, readable, said[1], "scored", "kg_hop"))
    return found


def _reply(problem: Problem, steps: Sequence[Step], rng: Rng) -> Reply:
    if _ANSWER.fullmatch(steps[-1].text):
        return Reply("answer")
    asked = _CALL.fullmatch(steps[-1].text)
    return Reply("tool_call", f"{FAILED} cannot be read" if asked is None else _object(problem, asked[1], asked[2]))


environment = one_by_one(_reply)


def _problem(seed: int, hops: int, shape: tuple[int, int, float], rng: Rng) -> Problem:
    for tried in range(10_000):
        if tried % 20 == 19:  # perhaps a graph without such a path
            seed = int(rng.integers(2**53))
        if (found := _walk(graph(seed, *shape), hops, rng)) is not None:
            break
    else:
        raise ValueError(f"no path of {hops} hops found in graphs of density {shape[2]}; allowed: denser ones")
    at_H, path = found
    calls = [f"s {ENTITIES[at]} {RELATIONS[r]}" for at, r in zip(at_H, path, strict=False)]
    answer = ENTITIES[at_H[-1]]
    prompt = " ".join(["q", ENTITIES[at_H[0]], *(RELATIONS[r] for r in path)])
    meta = {"graph": seed, "shape": list(shape), "calls": calls}
    return Problem(f"kg_hop-{hops}-{seed}", prompt, answer, (*calls, f"a {answer}"), meta)


def _walk(table_ER: Ints, hops: int, rng: Rng) -> tuple[list[int], list[int]] | None:
    """Entities from a random start, [hops + 1], and the relations between them; None where the way ends too soon."""
    at_H, path = [int(rng.integers(len(table_ER)))], list[int]()
    while len(path) < hops:
        open_R = [r for r in np.flatnonzero(table_ER[at_H[-1]] >= 0).tolist() if r not in path]
        if not open_R:
            return None
        path.append(open_R[int(rng.integers(len(open_R)))])
        at_H.append(int(table_ER[at_H[-1], path[-1]]))
    return at_H, path


@lru_cache(maxsize=4096)
def graph(seed: int, num_entities: int, num_relations: int, density: float) -> Ints:
    """The object of each entity and relation, [E, R]; -1 where there is none. Read-only."""
    draw = rng_of(seed, "kg_hop")
    other_ER = draw.integers(num_entities - 1, size=(num_entities, num_relations))
    table_ER = other_ER + (other_ER >= np.arange(num_entities)[:, None])  # never itself
    table_ER[draw.random(table_ER.shape) >= density] = -1
    table_ER.setflags(write=False)
    return table_ER


def _object(problem: Problem, entity: str, relation: str) -> str:
    num_entities, num_relations, density = problem.meta["shape"]
    if entity not in ENTITIES[:num_entities] or relation not in RELATIONS[:num_relations]:
        return NONE
    table_ER = graph(problem.meta["graph"], num_entities, num_relations, density)
    found = int(table_ER[ENTITIES.index(entity), RELATIONS.index(relation)])
    return NONE if found < 0 else ENTITIES[found]


def _call(at: str, relation: str, rng: Rng, slip: float, shape: tuple[int, int, float]) -> str:
    """The demonstrator's call: right, or with another relation or entity."""
    if rng.random() < slip:
        if rng.random() < 0.5 and shape[1] > 1:
            relation = _other(RELATIONS[: shape[1]], relation, rng)
        else:
            at = _other(ENTITIES[: shape[0]], at, rng)
    return f"s {at} {relation}"


def _other(words: Sequence[str], given: str, rng: Rng) -> str:
    left = [word for word in words if word != given]
    return left[int(rng.integers(len(left)))]
