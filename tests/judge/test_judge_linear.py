"""linear: a judge on hashed words, taught by labels or through the chain's likelihood of outcomes."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stepcredit import Credit, Outcome, Problem, Record, Step
from stepcredit.core import chain, registry
from stepcredit.core.readout import sigmoid
from stepcredit.core.tree import star
from stepcredit.judge._ascent import label_likelihood, outcome_likelihood
from stepcredit.judge._manifest import GOLDEN
from stepcredit.judge._turns import Hashing, Turns, inverse_document_frequency, turn_texts, turns, weighted
from stepcredit.judge.linear import LinearScorer

SMALL = Hashing(num_features=512)
LOGITS = np.array([0.3, -1.2, 0.8, 2.0, -0.4, 0.1])
STARTS = np.array([0, 3, 4, 6])  # attempts of 3, 1 and 2 steps
REWARDS = np.array([1.0, 0.0, 0.0])


def call(action, result):
    return [Step(action, kind="tool_call"), Step(result, kind="tool_result", sampled=False)]


def records_of(attempts, rewards):
    return [
        Record(star(Problem(f"p{i}", "list the rows"), [steps], [Outcome(reward=reward)]))
        for i, (steps, reward) in enumerate(zip(attempts, rewards, strict=True))
    ]


def episodes(num, rng, sign):
    """Turns of neutral words; "sign" appears in one turn of half of the attempts."""
    attempts, signed = [], []
    for index in range(num):
        steps = [call(f"select w{rng.integers(9)}", f"row w{rng.integers(9)}") for _ in range(int(rng.integers(1, 5)))]
        signed.append(index % 2 == 0)
        if signed[-1]:
            at = int(rng.integers(len(steps)))
            steps[at] = call(steps[at][0].text, sign)
        attempts.append([step for turn in steps for step in turn])
    return attempts, np.array(signed)


def labelled(records, values):
    """Records with a label `y` on their sampled steps, in order."""
    given, found = iter(values), []
    for record in records:
        value_N = np.array([next(given) if step.sampled else np.nan for step in record.tree.steps])
        found.append(Record(record.tree, {"y": Credit(value_N, "label", (~np.isnan(value_N)).astype(float), "y")}))
    return found


def test_a_turn_is_a_step_with_what_was_answered():
    steps = [Step("hello", kind="tool_result", sampled=False), *call("a", "b"), Step("c")]
    assert turn_texts(steps) == ["a\nb", "c"]


def test_features_are_those_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfTransformer

    attempts, _ = episodes(20, np.random.default_rng(0), "great")
    word_UD = turns([(Problem("p", "?"), steps) for steps in attempts], SMALL).word_UD
    ours = weighted(word_UD, inverse_document_frequency(word_UD))
    assert np.allclose(ours.toarray(), TfidfTransformer().fit_transform(word_UD).toarray())


def test_problem_text_has_columns_of_its_own_on_every_turn():
    attempts = [(Problem("p", "list the rows"), [Step("a b"), Step("c")])]
    plain, both = turns(attempts, SMALL), turns(attempts, Hashing(512, problem_text=True))
    assert (both.word_UD[:, :512] != plain.word_UD).nnz == 0
    assert both.word_UD[:, 512:].sum(axis=1).ravel().tolist() == [[5, 5]]  # three words, two pairs


def test_selected_attempts_keep_their_turns():
    word_UD = turns([(Problem("p", "?"), [Step(str(i)) for i in range(n)]) for n in (2, 0, 1)], SMALL)
    chosen = word_UD.select([2, 1, 0])
    assert chosen.start_A.tolist() == [0, 1, 1, 3] and (chosen.word_UD != word_UD.word_UD[[2, 0, 1]]).nnz == 0


def test_label_teaching_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    attempts, _ = episodes(60, rng, "great")
    records = records_of(attempts, np.zeros(60))
    num = sum(step.sampled for steps in attempts for step in steps)
    label_U = (rng.random(num) < 0.4).astype(float)
    label_U[:5] = np.nan  # unknown, left out
    scorer = LinearScorer.fit(labelled(records, label_U), credit="y", hashing=SMALL)
    counted = scorer.count([(r.tree.problem, r.tree.solution(leaf)) for r in records for leaf in r.tree.leaves])
    row_UD = weighted(counted.word_UD, scorer.idf_D)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(row_UD[5:], label_U[5:])
    assert np.allclose(scorer.logits(counted), theirs.decision_function(row_UD), atol=2e-3)
    judged = scorer([(r.tree.problem, r.tree.solution(r.tree.leaves[0])) for r in records[:1]])[0]
    assert set(judged.channels) == {"ok"} and judged.score == judged.step_scores_S.min()


def slope_of(likelihood, logit_U):
    nudge = 1e-6 * np.eye(len(logit_U))
    return np.array([(likelihood(logit_U + d)[0] - likelihood(logit_U - d)[0]) / 2e-6 for d in nudge])


def test_soft_weighted_labels_have_the_right_slope():
    likelihood = label_likelihood(np.array([1.0, 0.0, 0.3, 0.7, 1.0, 0.0]), np.array([1.0, 2.0, 0.5, 1.0, 0.0, 1.0]))
    assert np.allclose(likelihood(LOGITS)[1], slope_of(likelihood, LOGITS), atol=1e-8)


@pytest.mark.parametrize("rates", [{"fp": 0.0, "fn": 0.0}, {"fp": 0.3, "fn": 0.1}, {"fp": 0.0, "fn": 0.2}])
@pytest.mark.parametrize("retry", [False, True])
def test_the_outcome_likelihood_is_the_chains_and_its_slope_that_of_posterior_weighted_labels(retry, rates):
    likelihood = outcome_likelihood(REWARDS, STARTS, retry=retry, **rates)
    height, slope_U = likelihood(LOGITS)
    expected, residual = 0.0, []
    for reward, logit_S in zip(REWARDS, np.split(LOGITS, STARTS[1:-1]), strict=True):
        rate_S = sigmoid(logit_S)
        keep_S, fix_S = (np.ones_like(rate_S), rate_S) if retry else (rate_S, np.zeros_like(rate_S))
        start = 0.0 if retry else 1.0
        expected += chain.log_likelihood(keep_S, fix_S, reward == 1, start=start, **rates)
        smoothed = chain.posterior(keep_S, fix_S, reward == 1, start=start, **rates)
        if retry:  # label P(fixed at j), weight P(broken before j)
            residual.append(smoothed.fixed_S - (1 - smoothed.was_ok_S) * rate_S)
        else:
            residual.append(smoothed.kept_S - smoothed.was_ok_S * rate_S)
    assert height == pytest.approx(expected, abs=1e-12)
    assert np.allclose(slope_U, np.concatenate(residual), atol=1e-10)
    assert np.allclose(slope_U, slope_of(likelihood, LOGITS), atol=1e-8)


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("size", [-800.0, 800.0])
@pytest.mark.parametrize("fp", [0.0, 0.2])
def test_extreme_logits_stay_finite(retry, size, fp):
    height, slope_U = outcome_likelihood(REWARDS, STARTS, retry=retry, fp=fp)(np.full(6, size))
    assert np.isfinite(height) and np.isfinite(slope_U).all()


def test_luck_that_is_known_is_not_taken_for_a_sign():
    """Half of the attempts have the word; of the others 2 in 5 are called right. Told so, retry calls them wrong."""
    attempts, signed = episodes(400, np.random.default_rng(3), "zap")
    lucky = np.random.default_rng(4).random(400) < 0.4
    records = records_of(attempts, signed | lucky)
    plain, told = (
        LinearScorer.fit(records, link="retry", hashing=SMALL, inverse_penalty=10.0, fp=fp) for fp in (0.0, 0.4)
    )
    for scorer, low, high in ((plain, 0.3, 0.5), (told, 0.0, 0.1)):
        final = [scorer([(r.tree.problem, r.tree.solution(r.tree.leaves[0]))])[0].score for r in records]
        assert low < np.mean(np.array(final)[~signed]) < high
        assert np.mean(np.array(final)[signed]) > 0.9
    assert told.manifest.trained["fp"] == 0.4
    with pytest.raises(ValueError, match=r"fp=0\.7, fn=0\.3"):
        LinearScorer.fit(records, link="retry", hashing=SMALL, fp=0.7, fn=0.3)


@pytest.mark.parametrize(("link", "channel", "sign"), [("retry", "fix", 1), ("derivation", "keep", 0)])
def test_a_chain_finds_the_word_that_decides_and_never_steps_down(monkeypatch, link, channel, sign):
    """retry: an attempt is right where one turn says "zap". derivation: it is wrong there. No step label anywhere."""
    from stepcredit.judge import linear

    heights = []
    climb = linear.climb
    monkeypatch.setattr(linear, "climb", lambda *a, **k: heights.append(climb(*a, **k)) or heights[-1])
    attempts, signed = episodes(120, np.random.default_rng(2), "zap")
    records = records_of(attempts, signed == sign)
    scorer = LinearScorer.fit(records, link=link, hashing=SMALL, inverse_penalty=10.0)
    assert np.diff(heights[0].heights).min() >= -1e-9 and heights[0].heights[-1] > 0.5 * heights[0].heights[0]
    given = [(r.tree.problem, r.tree.solution(r.tree.leaves[0])) for r in records]
    zap = np.concatenate([[text.endswith("zap") for text in turn_texts(steps)] for _, steps in given])
    rate_U = np.concatenate([judgment.channels[channel] for judgment in scorer(given)])
    assert rate_U[zap].min() > rate_U[~zap].max() if sign else rate_U[zap].max() < rate_U[~zap].min()
    assert scorer.manifest.trained["last_height"] == heights[0].heights[-1]


def test_a_fresh_chain_starts_at_the_base_rate():
    """Attempts of 3, 1 and 2 steps, mean 2; a third is right: keep = sqrt(1/3)."""
    from stepcredit.judge._ascent import outcome_target

    assert sigmoid(np.array([outcome_target(REWARDS, STARTS, retry=False).bias]))[0] == pytest.approx(3**-0.5)
    assert sigmoid(np.array([outcome_target(REWARDS, STARTS, retry=True).bias]))[0] == pytest.approx(1 - (2 / 3) ** 0.5)


@pytest.fixture(scope="module")
def retry_scorer():
    attempts, signed = episodes(40, np.random.default_rng(3), "zap")
    return LinearScorer.fit(records_of(attempts, signed), link="retry", hashing=SMALL)


def test_same_data_same_bytes(retry_scorer):
    attempts, signed = episodes(40, np.random.default_rng(3), "zap")
    again = LinearScorer.fit(records_of(attempts, signed), link="retry", hashing=SMALL)
    assert again.weight_D.tobytes() == retry_scorer.weight_D.tobytes() and again.manifest == retry_scorer.manifest


def test_unscored_attempts_take_no_part_and_an_attempt_without_step_is_abstained_on(retry_scorer):
    attempts, signed = episodes(40, np.random.default_rng(3), "zap")
    records = records_of(attempts, signed)
    lost = Record(star(Problem("lost", "?"), [call("select w1", "zap")], [Outcome(status="timeout")]))
    more = LinearScorer.fit([*records, lost], link="retry", hashing=SMALL)
    assert more.manifest.trained["first_height"] == pytest.approx(retry_scorer.manifest.trained["first_height"])
    empty, full = retry_scorer([(Problem("p", "?"), []), (Problem("p", "?"), call("a", "zap"))])
    assert empty.status == "abstained" and full.status == "scored" and full.cost.judge_calls == 1
    assert retry_scorer([]) == []


def test_a_saved_scorer_scores_alike_and_is_found_by_name(tmp_path, retry_scorer):
    retry_scorer.save(tmp_path / "judge")
    loaded = registry.get("judge", "linear").function(str(tmp_path / "judge"))
    attempt = (Problem("p", "?"), [*call("select w1", "zap"), *call("select w2", "row")])
    ours, theirs = retry_scorer([attempt])[0], loaded([attempt])[0]
    assert ours.channels["fix"].tobytes() == theirs.channels["fix"].tobytes() and ours.score == theirs.score
    assert ours.step_scores_S.tolist() == chain.filtered(np.ones(2), ours.channels["fix"], 0.0).tolist()
    manifest = json.loads((tmp_path / "judge" / "scorer.json").read_text())
    assert manifest["kind"] == "linear" and manifest["readout"]["link"] == "retry"
    num_sampled = sum(step.sampled for step in GOLDEN[1])
    assert len(manifest["golden_reads"]) == num_sampled == len(manifest["golden_scores"])


def test_a_scorer_that_changed_is_refused(tmp_path, retry_scorer):
    retry_scorer.save(tmp_path)
    text, weights = (tmp_path / "scorer.json").read_text(), load_file(str(tmp_path / "model.safetensors"))

    save_file({**weights, "bias": weights["bias"] + 1.0}, str(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match="no longer gives the scores"):
        LinearScorer.load(tmp_path)
    save_file(weights, str(tmp_path / "model.safetensors"))
    (tmp_path / "scorer.json").write_text(text.replace('"longest": 2', '"longest": 1'))
    with pytest.raises(ValueError, match="no longer gives the tokens"):
        LinearScorer.load(tmp_path)
    (tmp_path / "scorer.json").write_text(
        text.replace('"kind": "linear"', '"kind": "shared_head"').replace("sigmoid(u)", "sigmoid")
    )
    with pytest.raises(ValueError, match="of kind 'shared_head', not 'linear'"):
        LinearScorer.load(tmp_path)
    (tmp_path / "scorer.json").write_text(text)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="not a finished scorer"):
        LinearScorer.load(tmp_path)
    with pytest.raises(ValueError, match="no scorer folder"):
        LinearScorer.load(tmp_path / "nowhere")


def test_wrong_input_is_named():
    attempts, signed = episodes(6, np.random.default_rng(4), "zap")
    records = records_of(attempts, signed)
    with pytest.raises(ValueError, match="all 6 scored attempts have the target 1"):
        LinearScorer.fit(records_of(attempts, np.ones(6)), hashing=SMALL)
    with pytest.raises(ValueError, match="nothing to learn from: no scored attempts"):
        LinearScorer.fit([], hashing=SMALL)
    with pytest.raises(ValueError, match=r"rewards must lie in \[0, 1\], got -1"):
        LinearScorer.fit(records_of(attempts, [-1.0, *signed[1:]]), hashing=SMALL)
    with pytest.raises(ValueError, match=r"record 1 \(problem 'p0'\) has no label 'y'; it has: none"):
        LinearScorer.fit(records, credit="y", hashing=SMALL)
    with pytest.raises(ValueError, match="link is 'free'; allowed: derivation, retry"):
        LinearScorer.fit(records, link="free", hashing=SMALL)
    with pytest.raises(ValueError, match="must be positive; got 0"):
        LinearScorer.fit(records, inverse_penalty=0.0, hashing=SMALL)
    with pytest.raises(ValueError, match="6 attempts, but turns of 0 were counted"):
        LinearScorer.fit(records, hashing=SMALL, counted=Turns(None, np.array([0])))
    counted = turns([(r.tree.problem, r.tree.solution(r.tree.leaves[0])) for r in records], SMALL)
    with pytest.raises(ValueError, match="turns counted in 512 columns, but hashing has 262144"):
        LinearScorer.fit(records, counted=counted)
    with pytest.raises(ValueError, match="num_features >= 2"):
        Hashing(num_features=1)
