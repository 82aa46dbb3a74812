"""What is forwarded together: shared beginnings, batches of least cost, and when sharing does not pay."""

import numpy as np
import pytest

from stepcredit.core.shared_prefixes import MIN_SAVED, Segment, batches, chunks, in_order, plan, prefix_length, segments


def rows(*texts):
    """Token ids of letters; a digit d stands for d times ten of the letter before it."""
    found = []
    for text in texts:
        ids = []
        for letter in text:
            ids += [ids[-1]] * (10 * int(letter) - 1) if letter.isdigit() else [ord(letter)]
        found.append(np.array(ids, dtype=np.int64))
    return found


def covered(tokens, known, levels):
    """For each attempt the tokens forwarded for it, in the order they are."""
    found = [[] for _ in tokens]
    for level in levels:
        for segment in level:
            for row in segment.rows:
                found[row] += range(segment.start, segment.stop)
    return found


def test_neighbours_in_order_share_their_longest_common_prefix():
    tokens = rows("bc", "abd", "ab", "abc", "b")
    assert in_order(tokens) == ([2, 3, 1, 4, 0], [0, 2, 2, 0, 1])  # ab, abc, abd, b, bc
    assert in_order([]) == ([], [])
    # 256 and 1 sort as numbers, not by their lowest byte
    assert in_order([np.array([256]), np.array([1])])[0] == [1, 0]
    assert [prefix_length(*rows(a, b)) for a, b in (("abc", "abd"), ("a", "b"), ("a", "abc"), ("ab", "ab"))] == [
        2,
        0,
        1,
        2,
    ]


def test_a_prompt_is_forwarded_once_and_each_attempt_from_there():
    tokens = rows("p2a", "p2b", "p2cd", "q")
    assert sorted_levels(segments(tokens, [0] * 4, depth=1)) == [
        [Segment((0, 1, 2), 0, 20), Segment((3,), 0, 1)],
        [Segment((0,), 20, 21), Segment((1,), 20, 21), Segment((2,), 20, 22)],
    ]


def sorted_levels(levels):
    return [sorted(level, key=lambda s: s.rows) for level in levels]


def test_first_steps_in_common_are_a_second_level():
    tokens = rows("p2a2x", "p2a2y", "p2bz")
    found = sorted_levels(segments(tokens, [0] * 3, depth=2))
    assert found[0] == [Segment((0, 1, 2), 0, 20)]
    assert found[1] == [Segment((0, 1), 20, 40), Segment((2,), 20, 22)]
    assert found[2] == [Segment((0,), 40, 41), Segment((1,), 40, 41)]


def test_a_beginning_of_few_tokens_is_not_worth_a_row():
    few, enough = rows("p1a", "p1b"), rows("p2a", "p2b")
    assert MIN_SAVED == 16
    assert sorted_levels(segments(few, [0, 0], depth=1)) == [[Segment((0,), 0, 11), Segment((1,), 0, 11)], []]
    assert len(segments(enough, [0, 0], depth=1)[1]) == 2
    three = rows("p1a", "p1b", "p1c")  # saves 2 * 10
    assert len(segments(three, [0] * 3, depth=1)[1]) == 3


def test_equal_attempts_and_beginnings_of_others_are_read_once():
    tokens = rows("p2a", "p2a", "p2")
    found = sorted_levels(segments(tokens, [0] * 3, depth=2))
    assert found == [[Segment((2, 0, 1), 0, 20)], [Segment((0,), 20, 21), Segment((1,), 20, 21)], []]


def test_what_is_known_is_not_forwarded_again():
    tokens = rows("p2a", "p2b", "p2")
    found = sorted_levels(segments(tokens, [20, 20, 20], depth=2))
    assert found == [[Segment((0,), 20, 21), Segment((1,), 20, 21)], [], []]
    assert segments(tokens, [0, 0, 20], depth=1)[0] == [Segment((2, 0, 1), 0, 20)]  # the least known of the three


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("depth", [0, 1, 2, 8])
def test_every_token_of_an_attempt_is_in_exactly_one_of_its_segments(seed, depth):
    """Random branching attempts; what is known is what a remembered attempt has in common with them."""
    rng = np.random.default_rng(seed)
    tokens = []
    for _ in range(40):
        start = tokens[rng.integers(len(tokens))][: rng.integers(80)] if tokens and rng.random() < 0.8 else []
        tokens.append(np.array([*start, *rng.integers(3, size=rng.integers(1, 30))], dtype=np.int64))
    memory = tokens[3]
    for known in ([0] * 40, [prefix_length(memory, one) for one in tokens]):
        found = covered(tokens, known, segments(tokens, known, depth))
        for one, had, read in zip(tokens, known, found, strict=True):
            assert read == list(range(len(one) - len(read), len(one))) and len(read) >= len(one) - had


def test_batches_are_cut_where_padding_and_calls_cost_least():
    # 10 10 | 2 2: 20 + 4 + 2 calls = 24 + 2c; together 40 + c. Cut while c < 16.
    assert batches([10, 2, 10, 2], [0] * 4, token_budget=100, call_tokens=15) == ([[0, 2], [1, 3]], 54.0)
    assert batches([10, 2, 10, 2], [0] * 4, token_budget=100, call_tokens=17) == ([[0, 2, 1, 3]], 57.0)
    assert batches([], [], token_budget=100, call_tokens=5) == ([], 0.0)


def test_batches_keep_to_the_budget_with_their_past_and_a_larger_row_stands_alone():
    assert batches([5, 5, 5], [0] * 3, token_budget=10, call_tokens=100)[0] == [[0], [1, 2]]
    # The second row's past of 20 counts for both: 2 * (5 + 20) > 40.
    assert batches([5, 5], [0, 20], token_budget=40, call_tokens=100)[0] == [[0], [1]]
    assert batches([5, 5], [0, 20], token_budget=50, call_tokens=100)[0] == [[0, 1]]
    assert batches([500, 3], [0, 0], token_budget=10, call_tokens=0)[0] == [[0], [1]]


@pytest.mark.parametrize("seed", range(3))
def test_batches_cost_no_more_than_any_other_cut(seed):
    """All 2^7 ways to cut eight sorted rows."""
    rng = np.random.default_rng(seed)
    lengths, past = rng.integers(1, 40, 8), rng.integers(0, 10, 8)
    found, cost = batches(lengths.tolist(), past.tolist(), token_budget=120, call_tokens=12)
    order = [row for batch in found for row in batch]
    costs = []
    for ways in range(2**7):
        parts = np.split(order, [place + 1 for place in range(7) if ways >> place & 1])
        if all(len(p) == 1 or len(p) * (lengths[p].max() + past[p].max()) <= 120 for p in parts):
            costs.append(sum(len(p) * lengths[p].max() + 12 for p in parts))
    assert cost == min(costs) == sum(len(b) * lengths[b].max() + 12 for b in found)


def test_sharing_is_planned_only_where_it_costs_less():
    """Two attempts of 5 behind 20: alone 50 + a call; shared 20 + 10 + two calls. Equal at a call of 20."""
    tokens = rows("p2abcde", "p2fghij")
    alone = plan(tokens, [0, 0], share=True, token_budget=1000, call_tokens=20)
    assert alone[1] == 70 and len(alone[0]) == 1
    shared = plan(tokens, [0, 0], share=True, token_budget=1000, call_tokens=19)
    assert shared[1] == 20 + 10 + 2 * 19 and [len(level) for level in shared[0]] == [1, 1]
    assert plan(tokens, [0, 0], share=False, token_budget=1000, call_tokens=19)[1] == 69


def test_three_levels_are_found_although_two_do_not_pay():
    """A chain of beginnings: p, p+a, p+a+b each carried on by one attempt; the deepest plan is weighed too."""
    tokens = rows("p9a9b9x", "p9a9b9y", "p9a9c", "p9d")
    levels, cost = plan(tokens, [0] * 4, share=True, token_budget=10_000, call_tokens=1)
    assert sum(len(b) * max(s.length for s in b) + 1 for level in levels for b in level) == cost
    assert [max(s.stop for b in level for s in b) for level in levels if level] == [90, 180, 270, 271]


def test_chunks_bound_the_distinct_tokens_and_keep_neighbours_together():
    tokens = rows("p2a", "q2a", "p2b", "q2b")
    assert list(chunks(tokens, 23)) == [[0, 2], [1, 3]]  # 21 + 1 distinct tokens each
    assert list(chunks(tokens, 1)) == [[0], [2], [1], [3]]
    assert list(chunks(tokens, 10_000)) == [[0, 2, 1, 3]]
    assert list(chunks([], 10)) == []
