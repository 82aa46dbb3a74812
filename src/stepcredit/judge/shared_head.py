"""SPRM: a small head on the policy's own hidden states, so that one network writes the steps and scores them.

    h = hidden_states[layer] at the step token,   h <- g h + (1 - g) stop_gradient(h)
    u = Linear(2c, 1)( Dropout(ReLU( Linear(c, 2c)(h) )) ),      P(step ok) = sigmoid(u)

MetaStone-S1, arXiv:2507.01951, section 3 (layer -2, dropout .5; trajectory score = geometric mean; g = 1e-4 in its
released code). `layout.read`: "on" the delimiter as the paper says, "pre" the token before it as the released code does.
The language model underneath is untouched by scoring: `policy_folder` is a plain causal LM any policy can load.
Departs: zero final layer instead of a random one, because the self-supervised filter collapses from a random head.
Degenerate: a step whose logit is not finite makes the judge abstain.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from stepcredit.core.layout import Layout
from stepcredit.core.protocols import Judge
from stepcredit.core.readout import Readout
from stepcredit.core.registry import register
from stepcredit.judge._manifest import GOLDEN, Manifest, check_golden, load_manifest, with_golden
from stepcredit.judge.head import Dtype, ScorerJudge, StepScorer, check_local, ensure_marker

HEAD_FILE = "score_head.safetensors"


@register("judge", paper="arXiv:2507.01951")
def shared_head(path: str, *, dtype: Dtype = "float32", token_budget: int = 16384, device: str = "cpu") -> Judge:
    """Load a saved policy-with-head. Raises ValueError for a missing folder or a tokenizer that no longer agrees."""
    return ScorerJudge(SharedHeadScorer.load(path, dtype=dtype, device=device), token_budget)


class SharedHeadScorer(StepScorer):
    """A causal LM with a score head. `gradient_scale` 0 freezes the backbone for the judge's loss, 1 trains it whole."""

    def __init__(self, model: nn.Module, tokenizer: object, manifest: Manifest, head: nn.Sequential) -> None:
        super().__init__(model, tokenizer, manifest)
        self.head = head

    @classmethod
    def create(
        cls, backbone: str | Path, *, layout: Layout | None = None, readout: Readout | None = None, layer: int = -2,
        gradient_scale: float = 1e-4, dropout: float = 0.5, max_tokens: int = 4096, seed: int = 0,
    ) -> SharedHeadScorer:  # fmt: skip
        """A fresh head on a policy folder or hub id.

        Raises ValueError for a missing folder, or a gradient scale outside [0, 1].
        """
        check_local(backbone)
        if not 0 <= gradient_scale <= 1:
            raise ValueError(f"gradient_scale lies in [0, 1], got {gradient_scale}")
        layout, readout = (
            layout or Layout(marker="\n"),
            readout or Readout("self_supervised", aggregation="geometric_mean"),
        )
        torch.manual_seed(seed)
        tokenizer = AutoTokenizer.from_pretrained(backbone)
        model = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.float32)
        marker_id = ensure_marker(tokenizer, layout.marker)
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        extra = {"layer": layer, "gradient_scale": gradient_scale, "dropout": dropout}
        manifest = Manifest(
            "shared_head", layout, readout, marker_id, activation="sigmoid", max_tokens=max_tokens, extra=extra
        )
        scorer = cls(model, tokenizer, manifest, _head(model.config.hidden_size, readout.num_channels, dropout))
        scorer.manifest = with_golden(manifest, scorer.encode([GOLDEN]))
        scorer.reset_head()
        return scorer

    def reset_head(self, bias: float = 0.0) -> None:
        """Zero the last layer: P(ok) = sigmoid(bias) everywhere."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, bias)

    def forward(self, token_ids_BT: Tensor, attention_BT: Tensor, read_BS: Tensor) -> Tensor:
        """Channel logits at the read positions, [B, S, C]."""
        extra = self.manifest.extra
        found = self.model(
            input_ids=token_ids_BT, attention_mask=attention_BT.long(), output_hidden_states=True, use_cache=False
        )
        hidden_BTD = found.hidden_states[extra["layer"]]
        rows = torch.arange(len(read_BS), device=read_BS.device)[:, None]
        read_BSD = hidden_BTD[rows, read_BS]
        scale = extra["gradient_scale"]
        read_BSD = scale * read_BSD + (1.0 - scale) * read_BSD.detach()
        logit_BSC: Tensor = self.head(read_BSD)
        return logit_BSC

    def save(self, folder: str | Path) -> None:
        """The causal LM as any policy loads it, the head beside it, scorer.json."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(path)  # type: ignore[operator]
        self.tokenizer.save_pretrained(path)
        safetensors.torch.save_file(self.head.state_dict(), path / HEAD_FILE)
        self.manifest.save(path)

    @classmethod
    def load(cls, folder: str | Path, *, dtype: Dtype = "float32", device: str = "cpu") -> SharedHeadScorer:
        """The inverse of `save`, with the golden check."""
        manifest = load_manifest(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        head = _head(model.config.hidden_size, manifest.readout.num_channels, manifest.extra["dropout"])
        head.load_state_dict(safetensors.torch.load_file(Path(folder) / HEAD_FILE))
        scorer = cls(model, tokenizer, manifest, head).to(device=device, dtype=getattr(torch, dtype)).eval()
        check_golden(manifest, scorer.encode([GOLDEN]))
        return scorer


def _head(width: int, num_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, 2 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * width, num_channels)
    )
