"""SPRM: a small head on the policy's own hidden states, so that one network writes the steps and scores them.

    h = hidden_states[layer] at the step token,   h <- g h + (1 - g) stop_gradient(h)
    u = Linear(2c, 1)( Dropout(ReLU( Linear(c, 2c)(h) )) ),      P(step ok) = sigmoid(u)

MetaStone-S1, arXiv:2507.01951, section 3 (layer -2, dropout .5; trajectory score = geometric mean; g = 1e-4 in its
released code). `layout.read`: "on" the delimiter as the paper says, "pre" the token before it as the released code does.
The saved folder is a plain causal LM any policy can load, and scoring leaves it as it is. With g = 0 the backbone gets no
gradient at all; 0 < g < 1 weighs the judge's loss against a policy loss beside it. Trained alone, an optimiser that
divides by the gradient's own size (Adam) undoes a uniform g: the backbone then moves as it would with g = 1.
Departs: zero final layer instead of a random one, because the self-supervised filter collapses from a random head.
Degenerate: a step whose logit is not finite, or an attempt without a sampled step, makes the judge abstain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from stepcredit.core.layout import Layout
from stepcredit.core.protocols import Judge
from stepcredit.core.readout import Readout
from stepcredit.core.registry import register
from stepcredit.judge._backbone import (
    check_local,
    check_weights,
    ensure_marker,
    fit_embeddings,
    start_biases,
    within_positions,
)
from stepcredit.judge._manifest import ACTIVATIONS, GOLDEN, Manifest, check_kind, load_manifest, with_golden
from stepcredit.judge.head import Dtype, ScorerJudge, StepScorer, load_tokenizer, quiet

HEAD_FILE = "score_head.safetensors"


@register("judge", paper="arXiv:2507.01951")
def shared_head(path: str, *, dtype: Dtype = "float32", token_budget: int = 16384, device: str = "cpu") -> Judge:
    """Load a saved policy-with-head. Raises ValueError for a missing folder, or tokens or scores that no longer agree."""
    return ScorerJudge(SharedHeadScorer.load(path, dtype=dtype, device=device), token_budget)


class SharedHeadScorer(StepScorer):
    """A causal LM with a score head. `gradient_scale` 0 freezes the backbone for the judge's loss, 1 trains it whole."""

    def __init__(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, manifest: Manifest, head: nn.Sequential
    ) -> None:
        super().__init__(model, tokenizer, manifest)
        self.head = head

    @classmethod
    def create(
        cls, backbone: str | Path, *, layout: Layout | None = None, readout: Readout | None = None, layer: int = -2,
        gradient_scale: float = 1e-4, dropout: float = 0.5, max_tokens: int = 4096, seed: int = 0,
    ) -> SharedHeadScorer:  # fmt: skip
        """A fresh head on a policy folder or hub id.

        `layer` counts hidden states: 1 is the first layer's output, -1 the last's. A marker the tokenizer does not know
        adds a token to the policy. Raises ValueError for a missing folder, a gradient scale outside [0, 1], a dropout
        outside [0, 1), or a layer that is not there or is the embeddings, which see no context.
        """
        check_local(backbone)
        if not 0 <= gradient_scale <= 1:
            raise ValueError(f"gradient_scale lies in [0, 1], got {gradient_scale}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), got {dropout}")
        layout = layout or Layout(marker="\n")
        readout = readout or Readout("self_supervised", aggregation="geometric_mean")
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            tokenizer, model = load_tokenizer(backbone), _load_policy(backbone)
            marker_id = ensure_marker(tokenizer, layout.marker)
            fit_embeddings(model, tokenizer)
            score = _head(model.config.hidden_size, readout.num_channels, dropout)
        depth = model.config.num_hidden_layers
        if not (1 <= layer <= depth or -depth <= layer <= -1):
            raise ValueError(f"layer is {layer}; this backbone has layers 1 to {depth}, or -{depth} to -1")
        manifest = Manifest(
            "shared_head", layout, readout, marker_id, activation=ACTIVATIONS["shared_head"],
            max_tokens=within_positions(model.config, max_tokens),
            extra={"layer": layer, "gradient_scale": gradient_scale, "dropout": dropout},
        )  # fmt: skip
        scorer = cls(model, tokenizer, manifest, score)
        scorer.manifest = with_golden(manifest, scorer.encode([GOLDEN]))
        scorer.reset_head()
        return scorer

    def reset_head(self, *biases: float) -> None:
        """Zero the last layer; channel c is sigmoid(biases[c]) everywhere, one half where not given."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(start_biases(biases, last.out_features)))

    def forward(self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor, **context: Any) -> Tensor:
        """Channel logits at the read positions, [B, S, C]; `context` (a past) is the backbone's."""
        # No gradient rather than a zero one, which would still let weight decay move the policy.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.manifest.extra["gradient_scale"] > 0):
            found = self.model.base_model(  # type: ignore[operator]
                input_ids=token_ids_BT, attention_mask=attention_BT.long(), output_hidden_states=True,
                **{**self._no_past, **context},
            )  # fmt: skip
        return self.of_states(found.hidden_states, read_BS)

    def of_states(self, hidden_states: Sequence[Tensor], read_BS: Tensor) -> Tensor:
        """Channel logits [B, S, C] from the policy's hidden states, one [B, T, D] a layer, whoever forwarded it."""
        layer, scale = self.manifest.extra["layer"], self.manifest.extra["gradient_scale"]
        rows = torch.arange(len(read_BS), device=read_BS.device)[:, None]
        read_BSD = hidden_states[layer][rows, read_BS]
        if scale < 1:
            read_BSD = scale * read_BSD + (1.0 - scale) * read_BSD.detach() if scale > 0 else read_BSD.detach()
        logit_BSC: Tensor = self.head(read_BSD)
        return logit_BSC

    def _write_weights(self, path: Path) -> None:
        self.model.save_pretrained(path)  # type: ignore[operator]
        safetensors.torch.save_file(self.head.state_dict(), path / HEAD_FILE)

    @classmethod
    def load(cls, folder: str | Path, *, dtype: Dtype = "float32", device: str = "cpu") -> SharedHeadScorer:
        """The inverse of `save`. Raises ValueError for a folder whose tokens, weights or scores are not those saved."""
        manifest = load_manifest(folder)
        check_kind(manifest, "shared_head", folder)
        if not (Path(folder) / HEAD_FILE).is_file():
            raise ValueError(f"{str(folder)!r} holds no {HEAD_FILE}: not a finished scorer")
        with quiet():
            tokenizer, model = load_tokenizer(folder), _load_policy(folder)
        score = _head(model.config.hidden_size, manifest.readout.num_channels, manifest.extra["dropout"])
        score.load_state_dict(safetensors.torch.load_file(Path(folder) / HEAD_FILE))
        scorer = cls(model, tokenizer, manifest, score).to(device=device, dtype=getattr(torch, dtype)).eval()
        scorer._checked(folder, dtype)
        return scorer


def _load_policy(path: str | Path) -> Any:
    model, report = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    check_weights(path, report)
    return model


def _head(width: int, num_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, 2 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * width, num_channels)
    )
