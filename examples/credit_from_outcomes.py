"""Credit on steps from outcomes alone: three attempts that begin alike, two methods on the same tree.

python examples/credit_from_outcomes.py
"""

from stepcredit import Problem, Step
from stepcredit.core.tree import star
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.prefix_chain import prefix_chain
from stepcredit.verify.numeric import numeric

problem = Problem("sum", "2 + 3, times 4, minus 1?", answer="19")
texts = [["2+3=5", "5*4=20", "20-1=19"], ["2+3=5", "5*4=25", "25-1=24"], ["2+3=6", "6*4=24", "24-1=23"]]
attempts = [[Step(text) for text in steps] for steps in texts]
tree = star(problem, attempts, numeric(problem, attempts, extract="last_equals"))

advantage = group_mean(tree)  # the same number on every step of an attempt
label = prefix_chain(tree, hazard=0.2, fp=0.0)  # the right attempt speaks for the step it shares with a wrong one

print(f"{'step':<10} {advantage.kind:>10} {label.kind:>6} {'weight':>7}")
for leaf in tree.leaves:
    for node in tree.path(leaf):
        print(f"{tree.steps[node].text:<10} {advantage.values_N[node]:>10.2f} {label.values_N[node]:>6.2f}"
              f" {label.weight_N[node]:>7.2f}")  # fmt: skip
    print()
