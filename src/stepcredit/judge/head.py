"""The standard discriminative process reward model: a two-label token classifier read at each step's marker.

    u_j = logit[positive] - logit[negative] at marker j,      P(step ok) = sigmoid(u_j)

An `AutoModelForTokenClassification` (class 1 = good), the format of TRL's process reward models and what vLLM serves
with `pooling_task="token_classify"`; Let's Verify Step by Step, arXiv:2305.20050, section 2.6. A judge with C channels
has 2 C labels, in pairs. Any causal LM or encoder backbone; saved with safetensors beside a `scorer.json`.
Degenerate: a step whose logit is not finite makes the judge abstain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerBase

from stepcredit.core.layout import Encoded, Layout, encode
from stepcredit.core.protocols import Judge, Solution
from stepcredit.core.readout import Readout
from stepcredit.core.registry import register
from stepcredit.core.types import Bools, Floats, Ints, Judgment, Problem
from stepcredit.judge._manifest import GOLDEN, Manifest, check_golden, load_manifest, with_golden
from stepcredit.judge._scoring import score_encoded

Dtype = Literal["float32", "bfloat16", "float16"]


@register("judge", paper="arXiv:2305.20050")
def head(path: str, *, dtype: Dtype = "float32", token_budget: int = 16384, device: str = "cpu") -> Judge:
    """Load a saved scorer. Raises ValueError for a missing folder or a tokenizer that no longer agrees."""
    scorer = HeadScorer.load(path, dtype=dtype, device=device)
    return ScorerJudge(scorer, token_budget)


class StepScorer(nn.Module):
    """A trainable module that scores steps: tokenizer and manifest with it. Abstract: `forward`, `save`, `load`."""

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, manifest: Manifest) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.manifest = manifest

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

    @torch.inference_mode()
    def logits(self, token_ids_BT: Ints, attention_BT: Bools, read_BS: Ints) -> Floats:
        """`forward` for numpy arrays: [B, S, C]."""
        device = next(self.parameters()).device
        found: Tensor = self(
            *(torch.as_tensor(array, device=device) for array in (token_ids_BT, attention_BT, read_BS))
        )
        return found.double().numpy(force=True)

    def reset_head(self, bias: float = 0.0) -> None:
        """P(ok) = sigmoid(bias) everywhere, so that no step starts on a side of its own."""
        raise NotImplementedError

    def save(self, folder: str | Path) -> None:
        """Weights, tokenizer and manifest."""
        raise NotImplementedError


class HeadScorer(StepScorer):
    """A two-label token classifier and its tokenizer."""

    @classmethod
    def create(
        cls, backbone: str | Path | Any, *, tokenizer: PreTrainedTokenizerBase | None = None, layout: Layout | None = None,
        readout: Readout | None = None, max_tokens: int = 4096, seed: int = 0,
    ) -> HeadScorer:  # fmt: skip
        """A fresh head on a backbone: a local folder or hub id, or a config (then from scratch, with `tokenizer`).

        A marker the tokenizer does not know as one token is added to it. Raises ValueError for a missing folder.
        """
        layout, readout = layout or Layout(), readout or Readout()
        torch.manual_seed(seed)
        if isinstance(backbone, str | Path):
            check_local(backbone)
            tokenizer = tokenizer or AutoTokenizer.from_pretrained(backbone)
            config = AutoConfig.from_pretrained(backbone)
        else:
            config = backbone
        if tokenizer is None:
            raise ValueError("a backbone built from a config needs its tokenizer")
        if not tokenizer.is_fast:
            raise ValueError("a fast tokenizer is needed: step markers are located by character offset")
        marker_id = ensure_marker(tokenizer, layout.marker)
        config.num_labels = 2 * readout.num_channels
        config.classifier_dropout = 0.0
        config.pad_token_id = pad_token(tokenizer)
        if isinstance(backbone, str | Path):
            model = AutoModelForTokenClassification.from_pretrained(backbone, config=config, dtype=torch.float32)
        else:
            model = AutoModelForTokenClassification.from_config(config)
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        manifest = Manifest("head", layout, readout, marker_id, max_tokens=max_tokens)
        scorer = cls(model, tokenizer, manifest)
        scorer.manifest = with_golden(manifest, scorer.encode([GOLDEN]))
        scorer.reset_head()
        return scorer

    def reset_head(self, bias: float = 0.0) -> None:
        """Zero weights, and P(ok) = sigmoid(bias) everywhere: no step starts on a side of its own."""
        layer = _classifier(self.model)
        nn.init.zeros_(layer.weight)
        if layer.bias is None:
            layer.register_parameter("bias", nn.Parameter(torch.zeros(layer.out_features)))
        with torch.no_grad():
            layer.bias.copy_(torch.tensor([-0.5, 0.5] * (layer.out_features // 2)) * bias)

    def forward(self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor) -> Tensor:
        """Channel logits at the read positions, [B, S, C]."""
        logit_BTL = self.model(input_ids=token_ids_BT, attention_mask=attention_BT.long()).logits
        rows = torch.arange(len(read_BS), device=read_BS.device)[:, None]
        at_BSL = logit_BTL[rows, read_BS]
        channel_BSC: Tensor = at_BSL[..., 1::2] - at_BSL[..., 0::2]
        return channel_BSC

    def save(self, folder: str | Path) -> None:
        """Weights (safetensors), tokenizer, scorer.json."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(path)  # type: ignore[operator]
        self.tokenizer.save_pretrained(path)
        self.manifest.save(path)

    @classmethod
    def load(cls, folder: str | Path, *, dtype: Dtype = "float32", device: str = "cpu") -> HeadScorer:
        """The inverse of `save`, with the golden check."""
        manifest = load_manifest(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForTokenClassification.from_config(config)
        layer = _classifier(model)
        if layer.bias is None:
            layer.register_parameter("bias", nn.Parameter(torch.zeros(layer.out_features)))
        safetensors.torch.load_model(model, str(Path(folder) / "model.safetensors"))
        scorer = cls(model.to(device=device, dtype=getattr(torch, dtype)).eval(), tokenizer, manifest)
        check_golden(manifest, scorer.encode([GOLDEN]))
        return scorer


class ScorerJudge:
    """The Judge protocol over a scorer, trained or being trained."""

    def __init__(self, scorer: StepScorer, token_budget: int = 16384) -> None:
        self.scorer, self.token_budget = scorer, token_budget

    def __call__(self, attempts: Sequence[tuple[Problem, Solution]]) -> list[Judgment]:
        """One judgment per attempt, in order."""
        scorer, manifest = self.scorer, self.scorer.manifest
        was_training = scorer.training
        scorer.eval()
        found = score_encoded(
            scorer.encode(attempts), scorer.logits, manifest.readout, pad_id=scorer.pad_id,
            token_budget=self.token_budget, max_tokens=manifest.max_tokens,
        )  # fmt: skip
        scorer.train(was_training)
        return found


def check_local(path: str | Path) -> None:
    """Raise ValueError at once for a local folder that is not there, instead of asking a hub for it."""
    text = str(path)
    looks_local = (
        text.startswith((".", "/", "~")) or isinstance(path, Path) or text.count("/") > 1 or text.endswith("/")
    )
    if looks_local and not Path(text).expanduser().is_dir():
        raise ValueError(f"no model folder at {text!r}")


def ensure_marker(tokenizer: PreTrainedTokenizerBase, marker: str) -> int:
    """The marker's single token id, added to the tokenizer as a special token where it has none."""
    if marker not in tokenizer.get_vocab() and len(tokenizer(marker, add_special_tokens=False)["input_ids"]) != 1:
        tokenizer.add_tokens([marker], special_tokens=True)
    return int(tokenizer(marker, add_special_tokens=False)["input_ids"][0])


def pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """A padding id: the tokenizer's own, else its end token, else 0 (padding is masked and never read)."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return 0


def _classifier(model: nn.Module) -> nn.Linear:
    for name in ("score", "classifier"):
        layer = getattr(model, name, None)
        if isinstance(layer, nn.Linear):
            return layer
    raise ValueError(f"{type(model).__name__} has no linear token-classification head named score or classifier")
