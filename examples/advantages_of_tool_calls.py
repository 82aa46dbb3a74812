"""Which tool calls to reinforce: conversations of one task, credited against each other, call by call.

python examples/advantages_of_tool_calls.py

A file of conversations needs no Python: stepcredit credit trials.jsonl rows.parquet --method sibling --write_as advantages
"""

from stepcredit.core.segment import chat_steps
from stepcredit.core.tree import star
from stepcredit.core.types import Outcome, Problem
from stepcredit.credit.group_mean import group_mean


def call(name: str, arguments: str) -> dict:
    return {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


found, done = {"role": "tool", "content": "id 7"}, {"role": "tool", "content": "done"}
conversations = [
    [call("find", '{"name": "Ann"}'), found, call("cancel", '{"id": 7}'), done],
    [call("cancel", '{"id": 1}'), done],  # somebody else's booking
    [{"role": "assistant", "content": "I cannot do that."}],
]
outcomes = [Outcome(reward=1.0, correct=True), *[Outcome(reward=0.0, correct=False)] * 2]
tree = star(Problem("cancel", "Cancel Ann's booking."), [chat_steps(each) for each in conversations], outcomes)
advantage = group_mean(tree, normalize="none")  # or any method of kind advantage: stepcredit list credit

for step, value in zip(tree.steps, advantage.values_N, strict=True):
    if step.kind == "tool_call":
        print(f"{step.text:<24} {value:+.2f}")
