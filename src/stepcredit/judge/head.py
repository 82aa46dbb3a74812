"""The standard discriminative process reward model: a two-label token classifier read at each step's marker.

    u_j = logit[positive] - logit[negative] at marker j,      P(step ok) = sigmoid(u_j)

An `AutoModelForTokenClassification` (class 1 = good), the format of TRL's process reward models and what vLLM serves
with `pooling_task="token_classify"`; Let's Verify Step by Step, arXiv:2305.20050, section 2.6. A judge with C channels
has 2 C labels, in pairs. Any causal LM or encoder backbone; saved with safetensors beside a `scorer.json`, and loaded
by plain transformers with the same logits.
Degenerate: a step whose logit is not finite, or an attempt without a sampled step, makes the judge abstain.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicCache
from transformers.utils import logging

from stepcredit.core.continuing import can_continue
from stepcredit.core.key_values import Pairs
from stepcredit.core.layout import Encoded, Layout, encode
from stepcredit.core.protocols import Judge, Solution
from stepcredit.core.readout import Readout
from stepcredit.core.registry import register
from stepcredit.core.types import Bools, Floats, Ints, Problem
from stepcredit.judge._backbone import (
    check_local,
    check_weights,
    ensure_marker,
    fit_embeddings,
    pad_token,
    start_biases,
    within_positions,
)
from stepcredit.judge._incremental import IncrementalScorer as IncrementalScorer
from stepcredit.judge._manifest import (
    FILE,
    GOLDEN,
    Manifest,
    check_golden,
    check_kind,
    check_scores,
    digest_of,
    load_manifest,
    with_golden,
)
from stepcredit.judge._scoring import ScorerJudge as ScorerJudge

TOKENIZER = "tokenizer.json"
Dtype = Literal["float32", "bfloat16", "float16"]


@register("judge", paper="arXiv:2305.20050")
def head(path: str, *, dtype: Dtype = "float32", token_budget: int = 16384, device: str = "cpu") -> Judge:
    """Load a saved scorer. Raises ValueError for a missing folder, or one whose tokens or scores no longer agree."""
    scorer = HeadScorer.load(path, dtype=dtype, device=device)
    return ScorerJudge(scorer, token_budget)


class StepScorer(nn.Module):
    """A trainable module that scores steps, with its tokenizer and manifest.

    Abstract: `forward`, `reset_head`, `_write_weights`.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, manifest: Manifest) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.manifest = manifest
        self._continues: bool | None = None
        takes = inspect.signature(model.forward).parameters
        self._no_past = {"use_cache": False} if "use_cache" in takes else {}  # else one is made, and thrown away

    def encode(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Encoded]:
        """The tokens every use of this scorer sees: training, scoring and manifest."""
        return encode(attempts, self.manifest.layout, self.tokenize, self.manifest.marker_id)

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """Token ids and character offsets."""
        found = self.tokenizer(list(texts), return_offsets_mapping=True, return_attention_mask=False, verbose=False)
        return found["input_ids"], found["offset_mapping"]

    @property
    def pad_id(self) -> int:
        """Token id used for padding."""
        return pad_token(self.tokenizer)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In evaluation mode and without gradients; training goes on as it was."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.train(was_training)

    @torch.inference_mode()
    def logits(self, token_ids_BT: Ints, attention_BT: Bools, read_BS: Ints, past: Any = None) -> Floats:
        """`forward` for numpy arrays: [B, S, C]. Behind a `past`, `attention_BT` covers past and new tokens."""
        ids, attention, read = self._tensors(token_ids_BT, attention_BT, read_BS)
        found: Tensor = self(ids, attention, read, **self._context(ids, attention, past))
        return found.double().numpy(force=True)

    @torch.inference_mode()
    def hidden(self, token_ids_BT: Ints, attention_BT: Bools, past: Any = None) -> Floats:
        """The backbone's last hidden states, [B, T, D]."""
        ids, attention = self._tensors(token_ids_BT, attention_BT)
        backbone, context = self.model.base_model, self._context(ids, attention, past)
        found: Any = backbone(input_ids=ids, attention_mask=attention.long(), **context)  # type: ignore[operator]
        return found.last_hidden_state.double().numpy(force=True)  # type: ignore[no-any-return]

    def _tensors(self, *arrays: Any) -> list[Tensor]:
        device = next(self.parameters()).device
        return [torch.as_tensor(array, device=device) for array in arrays]

    def _context(self, ids_BT: Tensor, attention_BT: Tensor, past: Any) -> dict[str, Any]:
        """The backbone's arguments behind a past; none without."""
        if past is None:
            return {}
        position_BT = (attention_BT.long().cumsum(-1) - 1).clamp_min(0)[:, -ids_BT.shape[1] :]
        return {"past_key_values": past, "position_ids": position_BT, "use_cache": True}

    def past(self, pairs: Pairs) -> Any:
        """A cache of these keys and values (none: empty), for `logits` to read and to add to."""
        return DynamicCache(pairs)

    @property
    def continues(self) -> bool:
        """Whether the backbone goes on from keys and values as if it had read the tokens: tried once, on a few."""
        if self._continues is None:
            with self.reading():
                self._continues = can_continue(self)
        return self._continues

    def version(self) -> object:
        """Equal as long as no weight has been changed, moved or replaced."""
        return [(weight.data_ptr(), weight._version) for weight in self.parameters()]

    def reset_head(self, *biases: float) -> None:
        """Channel c is sigmoid(biases[c]) everywhere (one half where not given): no step starts on a side of its own."""
        raise NotImplementedError

    def golden_scores(self) -> tuple[float, ...]:
        """Step scores of the golden attempt."""
        return tuple(ScorerJudge(self)([GOLDEN])[0].step_scores_S.tolist())

    def save(self, folder: str | Path) -> None:
        """Weights (safetensors), tokenizer, scorer.json; the manifest last, so that a folder with one is complete.

        Raises ValueError for a scorer whose scores are not finite: its training has diverged.
        """
        scores = self.golden_scores()
        if not np.all(np.isfinite(scores)):
            raise ValueError("this scorer's scores are not finite: its training has diverged; lower the learning rate")
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / FILE).unlink(missing_ok=True)
        with quiet():
            self._write_weights(path)
            self.tokenizer.save_pretrained(path)
        self.manifest = replace(self.manifest, golden_scores=scores, tokenizer_sha256=digest_of(path / TOKENIZER))
        self.manifest.save(path)

    def _write_weights(self, path: Path) -> None:
        raise NotImplementedError

    def _checked(self, folder: str | Path, dtype: Dtype) -> None:
        """Raise ValueError unless the tokenizer is the one saved, and the golden attempt gives what it gave."""
        check_golden(self.manifest, self.encode([GOLDEN]))
        if digest_of(Path(folder) / TOKENIZER) != self.manifest.tokenizer_sha256:
            raise ValueError(f"{str(folder)!r}: {TOKENIZER} is not the file this scorer was saved with")
        check_scores(self.manifest, self.golden_scores(), tolerance=1e-3 if dtype == "float32" else 0.1)


class HeadScorer(StepScorer):
    """A two-label token classifier and its tokenizer."""

    @classmethod
    def create(
        cls, backbone: str | Path | Any, *, tokenizer: PreTrainedTokenizerBase | None = None, layout: Layout | None = None,
        readout: Readout | None = None, max_tokens: int = 4096, seed: int = 0,
    ) -> HeadScorer:  # fmt: skip
        """A fresh head on a backbone: a local folder or hub id, or a config (then from scratch, with `tokenizer`).

        A marker the tokenizer does not know as one token is added to it. `max_tokens` is cut to the positions the
        backbone has. Raises ValueError for a missing folder, and for weights that are missing in it.
        """
        layout, readout = layout or Layout(), readout or Readout()
        named = isinstance(backbone, str | Path)
        if named:
            check_local(backbone)
            tokenizer = tokenizer or load_tokenizer(backbone)
        if tokenizer is None:
            raise ValueError("a backbone built from a config needs its tokenizer")
        tokenizer = copy.deepcopy(tokenizer)
        marker_id = ensure_marker(tokenizer, layout.marker)
        with quiet():
            config: Any = AutoConfig.from_pretrained(backbone) if named else copy.deepcopy(backbone)
        config.num_labels = 2 * readout.num_channels
        config.classifier_dropout = 0.0
        config.token_classification_bias = True  # the base rate is put there; some families would leave it out
        config.pad_token_id = pad_token(tokenizer)
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            if named:
                model = _load_classifier(backbone, config, fresh_head=True)
            else:
                model = AutoModelForTokenClassification.from_config(config)
            fit_embeddings(model, tokenizer)
        manifest = Manifest("head", layout, readout, marker_id, max_tokens=within_positions(config, max_tokens))
        scorer = cls(model, tokenizer, manifest)
        scorer.manifest = with_golden(manifest, scorer.encode([GOLDEN]))
        scorer.reset_head()
        return scorer

    def reset_head(self, *biases: float) -> None:
        """Zero weights; channel c is sigmoid(biases[c]) everywhere, one half where not given."""
        layer = _classifier(self.model)
        nn.init.zeros_(layer.weight)
        with torch.no_grad():
            start_C = torch.tensor(start_biases(biases, layer.out_features // 2))
            layer.bias.copy_(torch.stack([-0.5 * start_C, 0.5 * start_C], dim=1).flatten())

    def forward(self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor, **context: Any) -> Tensor:
        """Channel logits at the read positions, [B, S, C]; `context` (a past) is the backbone's."""
        context = {**self._no_past, **context}
        logit_BTL = self.model(input_ids=token_ids_BT, attention_mask=attention_BT.long(), **context).logits
        at_BSL = logit_BTL[torch.arange(len(read_BS), device=read_BS.device)[:, None], read_BS]
        channel_BSC: Tensor = at_BSL[..., 1::2] - at_BSL[..., 0::2]
        return channel_BSC

    def _write_weights(self, path: Path) -> None:
        self.model.save_pretrained(path)  # type: ignore[operator]

    @classmethod
    def load(cls, folder: str | Path, *, dtype: Dtype = "float32", device: str = "cpu") -> HeadScorer:
        """The inverse of `save`. Raises ValueError for a folder whose tokens, weights or scores are not those saved."""
        manifest = load_manifest(folder)
        check_kind(manifest, "head", folder)
        with quiet():
            tokenizer, config = load_tokenizer(folder), AutoConfig.from_pretrained(folder)
            model = _load_classifier(folder, config, dtype=dtype)
        scorer = cls(model.to(device=device).eval(), tokenizer, manifest)
        scorer._checked(folder, dtype)
        return scorer


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """A folder's tokenizer. Raises ValueError for one without character offsets."""
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(path)
    if not tokenizer.is_fast:
        raise ValueError(f"{str(path)!r}: a fast tokenizer is needed: step markers are located by character offset")
    return tokenizer


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's bars and load reports: what they would say is checked here and raised."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _load_classifier(path: Any, config: Any, *, dtype: Dtype = "float32", fresh_head: bool = False) -> nn.Module:
    model, report = AutoModelForTokenClassification.from_pretrained(
        path, config=config, dtype=getattr(torch, dtype), output_loading_info=True, ignore_mismatched_sizes=fresh_head
    )
    check_weights(path, report, ("score.", "classifier.", "head.") if fresh_head else ())
    return model  # type: ignore[no-any-return]


def _classifier(model: nn.Module) -> nn.Linear:
    for name in ("score", "classifier"):
        layer = getattr(model, name, None)
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            return layer
    raise ValueError(
        f"{type(model).__name__} has no linear token-classification head with bias named score or classifier"
    )
