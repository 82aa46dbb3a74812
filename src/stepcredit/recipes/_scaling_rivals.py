"""The rivals of `recipes/scaling` by name: every way to get step scores from outcomes, and labels at four shares.

A broken chain modulo 5 ends right one time in five: the chains are told, but for the one that learns its recovery rate,
which is told nothing. Oracle and hybrid labels say of a step that it is sound given sound ones before it, and are read as
a chain, without a threshold, as are relative progress (Rel-Ratio on soft success rates, up to the first label 0) and "scan, as a
chain"; every other label or pooling that is no chain is cut at one half, Monte Carlo's soft success rates and SCAN's labels too. The implicit rewards are read up to a step, as
the released scorers do, or "by step".
"""

from __future__ import annotations

from stepcredit.recipes._fit import Teaching
from stepcredit.recipes._scaling_implicit import READS
from stepcredit.recipes._scaling_study import Rival
from stepcredit.recipes._scaling_world import Setting

CHANCE = 0.2
DECLARED = "latent_chain"
SHARES = {"0.1%": 0.001, "1%": 0.01, "10%": 0.1, "100%": 1.0}
CHAIN = Teaching("latent_chain", link="free", fp=CHANCE)
WARMUP = 100  # of 600 updates; a sixth of any other number (`Cells`)


def _rivals() -> tuple[Rival, ...]:
    found = [Rival(f"oracle {name}", Teaching(credit="oracle", chain_labels=True), "oracle", share, "oracle")
             for name, share in SHARES.items()]  # fmt: skip
    found += [
        Rival(DECLARED, CHAIN),
        Rival("latent_chain_crm", Teaching("latent_chain", fp=CHANCE)),
        Rival("latent_chain_recovery", Teaching("latent_chain", recovery="learned")),
        Rival("softmin 0.3", Teaching("softmin", temperature=0.3)),
        Rival("softmin", Teaching("softmin")),
        Rival("softmin 3", Teaching("softmin", temperature=3.0)),
        Rival("geometric_mean", Teaching("geometric_mean")),
        Rival("buffer", Teaching("buffer")),
        Rival("outcome_broadcast", Teaching("broadcast")),
        Rival("value", Teaching("value")),
        Rival("value_drop", Teaching(credit="value_drop"), "value_drop", first=Teaching("broadcast")),
        Rival("self_supervised_paper", Teaching(self_supervised="paper", warmup_updates=WARMUP)),
        Rival("self_supervised_released", Teaching(self_supervised="released", warmup_updates=WARMUP)),
        Rival("outcome_model", Teaching("last"), kind="control"),
        Rival("monte_carlo", Teaching(credit="monte_carlo"), "monte_carlo"),
        Rival("monte_carlo_hard", Teaching(credit="monte_carlo_hard"), "monte_carlo_hard"),
        Rival("relative_progress", Teaching(credit="relative_progress", chain_labels=True), "relative_progress"),
        Rival("scan", Teaching(credit="scan"), "scan"),
        Rival("scan, as a chain", Teaching(credit="scan", chain_labels=True), "scan"),
    ]
    found += [
        Rival(f"hybrid {name}", Teaching(credit="hybrid", chain_labels=True), "hybrid", share, "oracle", first=CHAIN)
        for name, share in SHARES.items() if share < 1
    ]  # fmt: skip
    # A network's alone. No head is taught: the teaching says only what is told, the outcome of the attempt as a whole.
    found += [Rival("implicit", Teaching("last"), "implicit_value"),
              Rival("implicit, by step", Teaching("last"), "implicit_reward")]  # fmt: skip
    return tuple(found)


RIVALS = {rival.name: rival for rival in _rivals()}
LOOKED_UP = tuple(name for name, rival in RIVALS.items() if rival.source not in READS)  # what a table can be

SETTINGS: dict[str, Setting] = {
    "base": Setting(),
    "recovery: no zeros": Setting(zero_share=0.0),
    "recovery: zeros 0.25": Setting(zero_share=0.25),
    "recovery: zeros 0.75": Setting(zero_share=0.75),
    "slips: random alone": Setting(random_slip=0.13, systematic_slip=0.0),
    "slips: systematic alone": Setting(random_slip=0.0, systematic_slip=0.9),
    "noise: fp 0.1": Setting(fp=0.1),
    "noise: fp 0.3": Setting(fp=0.3),
    "noise: fn 0.1": Setting(fn=0.1),
    "noise: fn 0.3": Setting(fn=0.3),
    "length: 2 to 3": Setting(min_ops=2, max_ops=3),
    "length: 9 to 16": Setting(min_ops=9, max_ops=16),
}
SWEPT = (
    "oracle 100%",
    DECLARED,
    "latent_chain told",
    "latent_chain_crm",
    "softmin",
    "geometric_mean",
    "outcome_broadcast",
)


def rival_in(name: str, setting: Setting) -> Rival:
    """The rival in a setting: the chain that is told the verifier's rates beside luck, or any other as it is.

    fp = luck (1 - fn) + (1 - luck) fp of the verifier        a broken attempt that is called right
    """
    if name != "latent_chain told":
        return RIVALS[name]
    fp = CHANCE * (1 - setting.fn) + (1 - CHANCE) * setting.fp
    return Rival(name, Teaching("latent_chain", link="free", fp=fp, fn=setting.fn))
