"""A policy behind HTTP: any OpenAI-compatible server (vLLM, SGLang, `transformers serve`, hosted ones), over /completions.

Continuations of one prefix go in one request, which the server reads once and expands (`n`), and prefixes of one text
go one after another, where its prefix cache serves them. What the server adds by itself, it is asked to leave out: a
nucleus or a top-k from the model's own generation settings changes the distribution without a word. Each kind of server
needs its own words for that, which is what `server` is for.

Departs from `policy/hf`: the same generator sends the same seeds, but whether these give the same text is the server's
affair (`transformers serve` seeds its whole process: only with concurrency=1). `token_ids` come from vLLM alone.
Log-probabilities are what the server calls them: the model's own in vLLM, unless it is told otherwise; those at the
temperature in SGLang. Degenerate: no prefixes, no request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Completion, Cost, Floats
from stepcredit.policy._server import Kind, Server, Unreadable

_FINISHED: dict[str, Literal["stop", "length"]] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "length": "length",
}  # fmt: skip
_LEAST_CHANCE = 1e-9


@register("policy", paper="ours")
def openai(model: str, *, url: str = "http://localhost:8000/v1", server: Kind = "auto", api_key: str | None = None,
           temperature: float = 1.0, top_p: float = 1.0, together: bool = True, concurrency: int = 32,
           timeout: float = 600.0, num_retries: int = 5, retry_share: float = 0.2,
           extra: Mapping[str, Any] | None = None) -> Policy:  # fmt: skip
    """The model of this name at `url`, as a policy; the server is asked at once what it is and whether it has it.

    `api_key` is OPENAI_API_KEY where not given. `together=False` sends every completion by itself, for a server that
    repeats itself within a request. `timeout` is in seconds, for one try; `extra` are further fields of every request.
    Retries: see `policy/_server`. Raises ValueError for knobs out of range, a refused key, a model the server does not
    have, or where the openai client is not installed; ConnectionError and TimeoutError where there is no server.
    """
    if server not in get_args(Kind):
        raise ValueError(f"server is {server!r}; allowed: {', '.join(get_args(Kind))}")
    if temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature {temperature}, top_p {top_p}; allowed: 0 or more, above 0 up to 1")
    asked = Server(url, model, api_key=api_key, concurrency=concurrency, timeout=timeout, num_retries=num_retries,
                   retry_share=retry_share)  # fmt: skip
    kind = asked.recognise() if server == "auto" else server
    return OpenAIPolicy(asked, kind, temperature=temperature, top_p=top_p, together=together, extra=extra or {})


class OpenAIPolicy:
    """A model on a server as a `Policy`.

    `cost` adds up what the server says it has read and written (`usage`): `forwarded_tokens` are prompt tokens less those
    it says came from its cache, `seconds` are spent waiting. `num_uncounted` is the number of answers that did not say.
    """

    def __init__(self, server: Server, kind: Kind, *, temperature: float = 1.0, top_p: float = 1.0, together: bool = True,
                 extra: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        self.server, self.kind, self.temperature, self.top_p = server, kind, temperature, top_p
        self.together = together and kind != "transformers"  # which answers `n` with one completion
        self.extra = dict(extra or {})
        self.cost, self.num_uncounted = Cost(), 0

    def sample(self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (),
               max_new_tokens: int = 256) -> list[list[Completion]]:  # fmt: skip
        """`num` completions of each prefix, [len(prefixes)][num]; text ends before the first of `stop`, or at the end token.

        `token_ids` and `logprobs` are of all that was sampled, None where the server does not give them. A server that
        answers `n` with fewer completions is asked for the rest one by one, from then on at once.
        Raises ValueError for `num` or `max_new_tokens` below 1, an empty stop string, or what the server refuses;
        RuntimeError, ConnectionError, TimeoutError where it fails; RuntimeError too where completions of a prefix are all
        the same though that is less likely than 1e-9: it repeats its seed, or takes the likeliest token.
        """
        if num < 1 or max_new_tokens < 1 or not all(stop):
            raise ValueError(f"num {num}, max_new_tokens {max_new_tokens}, stop {list(stop)}; "
                             "allowed: 1 or more, 1 or more, strings that are not empty")  # fmt: skip
        start = time.perf_counter()
        seed_PK = rng.integers(2**31 - 1, size=(len(prefixes), num))
        settings = {"max_tokens": max_new_tokens, **({"stop": list(stop)} if stop else {}), **self._settings()}
        found: list[list[Completion]] = [[] for _ in prefixes]
        while missing := [place for place, group in enumerate(found) if len(group) < num]:
            asked = [
                (place, at, num if self.together else 1)
                for place in missing
                for at in ([0] if self.together else range(len(found[place]), num))
            ]
            bodies = [
                {"prompt": prefixes[place], "n": width, "seed": int(seed_PK[place, at]), **settings}
                for place, at, width in asked
            ]
            for body in bodies if not self.together else []:
                del body["n"]
            answers = self._ask(bodies, lambda answer: _completions(answer, stop))
            for (place, _, width), group in zip(asked, answers, strict=True):
                found[place] += group[:width]
            self.together = False if any(len(group) < num for group in found) else self.together
        self.cost += Cost(seconds=time.perf_counter() - start)
        if self.temperature == 1 and self.top_p == 1:
            for group in found:
                self._check_distinct(group)
        return found

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """Sum of log p(token | prefix, tokens before), [len(prefixes)], in nats; an empty continuation is 0.

        Each text and each prefix is sent once, with `echo`: the continuation's tokens are those of the joint text behind
        the prefix's own. NaN where a token straddles the border, which is then no continuation of this prefix's tokens.
        Raises ValueError for lists of different lengths, an empty prefix, or a server that does not echo
        (`transformers serve`, hosted models).
        """
        if len(prefixes) != len(continuations):
            raise ValueError(f"{len(prefixes)} prefixes need as many continuations, got {len(continuations)}")
        if not all(prefixes):
            raise ValueError("a server cannot say where an empty prefix ends; allowed: prefixes that are not empty")
        if self.kind == "transformers":
            raise ValueError("transformers serve gives no log-probabilities; allowed: vLLM, SGLang, policy/hf")
        start = time.perf_counter()
        wholes = [prefix + continuation for prefix, continuation in zip(prefixes, continuations, strict=True)]
        asked = dict.fromkeys(
            text for prefix, whole in zip(prefixes, wholes, strict=True) if whole != prefix for text in (prefix, whole)
        )
        settings = {"max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0.0, **self.extra}
        bodies = [{"prompt": text, **settings} for text in asked]
        scored = dict(zip(asked, self._ask(bodies, _echoed), strict=True))
        out = np.zeros(len(prefixes))
        for place, (prefix, whole) in enumerate(zip(prefixes, wholes, strict=True)):
            if whole == prefix:
                continue
            head, (tokens, logprobs) = scored[prefix][0], scored[whole]
            out[place] = sum(logprobs[len(head) :]) if tokens[: len(head)] == head else np.nan
        self.cost += Cost(seconds=time.perf_counter() - start)
        return out

    def _settings(self) -> dict[str, Any]:
        """The fields that ask for the model's own distribution, at this temperature and nucleus, and for nothing else."""
        if self.kind == "transformers":  # `temperature` alone leaves it greedy, and with a top-k of 50
            settings = {"do_sample": self.temperature > 0, "top_k": 0, "repetition_penalty": 1.0}
            settings |= {"temperature": self.temperature, "top_p": self.top_p} if self.temperature > 0 else {}
            return {"generation_config": json.dumps(settings), **self.extra}
        plain = {"temperature": self.temperature, "top_p": self.top_p, "logprobs": 1}
        neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        own = {"vllm": {**neutral, "return_token_ids": True}, "sglang": neutral}.get(self.kind, {})
        return {**plain, **own, **self.extra}

    def _ask(self, bodies: Sequence[Mapping[str, Any]], read: Any) -> list[Any]:
        """Ask, and count what it took."""

        def counted(answer: Any) -> tuple[Any, Cost | None]:
            if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list) or not answer["choices"]:
                raise Unreadable(f"no choices in {str(answer)[:200]!r}")
            return read(answer), _usage(answer)

        found = self.server.ask(bodies, counted)
        for _, cost in found:
            self.cost += cost or Cost()
            self.num_uncounted += cost is None
        return [each for each, _ in found]

    def _check_distinct(self, group: Sequence[Completion]) -> None:
        first = group[0]
        chance = (len(group) - 1) * sum(first.logprobs or ())  # of all others being as the first
        if chance < np.log(_LEAST_CHANCE) and all(_same(each, first) for each in group):
            raise RuntimeError(
                f"{self.server.url} gave {len(group)} times the same completion, {first.text[:60]!r}, which has a chance of "
                f"e^{chance:.0f}: it repeats its seed (try together=False) or takes the likeliest token"
            )


def _same(one: Completion, other: Completion) -> bool:
    """The same tokens, as far as their log-probabilities tell, which vary a little between batches."""
    if one.logprobs is None or other.logprobs is None or len(one.logprobs) != len(other.logprobs):
        return False
    return one.text == other.text and bool(np.allclose(one.logprobs, other.logprobs, rtol=0, atol=0.01))


def _completions(answer: Mapping[str, Any], stop: Sequence[str]) -> list[Completion]:
    """The choices, in the order of their index."""
    found = []
    try:
        for choice in sorted(answer["choices"], key=lambda choice: choice.get("index", 0)):
            text, finish = choice["text"], _FINISHED[choice["finish_reason"]]
            cut = min((at for mark in stop if (at := text.find(mark)) >= 0), default=len(text))
            ids, logprobs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
            known = logprobs is not None and None not in logprobs and (ids is None or len(ids) == len(logprobs))
            found.append(Completion(
                text[:cut], None if ids is None else tuple(int(one) for one in ids),
                tuple(float(one) for one in logprobs or ()) if known else None, "stop" if cut < len(text) else finish,
            ))  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unreadable(f"a choice without a text and a known finish_reason in {str(answer)[:200]!r}") from error
    return found


def _echoed(answer: Mapping[str, Any]) -> tuple[list[str], list[float]]:
    """Tokens of the prompt and their log-probabilities, NaN for the first, which nothing predicts."""
    given = answer["choices"][0].get("logprobs") or {}
    tokens, logprobs = given.get("tokens"), given.get("token_logprobs")
    usage = answer.get("usage") or {}
    num = usage.get("prompt_tokens", len(tokens or ()) - 1)
    if not isinstance(tokens, list) or not isinstance(logprobs, list) or not 0 < num <= len(tokens) == len(logprobs):
        raise ValueError(
            "the server gives no log-probabilities of a text it is given; allowed: vLLM, SGLang, policy/hf"
        )
    return tokens[:num], [float("nan") if one is None else float(one) for one in logprobs[:num]]


def _usage(answer: Mapping[str, Any]) -> Cost | None:
    """What the server says it took; None where it does not."""
    usage = answer.get("usage")
    if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Cost(
        generated_tokens=int(usage.get("completion_tokens") or 0), forwarded_tokens=usage["prompt_tokens"] - cached
    )
