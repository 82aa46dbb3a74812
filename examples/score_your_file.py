"""From a file of outcomes to scored steps and a chosen attempt, with the linear judge: no network, seconds.

python examples/score_your_file.py mine.jsonl new.jsonl

Both files hold {"problem", "attempt", "correct"}. For a network judge, `stepcredit train` and `stepcredit score`.
"""

import sys

from stepcredit.core.rng import rng
from stepcredit.data import group, read
from stepcredit.judge.linear import LinearScorer
from stepcredit.search.best_of_n import best_of_n


def main(mine: str, new: str) -> None:
    judge = LinearScorer.fit(list(read(mine)), link="derivation")
    for record in group(read(new)):  # attempts of one problem joined in one tree
        tree = record.tree
        judgments = judge([(tree.problem, tree.solution(leaf)) for leaf in tree.leaves])
        leaf = best_of_n(tree, judgments, rng=rng(0, tree.problem.id))
        chosen = judgments[tree.leaves.index(leaf)]
        print(f"{tree.problem.prompt}  (best of {len(judgments)}, P(right) {chosen.score:.2f})")
        for step, score in zip(tree.solution(leaf), chosen.step_scores_S, strict=True):
            print(f"  {score:.2f}  {step.text}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
