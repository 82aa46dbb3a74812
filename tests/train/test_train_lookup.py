"""A table as a judge: known texts have their own logits, unknown ones the start, an empty attempt none."""

import numpy as np
import torch

from stepcredit.core.readout import Readout
from stepcredit.core.types import Problem, Step
from stepcredit.train.lookup import Lookup


def test_texts_are_read_from_the_table_beside_the_start_and_an_attempt_without_a_sampled_step_is_abstained_on() -> None:
    table = Lookup(["a", "b", "a"], Readout("softmin"), [1.0])
    with torch.no_grad():
        table.table.weight[table.row["b"]] = -3.0
    problem = Problem("p", "q")
    known, unknown, empty = table.judge(
        [(problem, (Step("a"), Step("b"))), (problem, (Step("c"),)), (problem, (Step("x", sampled=False),))]
    )
    # sigmoid(1) = .731, sigmoid(1 - 3) = .119
    assert np.round(known.step_scores_S, 3).tolist() == [0.731, 0.119] and len(table.row) == 2
    assert round(float(unknown.step_scores_S[0]), 3) == 0.731
    assert empty.status == "abstained" and np.isnan(empty.score)


def test_the_trainer_reads_a_logit_at_each_read_position() -> None:
    table = Lookup(["a", "b"], Readout("latent_chain", "free"), [0.5])
    with torch.no_grad():
        table.table.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]]))
    ids, read = torch.tensor([[1, 2, 0]]), torch.tensor([[0, 1]])
    assert table(ids, ids > 0, read).tolist() == [[[1.5, 2.0], [3.5, 4.0]]]
