"""Training, scoring and manifest see the same tokens and read positions, for every judge that has tokens.

A published reward model lost 4 F1 points because its training text had no separator where its inference had one. Here
the tensors that reach the network are recorded in each use and compared, before and after a save.
"""

import json

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit import Outcome, Problem, Record, Step
from stepcredit.core.layout import Layout
from stepcredit.core.tree import star
from stepcredit.judge._manifest import GOLDEN
from stepcredit.judge.head import HeadScorer, ScorerJudge, quiet
from stepcredit.judge.shared_head import SharedHeadScorer
from stepcredit.train.prm import Objective, fit
from stepcredit.train.samples import samples
from stepcredit.train.tiny import build_tokenizer, tiny_config

TEXTS = ["2+3=5\n5*4=20 end given", "Step 1: look at é 漢字 \t 42 rows\nso 0123456789 -*/="]
ATTEMPTS = [
    (Problem("a", "2 +3 *4"), [Step("2+3=5"), Step("5*4=20")]),
    (Problem("b", "how many\nrows? é"), [Step("given", sampled=False), Step("look", kind="tool_call"),
                                         Step("42 rows", kind="tool_result", sampled=False), Step("so 42 漢字")]),
    (Problem("c", ""), [Step(" 0"), Step(""), Step("1 ")]),
]  # fmt: skip
CASES = [
    pytest.param(kind, tokenizer, Layout(marker=marker, read=read), id=f"{kind}-{tokenizer}-{name}-{read}")
    for kind in ("head", "shared_head")
    for tokenizer in ("word", "bpe")
    for marker, name in (("\n", "newline"), ("<step>", "step"))
    for read in ("on", "pre")
]
every_case = pytest.mark.parametrize(("kind", "tokenizer", "layout"), CASES)
every_marker = pytest.mark.parametrize(("kind", "tokenizer", "layout"), CASES[::2])


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    found = {}
    for kind in ("word", "bpe"):
        folder = tmp_path_factory.mktemp(kind)
        own = build_tokenizer(TEXTS, kind=kind, vocab_size=320)
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(0)
            LlamaForCausalLM(tiny_config(own, hidden=16, layers=1, heads=2)).save_pretrained(folder)
        own.save_pretrained(folder)
        found[kind] = folder
    return found


def make(policies, kind, tokenizer, layout):
    if kind == "head":
        scorer = HeadScorer.create(policies[tokenizer], layout=layout)
        last = scorer.model.score
    else:
        scorer = SharedHeadScorer.create(policies[tokenizer], layout=layout, layer=-1)
        last = scorer.head[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.nn.init.normal_(last.weight)
    return scorer


def recorded(scorer, use):
    """The token ids without padding and the read positions of each row that reaches the network, as a set."""
    seen = set()

    def record(module, given):
        token_ids_BT, attention_BT, read_BS = (tensor.cpu().numpy() for tensor in given)
        for ids_T, real_T, read_S in zip(token_ids_BT, attention_BT.astype(bool), read_BS, strict=True):
            reads = read_S.tolist()
            while len(reads) > 1 and reads[-1] == 0:
                reads.pop()  # padded positions are 0
            seen.add((tuple(ids_T[real_T].tolist()), tuple(reads)))

    handle = scorer.register_forward_pre_hook(record)
    use()
    handle.remove()
    return seen


def records():
    return [
        Record(star(problem, [steps], [Outcome(reward=float(index % 2))]))
        for index, (problem, steps) in enumerate(ATTEMPTS)
    ]


def train(scorer):
    rows = samples(records(), scorer.encode)
    fit(scorer, rows, objective=Objective("broadcast"), num_updates=3, batch_size=2, pad_id=scorer.pad_id)


@every_case
def test_training_scoring_and_manifest_see_the_same_tokens(policies, tmp_path, kind, tokenizer, layout):
    scorer = make(policies, kind, tokenizer, layout)
    trained = recorded(scorer, lambda: train(scorer))
    scored = recorded(scorer, lambda: ScorerJudge(scorer)(ATTEMPTS))
    assert trained == scored and len(scored) == len(ATTEMPTS)
    golden = recorded(scorer, lambda: scorer.save(tmp_path))
    manifest = json.loads((tmp_path / "scorer.json").read_text())
    assert golden == {(tuple(manifest["golden_ids"]), tuple(manifest["golden_reads"]))}
    loaded = type(scorer).load(tmp_path)
    assert recorded(loaded, lambda: ScorerJudge(loaded)(ATTEMPTS)) == scored
    assert recorded(loaded, lambda: ScorerJudge(loaded)([GOLDEN])) == golden


@every_case
def test_what_is_read_is_the_marker_or_the_token_before_it(policies, kind, tokenizer, layout):
    """Against the tokenizer alone, called on the rendered text as any server would."""
    scorer = make(policies, kind, tokenizer, layout)
    for attempt, encoded in zip(ATTEMPTS, scorer.encode(ATTEMPTS), strict=True):
        text, spans = layout.render(*attempt)
        plain = scorer.tokenizer(text, return_offsets_mapping=True)
        assert encoded.token_ids_T.tolist() == plain["input_ids"]
        markers = encoded.read_S + (layout.read == "pre")
        assert [tuple(plain["offset_mapping"][at]) for at in markers] == list(spans)
        assert set(encoded.token_ids_T[markers].tolist()) == {scorer.manifest.marker_id}
        by_id = np.flatnonzero(encoded.token_ids_T == scorer.manifest.marker_id)
        assert by_id[-len(spans) :].tolist() == markers.tolist()  # a server by id takes the last S


@every_marker
def test_a_saved_judge_gives_identical_scores(policies, tmp_path, kind, tokenizer, layout):
    scorer = make(policies, kind, tokenizer, layout)
    train(scorer)
    scorer.save(tmp_path)
    before, after = ScorerJudge(scorer)(ATTEMPTS), ScorerJudge(type(scorer).load(tmp_path))(ATTEMPTS)
    for one, two in zip(before, after, strict=True):
        assert np.array_equal(one.step_scores_S, two.step_scores_S) and one.score == two.score
    assert np.ptp(np.concatenate([one.step_scores_S for one in before])) > 0


@every_marker
def test_a_scorer_whose_tokenizer_or_template_changed_is_refused(policies, tmp_path, kind, tokenizer, layout):
    scorer = make(policies, kind, tokenizer, layout)
    scorer.save(tmp_path)
    manifest, tokens = (tmp_path / "scorer.json").read_text(), (tmp_path / "tokenizer.json").read_text()
    for change in ({"prompt_end": " "}, {"within": "\t"}, {"read": "on" if layout.read == "pre" else "pre"}):
        given = json.loads(manifest)
        given["layout"].update(change)
        (tmp_path / "scorer.json").write_text(json.dumps(given))
        with pytest.raises(ValueError, match="no longer gives the tokens"):
            type(scorer).load(tmp_path)
    (tmp_path / "scorer.json").write_text(manifest)
    for change in ({"post_processor": None}, {"added_tokens": json.loads(tokens)["added_tokens"][:-1]}):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**json.loads(tokens), **change}))
        with pytest.raises(ValueError, match=r"no longer gives the tokens|should be token|is not the file"):
            type(scorer).load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokens)
    type(scorer).load(tmp_path)
