"""B2: tokens per second of training a process reward model, against TRL 1.13.0's PRMTrainer, and the loss of both.

The same attempts as token ids with the same 0/1 labels, the same initial weights, AdamW, schedule, clipping, batch of 8
attempts, number of updates and threads, float32, on the processor (`use_cpu=True, bf16=False,
gradient_checkpointing=False`). TRL pads random batches to their longest attempt; ours hold attempts of nearly equal
length. `grouped` is TRL with the Trainer's own `train_sampling_strategy="group_by_length"`, which is not its default.
Each side is a process of its own; they train in turns of one pass over the data, the first of which is not counted.
The loss is that on attempts of other problems after the last update, by one and the same code.

TRL lives in a virtual environment in the user's cache, made on first use with the tested versions of everything else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Row, interleaved, ratio, row
from _pool import MARKER, Sizes, num_parameters, pool, random_scorer

from stepcredit.core.rng import rng
from stepcredit.core.stats import paired_difference

HERE = Path(__file__).resolve().parent
TRL = "trl==1.13.0"
WORDS = 64  # distinct tokens: a right step has odd words, a wrong one even ones, so that there is something to learn
FLIPPED = 0.1  # share of labels that say the opposite: the least possible loss is 0.325, as labels are never clean
SIDES = {"ours": None, "trl": "random", "grouped": "group_by_length"}


def rival(cache: Path | None = None) -> tuple[Path | None, str]:
    """The Python of the environment TRL is installed in, made where it is not there yet; else None and why."""
    root = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepcredit" / "bench"
    folder = root / f"{TRL.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / ".installed"
    if done.exists():
        return python, ""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraint = ["--constraint", str(folder / "constraints.txt")]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, *constraint, "torch"],
        [*pip, *constraint, TRL],
    ):
        if command[0] == str(python):  # the environment stands
            (folder / "constraints.txt").write_text(_without_trl((HERE.parent / "constraints.txt").read_text()))
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            return None, f"{' '.join(command[1:4])}: {said[-1] if said else 'failed'}"
    done.touch()
    return python, ""


def _without_trl(constraints: str) -> str:
    """The tested versions of everything but TRL, whose version is the rival's own."""
    return "".join(line for line in constraints.splitlines(keepends=True) if not line.startswith("trl=="))


def labelled(sizes: Sizes, seed: int) -> list[dict[str, list[int]]]:
    """Attempts in TRL's columns: a label at the last token of each step, -100 elsewhere."""
    draw, found = rng(seed, "labels"), []
    for prompt, *steps in pool(sizes, seed):
        ids, labels = list(prompt), [-100] * len(prompt)
        for step in steps:
            right = step[0] % 2
            ids += [*(word // 2 * 2 + right for word in step[:-1]), MARKER]
            labels += [-100] * (len(step) - 1) + [right ^ int(draw.random() < FLIPPED)]
        found.append({"input_ids": ids, "labels": labels})
    return found


class Side:
    """One training process."""

    def __init__(self, command: list[str], threads: int) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TRL_EXPERIMENTAL_SILENCE": "1",
        }
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in `end`
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=HERE,
            env=environment,
        )

    def hear(self, what: str) -> Any:
        """The next thing it says. Raises RuntimeError, with its last words, where it says nothing more."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if what in (said := json.loads(line)):
                return said[what]
        self.errors.seek(0)
        raise RuntimeError(f"a training process ended early: {self.errors.read()[-2000:]}")

    def go(self) -> None:
        """Let it go on from where it waits."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def turn(self) -> float:
        """Train for a turn; its own seconds. It waits then."""
        self.go()
        seconds = float(self.hear("seconds"))
        self.hear("ready")
        return seconds

    def loss(self) -> list[float]:
        """After its last turn: the loss of each held-out row."""
        self.go()
        found: list[float] = self.hear("loss")
        return found

    def end(self) -> None:
        """Stop it."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def run(sizes: Sizes, rounds: int, threads: int, *, cache: Path | None = None) -> tuple[list[Row], dict[str, object]]:
    """The rows, and what they rest on; no rows, and why, where TRL cannot be installed."""
    python, why = rival(cache)
    if python is None:
        return [], {"omitted": f"{TRL} could not be installed: {why}"}
    words = Sizes(**{**vars(sizes), "vocabulary": WORDS})
    train, held_out = labelled(words, seed=1), labelled(words, seed=2)
    scorer: Any = random_scorer(words)
    scorer.reset_head()
    updates_per_turn = -(-len(train) // 8)
    job = {
        "train": train, "held_out": held_out, "updates_per_turn": updates_per_turn, "batch_size": 8,
        "updates": updates_per_turn * (rounds + 1), "learning_rate": 1e-3, "warmup_share": 0.1, "weight_decay": 0.01,
        "max_grad_norm": 1.0, "seed": 0, "threads": threads,
    }  # fmt: skip
    sides: dict[str, Side] = {}
    with tempfile.TemporaryDirectory() as folder:
        scorer.model.save_pretrained(f"{folder}/model")
        scorer.tokenizer.save_pretrained(f"{folder}/model")
        try:
            for name, sampling in SIDES.items():
                path = Path(folder) / f"{name}.json"
                path.write_text(json.dumps({**job, "model": f"{folder}/model", "sampling": sampling}))
                command = [sys.executable, "_train_ours.py"] if name == "ours" else [str(python), "_train_trl.py"]
                sides[name] = Side([*command, str(path)], threads)
                sides[name].hear("ready")
            interleaved({name: side.turn for name, side in sides.items()}, 1)  # not counted
            seconds: dict[str, list[float]] = {name: [] for name in sides}
            for turn in range(rounds):
                names = list(sides)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    seconds[name].append(sides[name].turn())
            loss = {name: side.loss() for name, side in sides.items()}
        finally:
            for side in sides.values():
                side.end()
    num_tokens = sum(len(each["input_ids"]) for each in train)
    unit = f"times the tokens per second ({num_parameters(scorer):.1f}M parameters, float32)"
    rows = [
        row("b2_train_ratio", ratio(seconds["trl"], seconds["ours"], unit)),
        row("b2_train_grouped_ratio", ratio(seconds["grouped"], seconds["ours"], unit)),
        row("b2_loss_difference", paired_difference(loss["ours"], loss["trl"], "held-out loss, ours less TRL's")),
    ]
    rows += [
        row(f"b2_{name}_tokens_per_second", ratio([num_tokens] * rounds, seconds[name], "tokens/s")) for name in sides
    ]
    about = {"attempts": len(train), "tokens": num_tokens, "rounds": rounds, "threads": threads, "updates": job["updates"],
             "batch_size": 8, "parameters_in_millions": round(num_parameters(scorer), 1), "rival": TRL,
             "held_out_loss": {name: round(float(np.mean(each)), 4) for name, each in loss.items()}}  # fmt: skip
    return rows, about
