import itertools

import numpy as np
import pytest

from stepcredit.core.protocols import Policy
from stepcredit.core.registry import get
from stepcredit.core.rng import rng
from stepcredit.core.types import Step
from stepcredit.policy.scripted import scripted
from stepcredit.policy.tabular import tabular
from stepcredit.tasks.chain import chain

PROMPT = "3 +4 *2 -2"


def attempts_of(prompt: str, policy, modulus: int) -> dict[str, float]:
    """Every attempt and its probability, by enumeration of all results."""
    words = prompt.split()
    found = {}
    for results in itertools.product(range(modulus), repeat=len(words) - 1):
        values = [int(words[0]), *results]
        text = "".join(f"{a}{op}={r}\n" for a, op, r in zip(values, words[1:], results, strict=False))
        found[text] = float(np.exp(policy.logprob([prompt + "\n"], [text])[0]))
    return found


def test_probabilities_of_all_attempts_sum_to_one_and_give_the_value():
    policy = tabular()
    found = attempts_of(PROMPT, policy, 5)
    assert sum(found.values()) == pytest.approx(1.0)
    # 3+4=2, 2*2=4, 4-2=2: right attempts end in 2.
    right = sum(p for text, p in found.items() if text.endswith("=2\n"))
    assert policy.value([PROMPT + "\n"])[0] == pytest.approx(right)


def test_value_by_hand():
    # One slip of probability .1 to the one other residue modulo 2, no habits: "0 +1 +1" is right after zero or two slips:
    # .81 + .01 = .82; after a right line .9, after a wrong one .1.
    policy = tabular(modulus=2, random_slip=0.1, num_slips=0)
    assert policy.value(["0 +1 +1\n", "0 +1 +1\n0+1=1\n", "0 +1 +1\n0+1=0\n"]) == pytest.approx([0.82, 0.9, 0.1])
    assert policy.value(["0 +1\n0+1=1\n", "0 +1\n0+1=0\n"]).tolist() == [1.0, 0.0]


def test_a_multiplication_by_zero_makes_the_prefix_irrelevant():
    policy = tabular(num_slips=0)
    assert policy.value(["3 +4 *0\n3+4=2\n", "3 +4 *0\n3+4=1\n"]) == pytest.approx([0.94, 0.94])


def test_value_is_the_expected_value_of_the_next_line():
    policy, prefix = tabular(slip_seed=5), PROMPT + "\n3+4=1\n"
    lines = [f"1*2={r}\n" for r in range(5)]
    p = np.exp(policy.logprob([prefix] * 5, lines))
    assert p.sum() == pytest.approx(1.0)
    assert policy.value([prefix])[0] == pytest.approx(p @ policy.value([prefix + line for line in lines]))


def test_value_agrees_with_monte_carlo_of_the_policy_and_of_the_task():
    task, policy, generator = chain(), tabular(), rng(0, "mc")
    for problem in task.problems(3, generator):
        prefix = problem.prompt + "\n"
        written = policy.sample([prefix], 2000, generator)[0]
        own = [[Step(line) for line in c.text.split()] for c in written]
        theirs = [task.demonstrate(problem, generator) for _ in range(2000)]
        for attempts in (own, theirs):
            mean = np.mean([o.reward for o in task.verify(problem, attempts)])
            # Four standard errors at most: 4 * sqrt(.25 / 2000) = .045.
            assert abs(mean - policy.value([prefix])[0]) < 0.045


def test_completions_carry_the_log_probabilities_of_their_lines():
    policy = tabular()
    for completion in policy.sample([PROMPT + "\n"], 20, rng(1))[0]:
        assert completion.text.count("\n") == len(completion.logprobs) == 3
        assert sum(completion.logprobs) == pytest.approx(policy.logprob([PROMPT + "\n"], [completion.text])[0])


def test_a_stop_cuts_and_a_limit_is_said():
    policy = tabular(random_slip=0.0, num_slips=0)
    assert isinstance(policy, Policy)
    assert policy.sample([PROMPT + "\n"], 1, rng(0), stop=["\n"])[0][0].text == "3+4=2"
    cut = policy.sample([PROMPT + "\n"], 1, rng(0), max_new_tokens=2)[0][0]
    assert (cut.text, cut.finish) == ("3+4=2\n2*2=4\n", "length")
    whole = policy.sample([PROMPT + "\n"], 1, rng(0), max_new_tokens=3)[0][0]
    assert (whole.text, whole.finish) == ("3+4=2\n2*2=4\n4-2=2\n", "stop")


def test_prefixes_that_have_ended():
    policy = tabular()
    ended = [PROMPT + "\n3+4=2\n2*2=4\n4-2=2\n", PROMPT + "\nwell\n"]
    assert [c[0].text for c in policy.sample(ended, 1, rng(0))] == ["", ""]
    assert policy.value(ended).tolist() == [1.0, 0.0]
    assert policy.value([ended[0] + "2+0=2\n"]).tolist() == [0.0]
    assert policy.logprob([ended[0], ended[1], PROMPT + "\n"], ["2+0=2", "2*2=4", ""]).tolist() == [
        -np.inf,
        -np.inf,
        0.0,
    ]


def test_a_number_that_is_no_residue_is_taken_up_as_it_stands():
    # 7*2 is 4 modulo 5 and no habit applies to 7; then 4-2=2 is right: V = sum over the next result, here without slips 1.
    assert tabular(random_slip=0.0, num_slips=0).value([PROMPT + "\n3+4=7\n"]).tolist() == [1.0]


def test_what_it_never_writes_is_impossible():
    policy = tabular()
    never = ["3+4=5", "3+4", "2+4=1", "3*4=2", "3+4=2\n\n"]
    assert np.all(np.isneginf(policy.logprob([PROMPT + "\n"] * 5, never)))


def test_a_prefix_without_its_newline_is_refused():
    with pytest.raises(ValueError, match="does not end with a newline"):
        tabular().sample([PROMPT], 1, rng(0))
    with pytest.raises(ValueError, match="chain prompt"):
        tabular().value(["what is 3+4?\n"])


def test_scripted_answers_in_order_and_remembers_who_asked():
    policy = scripted(completions=["a\nb", "c", "d"], logprobs={"a": -1.0})
    assert isinstance(policy, Policy)
    assert [[c.text for c in row] for row in policy.sample(["p"], 2, rng(0), stop=["\n"])] == [["a", "c"]]
    assert policy.sample(["q"], 1, rng(0))[0][0].text == "d"
    assert policy.asked == ["p", "p", "q"]
    assert policy.logprob(["p"], ["a"]).tolist() == [-1.0]
    with pytest.raises(ValueError, match="all are used"):
        policy.sample(["p"], 1, rng(0))
    with pytest.raises(ValueError, match="no log-probability for 'z'; given: 'a'"):
        policy.logprob(["p"], ["z"])


def test_task_and_policy_describe_the_same_demonstrator_by_default():
    knobs, same = get("policy", "tabular").knobs, get("tasks", "chain").knobs
    assert knobs == {name: same[name] for name in knobs}
