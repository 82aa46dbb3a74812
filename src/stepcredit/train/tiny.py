"""A small Llama-configured language model with its own tokenizer, trained from scratch and cached by content.

It stands in for a downloaded model where there is none: demonstrations in, an ordinary model folder out
(`config.json`, `model.safetensors`, `tokenizer.json`), which every other command loads like any local model.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from stepcredit.core.protocols import Rng
from stepcredit.core.rng import rng
from stepcredit.train._watch import SHARES

TokenizerKind = Literal["word", "bpe"]
Precision = Literal["auto", "float32", "bfloat16"]

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
RECIPE = 1  # enters the cache key: raise it when the same arguments would give other weights
INITIALIZER_RANGE = 0.05  # with the usual 0.02 a model this small needs twice the updates on `tasks/chain`
_EAGER_LENGTH = 512  # above it the quadratic memory of eager attention costs more than it saves
_WORD = r" ?(?:[A-Za-z]+(?:-[a-z]+)*|[0-9]+|[^\sA-Za-z0-9])|\s"


def build_tokenizer(texts: Sequence[str], *, kind: TokenizerKind = "word", vocab_size: int = 8192,
                    extra_tokens: Sequence[str] = (), max_positions: int = 1024) -> PreTrainedTokenizerFast:  # fmt: skip
    """A tokenizer whose vocabulary is learned from `texts`; encoding puts `<bos>` in front, nothing behind.

    "word": a token is a word (hyphens inside, "pick-up"), a run of digits, or any other single character, with the
    one space before it attached; other whitespace, newlines above all, stands alone. Tokens concatenate to the text,
    so decoding restores it exactly, as far as its tokens are known; the others become `<unk>`. Every word seen is
    known with and without its space. The `vocab_size` most frequent are kept, ties in alphabetical order.
    "bpe": byte-level pairs, at least 256 of them; restores any text, and has no `<unk>`.
    `extra_tokens` (step markers) are single tokens that decoding keeps. Ids: `<pad>` 0, `<bos>` 1, `<eos>` 2.
    Raises ValueError for no texts, another kind, or a byte vocabulary below 260.
    """
    if kind not in get_args(TokenizerKind):
        raise ValueError(f"tokenizer kind is {kind!r}; allowed: {', '.join(get_args(TokenizerKind))}")
    if not any(texts):
        raise ValueError("a tokenizer needs texts to learn from; there are none, or all are empty")
    backend = _word_backend(texts, vocab_size) if kind == "word" else _bpe_backend(texts, vocab_size)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, backend.token_to_id(BOS))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, bos_token=BOS, eos_token=EOS,
        unk_token=UNK if kind == "word" else None,
        clean_up_tokenization_spaces=False, model_max_length=max_positions,
    )  # fmt: skip
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in extra_tokens])
    return tokenizer


def _word_backend(texts: Sequence[str], vocab_size: int) -> Any:
    split = pre_tokenizers.Split(Regex(_WORD), "isolated")
    counts: Counter[str] = Counter()
    for text in texts:
        for piece, _ in split.pre_tokenize_str(text):
            core = piece.strip(" ") or piece
            counts[core] += 1
    ranked = sorted(counts, key=lambda core: (-counts[core], core))
    pieces = [PAD, BOS, EOS, UNK]
    for core in ranked:
        pieces.extend([core] if core.isspace() else [core, " " + core])
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces[: max(vocab_size, 5)]))}
    backend = Tokenizer(models.WordLevel(vocab, unk_token=UNK))
    backend.pre_tokenizer = split
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([PAD, BOS, EOS, UNK])
    return backend


def _bpe_backend(texts: Sequence[str], vocab_size: int) -> Any:
    if vocab_size < 260:
        raise ValueError(f"a byte-level vocabulary of {vocab_size}; allowed: 260 or more")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learn = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet,
                                show_progress=False)  # fmt: skip
    backend.train_from_iterator(texts, learn)
    return backend


def tiny_config(tokenizer: PreTrainedTokenizerFast, *, hidden: int = 128, layers: int = 2, heads: int = 4,
                max_positions: int = 1024) -> LlamaConfig:  # fmt: skip
    """The Llama configuration of the small model, feed-forward width 4 x hidden; a judge can be built from it too.

    Raises ValueError where `hidden` is no multiple of twice `heads` (rotary positions turn pairs of channels).
    """
    if hidden % (2 * heads):
        raise ValueError(f"hidden is {hidden}, heads {heads}; allowed: a multiple of {2 * heads}")
    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=max_positions, initializer_range=INITIALIZER_RANGE, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def train_language_model(texts: Sequence[str], out_dir: str | Path, *, tokenizer: TokenizerKind = "word",
                         vocab_size: int = 8192, extra_tokens: Sequence[str] = (), hidden: int = 128, layers: int = 2,
                         heads: int = 4, max_positions: int = 1024, num_updates: int = 1000, batch_size: int = 32,
                         learning_rate: float = 2e-3, warmup: float = 0.05, weight_decay: float = 0.01, seed: int = 0,
                         precision: Precision = "auto", progress: bool = True) -> Path:  # fmt: skip
    """Train on `texts` from scratch; returns the model's folder, `out_dir/lm-<key>`.

        loss = - 1/T sum_t log p(x_t | x_<t)      over all tokens of the batch and its end tokens, padding left out

    The key is a hash of texts, arguments and `RECIPE`: a second call returns at once, and a changed argument never
    finds old weights. The folder appears by renaming when training is done, so that one that exists is complete.
    Batches hold texts of similar length. The learning rate falls as a cosine after a linear warm-up of that share of
    the updates. `precision="auto"` is bfloat16 autocast (weights stay float32) where the processor computes in it.
    The state of the global random generators is restored afterwards.

    Raises ValueError for no texts, or one that does not fit `max_positions`, naming which.
    """
    if num_updates < 1 or batch_size < 1:
        raise ValueError(f"num_updates is {num_updates}, batch_size {batch_size}; allowed: 1 or more")
    bfloat16 = computes_bfloat16() if precision == "auto" else precision == "bfloat16"
    made_with = {
        "recipe": RECIPE, "tokenizer": tokenizer, "vocab_size": vocab_size, "extra_tokens": list(extra_tokens),
        "hidden": hidden, "layers": layers, "heads": heads, "max_positions": max_positions,
        "num_updates": num_updates, "batch_size": batch_size, "learning_rate": learning_rate, "warmup": warmup,
        "weight_decay": weight_decay, "seed": seed, "bfloat16": bfloat16,
    }  # fmt: skip
    folder = Path(out_dir) / f"lm-{_key(texts, made_with)}"
    if folder.is_dir():
        return folder
    own = build_tokenizer(texts, kind=tokenizer, vocab_size=vocab_size, extra_tokens=extra_tokens,
                          max_positions=max_positions)  # fmt: skip
    rows = [{"input_ids": [*ids, own.eos_token_id]} for ids in own(list(texts), verbose=False)["input_ids"]]
    longest = max(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    length = len(rows[longest]["input_ids"])
    if length > max_positions:
        raise ValueError(f"text {longest} has {length} tokens; max_positions allows {max_positions}")
    config = tiny_config(own, hidden=hidden, layers=layers, heads=heads, max_positions=max_positions)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as scratch, _seeded(seed):
        arguments = TrainingArguments(
            output_dir=f"{scratch}/trainer", max_steps=num_updates, per_device_train_batch_size=batch_size,
            learning_rate=learning_rate, warmup_steps=int(warmup * num_updates), lr_scheduler_type="cosine",
            weight_decay=weight_decay, adam_beta2=0.95, bf16=bfloat16, seed=seed, save_strategy="no",
            logging_steps=20, train_sampling_strategy="sequential", dataloader_pin_memory=False,
            disable_tqdm=not progress, report_to="none", use_cpu=not torch.accelerator.is_available(),
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        if bfloat16 and length <= _EAGER_LENGTH and arguments.device.type == "cpu":
            # The CPU kernel of bfloat16 fused attention is several times slower backwards than plain products.
            model.set_attn_implementation("eager")
        trainer = Trainer(
            model,
            arguments,
            data_collator=_collate,
            train_dataset=_order(rows, num_updates, batch_size, rng(seed, "tiny")),
        )
        trainer.remove_callback(ProgressCallback if progress else PrinterCallback)
        if progress:
            trainer.add_callback(_Bar)
        start = time.perf_counter()
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        made = Path(scratch) / "model"
        trainer.model.save_pretrained(made)
        own.save_pretrained(made)
        report = {**made_with, "num_texts": len(texts), "num_parameters": model.num_parameters(),
                  "seconds": time.perf_counter() - start, "losses": losses}  # fmt: skip
        _put(made, folder, report)
    return folder


def _order(rows: list[dict[str, list[int]]], num_updates: int, batch_size: int, rng: Rng) -> list[dict[str, list[int]]]:
    """Rows in training order: each pass shuffled, sorted by length within 50 batches, and these batches shuffled.

    The trainer's own grouping runs from long to short within every 50 batches, which the model follows up and down.
    """
    passes = -(-num_updates * batch_size // len(rows))
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(passes)])[: num_updates * batch_size]
    out: list[dict[str, list[int]]] = []
    for begin in range(0, len(order), 50 * batch_size):
        block = sorted(order[begin : begin + 50 * batch_size], key=lambda row: len(rows[row]["input_ids"]))
        for batch in rng.permutation(len(block) // batch_size):
            out.extend(rows[row] for row in block[batch * batch_size : (batch + 1) * batch_size])
    return out


def _put(made: Path, folder: Path, report: Mapping[str, Any]) -> None:
    """Give a finished model its report and its place, in one renaming; a process that was there before has the same one."""
    (made / "training.json").write_text(json.dumps(dict(report), indent=1), encoding="utf-8")
    try:
        os.replace(made, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad to the right: under a causal mask nothing real sees the padding. A row without labels is learnt whole."""
    length = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros((len(rows), length), dtype=torch.long)
    labels = torch.full((len(rows), length), -100)
    for index, row in enumerate(rows):
        num = len(row["input_ids"])
        ids[index, :num] = torch.tensor(row["input_ids"])
        labels[index, :num] = torch.tensor(row.get("labels", row["input_ids"]))
    return {"input_ids": ids, "labels": labels}


class _Bar(ProgressCallback):  # type: ignore[misc]
    """The trainer's progress bar, with the loss, and what a filter keeps, beside it instead of a line of its own."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.training_bar is not None and logs and "loss" in logs:
            shown = [name for name in ("loss", *SHARES) if name in logs]
            self.training_bar.set_postfix({name: f"{float(logs[name]):.3f}" for name in shown})


def computes_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself (a GPU that does, or AMX), so that bf16 pays."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def _key(texts: Sequence[str], made_with: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()[:16]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators inside, and give them back as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
