"""A world whose policy gradient is known exactly: attempts of one or two steps, all of them enumerable.

Tokens are characters. Step one is "a" (which ends the attempt), "bc" or "bd"; behind the latter stands step two, "a" or "b".
The policy is a softmax over what may follow a prefix, one free logit each.
"""

from itertools import product

import numpy as np

from stepcredit import Outcome, Problem, Step

PROBLEM = Problem("p", "?")
NEXT = {"": "ab", "b": "cd", "bc": "ab", "bd": "ab"}
LOGITS = {"": (0.3, -0.2), "b": (0.5, 0.1), "bc": (-0.4, 0.6), "bd": (0.2, 0.9)}
REWARD = {"a": 0.7, "bca": 1.0, "bcb": 0.0, "bda": 0.2, "bdb": 1.0}
STEPS = {"a": ["a"], **{text: [text[:2], text[2]] for text in REWARD if len(text) == 3}}
PARAMETERS = [(prefix, token) for prefix, tokens in NEXT.items() for token in tokens]


def law(prefix):
    weight = np.exp(LOGITS[prefix])
    return dict(zip(NEXT[prefix], weight / weight.sum(), strict=True))


def probability(text, start=""):
    """Of the tokens of `text` behind `start`."""
    return float(np.prod([law(start + text[:place])[token] for place, token in enumerate(text)]))


def score(prefix, token):
    """grad log pi(token | prefix) over all logits, in the order of PARAMETERS."""
    return np.array([(token == t) - law(prefix)[t] if p == prefix else 0.0 for p, t in PARAMETERS])


def exact_gradient():
    """grad of the expected reward."""
    return sum(probability(text) * reward * sum(score(text[:t], text[t]) for t in range(len(text)))
               for text, reward in REWARD.items())  # fmt: skip


def steps_of(text):
    return [Step(step, token_ids=tuple(map(ord, step)), logprobs=tuple([-1.0] * len(step))) for step in STEPS[text]]


def outcome_of(text):
    return Outcome(reward=REWARD[text])


def gradient_of(samples):
    """Sum over trained tokens of A_t grad log pi(t), the surrogate's gradient."""
    total = np.zeros(len(PARAMETERS))
    for sample in samples:
        text = "".join(map(chr, sample.token_ids_T[1:]))  # behind the start token
        for place, (token, trained) in enumerate(zip(text, sample.loss_mask_T[1:], strict=True)):
            if trained:
                total += sample.advantage_T[1 + place] * score(text[:place], token)
    return total


class Characters:
    """A tokenizer: one token a character, a prompt is its start token alone."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, texts, add_special_tokens=True, verbose=True):
        return {"input_ids": [[1] if add_special_tokens else list(map(ord, text)) for text in texts]}


def groups(num):
    """Every group of attempts with its probability."""
    for texts in product(REWARD, repeat=num):
        yield texts, float(np.prod([probability(text) for text in texts]))
