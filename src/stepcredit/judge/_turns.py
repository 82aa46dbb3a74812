"""A turn as a bag of hashed words: the features of the linear judge.

A *turn* is a sampled step with the unsampled ones that follow it (an action and what the environment answered), as in
`core/layout`. Its features are counts of lower-cased words and pairs of words, hashed into `num_features` columns; with
`problem_text` the problem's words take another `num_features`. No position, no earlier or later turn: what a turn shows
is all that is seen of it. The weights of columns (idf) belong to the judge, so that counts are made once and reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepcredit.core.layout import split_turns
from stepcredit.core.protocols import Solution
from stepcredit.core.types import Floats, Ints, Problem

Matrix = Any  # scipy.sparse.csr_matrix, [U, D]: rows are turns, columns hashed words
WORD = r"(?u)\w+"


@dataclass(frozen=True)
class Hashing:
    """Which words, and how many columns."""

    num_features: int = 2**18
    longest: int = 2  # words in a row that count as one feature, at most
    problem_text: bool = False

    def __post_init__(self) -> None:
        if self.num_features < 2 or self.longest < 1:
            raise ValueError(
                f"hashing needs num_features >= 2 and longest >= 1; got {self.num_features}, {self.longest}"
            )

    @property
    def width(self) -> int:
        """D, the number of columns."""
        return self.num_features * (2 if self.problem_text else 1)


@dataclass(frozen=True, eq=False)
class Turns:
    """The turns of A attempts: how often each has each word, `word_UD`, and where each attempt starts, `start_A` [A + 1]."""

    word_UD: Matrix
    start_A: Ints

    @property
    def num_attempts(self) -> int:
        """A, attempts without a sampled step included."""
        return len(self.start_A) - 1

    def select(self, attempts: Sequence[int] | Ints) -> Turns:
        """The turns of these attempts, in this order."""
        bounds = [(int(self.start_A[a]), int(self.start_A[a + 1])) for a in attempts]
        rows = np.concatenate([np.arange(*bound) for bound in bounds] or [np.zeros(0, dtype=np.int64)])
        starts = np.concatenate([[0], np.cumsum([end - start for start, end in bounds])]).astype(np.int64)
        return Turns(self.word_UD[rows], starts)


def turn_texts(solution: Solution) -> list[str]:
    """One text per sampled step: the step and the unsampled ones after it; what stands before the first is left out."""
    return ["\n".join(step.text for step in turn) for turn in split_turns(solution)[1]]


def turns(attempts: Sequence[tuple[Problem, Solution]], hashing: Hashing) -> Turns:
    """Count the words of every turn of every attempt."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    def counted(texts: Sequence[str]) -> Matrix:
        if not texts:
            return csr_matrix((0, hashing.num_features))
        return vectorizer.transform(texts)

    vectorizer = HashingVectorizer(
        n_features=hashing.num_features, ngram_range=(1, hashing.longest), token_pattern=WORD,
        alternate_sign=False, norm=None,
    )  # fmt: skip
    texts_A = [turn_texts(solution) for _, solution in attempts]
    num_A = np.array([len(texts) for texts in texts_A], dtype=np.int64)
    word_UD = counted([text for texts in texts_A for text in texts])
    if hashing.problem_text:
        prompt_AD = counted([problem.prompt for problem, _ in attempts])
        word_UD = hstack([word_UD, prompt_AD[np.repeat(np.arange(len(num_A)), num_A)]], format="csr")
    return Turns(word_UD, np.concatenate([[0], np.cumsum(num_A)]).astype(np.int64))


def inverse_document_frequency(word_UD: Matrix) -> Floats:
    """idf_d = ln((1 + U) / (1 + number of turns with d)) + 1, [D] (Salton and Buckley 1988, smoothed)."""
    num_D = np.bincount(word_UD.indices, minlength=word_UD.shape[1])
    return np.asarray(np.log((1 + word_UD.shape[0]) / (1 + num_D)) + 1.0)


def weighted(word_UD: Matrix, idf_D: Floats) -> Matrix:
    """Rows count * idf, each of length 1; a turn without a word stays empty."""
    row_UD = word_UD.astype(np.float64)
    row_UD.data *= idf_D[row_UD.indices]
    length_U = np.sqrt(np.asarray(row_UD.multiply(row_UD).sum(axis=1)).ravel())
    row_UD.data /= np.repeat(np.where(length_U > 0, length_U, 1.0), np.diff(row_UD.indptr))
    return row_UD
