"""A policy whose chances are set: attempts of `num_steps` steps "good" or "bad", right iff none is bad."""

from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Cost, Outcome, Problem, Step


class Chances:
    """Finishes an attempt; without a bad step before, it stays good with probability `sound`, else with `broken`.

    `fail_after` raises KeyboardInterrupt in the call after so many; every prefix asked for is kept in `asked`.
    """

    def __init__(self, num_steps=8, sound=1.0, broken=0.0, fail_after=None):
        self.num_steps, self.sound, self.broken, self.fail_after = num_steps, sound, broken, fail_after
        self.asked, self.num_calls, self.cost = [], 0, Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        if self.num_calls == self.fail_after:
            raise KeyboardInterrupt
        self.num_calls += 1
        self.asked.extend(prefixes)
        return [[self._complete(prefix, rng) for _ in range(num)] for prefix in prefixes]

    def logprob(self, prefixes, continuations):
        raise NotImplementedError

    def _complete(self, prefix, rng):
        done = prefix.count("\n") - 1  # the prompt's own
        chance = self.broken if "bad" in prefix else self.sound
        word = "good" if rng.random() < chance else "bad"
        lines = [*["step"] * (self.num_steps - done - 1), word]
        return Completion("\n".join(lines) + "\n", logprobs=(-0.1,) * len(lines))


def verify(problem, solutions):
    """Right iff the last step is good."""
    return [Outcome(float(steps[-1].text == "good"), steps[-1].text == "good", verifier="test") for steps in solutions]


def attempt(num_steps, error):
    """Steps of a wrong attempt whose first error is at `error`."""
    texts = ["step"] * error + ["bad"] * (num_steps - error)
    return [Step(text) for text in texts]


def tree_of(errors, num_steps=8, num_right=1, name="p"):
    """Wrong attempts with these first errors, then right ones."""
    wrong = [attempt(num_steps, error) for error in errors]
    right = [[*(Step("step") for _ in range(num_steps - 1)), Step("good")] for _ in range(num_right)]
    outcomes = [Outcome(0.0, False)] * len(wrong) + [Outcome(1.0, True)] * num_right
    return star(Problem(name, "q"), [*wrong, *right], outcomes)
