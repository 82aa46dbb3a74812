"""`stepcredit evaluate`: how far to believe the judgments of a file, beside judges that know nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from stepcredit.commands._reading import Reading, hint_ids, records
from stepcredit.core.aggregate import Scoring
from stepcredit.core.types import Record


def run(  # noqa: D417  # the parser fills in what is not described
    input: str,
    *,
    out: str | None = None,
    num_list: list[int] = [1, 2, 4, 8, 16],  # noqa: B006  # a list is what the parser reads, and nobody changes it
    scoring: Scoring = "judge",
    threshold: float | None = None,
    choose_on: str | None = None,
    scorer: str | None = None,
    split: float = 0.0,
    taught_by: Literal["outcomes", "steps"] = "outcomes",
    num_resamples: int = 1000,
    seed: int = 0,
    reading: Reading,
    config: Mapping[str, Any],
) -> None:
    """Measure judged attempts on all that their outcomes and step truth allow, and print it beside the nulls.

    Attempts of one problem are grouped; intervals are over problems. A chain judge is decoded without a threshold, any
    other at 0.5, unless one is given or chosen. The whole file is held in memory, measured at 9 kB an attempt of eight
    steps and 450 characters.

    Args:
        input: The file of judged attempts.
        out: A folder for run.json and report.html.
        num_list: The N of best-of-N, as [1,2,4].
        scoring: What ranks attempts: the judge's own score, or an aggregation of its step scores.
        threshold: Step scores under it are wrong.
        choose_on: Choose the threshold on step truth, which is step supervision: on another judged file, or on this
            share of the problems (a number between 0 and 1), which are then left out of every measurement.
        scorer: Folder of the scorer that judged: errors are decoded as it says, and where its threshold was chosen the
            problems it was chosen on are left out of every measurement.
        split: Share of the problems set aside for the null that guesses one constant location, without a threshold.
        taught_by: What taught the judge: the group of its row on the page.
        num_resamples: Bootstrap resamples behind each interval.
        seed: For intervals, random nulls and the split.
    """
    from stepcredit.commands import _page, _show, _threshold
    from stepcredit.core.rng import rng
    from stepcredit.data import group
    from stepcredit.evaluate import Threshold, choose_threshold, evaluate

    if sum(each is not None for each in (threshold, choose_on, scorer)) > 1:
        raise ValueError("give one of --threshold, --choose_on and --scorer: each says how errors are decoded")
    cut = None if threshold is None else Threshold(threshold)
    if scorer is not None:
        cut = _threshold.of(scorer)
    given = group(_show.progress(records(input, reading), "reading"))
    hint_ids((record.tree.problem.id, record.tree.problem.prompt) for record in given)
    share = _share(choose_on)
    if share is not None and split and split != share:
        raise ValueError(f"choose_on sets {share:g} of the problems aside, split {split:g}; give one of them")
    chosen = _drawn(given, split or share or 0.0, seed)
    if choose_on is not None and share is None:
        other = group(records(choose_on, reading))
        cut = choose_threshold(other, {record.tree.problem.id for record in other})
    elif share is not None:
        cut = choose_threshold(given, chosen or ())
    summary = evaluate(given, rng=rng(seed, "evaluate"), num_list=num_list, threshold=cut, split=chosen, scoring=scoring,
                       num_resamples=num_resamples)  # fmt: skip
    title = f"{Path(input).name}: {len(given)} problems, {sum(len(r.tree.leaves) for r in given)} attempts"
    kind = "label-free" if taught_by == "outcomes" else "oracle"
    page = _page.run_of(summary, given, title=title, kind=kind, threshold=cut, scoring=scoring, num_list=num_list,
                        seed=seed, config=config)  # fmt: skip
    print(title)
    rows = [[name, _show.interval(e), str(e.n), e.unit] for name, e in summary.estimates.items()]
    _show.table(["measure", "value [low, high]", "n", "unit"], rows)
    _show.run_table({"table": page["table"], "title": "beside the nulls"})
    for line in page["summary"]:
        print(line)
    if out is not None:
        print(f"wrote {_show.save_run(page, out)}/run.json and report.html")


def _share(choose_on: str | None) -> float | None:
    """The share that `choose_on` is, None where it is a file."""
    try:
        share = float(choose_on or "")
    except ValueError:
        return None
    if not 0 < share < 1:
        raise ValueError(f"choose_on is {choose_on}; allowed: a file, or a share of the problems between 0 and 1")
    return share


def _drawn(given: Sequence[Record], share: float, seed: int) -> set[str] | None:
    """The problems set aside for choosing, None for none."""
    from stepcredit.core.rng import rng

    if not 0 <= share < 1:
        raise ValueError(f"split is {share}; allowed: from 0 to under 1")
    ids = list(dict.fromkeys(record.tree.problem.id for record in given))
    if not share:
        return None
    order = rng(seed, "split").permutation(len(ids))
    return {ids[i] for i in order[: max(1, round(share * len(ids)))]}
