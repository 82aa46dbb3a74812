"""Attempts from starts on a demonstration: where it is cut, what is trained behind it, and who is compared with whom."""

import numpy as np
import pytest

from stepcredit.core.log_ratios import encode
from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Completion, Outcome, Problem, Step
from stepcredit.credit.group_mean import group_mean
from stepcredit.credit.reverse_curriculum import starts as counted
from stepcredit.rollout._verified import verified
from stepcredit.rollout.given import drawn, given
from stepcredit.tasks.parities import parities
from stepcredit.train.groups import grouped
from stepcredit.train.policy_samples import policy_samples
from stepcredit.train.tiny import build_tokenizer

PROBLEM = Problem("p", "1 aA bb CC", "000", ("aA0", "bb0", "CC0"), {"carry": True})
VERIFY = parities().verify


class Scripted:
    """Writes the right rest every other time, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        self.asked += prefixes
        rests = ["".join(f"{text}\n" for text in PROBLEM.reference[prefix.count("\n") - 1 :]) for prefix in prefixes]
        return [[Completion(rest if k % 2 == 0 else rest[:-2] + "1\n") for k in range(num)] for rest in rests]

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


def grow(starts, num=2, problems=None, **knobs):
    policy = Scripted()
    problems = problems or [PROBLEM] * len(starts)
    return given(problems, policy=policy, verify=VERIFY, rng=rng(0), num=num, starts=starts, **knobs), policy


def test_given_steps_are_one_path_of_unsampled_nodes_and_attempts_hang_behind_it():
    (tree,), policy = grow([2])
    assert policy.asked == ["1 aA bb CC\naA0\nbb0\n"]  # the newline is given: nobody has to close the line
    assert [step.text for step in tree.steps] == ["1 aA bb CC", "aA0", "bb0", "CC0", "CC1"]
    assert tree.parent_N.tolist() == [-1, 0, 1, 2, 2]
    assert tree.sampled_N.tolist() == [False, False, False, True, True]
    # The verifier has read the whole attempt: its rest alone has one line of three.
    assert [tree.outcomes[leaf].reward for leaf in tree.leaves] == [1.0, 0.0] and tree.cost.verifier_calls == 2


def test_nothing_given_is_a_plain_star():
    (tree,), policy = grow([0])
    assert policy.asked == ["1 aA bb CC\n"] and tree.sampled_N[1:].all()
    assert tree.parent_N.tolist() == [-1, 0, 1, 2, 0, 4, 5] and tree.group_N.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_a_problem_that_starts_at_two_places_is_two_groups_and_at_one_place_one():
    trees, _ = grow([0, 2, 2, 1])
    groups = grouped(trees)
    assert [len(tree.leaves) for tree in groups] == [2, 4, 2]
    # Right and wrong alternate in each: every baseline is one half of its own start's.
    for credit in group_mean(groups, normalize="none"):
        assert set(credit.values_N[credit.weight_N > 0]) == {0.5, -0.5}


def test_starts_that_differ_in_success_share_no_baseline():
    class Sure(Scripted):
        def sample(self, prefixes, num, rng, **knobs):
            # From the last line always right, from the prompt always wrong.
            return [[Completion("CC0\n" if prefix.count("\n") == 3 else "aA1\n")] * num for prefix in prefixes]

    trees = given([PROBLEM, PROBLEM], policy=Sure(), verify=VERIFY, rng=rng(0), num=2, starts=[2, 0])
    for credit in group_mean(grouped(trees), normalize="none"):
        assert not np.nan_to_num(credit.values_N).any()  # one group would give +.5 and -.5


def test_given_steps_are_in_the_prompt_and_out_of_the_loss():
    tokenizer = build_tokenizer(["1 aA bb CC\naA0\nbb0\nCC01\n"], kind="word")
    trees, _ = grow([2])
    (tree,) = grouped(trees)
    rows = policy_samples([tree], [group_mean(tree, normalize="none")], tokenizer)
    head = encode(tokenizer, ["1 aA bb CC\naA0\nbb0\n"])[0]
    for row, text in zip(rows, ("CC0\n", "CC1\n"), strict=True):
        assert row.token_ids_T.tolist() == head + encode_plain(tokenizer, text)
        assert row.loss_mask_T.tolist() == [False] * len(head) + [True] * 3  # word, bit, newline
        assert not row.advantage_T[: len(head)].any()


def encode_plain(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_cuts_are_at_borders_of_tokens_as_well(kind):
    texts = [f"{p.prompt}\n" + "".join(f"{text}\n" for text in p.reference) for p in parities().problems(50, rng(0))]
    tokenizer = build_tokenizer(texts, kind=kind, vocab_size=300)
    for problem, text in zip(parities().problems(50, rng(0)), texts, strict=True):
        whole = encode(tokenizer, [text])[0]
        for k in range(len(problem.reference)):
            prefix = "".join(f"{one}\n" for one in (problem.prompt, *problem.reference[:k]))
            assert text.startswith(prefix)
            head = encode(tokenizer, [prefix])[0]
            assert whole[: len(head)] == head


def test_success_by_start_is_what_the_reverse_curriculum_counts():
    trees, _ = grow([2, 0], num=4)
    right_N, scored_N = counted(trees[0])
    assert (right_N[2], scored_N[2], scored_N[0]) == (2, 4, 0)
    right_N, scored_N = counted(trees[1])
    assert (right_N[0], scored_N[0]) == (2, 4)


def test_starts_are_mixed_evenly_or_with_a_stated_share_from_the_prompt():
    even = np.bincount(drawn([4] * 8000, rng(0)), minlength=4) / 8000
    assert np.abs(even - 0.25).max() < 0.02  # standard deviation .005
    stated = np.bincount(drawn([4] * 8000, rng(0), 0.1), minlength=4) / 8000
    assert np.abs(stated - [0.1, 0.3, 0.3, 0.3]).max() < 0.02
    assert set(drawn([4] * 200, rng(0), 1.0)) == {0} and 0 not in drawn([4] * 200, rng(0), 0.0)
    assert drawn([1, 1], rng(0), 0.0) == [0, 0]  # a demonstration of one step has no other start


def test_what_cannot_be_started_is_named():
    with pytest.raises(ValueError, match="'p': start 3; allowed: 0 to 2"):
        grow([3])
    with pytest.raises(ValueError, match="1 problems need as many starts, got 2"):
        grow([0, 1], problems=[PROBLEM])
    with pytest.raises(ValueError, match="'q' has no reference"):
        grow([0], problems=[Problem("q", "1 aA", "0")])
    with pytest.raises(ValueError, match="reference step 'a\\\\nb' is empty or holds the delimiter"):
        grow([0], problems=[Problem("q", "1 aA", "0", ("a\nb",))])
    with pytest.raises(ValueError, match="scratch is 2"):
        grow(None, problems=[PROBLEM], scratch=2.0)
    with pytest.raises(ValueError, match="num 0"):
        grow([0], num=0)


def test_a_cut_attempt_is_truncated_and_not_verified():
    class Cut(Scripted):
        def sample(self, prefixes, num, rng, **knobs):
            return [[Completion("CC0\n", finish="length")] * num for _ in prefixes]

    (tree,) = given([PROBLEM], policy=Cut(), verify=VERIFY, rng=rng(0), num=2, starts=[2])
    assert {tree.outcomes[leaf].status for leaf in tree.leaves} == {"truncated"} and tree.cost.verifier_calls == 0
    assert Outcome(status="truncated").correct is None


def test_what_grows_on_a_given_start_is_decided_with_it():
    """Restarts behind a given line: the verifier reads the whole attempt, as it does where `given` asks it."""
    tree = star(Problem("p", "ask"), [[Step("3+4=2", sampled=False), Step("2*0=0")]])
    seen = []

    def verify(problem, solutions):
        seen.extend([step.text for step in steps if step.sampled] for steps in solutions)
        return [Outcome(reward=1.0)] * len(solutions)

    assert verified(tree, verify).outcomes[2] == Outcome(reward=1.0) and seen == [["3+4=2", "2*0=0"]]
