"""Step labels from outcomes as rows of TRL's stepwise type, {"prompt", "completions", "labels"}, for another trainer.

python examples/export_for_trl.py mine.jsonl stepwise.jsonl

TRL reads the type up to 1.13, and there int(label) makes 0 of 0.9: so the labels are booleans. The type has no weights:
an attempt ends where it had, more likely than not, gone wrong before, or where nothing is known.
(`write(path, records, format="stepwise", credit=name)` writes whole attempts, fractions and nulls.)
"""

import json
import sys

from stepcredit.credit.prefix_chain import prefix_chain
from stepcredit.data import group, read


def main(source: str, target: str) -> int:
    records = group(read(source))  # the attempts of a problem share prefixes only once they stand in one tree
    rows = []
    for record, credit in zip(records, prefix_chain([record.tree for record in records]), strict=True):
        for leaf in record.tree.leaves:
            known = []
            for node in record.tree.path(leaf):
                if credit.weight_N[node] < 0.5:
                    break
                known.append(node)
            if known:
                steps = [record.tree.steps[node].text for node in known]
                labels = [bool(credit.values_N[node] > 0.5) for node in known]
                rows.append({"prompt": record.tree.problem.prompt, "completions": steps, "labels": labels})
    with open(target, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(f"{main(*sys.argv[1:])} rows in {sys.argv[2]}")
