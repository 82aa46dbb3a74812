import itertools
import random

import pytest

from stepcredit.core.segment import Span, chat_steps, segment, split, token_spans

WAYS = [
    ("newline", None),
    ("blank_line", None),
    ("delimiter", ";"),
    ("marker", "<extra_0>"),
    ("marker", " ки"),
    ("sentence", None),
    ("numbered", None),
    ("think", None),
]


def test_newlines_separate_steps_and_a_run_counts_as_one():
    assert split("a=1\n\n\nb=2") == ["a=1", "b=2"]


def test_windows_line_ends_belong_to_the_gap():
    assert split("a=1\r\nb=2\r\n") == ["a=1", "b=2"]


def test_blank_lines_separate_paragraphs_even_with_spaces_on_them():
    assert split("a\nb\n \t\nc", "blank_line") == ["a\nb", "c"]


def test_a_custom_delimiter_separates_and_may_be_absent():
    assert split("a ; b;c", "delimiter", delimiter=";") == ["a", "b", "c"]
    assert split("abc", "delimiter", delimiter=";") == ["abc"]


def test_a_delimiter_is_text_and_not_a_pattern():
    assert split("a.b", "delimiter", delimiter=".") == ["a", "b"]


def test_numbered_steps_start_at_line_starts_and_keep_their_number():
    text = "Step 1: see Step 2: below\n**Step 2.** go on\n## step 3) end"
    assert split(text, "numbered") == ["Step 1: see Step 2: below", "**Step 2.** go on", "## step 3) end"]


def test_text_before_the_first_number_belongs_to_the_first_step():
    assert split("Let us see.\nStep 1: a\nStep 2: b", "numbered") == ["Let us see.\nStep 1: a", "Step 2: b"]


def test_markers_end_steps_and_are_in_no_step():
    assert split("Step 1: a ки\nStep 2: b ки", "marker", delimiter=" ки") == ["Step 1: a", "Step 2: b"]
    assert split("a<extra_0>b<extra_0>", "marker", delimiter="<extra_0>") == ["a", "b"]


def test_text_after_the_last_delimiter_is_a_step_unless_blank():
    assert split("a<extra_0>cut sho", "marker", delimiter="<extra_0>") == ["a", "cut sho"]
    assert split("a<extra_0> \n", "marker", delimiter="<extra_0>") == ["a"]
    assert split("a\nb", "newline") == ["a", "b"]


def test_sentences_end_at_stops_but_not_inside_numbers_abbreviations_or_list_numbers():
    text = "1. Take 3.14, e.g. pi! Is it right? Dr. Who says so.\nYes"
    assert split(text, "sentence") == ["1. Take 3.14, e.g. pi!", "Is it right?", "Dr. Who says so.", "Yes"]
    assert split("第一。第二", "sentence") == ["第一。", "第二"]


def test_think_cuts_inside_the_block_at_the_first_delimiter_of_a_run_and_never_right_after_the_tag():
    text = "before<think>.\n\nWait.\n\n.\n\nSo it is.\n\ntail</think>The answer.\n\nBye."
    assert split(text, "think") == ["Wait.", "So it is.", "tail"]


def test_think_goes_from_the_first_opening_to_the_last_closing_tag():
    assert split("<think>a.\n\nb</think>c<think>d</think>e", "think") == ["a.", "b</think>c<think>d"]


def test_think_may_have_been_opened_by_the_prompt_or_be_cut_off():
    assert split("a.\n\nb</think>c", "think") == ["a.", "b"]
    assert split("<think>a.\n\nb", "think") == ["a.", "b"]


@pytest.mark.parametrize("how, delimiter", WAYS)
def test_the_spans_of_any_text_give_it_back_and_steps_are_never_blank(how, delimiter):
    parts = [
        "a",
        " ",
        "\n",
        "\n\n",
        ";",
        "<extra_0>",
        " ки",
        ". ",
        ".\n\n",
        "Step 1: ",
        "<think>",
        "</think>",
        "x=2",
        "é",
        "\r",
    ]
    draw = random.Random(1)
    found = 0
    for _ in range(300):
        text = "".join(draw.choice(parts) for _ in range(draw.randrange(14)))
        try:
            spans = segment(text, how, delimiter=delimiter)
        except ValueError as error:
            assert "no step found" in str(error)
            continue
        found += 1
        assert "".join(span.text for span in spans) == text
        assert all(span.text == text[span.start : span.end] for span in spans)
        assert all(before.end == after.start for before, after in itertools.pairwise(spans))
        assert all(span.text and span.text == span.text.strip() for span in spans if span.is_step)
    assert found > 20


@pytest.mark.parametrize(
    "text, how, delimiter, named",
    [
        ("", "newline", None, "a line that is not blank"),
        (" \n\t", "blank_line", None, "a paragraph"),
        ("no marker here", "marker", "<extra_0>", "'<extra_0>'"),
        ("<extra_0>", "marker", "<extra_0>", "'<extra_0>'"),
        ("a\nb", "numbered", None, "Step N:"),
        ("no tags", "think", None, "<think>"),
        ("<think> \n</think>a", "think", None, "<think>"),
    ],
)
def test_no_step_found_names_what_was_looked_for(text, how, delimiter, named):
    with pytest.raises(ValueError, match="no step found") as raised:
        segment(text, how, delimiter=delimiter)
    assert named in str(raised.value)


def test_wrong_ways_and_misplaced_delimiters_are_refused():
    with pytest.raises(ValueError, match="allowed: newline, blank_line"):
        segment("a", "lines")
    with pytest.raises(ValueError, match="needs a delimiter"):
        segment("a", "marker")
    with pytest.raises(ValueError, match="takes no delimiter"):
        segment("a", "newline", delimiter=";")


def test_token_spans_hold_the_tokens_that_overlap_a_step():
    # "ab cd\nef": tokens [CLS] ab, " cd", "\n", ef [SEP]; special tokens have empty offsets
    offsets = [(0, 0), (0, 2), (2, 5), (5, 6), (6, 8), (0, 0)]
    assert token_spans(segment("ab cd\nef"), offsets) == [(1, 3), (4, 5)]


def test_a_token_over_step_and_gap_belongs_to_the_step_and_over_two_steps_to_the_first():
    # "a.\n\nb": a delimiter token ".\n\n" starts inside the first step
    assert token_spans(segment("a.\n\nb"), [(0, 1), (1, 4), (4, 5)]) == [(0, 2), (2, 3)]
    # "a\nbc": token "\nb" overlaps the second step only; "a" alone the first
    assert token_spans(segment("a\nbc"), [(0, 1), (1, 3), (3, 4)]) == [(0, 1), (1, 3)]


def test_a_step_merged_into_its_neighbour_by_the_tokenizer_is_an_error():
    with pytest.raises(ValueError, match=r"step 1 .'b'. has no token of its own"):
        token_spans(segment("a\nb"), [(0, 3)])


def test_spans_are_frozen():
    with pytest.raises(AttributeError):
        Span(0, 1, "a", True).start = 2


def test_chat_turns_become_steps_in_order():
    steps = chat_steps(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "many?"}]},
            {
                "role": "assistant",
                "reasoning_content": "I must count.",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "count", "arguments": '{"of": "rows"}'}},
                    {"id": "2", "type": "function", "function": {"name": "stop", "arguments": {"now": True}}},
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "42"},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "42 rows."},
        ]
    )
    assert [(step.kind, step.sampled, step.text) for step in steps] == [
        ("prompt", False, "Be brief."),
        ("prompt", False, "How many?"),
        ("reason", True, "I must count."),
        ("tool_call", True, 'count({"of": "rows"})'),
        ("tool_call", True, 'stop({"now": true})'),
        ("tool_result", False, "42"),
        ("prompt", False, "And?"),
        ("reason", True, "42 rows."),
    ]


@pytest.mark.parametrize(
    "messages, named",
    [
        ([{"role": "robot", "content": "a"}], "message 0: role is 'robot'"),
        ([{"role": "user", "content": 5}], "message 0: content is 5"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "message 0: tool call"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}], "no step found"),
        ([], "no step found"),
    ],
)
def test_conversations_that_cannot_be_read_are_errors(messages, named):
    with pytest.raises(ValueError, match=named):
        chat_steps(messages)
