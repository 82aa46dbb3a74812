"""Critics: what each says of right and wrong attempts, what it asks to know it, what it costs."""

import numpy as np
import pytest

from stepcredit.core import registry
from stepcredit.core.rng import rng
from stepcredit.core.types import Completion, Cost, Outcome, Problem, Step
from stepcredit.judge._critics import PROMPT, first_mistake, misleading, verdict, written

PROBLEM = Problem("p", "3 +4 *2", answer="4", meta={"modulus": 5})
TASK = registry.bind("tasks", "chain")()


def steps(*lines):
    return [Step(line) for line in lines]


RIGHT, WRONG = steps("3+4=2", "2*2=4"), steps("3+4=2", "2*2=1")


def correction(problem, own, at):
    return ["2", "4"][at]


def test_the_verdict_is_the_papers_words_and_the_answer_is_told_only_where_it_is_asked_for():
    plain, told = verdict(TASK.verify), verdict(TASK.verify, answer=True, count=lambda critique: len(critique.split()))
    assert [one.critique for one in plain([(PROBLEM, RIGHT), (PROBLEM, WRONG)])] == [
        "The generated solution is correct.", "The generated solution is incorrect."]  # fmt: skip
    (said,) = told([(PROBLEM, WRONG)])
    assert said.critique == "The generated solution is incorrect, the ground truth is 4." and said.score == 0.0
    assert said.cost == Cost(generated_tokens=10, verifier_calls=1, judge_calls=1)


def test_an_unreadable_attempt_is_incorrect_and_an_outcome_that_is_not_known_is_no_critique():
    (unread,) = verdict(TASK.verify)([(PROBLEM, steps("so"))])
    assert unread.critique == "The generated solution is incorrect."
    (failed,) = verdict(lambda problem, solutions: [Outcome(status="timeout")])([(PROBLEM, RIGHT)])
    assert failed.critique is None and failed.status == "abstained"


def test_the_first_mistake_is_the_oracles_and_what_comes_after_it_is_not_told():
    critic = first_mistake(TASK.label_steps, correction)
    said = critic([(PROBLEM, WRONG), (PROBLEM, RIGHT), (PROBLEM, steps("3+4=3", "3*2=1"))])
    assert [one.critique for one in said] == ["Step 2 is wrong, it should be 4.", "No step is wrong.", "Step 1 is wrong, it should be 2."]  # fmt: skip
    assert [one.score for one in said] == [0.0, 1.0, 0.0] and said[0].cost == Cost(judge_calls=1)


def test_the_misleading_critic_points_to_sound_steps_alone_in_right_attempts_too():
    critic = misleading(TASK.label_steps, lambda problem, own, at: "0", rng(0))
    said = [one.critique for one in critic([(PROBLEM, WRONG)] * 20)]
    assert set(said) == {"Step 1 is wrong, it should be 0."}
    assert {one.critique for one in critic([(PROBLEM, RIGHT)] * 20)} == {
        "Step 1 is wrong, it should be 0.", "Step 2 is wrong, it should be 0."}  # fmt: skip
    assert critic([(PROBLEM, steps("3+4=3", "3*2=1"))])[0].critique == "Step 2 is wrong, it should be 0."
    assert critic([(PROBLEM, steps("3+4=3"))])[0].critique == "No step is wrong."


class Writes:
    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked += prefixes
        return [[Completion(self.texts.pop(0), logprobs=(-1.0,) * 4)] for _ in prefixes]

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


def test_steps_that_an_attempt_was_given_count_and_are_read_as_its_own():
    """The second line is wrong whoever wrote the first; a tool's result between them is counted and has no label."""
    given, result = Step("3+4=2", sampled=False), Step("2", kind="tool_result", sampled=False)
    for own, place in (([given, Step("2*2=1")], 1), ([given, result, Step("2*2=1")], 2)):
        asked = []

        def right(problem, steps, at, asked=asked):
            asked.append(at)
            return "4"

        (said,) = first_mistake(TASK.label_steps, right)([(PROBLEM, own)])
        assert (said.critique, asked) == (f"Step {place + 1} is wrong, it should be 4.", [place])
    (sound,) = first_mistake(TASK.label_steps, correction)([(PROBLEM, [given, Step("2*2=4")])])
    (called,) = verdict(TASK.verify)([(PROBLEM, [given, Step("2*2=4")])])
    assert sound.critique == "No step is wrong." and called.critique == "The generated solution is correct."
    (misled,) = misleading(TASK.label_steps, lambda problem, steps, at: "0", rng(0))(
        [(PROBLEM, [given, Step("2*2=1")])]
    )
    assert misled.critique == "Step 1 is wrong, it should be 0."


def test_a_model_critic_says_what_it_writes_and_its_score_is_its_conclusion():
    policy = Writes("Step 2 fails.\nConclusion: Wrong", "Conclusion: wrong? No.\nConclusion: right", "Hm.", " ")
    said = written(policy, rng(0))([(PROBLEM, WRONG)] * 4)
    assert [one.critique for one in said] == ["Step 2 fails.\nConclusion: Wrong", "Conclusion: wrong? No.\nConclusion: right", "Hm.", None]  # fmt: skip
    assert [one.status for one in said] == ["scored", "scored", "abstained", "abstained"]
    assert [one.score for one in said[:2]] == [0.0, 1.0] and np.isnan(said[2].score)
    assert all(one.cost == Cost(generated_tokens=4, judge_calls=1) for one in said)
    assert policy.asked[0] == PROMPT.format(prompt="3 +4 *2", attempt="3+4=2\n2*2=1")
    assert "3 +4 *2" in policy.asked[0] and "2*2=1" in policy.asked[0]


@pytest.mark.parametrize(
    "critic", [verdict(TASK.verify), first_mistake(TASK.label_steps, correction), written(Writes(), rng(0))]
)
def test_nobody_asked_nothing_said(critic):
    assert critic([]) == []
