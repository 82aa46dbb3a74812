"""Attempts as text, tokens and read positions: what is refused, and what every batch keeps."""

import re

import numpy as np
import pytest

from stepcredit import Problem, Step
from stepcredit.core.layout import Encoded, EncodeError, Layout, buckets, encode, pad, sampled_steps, split_turns

PROBLEM = Problem("p", "2+3=?")
ATTEMPT = (PROBLEM, [Step("2+3=5"), Step("so 5")])
MARKER = 99


def characters(texts, marker="<step>", front=(), back=()):
    """One token a character, id its code; the marker one token; special tokens without width at both ends."""
    ids, offsets = [], []
    for text in texts:
        pieces = [(m.start(), m.end()) for m in re.finditer(f"{re.escape(marker)}|(?s:.)", text)]
        found = [MARKER if text[a:b] == marker else 1000 + ord(text[a:b]) for a, b in pieces]
        ids.append([*front, *found, *back])
        offsets.append([*((0, 0) for _ in front), *pieces, *((0, 0) for _ in back)])
    return ids, offsets


def read_text(encoded):
    """The token at each read position, as text."""
    ids = encoded.token_ids_T[encoded.read_S]
    return ["#" if token == MARKER else chr(token - 1000) for token in ids]


# text


def test_the_text_is_prompt_steps_and_a_marker_after_each():
    text, spans = Layout().render(*ATTEMPT)
    assert text == "2+3=?\n2+3=5<step>so 5<step>"
    assert [text[a:b] for a, b in spans] == ["<step>", "<step>"]


def test_tool_results_fold_into_the_turn_before_them_and_earlier_ones_are_context():
    steps = [Step("hint", sampled=False), Step("look", kind="tool_call"), Step("42 rows", kind="tool_result", sampled=False),
             Step("done")]  # fmt: skip
    text, spans = Layout(marker="#", within="|").render(PROBLEM, steps)
    assert text == "2+3=?\nhint|look|42 rows#done#" and len(spans) == 2
    assert sampled_steps(steps).tolist() == [False, True, False, True]


def test_what_stands_before_the_first_sampled_step_belongs_to_no_turn():
    seen = [Step(text, kind="tool_result", sampled=False) for text in "abc"]
    own = [Step("x"), Step("y")]
    assert split_turns([seen[0], own[0], seen[1], seen[2], own[1]]) == ([seen[0]], [[own[0], *seen[1:]], [own[1]]])
    assert split_turns(seen) == (seen, []) and split_turns([]) == ([], [])


def test_an_attempt_without_a_sampled_step_has_nothing_to_score():
    for steps in ([], [Step("hint", sampled=False)]):
        with pytest.raises(ValueError, match="problem 'p': an attempt without a sampled step"):
            Layout().render(PROBLEM, steps)


def test_wrong_layouts_are_refused():
    with pytest.raises(ValueError, match="marker is empty"):
        Layout(marker="")
    with pytest.raises(ValueError, match="read is 'off'; allowed: on, pre"):
        Layout(read="off")


# tokens


def test_a_score_is_read_at_the_marker_or_at_the_token_before_it():
    assert read_text(encode([ATTEMPT], Layout(), characters, MARKER)[0]) == ["#", "#"]
    assert read_text(encode([ATTEMPT], Layout(read="pre"), characters, MARKER)[0]) == ["5", "5"]


@pytest.mark.parametrize(("front", "back"), [((), ()), ((1,), ()), ((), (2,)), ((1, 1), (2, 2))])
def test_special_tokens_at_either_end_do_not_shift_the_positions(front, back):
    """They have no width; those at the end come with offset 0, so that offsets do not ascend."""
    found = encode([ATTEMPT] * 2, Layout(), lambda texts: characters(texts, front=front, back=back), MARKER)
    # 6 characters of prompt, 5 of the first step, 4 of the second
    assert found[1].read_S.tolist() == [len(front) + 11, len(front) + 16]
    assert len(found[1].token_ids_T) == len(front) + 17 + len(back)


def test_attempts_of_a_batch_are_encoded_as_each_alone():
    batch = [ATTEMPT, (Problem("q", "?"), [Step("a")]), (Problem("r", "??"), [Step("bb"), Step(""), Step("c")])]
    together = encode(batch, Layout(), characters, MARKER)
    for one, found in zip(batch, together, strict=True):
        alone = encode([one], Layout(), characters, MARKER)[0]
        assert np.array_equal(alone.token_ids_T, found.token_ids_T) and np.array_equal(alone.read_S, found.read_S)
    assert [len(found.read_S) for found in together] == [2, 1, 3]
    assert encode([], Layout(), characters, MARKER) == []


def test_an_empty_step_has_a_position_of_its_own():
    for read in ("on", "pre"):
        read_S = encode([(PROBLEM, [Step("a"), Step("")])], Layout(read=read), characters, MARKER)[0].read_S
        assert np.all(np.diff(read_S) > 0)


def test_a_marker_the_tokenizer_merges_is_refused_with_the_attempt_and_the_step():
    def merges(texts):
        """ "5#" becomes one token, as a byte-pair tokenizer would."""
        ids, offsets = [], []
        for text in texts:
            pieces = [(m.start(), m.end()) for m in re.finditer("5#|.|\n", text)]
            ids.append([MARKER if text[a:b] == "#" else 7 for a, b in pieces])
            offsets.append(pieces)
        return ids, offsets

    fine = (PROBLEM, [Step("so")])
    with pytest.raises(
        EncodeError, match=r"attempt 1 \(problem 'p'\): the marker '#' after step 1 .* never merges"
    ) as got:
        encode([fine, (PROBLEM, [Step("so"), Step("2+3=5")])], Layout(marker="#"), merges, MARKER)
    assert got.value.index == 1
    assert len(encode([fine], Layout(marker="#"), merges, MARKER)) == 1


def test_a_marker_of_several_tokens_or_cut_off_is_refused():
    with pytest.raises(ValueError, match="should be token 99 over characters"):
        encode([ATTEMPT], Layout(marker="<s>"), characters, MARKER)  # three tokens
    with pytest.raises(ValueError, match="the tokenizer gives the end of the text"):
        encode([ATTEMPT], Layout(), lambda texts: tuple([rows[0][:9]] for rows in characters(texts)), MARKER)
    with pytest.raises(ValueError, match="should be token 98"):
        encode([ATTEMPT], Layout(), characters, 98)


def test_a_marker_inside_a_step_is_refused():
    for steps in ([Step("a<step>b")], [Step("a"), Step("b", sampled=False), Step("c<step>", sampled=False)]):
        with pytest.raises(ValueError, match="marker '<step>' occurs inside step 0"):
            encode([(PROBLEM, steps)], Layout(), characters, MARKER)


def test_a_tokenizer_that_knows_the_marker_only_as_unknown_is_refused():
    def unknown(texts):
        ids, offsets = characters(texts)
        return [[MARKER if token == 1000 + ord("s") else token for token in row] for row in ids], offsets

    with pytest.raises(ValueError, match="2 steps, but token 99 of the marker '<step>' occurs 3 times"):
        encode([ATTEMPT], Layout(), unknown, MARKER)


def test_a_prompt_of_several_lines_may_use_the_newline_as_marker():
    layout = Layout(marker="\n")
    problem = Problem("p", "line one\nline two")
    steps = [Step("given\nbefore", sampled=False), Step("a"), Step("bc")]
    found = encode([(problem, steps)], layout, lambda texts: characters(texts, marker="\n"), MARKER)[0]
    text, spans = layout.render(problem, steps)
    assert found.read_S.tolist() == [start for start, _ in spans] and text[-4:] == "\nbc\n"
    assert int((found.token_ids_T == MARKER).sum()) == 5  # two are steps: the last two


# batches


@pytest.mark.parametrize("seed", range(20))
def test_buckets_hold_every_row_once_within_the_budget(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, rng.integers(1, 50)).tolist()
    budget, most = int(rng.integers(20, 200)), int(rng.integers(1, 9)) if seed % 2 else None
    batches = list(buckets(lengths, budget, most))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert most is None or len(batch) <= most
    assert [lengths[i] for batch in batches for i in batch] == sorted(lengths, reverse=True)


def test_buckets_keep_the_order_of_equal_rows_and_leave_a_long_row_alone():
    assert list(buckets([2, 2, 2], 4)) == [[0, 1], [2]]
    assert list(buckets([1, 50, 1], 10)) == [[1], [0, 2]]
    assert list(buckets([], 10)) == []


def test_pad_says_what_is_real():
    rows = [Encoded(np.array([5, 6, 7]), np.array([2])), Encoded(np.array([8, 9]), np.array([0, 1]))]
    token_ids_BT, attention_BT, read_BS, step_BS = pad(rows, pad_id=0)
    assert token_ids_BT.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert attention_BT.tolist() == [[True, True, True], [True, True, False]]
    assert read_BS.tolist() == [[2, 0], [0, 1]] and step_BS.tolist() == [[True, False], [True, True]]


def test_a_hidden_problem_leaves_the_steps_and_their_markers_alone():
    problem, steps = Problem("p", "3 *0"), [Step("3*0=0")]
    text, spans = Layout(marker="\n", show_problem=False).render(problem, steps)
    assert text == "3*0=0\n"
    assert spans == ((5, 6),)
