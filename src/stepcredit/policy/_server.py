"""Requests to an OpenAI-compatible server: several at once, retried within a budget, every failure said in words.

    retries of a request <= num_retries,     retries of a call <= num_retries + retry_share * its requests
    wait before retry k   = what the server's Retry-After says, else 0.5 s * 2^k, stretched by up to a half; 60 s at most

Retried: a connection that breaks, a server that stalls, statuses 408, 409, 425, 429 and 500 upwards, an answer that
cannot be read. Not retried: what would be refused again (any other status), and a server that has never answered.
The budget keeps a dying server from being asked num_retries times as much (Beyer et al., Site Reliability Engineering
(2016), chapter 22). A request is sent again as it was, its seed included.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar

Kind = Literal["auto", "openai", "vllm", "sglang", "transformers"]
T = TypeVar("T")
_AGAIN = (408, 409, 425, 429)
_LONGEST_WAIT = 60.0


class Unreadable(Exception):
    """An answer that is no answer: not JSON, or not what was asked for."""


class Server:
    """One server and one of its models; holds no connection between calls, so there is nothing to close.

    Raises ValueError where the `openai` client library is not installed, or for knobs out of range.
    """

    def __init__(self, url: str, model: str, *, api_key: str | None = None, concurrency: int = 32, timeout: float = 600.0,
                 num_retries: int = 5, retry_share: float = 0.2) -> None:  # fmt: skip
        try:
            import openai
        except ImportError as error:
            raise ValueError("a policy behind HTTP needs the openai client: pip install 'stepcredit[http]'") from error
        if not url.startswith(("http://", "https://")) or not model:
            raise ValueError(f"url {url!r}, model {model!r}; allowed: http(s)://host:port/v1, a name that is not empty")
        if concurrency < 1 or not timeout > 0 or num_retries < 0 or retry_share < 0:
            raise ValueError(f"concurrency {concurrency}, timeout {timeout}, num_retries {num_retries}, retry_share "
                             f"{retry_share}; allowed: 1 or more, above 0, 0 or more, 0 or more")  # fmt: skip
        self._openai: Any = openai
        self.url, self.model = url.rstrip("/"), model
        self.concurrency, self.timeout = concurrency, timeout
        self.num_retries, self.retry_share = num_retries, retry_share
        self.num_retried = 0
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._answered = False

    def recognise(self) -> Kind:
        """Which server this is, by its list of models, else by its own description; "openai" where neither tells.

        Raises ConnectionError or TimeoutError for one that does not answer; ValueError for a refused key, for a model
        that is not in its list, and where it is too busy to say.
        """
        openai = self._openai
        with openai.OpenAI(**{**self._access, "timeout": min(self.timeout, 30.0)}) as client:
            try:
                listed, status = client.get("/models", cast_to=object), 200
            except openai.APIStatusError as error:
                if error.status_code in (401, 403):
                    raise self._failure(error) from error
                listed, status = None, error.status_code
            except openai.APIConnectionError as error:
                raise self._failure(error) from error
            except ValueError:
                listed, status = None, 200
            self._answered = True
            models = listed.get("data") if isinstance(listed, dict) else None
            models = [one for one in models or [] if isinstance(one, dict)]
            kind = next((k for k in ("vllm", "sglang") for one in models if one.get("owned_by") == k), "openai")
            if kind == "openai" and self._serves(client, "/load_model"):
                return "transformers"  # which lists what is in a cache, not what it serves
        if status in _AGAIN or (status >= 500 and not models):
            raise ValueError(f"{self.url} answers {status} when asked for its models: name its kind, server=...")
        names = [str(one.get("id")) for one in models]
        if names and self.model not in names:
            raise ValueError(f"{self.url} has no model {self.model!r}; allowed: {', '.join(names[:20])}")
        return kind  # type: ignore[return-value]  # one of three literals

    def ask(self, bodies: Sequence[Mapping[str, Any]], read: Callable[[Any], T]) -> list[T]:
        """What `read` makes of the answer to each body, in order; `read` raises `Unreadable` to have it asked again.

        Raises ValueError for what the server refuses, ConnectionError, TimeoutError or RuntimeError where it fails
        beyond the retries; the other requests are then given up.
        """
        return _run(self._all(bodies, read)) if bodies else []

    async def _all(self, bodies: Sequence[Mapping[str, Any]], read: Callable[[Any], T]) -> list[T]:
        budget, free = (
            _Budget(self.num_retries + int(self.retry_share * len(bodies))),
            asyncio.Semaphore(self.concurrency),
        )
        # The client's own timeout starts again with every byte: here it only stands behind the one for a whole try.
        async with self._openai.AsyncOpenAI(**{**self._access, "timeout": 2 * self.timeout}) as client:

            async def one(place: int, body: Mapping[str, Any]) -> T:
                async with free:
                    return await self._one(client, place, body, read, budget)

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(place, body)) for place, body in enumerate(bodies)]
            except BaseExceptionGroup as failures:
                first = failures.exceptions[0]
                raise first from first.__cause__
            finally:
                self.num_retried += budget.num_used
        return [task.result() for task in tasks]

    async def _one(
        self, client: Any, place: int, body: Mapping[str, Any], read: Callable[[Any], T], budget: _Budget
    ) -> T:
        openai = self._openai
        rest = {name: value for name, value in body.items() if name != "prompt"}
        for attempt in range(self.num_retries + 1):
            try:
                async with asyncio.timeout(self.timeout):
                    given = await client.completions.with_raw_response.create(
                        model=self.model, prompt=body["prompt"], extra_body=rest
                    )
                self._answered = True
                return read(json.loads(given.http_response.content))
            except (openai.APIError, TimeoutError, Unreadable, json.JSONDecodeError, UnicodeDecodeError) as error:
                status = getattr(error, "status_code", None)
                refused = status is not None and status < 500 and status not in _AGAIN
                unheard = isinstance(error, openai.APIConnectionError) and not self._answered
                self._answered = self._answered or status is not None
                if refused or unheard or attempt == self.num_retries or not budget.take():
                    raise self._failure(error, attempt + 1) from error
                # Golden-ratio offsets spread the requests without a random state of their own.
                pause = _retry_after(error) or 0.5 * 2**attempt * (1 + 0.5 * (place * 0.618 % 1))
            await asyncio.sleep(min(pause, _LONGEST_WAIT))
        raise AssertionError("the last attempt returns or raises")

    @property
    def _access(self) -> dict[str, Any]:
        return {"base_url": self.url, "api_key": self._key, "timeout": self.timeout, "max_retries": 0}

    def _serves(self, client: Any, path: str) -> bool:
        """Whether the server's description of itself has this path."""
        described = None
        for _ in range(2):  # after an error a server may close the connection that the client is about to use again
            try:
                described = client.get(self.url.removesuffix("/v1") + "/openapi.json", cast_to=object)
                break
            except self._openai.APIConnectionError:
                continue
            except (self._openai.APIError, ValueError):
                break
        return isinstance(described, dict) and path in (described.get("paths") or {})

    def _failure(self, error: Exception, num_tries: int = 1) -> Exception:
        """The same in words, as an exception of the kind that `ask` promises."""
        openai, tries = self._openai, f" (asked {num_tries} times)" if num_tries > 1 else ""
        if isinstance(error, (openai.APITimeoutError, TimeoutError)):
            return TimeoutError(f"{self.url} did not answer within {self.timeout:g} s{tries}")
        if isinstance(error, openai.APIConnectionError):
            why = str(error.__cause__ or error)
            if not self._answered:
                return ConnectionError(f"there is no server at {self.url}: {why}")
            return ConnectionError(f"{self.url} broke the connection: {why}{tries}")
        if isinstance(error, openai.APIStatusError):
            said = f"{self.url} answers {error.status_code}: {_said(error)}"
            if error.status_code in (401, 403):
                return ValueError(f"{said}; allowed: its key, as api_key or in OPENAI_API_KEY")
            if error.status_code == 404:
                return ValueError(
                    f"{said}; it may have no model {self.model!r}, or no /completions (does the url end in /v1?)"
                )
            refused = error.status_code < 500 and error.status_code not in _AGAIN
            return ValueError(said) if refused else RuntimeError(said + tries)
        return RuntimeError(f"{self.url} gave an answer that cannot be read: {error}{tries}")


class _Budget:
    """Retries left to a call."""

    def __init__(self, num: int) -> None:
        self.num_used, self._num = 0, num

    def take(self) -> bool:
        """One retry, if there is one left."""
        left = self.num_used < self._num
        self.num_used += left
        return left


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, from inside a running loop (a notebook) in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _retry_after(error: Exception) -> float:
    """Seconds the server asks to wait; 0 where it does not say."""
    response = getattr(error, "response", None)
    given = response.headers.get("retry-after", "") if response is not None else ""
    try:
        return max(0.0, float(given))
    except ValueError:
        return 0.0


def _said(error: Any) -> str:
    """The server's own words, from the three shapes they come in."""
    body = error.body
    for name in ("message", "detail", "error"):
        if isinstance(body, dict) and body.get(name):
            return str(body[name])[:300]
    return str(body or error.message)[:300]
