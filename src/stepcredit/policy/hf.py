"""A policy that is any causal language model on disk or on the hub, sampled in batches.

    u ~ uniform,   token = first v with cumsum(p)_v > u * sum(p),   p = softmax(logits / temperature), cut to top_p

One uniform number per row and position, drawn from the caller's generator in order of prefix length: the same
generator gives the same completions, whatever the batch size (up to rounding of the logits), and the global random
state is never touched.

Longer than most files here: loading, sampling and scoring must agree on one tokenizer's habits, and torch is at home
in no other file of this family.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.errors import HTTPError as HubError  # type: ignore[attr-defined]  # of the client the hub uses
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicCache

from stepcredit.core.continuing import can_continue
from stepcredit.core.key_values import Pairs
from stepcredit.core.log_ratios import encode, read_in, token_ids
from stepcredit.core.protocols import Policy, Rng
from stepcredit.core.registry import register
from stepcredit.core.types import Bools, Completion, Cost, Floats, Ints
from stepcredit.policy._room import give_room
from stepcredit.policy._score_vector import score_vectors
from stepcredit.policy._shared_prefix import CALL_TOKENS, CALL_TOKENS_ELSEWHERE, SharedPrefixes

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_MAX_LOGITS = 2**26  # numbers in one tensor of logits when scoring


@register("policy", paper="ours")
def hf(model: str, *, dtype: Dtype = "auto", batch_size: int = 512, temperature: float = 1.0, top_p: float = 1.0,
       device: str = "auto") -> Policy:  # fmt: skip
    """Load a model folder, or a hub model by its name, as a policy; code from the hub is never run.

    `dtype="auto"` is the checkpoint's own, `device="auto"` the accelerator where there is one. `batch_size` rows are
    decoded together. `temperature=0` takes the likeliest token, the lowest id among equals.
    Raises ValueError for a folder that does not exist, at once and before any network is asked; for a name the hub
    does not know or cannot be asked about; and for knobs out of range.
    """
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype is {dtype!r}; allowed: {', '.join(get_args(Dtype))}")
    source = locate(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        network = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model!r} cannot be loaded as a causal language model: {str(error).strip().splitlines()[0]}"
        ) from error
    return HFPolicy(network, tokenizer, batch_size=batch_size, temperature=temperature, top_p=top_p, device=device)


def locate(model: str) -> str:
    """The folder or hub name to load; ValueError, without waiting for a network, where there is neither.

    A name is the hub's unless it is a folder here, or looks like a path: absolute, starting with `.` or `~`, with
    more than one separator, or below a folder that exists here. A hub name that is not in the local cache is asked
    for once, not retried.
    """
    path = Path(model).expanduser()
    if not model or path.is_file():
        raise ValueError(f"{model!r} is not a model folder, nor the name of a hub model")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{model!r} holds no model: there is no config.json in it")
        return str(path)
    head, *rest = model.split("/")
    below_known = len(rest) == 1 and Path(head).is_dir()
    if model[0] in ".~/" or "\\" in model or len(rest) > 1 or "" in rest or below_known:
        raise ValueError(f"there is no model folder {model!r}")
    try:
        if not isinstance(try_to_load_from_cache(model, "config.json"), str):
            HfApi().model_info(model, timeout=10)
    except HFValidationError as error:
        raise ValueError(f"{model!r} is neither a folder nor a name the hub allows") from error
    except OfflineModeIsEnabled as error:
        raise ValueError(f"there is no folder {model!r}, and the hub is switched off (HF_HUB_OFFLINE)") from error
    except HfHubHTTPError as error:
        raise ValueError(f"there is no folder {model!r}, and the hub has no such open model") from error
    except (OSError, HubError) as error:
        raise ValueError(f"there is no folder {model!r}, and the hub cannot be reached: {error}") from error
    return model


class HFPolicy:
    """A causal language model and its tokenizer as a `Policy`.

    `cost` adds up what has been spent: `generated_tokens` sampled, `forwarded_tokens` read (each distinct prompt of
    a batch once, what prompts share once where they are read together, and everything `logprob` scores), `seconds`
    inside. A generated token is read too, to go on from it, but counted as generated alone.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int = 512, temperature: float = 1.0,
                 top_p: float = 1.0, device: str = "auto") -> None:  # fmt: skip
        """Raises ValueError for knobs out of range, or a model that keeps no key-value cache."""
        if batch_size < 1 or temperature < 0 or not 0 < top_p <= 1:
            raise ValueError(f"batch_size {batch_size}, temperature {temperature}, top_p {top_p}; "
                             "allowed: 1 or more, 0 or more, above 0 up to 1")  # fmt: skip
        takes = inspect.signature(model.forward).parameters
        if "past_key_values" not in takes:
            raise ValueError(
                f"{type(model).__name__} keeps no key-value cache; allowed: causal language models that do"
            )
        if device == "auto":
            found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            device = "cpu" if found is None else found.type
        self.model = model.to(device).eval()
        self.tokenizer = tokenizer
        self.batch_size, self.temperature, self.top_p = batch_size, temperature, top_p
        self.cost = Cost()
        self._device = torch.device(device)
        self._takes_positions = "position_ids" in takes
        self._keep_last: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._max_positions = getattr(model.config, "max_position_embeddings", None)
        ends = model.generation_config.eos_token_id if model.generation_config else model.config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        self._vocab_size = int(model.get_output_embeddings().weight.shape[0])
        self._letter: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
        self._letter_length = len(tokenizer.decode(self._letter, skip_special_tokens=True))
        self._pieces: list[str] | None = None
        self._continues: bool | None = None

    def sample(self, prefixes: Sequence[str], num: int, rng: Rng, *, stop: Sequence[str] = (),
               max_new_tokens: int = 256) -> list[list[Completion]]:  # fmt: skip
        """`num` completions of each prefix, [len(prefixes)][num].

        `text` ends before the first of `stop`, or at the end token. `token_ids` is all that was sampled, with the end
        token or the tokens that completed the stop string; `logprobs` are the model's own (temperature 1, nothing
        cut), as `logprob` gives them. `finish` is "length" where neither came within `max_new_tokens`, or within
        the positions the model has.
        Raises ValueError for `num` or `max_new_tokens` below 1, an empty stop string, or a prefix as long as the
        model's positions.
        """
        if num < 1 or max_new_tokens < 1 or not all(stop):
            raise ValueError(f"num {num}, max_new_tokens {max_new_tokens}, stop {list(stop)}; "
                             "allowed: 1 or more, 1 or more, strings that are not empty")  # fmt: skip
        start = time.perf_counter()
        distinct = list(dict.fromkeys(prefixes))
        ids_P = encode(self.tokenizer, distinct)
        index = {prefix: place for place, prefix in enumerate(distinct)}
        row_P = np.repeat([index[prefix] for prefix in prefixes], num)
        # Rows of one length, and of one prompt, lie together: little padding, and a prompt is read once a batch.
        order = sorted(range(len(row_P)), key=lambda row: (len(ids_P[row_P[row]]), row_P[row], row))
        call_tokens = CALL_TOKENS.get(self._device.type, CALL_TOKENS_ELSEWHERE)
        num_batches = -(-len(order) // self.batch_size)
        shared = SharedPrefixes(ids_P, num_batches, self._extend, lambda: self.continues, call_tokens=call_tokens)
        found: dict[int, Completion] = {}
        for begin in range(0, len(order), self.batch_size):
            rows = order[begin : begin + self.batch_size]
            uniform_RT = torch.from_numpy(rng.random((len(rows), max_new_tokens), dtype=np.float32))
            here, inverse = np.unique(row_P[rows], return_inverse=True)
            sampled = self._complete([ids_P[p] for p in here], inverse, uniform_RT, stop, shared)
            found.update(zip(rows, sampled, strict=True))
        self.cost += Cost(
            generated_tokens=sum(len(c.token_ids or ()) for c in found.values()), seconds=time.perf_counter() - start
        )
        return [[found[p * num + n] for n in range(num)] for p in range(len(prefixes))]

    def logprob(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Floats:
        """Sum of log p(token | prefix, tokens before) under the model itself, [len(prefixes)], in nats; an empty continuation is 0.

        The continuation's tokens are those of the joint text behind the prefix's own, as in sampling; where a token
        would straddle the border, the continuation is tokenised alone. No end token is added. A text that begins
        another is read there: all steps of an attempt, asked in one call, cost one pass.
        Raises ValueError for lists of different lengths, or a text beyond the model's positions.
        """
        start = time.perf_counter()
        out = np.zeros(len(prefixes))
        texts, start_n, asked_of = self._asked(prefixes, continuations)
        whole = sorted(asked_of)
        forwarded = 0
        for batch in self._by_length([len(texts[text]) for text in whole]):
            rows = [whole[place] for place in batch]
            length = len(texts[rows[-1]])
            ids_RT = torch.zeros((len(rows), length), dtype=torch.long)
            real_RT = torch.zeros((len(rows), length), dtype=torch.long)
            for place, row in enumerate(rows):
                ids_RT[place, : len(texts[row])] = torch.tensor(texts[row])
                real_RT[place, : len(texts[row])] = 1
            forwarded += int(real_RT.sum())
            ids_RT, real_RT = ids_RT.to(self._device), real_RT.to(self._device)
            with torch.inference_mode():
                logits_RTV = (
                    self.model(input_ids=ids_RT, attention_mask=real_RT, use_cache=False).logits[:, :-1].float()
                )
                logprob_RT = logits_RTV.log_softmax(-1).gather(-1, ids_RT[:, 1:, None])[..., 0].double().cpu().numpy()
            for place, row in enumerate(rows):
                for question in asked_of[row]:
                    # The token at t is predicted at t - 1.
                    out[question] = logprob_RT[place, start_n[question] - 1 : len(texts[question]) - 1].sum()
        self.cost += Cost(forwarded_tokens=forwarded, seconds=time.perf_counter() - start)
        return out

    @torch.inference_mode()
    def score_vector(self, prefixes: Sequence[str], continuations: Sequence[str], *, dim: int = 64, seed: int = 0) -> Floats:  # fmt: skip
        """Gradient of every log-probability that `logprob` gives, in the output embedding, seen in `dim` fixed random directions.

        Shape [len(prefixes), dim]; `policy/_score_vector` has formula, departures and errors.
        """
        return score_vectors(self, prefixes, continuations, dim=dim, seed=seed)

    def token_ends(self, token_ids: Sequence[int]) -> list[int]:
        """Where each token of a completion ends in its text, in characters; special tokens take none.

        A character of several tokens ends with its last one.
        """
        pieces = self._vocabulary()
        text = self._texts([token_ids])[0]
        spelt = [pieces[token] for token in token_ids]
        if "".join(spelt) == text:
            return [int(end) for end in np.cumsum([len(piece) for piece in spelt], dtype=np.int64)]
        parts = self._texts([token_ids[: place + 1] for place in range(len(token_ids))])
        return [len(part) if text.startswith(part) else len(part.rstrip("\ufffd")) for part in parts]

    def _asked(self, prefixes: Sequence[str], continuations: Sequence[str]) -> tuple[list[list[int]], Ints, dict[int, list[int]]]:  # fmt: skip
        """Tokens of each text and where its continuation starts; the questions by the text that they are read in."""
        if len(prefixes) != len(continuations):
            raise ValueError(f"{len(prefixes)} prefixes need as many continuations, got {len(continuations)}")
        texts, start_n = token_ids(self.tokenizer, list(zip(prefixes, continuations, strict=True)))
        too_long = [row for row, ids in enumerate(texts) if self._max_positions and len(ids) > self._max_positions]
        if too_long:
            raise ValueError(
                f"text {too_long[0]} has {len(texts[too_long[0]])} tokens; the model has {self._max_positions}"
            )
        asked_of: dict[int, list[int]] = {}
        for question, text in enumerate(read_in(texts)):
            asked_of.setdefault(int(text), []).append(question)
        return texts, start_n, asked_of

    def _complete(self, prefix_ids: list[list[int]], prefix_R: Ints, uniform_RT: torch.Tensor,
                  stop: Sequence[str], shared: SharedPrefixes) -> list[Completion]:  # fmt: skip
        """Sample one batch: read each prompt once, spread its cache over its rows, drop rows as they finish."""
        longest = max(len(ids) for ids in prefix_ids)
        if self._max_positions and longest >= self._max_positions:
            raise ValueError(f"a prefix has {longest} tokens; the model has {self._max_positions} positions")
        num_rows, max_new = uniform_RT.shape
        max_new = min(max_new, self._max_positions - longest) if self._max_positions else max_new
        may_stop_V = self._may_complete(stop)
        ends = torch.tensor(self._ends, dtype=torch.long, device=self._device)
        uniform_RT = uniform_RT.to(self._device)
        ids_RT = torch.zeros((num_rows, max_new), dtype=torch.long, device=self._device)
        logprob_RT = torch.zeros((num_rows, max_new), device=self._device)
        length_R, finished_R = np.full(num_rows, max_new), np.zeros(num_rows, dtype=np.bool_)
        # A of the R rows are still in the batch; those finished among them wait until an eighth can leave together.
        row_A = torch.arange(num_rows, device=self._device)
        with torch.inference_mode():
            logits_AV, cache, mask_AL = self._read(prefix_ids, torch.from_numpy(prefix_R).to(self._device), shared)
            position_A, padded = mask_AL.sum(-1), not bool(mask_AL.all())
            for place in range(max_new):
                token_A, chosen_A = self._choose(logits_AV, uniform_RT[row_A, place])
                ids_RT[row_A, place], logprob_RT[row_A, place] = token_A, chosen_A
                rows = row_A.cpu().numpy()
                over_A = torch.isin(token_A, ends).cpu().numpy()
                if may_stop_V is not None:
                    check = np.flatnonzero(may_stop_V[token_A.cpu().numpy()] & ~over_A & ~finished_R[rows])
                    texts = self._texts(ids_RT[row_A[check], : place + 1].tolist())
                    over_A[check] = [any(mark in text for mark in stop) for text in texts]
                over = rows[over_A & ~finished_R[rows]]
                length_R[over], finished_R[over] = place + 1, True
                waiting = np.count_nonzero(finished_R[rows])
                if waiting == len(rows) or place + 1 == max_new:
                    break
                if waiting * 8 >= len(rows):
                    keep = torch.from_numpy(np.flatnonzero(~finished_R[rows])).to(self._device)
                    cache.reorder_cache(keep)
                    row_A, token_A, mask_AL, position_A = (x[keep] for x in (row_A, token_A, mask_AL, position_A))
                mask_AL = torch.cat([mask_AL, mask_AL.new_ones((len(token_A), 1))], -1)
                inputs = {"position_ids": position_A[:, None]} if self._takes_positions else {}
                mask = {"attention_mask": mask_AL if padded else None}
                out = self.model(input_ids=token_A[:, None], past_key_values=cache, use_cache=True, **mask, **inputs)
                logits_AV, position_A = out.logits[:, -1], position_A + 1
        ids = [row[:length] for row, length in zip(ids_RT.tolist(), length_R, strict=True)]
        logprobs = [row[:length] for row, length in zip(logprob_RT.tolist(), length_R, strict=True)]
        done = []
        for row, text in enumerate(self._texts(ids)):
            cut = min((at for mark in stop if (at := text.find(mark)) >= 0), default=len(text))
            finish: Literal["stop", "length"] = "stop" if finished_R[row] else "length"
            done.append(Completion(text[:cut], tuple(ids[row]), tuple(logprobs[row]), finish))
        return done

    def _read(self, prefix_ids: list[list[int]], prefix_R: torch.Tensor,
              shared: SharedPrefixes) -> tuple[torch.Tensor, Any, torch.Tensor]:  # fmt: skip
        """Logits behind each row's prompt, their cache and mask; each prompt is read once, padded on the left."""
        before = shared.num_forwarded
        pairs, real_PL = shared.expand(prefix_ids) or ([], np.zeros((len(prefix_ids), 0), dtype=np.bool_))
        rest = [ids[-1:] for ids in prefix_ids] if pairs else prefix_ids
        longest = max(len(ids) for ids in rest)
        ids_PT = np.zeros((len(rest), longest), dtype=np.int64)
        real_PT = np.zeros((len(rest), longest), dtype=np.bool_)
        for row, ids in enumerate(rest):
            ids_PT[row, longest - len(ids) :] = ids
            real_PT[row, longest - len(ids) :] = True
        self.cost += Cost(forwarded_tokens=int(real_PT.sum()) + shared.num_forwarded - before)
        mask_PL = np.concatenate([real_PL, real_PT], -1)
        out = self._forward(ids_PT, mask_PL, pairs)
        give_room(out.past_key_values)
        out.past_key_values.reorder_cache(prefix_R)
        return (
            out.logits[prefix_R, -1],
            out.past_key_values,
            torch.from_numpy(mask_PL).to(self._device).long()[prefix_R],
        )

    def _forward(self, ids_BT: Ints, attention_BL: Bools, pairs: Pairs, **given: Any) -> Any:
        """The model over new tokens behind the past of these keys and values; its output has the last logits, and a cache."""
        mask_BL = torch.from_numpy(attention_BL).to(self._device).long()
        position_BT = (mask_BL.cumsum(-1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
        inputs = {"position_ids": position_BT} if self._takes_positions else {}
        past = {"past_key_values": DynamicCache(pairs)} if pairs else {}
        given = {**self._keep_last, **inputs, **past, **given}
        return self.model(
            input_ids=torch.from_numpy(ids_BT).to(self._device), attention_mask=mask_BL, use_cache=True, **given
        )

    def _extend(self, ids_BT: Ints, attention_BL: Bools, pairs: Pairs) -> Any:
        """The cache alone, in layers of plain keys and values."""
        return self._forward(ids_BT, attention_BL, pairs, past_key_values=DynamicCache(pairs)).past_key_values

    @property
    def continues(self) -> bool:
        """Whether the model goes on from keys and values as if it had read the tokens: tried once, on a few."""
        if self._continues is None:
            with torch.inference_mode():
                self._continues = can_continue(_Trial(self))
        return self._continues

    def _choose(self, logits_RV: torch.Tensor, uniform_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The sampled token of each row and its log-probability under the model itself: ([R], [R])."""
        logprob_RV = logits_RV.float().log_softmax(-1)
        if self.temperature == 0:
            token_R = logprob_RV.argmax(-1)
        else:
            p_RV = logprob_RV.exp() if self.temperature == 1 else (logprob_RV / self.temperature).softmax(-1)
            if self.top_p < 1:
                sorted_RV, order_RV = p_RV.sort(dim=-1, descending=True, stable=True)
                beyond_RV = sorted_RV.cumsum(-1) - sorted_RV >= self.top_p
                p_RV = p_RV.scatter(-1, order_RV, sorted_RV.masked_fill(beyond_RV, 0.0))
            mass_RV = p_RV.cumsum(-1)
            total_R = mass_RV[:, -1]
            # Strictly below the total, so that a token of no mass at the end of the vocabulary is never taken.
            target_R = torch.minimum(uniform_R * total_R, torch.nextafter(total_R, torch.zeros_like(total_R)))
            token_R = torch.searchsorted(mass_RV, target_R[:, None], right=True)[:, 0]
        return token_R, logprob_RV.gather(-1, token_R[:, None])[:, 0]

    def _texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Completions as text, decoded behind a letter: some tokenizers eat the space that begins a text."""
        if not len(ids):
            return []
        texts = self.tokenizer.batch_decode(
            [[*self._letter, *row] for row in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [text[self._letter_length :] for text in texts]

    def _vocabulary(self) -> list[str]:
        """What each token spells, alone."""
        if self._pieces is None:
            size = max(len(self.tokenizer), self._vocab_size)
            self._pieces = self._texts([[token] for token in range(size)])
        return self._pieces

    def _may_complete(self, stop: Sequence[str]) -> Bools | None:
        """[V] True where a token could be the last of a stop string: only behind these is text decoded and searched."""
        if not stop:
            return None
        last = {mark[-1] for mark in stop} | {"\ufffd"}  # which stands for a part of a character
        return np.array([not last.isdisjoint(piece) for piece in self._vocabulary()], dtype=np.bool_)

    def _by_length(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Batches of row numbers, shortest texts first, within the batch size and the size of the logits."""
        width = max(1, _MAX_LOGITS // self._vocab_size)
        batch: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
            if batch and (len(batch) == self.batch_size or (len(batch) + 1) * lengths[row] > width):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch


class _Trial:
    """The policy as `core/continuing` tries it."""

    def __init__(self, own: HFPolicy) -> None:
        self.model, self.parameters, self._own = own.model, own.model.parameters, own

    def past(self, pairs: Pairs) -> Any:
        """A cache of these keys and values."""
        return DynamicCache(pairs)

    def hidden(self, ids_BT: Ints, attention_BL: Bools, past: Any = None) -> Floats:
        """The logits at each new token."""
        whole = {"logits_to_keep": 0} if self._own._keep_last else {}
        given = {} if past is None else {"past_key_values": past}
        logits_BTV = self._own._forward(ids_BT, attention_BL, [], **whole, **given).logits
        return np.asarray(logits_BTV.float().cpu().numpy(), dtype=np.float64)
