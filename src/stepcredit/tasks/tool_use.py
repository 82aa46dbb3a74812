"""Problems that take two to four chained calls of a real tool: a database, a calculator, or a store that calls change.

    prompt   person 7 city mayor
    episode  select city from person where id = 7 / = 4 / select mayor from city where id = 4 / = 9 / answer 9

The tool-use tasks of ToolPO (DeepAgent), arXiv:2510.21618, section 3.5, at the size of a small model, with its two worlds: the
tool itself, which may be made unreliable as remote interfaces are (`real`), and a clean simulator of it (`simulated`). A call
that fails is answered with a text that begins with ERROR, and changes nothing. The tools: `_tool_sqlite`, `_tool_calculator`,
`_tool_store`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from stepcredit.core.environment import FAILED, Reply, executed, failed, observed, one_by_one, results, turn
from stepcredit.core.protocols import Rng, Solution, Task
from stepcredit.core.registry import register
from stepcredit.core.rng import rng as rng_of
from stepcredit.core.types import Floats, Outcome, Problem, Step
from stepcredit.tasks._tool import OK, ToolError, gold_calls, value_of
from stepcredit.tasks._tool_calculator import CALCULATOR
from stepcredit.tasks._tool_sqlite import SQLITE
from stepcredit.tasks._tool_store import STORE, held

Backend = Literal["sqlite", "calculator", "store"]
TOOLS = {"sqlite": SQLITE, "calculator": CALCULATOR, "store": STORE}
CLEAN, NOISY = "= {}", ("= {}", "> {}", "( {} )", ": {} .")  # how results are written
SPARE_CALLS = 2  # beyond the plan, before the demonstrator answers with what it has
_ANSWER = re.compile(r"answer (-?\d+)")


@register("tasks", paper="arXiv:2510.21618")
def tool_use(*, backend: Backend = "sqlite", min_calls: int = 2, max_calls: int = 4, size: int = 10, slip: float = 0.4,
             real: float = 0.0, simulated: bool = False) -> Task:  # fmt: skip
    """The task of one tool.

    Problems have plans of `min_calls` to `max_calls` calls (uniform) and data of their own: tables of `size` rows, operands of 2
    to `size` + 1, or `size` keys. `answer` is what the plan ends with; `meta` has `calls` and `results`, the right ones in order.
    Problems do not depend on `slip`, `real` and `simulated`.

    The tool fails ("ERROR busy") on a share `real` of calls, drawn for each call, and writes results in one of four ways
    where `real` is above 0. The simulator executes nothing: it knows the results of the right calls, and says ERROR to all else.

    `demonstrate` plays against the environment. Each call is wrong with probability `slip`, in one of the tool's ways; any
    value that comes back is believed and taken to the next call of the plan. After ERROR or "none" it asks again. It answers with
    the last value, after plan + 2 calls at the latest.

    `label_steps`: a call is sound iff it is the first right one that was not yet carried out, up to spaces and case; the answer
    iff it is right and all right calls were carried out; a guess is not sound, and may be right. What cannot be read is 0.

    `verify`: right iff the last turn is `answer` with the answer, and with "store" the value stands where it was to be put.
    Another last turn: "unparsed". `well_formed`: no result speaks of an error other than "busy".
    Raises ValueError for impossible knobs.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend is {backend!r}; allowed: {', '.join(get_args(Backend))}")
    if not 2 <= min_calls <= max_calls or size <= max_calls:
        raise ValueError(f"{min_calls} to {max_calls} calls, size {size}; expected 2 <= min_calls <= max_calls < size")
    if not 0 <= slip <= 1 or not 0 <= real < 1 or (simulated and real):
        raise ValueError(f"slip {slip}, real {real}, simulated {simulated}; allowed: 0 to 1, 0 to below 1, a simulator with "
                         "real=0 alone")  # fmt: skip
    tool = TOOLS[backend]

    def problems(num: int, rng: Rng) -> list[Problem]:
        return [draw(rng) for _ in range(num)]

    def draw(rng: Rng) -> Problem:
        prompt, meta = tool.draw(int(rng.integers(min_calls, max_calls + 1)), size, rng)
        calls, results, answer = gold_calls(tool, meta)
        key = hashlib.sha256(repr((prompt, meta)).encode()).hexdigest()[:16]
        known = {"backend": backend, "calls": calls, "results": results, **meta}
        return Problem(f"tool_use-{backend}-{key}", prompt, answer, (*calls, f"answer {answer}"), known)

    def reply(problem: Problem, steps: Sequence[Step], rng: Rng) -> Reply:
        text = steps[-1].text
        if _ANSWER.fullmatch(text):
            return Reply("answer")
        if real and rng.random() < real:
            return Reply("tool_call", f"{FAILED} busy")
        try:
            result = known(problem, text) if simulated else tool.run(problem.meta, executed(steps[:-1]), text)
        except ToolError as error:
            return Reply("tool_call", f"{FAILED} {error}")
        return Reply("tool_call", (NOISY[int(rng.integers(len(NOISY)))] if real else CLEAN).format(result))

    def known(problem: Problem, text: str) -> str:
        for call, result in zip(problem.meta["calls"], problem.meta["results"], strict=True):
            if tool.plain(text) == tool.plain(call):
                return str(result)
        raise ToolError("unknown call")

    environment = one_by_one(reply)

    def demonstrate(problem: Problem, rng: Rng) -> list[Step]:
        meta, value, place = problem.meta, str(problem.meta["start"]), 0
        steps: list[Step] = []
        for _ in range(len(meta["plan"]) + SPARE_CALLS):
            if place == len(meta["plan"]):
                break
            wrong = rng.random() < slip
            text = tool.slip(meta, place, value, rng) if wrong else tool.write(meta, place, value)
            steps += turn(environment, problem, steps, Step(text), rng)
            result = steps[-1].text
            found = None if failed(result) else value_of(result)
            if found is not None or OK in result.split():
                value, place = found or value, place + 1
        return [*steps, *turn(environment, problem, steps, Step(f"answer {value}"), rng)]

    def observe(problem: Problem, steps: Solution) -> list[Step]:
        return observed(environment, problem, steps, rng_of(0, "observe", problem.id))

    def label_steps(problem: Problem, steps: Solution) -> Floats:
        due, done, label_S = [tool.plain(call) for call in problem.meta["calls"]], 0, []
        for step, result in zip(steps, results(steps), strict=True):
            if step.sampled:
                right = done < len(due) and tool.plain(step.text) == due[done]
                label_S.append(float(right or (done == len(due) and step.text == f"answer {problem.answer}")))
                done += right and not failed(result)
        return np.array(label_S, dtype=np.float64)

    def verify(problem: Problem, solutions: Sequence[Solution]) -> list[Outcome]:
        return [_outcome(problem, solution) for solution in solutions]

    return Task("tool_use", problems, demonstrate, label_steps, verify, observe, environment=environment)


def _outcome(problem: Problem, steps: Solution) -> Outcome:
    texts = [step.text for step in steps if step.sampled]
    said = _ANSWER.fullmatch(texts[-1]) if texts else None
    if said is None:
        return Outcome(well_formed=False, status="unparsed", verifier="tool_use")
    told = [step.text for step in steps if not step.sampled]
    readable = all(result == f"{FAILED} busy" or not failed(result) for result in told)
    correct = said[1] == problem.answer
    if problem.meta["backend"] == "store":
        target = str(problem.meta["plan"][-1][1])
        correct = correct and held(problem.meta, executed(steps))[target] == problem.answer
    return Outcome(float(correct), correct, readable, said[1], "scored", "tool_use")
