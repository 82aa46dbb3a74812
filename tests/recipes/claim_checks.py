"""What a recipe with claims is asked: each claim names numbers that it measures, and wrong knobs are named."""

import importlib
import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
# Knobs of recipes that have arms and start policies, and what the error says.
WRONG_KNOBS = [
    ({"size": "huge"}, "size 'huge'"),
    ({"seeds": ()}, "one seed or more"),
    ({"seeds": (1, 1)}, "each once"),
    ({"arms": ("mcts",)}, "no arm 'mcts'; there are: base"),
    ({"starts": "some"}, "starts is 'some'; allowed: one, each"),
]


def needs_trl():
    if importlib.util.find_spec("trl") is None:
        pytest.skip("TRL, the extra rl, is not installed")


def every_claim_is_measured(name, out, monkeypatch):
    """At the quick size, on seeds 3 and 4, whose arms lie under `out` where they are finished."""
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.delitem(sys.modules, name, raising=False)
    claims = importlib.import_module(name)
    assert {claim.slug for claim in claims.CLAIMS} == set(claims.ROWS)
    for claim in claims.CLAIMS:
        gap, _ = claims.measure(replace(claim, seeds=(3, 4)), size="quick", out=out)
        assert gap.n == 2 and math.isfinite(gap.value)
