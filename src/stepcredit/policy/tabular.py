"""The chain task's demonstrator as a policy whose values are known in closed form: the bench for everything else.

With the operations o_1..o_n of a prompt, the law T_j of the line written for o_j and the right answer y,

    v_n(r) = [r = y],   v_(j-1)(r) = sum_r' T_j(r' | r) v_j(r'),   V(prefix with j lines, the last ending in r) = v_j(r)

so Q of a line is V of the prefix it makes, and an advantage their difference. The law is `core/chain_world`'s.
Sutton and Barto, Reinforcement Learning (2018), section 4.1 (policy evaluation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcredit.core.chain_world import SIGNS, Operation, World, compute, parse_line, parse_prompt, world
from stepcredit.core.protocols import Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Completion, Floats


@register("policy", paper="Sutton and Barto, Reinforcement Learning (2018), section 4.1")
def tabular(*, modulus: int = 5, random_slip: float = 0.06, systematic_slip: float = 0.6, num_slips: int = 10,
            slip_seed: int = 2) -> Tabular:  # fmt: skip
    """The policy for `tasks/chain` with the same knobs."""
    return Tabular(world(modulus, random_slip, systematic_slip, num_slips, slip_seed))


@dataclass(frozen=True)
class _State:
    """Where a prefix stands: `current` is the number the next line starts from, None when nothing more is written."""

    operations: list[Operation]
    answer: int
    num_lines: int
    current: int | None


class Tabular:
    """Writes whole lines; a line with its newline is one token.

    A prefix is the prompt and the lines so far, each ended by a newline. What a line says is taken up as it stands,
    right or wrong. After the last operation, or after a last line that cannot be read, nothing more is written.
    """

    def __init__(self, own: World):
        self.world = own
        residues = range(own.modulus)
        self._law = {(a, s, b): own.law(a, s, b) for a in residues for s in SIGNS for b in residues}

    def sample(
        self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (), max_new_tokens: int = 256
    ) -> list[list[Completion]]:
        """`num` completions of each prefix, cut before the first of `stop`; one log-probability per line begun.

        Raises ValueError for a prefix that does not end with a newline.
        """
        for prefix in prefixes:
            if not prefix.endswith("\n"):
                raise ValueError(f"prefix {prefix!r} does not end with a newline: this policy writes whole lines")
        states = [self._state(prefix) for prefix in prefixes]
        return [[self._complete(state, rng, stop, max_new_tokens) for _ in range(num)] for state in states]

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """Sum of the lines' log-probabilities, [len(prefixes)], in nats; -inf for what it never writes.

        The end after the last operation is certain and costs nothing; the empty continuation gives 0.
        """
        pairs = zip(prefixes, continuations, strict=True)
        return np.array(
            [self._logprob(self._state(prefix), continuation) for prefix, continuation in pairs], dtype=np.float64
        )

    def value(self, prefixes: Sequence[str]) -> Floats:
        """P(the outcome is right | prefix), [len(prefixes)].

        0 after too many lines and after a last line that cannot be read; at the last operation 0 or 1.
        """
        return np.array([self._value(self._state(prefix)) for prefix in prefixes], dtype=np.float64)

    def _state(self, prefix: str) -> _State:
        prompt, *lines = prefix.removesuffix("\n").split("\n")
        start, operations = parse_prompt(prompt)
        answer = start
        for sign, operand in operations:
            answer = compute(answer, sign, operand, self.world.modulus)
        last = parse_line(lines[-1]) if lines else (0, "+", 0, start)
        return _State(operations, answer, len(lines), None if last is None else last[3])

    def _next_law(self, value: int, operation: Operation) -> Floats:
        """Law of the next result; a prefix may hold numbers that are no residues."""
        fact = (value, *operation)
        return self._law[fact] if fact in self._law else self.world.law(*fact)

    def _value(self, state: _State) -> float:
        num = len(state.operations)
        if state.current is None or state.num_lines > num:
            return 0.0
        if state.num_lines == num:
            return float(state.current == state.answer)
        ahead_R = np.eye(self.world.modulus)[state.answer]
        for operation in reversed(state.operations[state.num_lines + 1 :]):
            ahead_R = np.stack([self._next_law(r, operation) for r in range(self.world.modulus)]) @ ahead_R
        return float(self._next_law(state.current, state.operations[state.num_lines]) @ ahead_R)

    def _complete(self, state: _State, rng: Rng, stop: Sequence[str], max_new_tokens: int) -> Completion:
        logprobs: list[float] = []
        text, value = "", state.current
        for sign, operand in [] if value is None else state.operations[state.num_lines :]:
            assert value is not None
            if len(logprobs) == max_new_tokens:
                return Completion(text, logprobs=tuple(logprobs), finish="length")
            law_R = self._next_law(value, (sign, operand))
            result = int(rng.choice(self.world.modulus, p=law_R))
            text += f"{value}{sign}{operand}={result}\n"
            logprobs.append(float(np.log(law_R[result])))
            value = result
            cuts = [text.find(mark) for mark in stop if mark in text]
            if cuts:
                return Completion(text[: min(cuts)], logprobs=tuple(logprobs))
        return Completion(text, logprobs=tuple(logprobs))

    def _logprob(self, state: _State, continuation: str) -> float:
        lines = continuation.removesuffix("\n").split("\n") if continuation else []
        ahead = state.operations[state.num_lines :]
        if len(lines) > len(ahead) or (lines and state.current is None):
            return -np.inf
        total, current = 0.0, state.current
        for text, operation in zip(lines, ahead, strict=False):
            line = parse_line(text)
            if line is None or line[:3] != (current, *operation) or line[3] >= self.world.modulus:
                return -np.inf
            with np.errstate(divide="ignore"):
                total += float(np.log(self._next_law(line[0], operation)[line[3]]))
            current = line[3]
        return total
