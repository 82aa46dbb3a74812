"""Step-level rewards for reasoning models, from outcomes you already trust.

The pipeline is the folder list: tasks -> rollout -> verify -> credit -> judge -> search | train -> audit.
Nothing heavy is imported here: `import stepcredit` needs numpy alone.
"""

from stepcredit.core.types import (
    Completion,
    Cost,
    Credit,
    Estimate,
    Judgment,
    Outcome,
    Preference,
    Problem,
    Record,
    Sample,
    Step,
    Tree,
)

__version__ = "0.1.0"

__all__ = [
    "Completion",
    "Cost",
    "Credit",
    "Estimate",
    "Judgment",
    "Outcome",
    "Preference",
    "Problem",
    "Record",
    "Sample",
    "Step",
    "Tree",
]
