"""L2T: sums that telescope, means that shorten, sums that lengthen, signs that flip; the world, the run, its claims."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from claim_checks import WRONG_KNOBS, every_claim_is_measured, needs_trl

from stepcredit.core.rng import rng
from stepcredit.core.tree import star
from stepcredit.core.types import Credit, Outcome, Problem, Step
from stepcredit.recipes import l2t as recipe
from stepcredit.recipes._l2t_arms import Plan, Probe, Rechecks, Signs, totals, whole
from stepcredit.recipes._l2t_world import demonstrate, needed, verify
from stepcredit.recipes._srl_world import problem_of
from stepcredit.recipes._starts import decides
from stepcredit.report import write_report

CHAIN = problem_of(Problem("p", "3 +4 *2", "0", ("3+4=0", "0*2=0"), {"modulus": 7}))
LINE, AGAIN, NEXT, LAST = "3a+4=0", "again 3a+4=0", "0b*2=0", "Answer:0"


class Likes:
    """A policy for which the answer has chance .2 at the start, .2 behind the first line, .9 once the chain is worked out."""

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        raise NotImplementedError

    def logprob(self, prefixes, continuations):
        return np.log([0.9 if NEXT in prefix else 0.2 for prefix in prefixes])


def steps(*texts, tokens=7):
    return [Step(text, token_ids=(5,) * tokens, logprobs=(-1.0,) * tokens) for text in texts]


def tree(*attempts, right):
    return star(CHAIN, [steps(*texts) for texts in attempts], [Outcome(float(one)) for one in right])


def credit(name, *attempts, right, beta=0.0):
    own = tree(*attempts, right=right)
    probe = Probe(name, Plan(1, beta=beta), policy=Likes())
    (found,) = probe([own])
    return own, found, probe


def ends(own, found):
    return [float(found.values_N[leaf]) for leaf in own.leaves]


SHORT, LONG = (LINE, NEXT, LAST), (LINE, AGAIN, NEXT, LAST)


def test_gains_telescope_so_a_sum_cannot_tell_a_recheck():
    """Both: outcome 1 + .8 (.9 - .2) = 1.56."""
    own = tree(SHORT, LONG, right=(1, 1))
    _, found, _ = credit("sum", SHORT, LONG, right=(1, 1))
    assert ends(own, found) == [0.0, 0.0]
    from stepcredit.credit.information_gain import information_gain

    (reward,) = information_gain([own], policy=Likes(), beta=0.0, form="reward", suffix="Answer:")
    assert totals(own, reward, per_token=False) == pytest.approx([1.56, 1.56])
    assert totals(own, reward, per_token=True) == pytest.approx([1.56 / 21, 1.56 / 28])


def test_the_mean_prefers_the_shorter_of_two_right_attempts():
    own, found, _ = credit("mean", SHORT, LONG, right=(1, 1))
    assert ends(own, found) == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_the_released_sum_prefers_the_longer_of_two_attempts_that_gain_alike():
    """Defect D3: .7 on each token of the step that gains: 7 tokens in one attempt, 14 in the other."""
    own = star(CHAIN, [[*steps(LINE), *steps(NEXT, tokens=num), *steps(LAST)] for num in (7, 14)], [Outcome(1.0)] * 2)
    (found,) = Probe("released", Plan(1), policy=Likes())([own])
    assert ends(own, found) == pytest.approx([-(0.5**0.5), 0.5**0.5])
    (mine,) = Probe("sum", Plan(1), policy=Likes())([own])
    assert ends(own, mine) == [0.0, 0.0]


def test_gains_are_the_policys_own_and_beta_is_read():
    """Defects D1 and D2: no judge is asked, and without score vectors a penalty cannot be had for nothing."""
    with pytest.raises(ValueError, match="score_vector"):
        credit("full", SHORT, LONG, right=(1, 0), beta=0.6)
    own, found, _ = credit("full", SHORT, LONG, right=(1, 1))
    # Of the steps the one that gains has the most in either attempt; a recheck has as little as any that gains nothing.
    gains = dict(zip([step.text for step in own.steps[1:]], found.values_N[1:], strict=True))
    assert gains[NEXT] > gains[AGAIN] == gains[LINE]


def test_the_first_step_has_credit_and_so_has_a_step_without_length():
    """Defect D4: the released code gives the first episode no delta."""

    class Knows(Likes):
        def logprob(self, prefixes, continuations):
            return np.log([0.9 if LINE in prefix else 0.2 for prefix in prefixes])

    own = tree(SHORT, (NEXT, LAST), right=(1, 1))
    (found,) = Probe("sum", Plan(1), policy=Knows())([own])
    assert ends(own, found) == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_signs_are_counted_in_tokens():
    """Sheet's example: Ahat -1, r -.1 and .3 of rbar .2 over two tokens each: +.5 where the attempt's sign is -."""
    own = star(CHAIN, [[*steps(LINE, tokens=2), *steps(NEXT, tokens=6)]], [Outcome(1.0)])
    signs = Signs()
    signs.count(own, Credit([np.nan, 0.5, -1.5], "advantage", [0, 1, 1], "information_gain"))
    assert (signs.flipped, signs.tokens) == (2, 8)
    signs.count(own, Credit([np.nan, 0.0, 0.0], "advantage", [0, 1, 1], "information_gain"))
    assert (signs.flipped, signs.tokens) == (2, 8)


def test_rechecks_are_told_from_lines_and_answers_from_both():
    """Means .5 of the recheck and (.1 + .3) / 2 of the lines: .3 more."""
    own, told = tree(LONG, right=(1,)), Rechecks()
    told.count(own, Credit([np.nan, 0.1, 0.5, 0.3, 9.0], "advantage", [0, 1, 1, 1, 1], "l2t"))
    assert told.gap == pytest.approx(0.3)
    assert math.isnan(Rechecks().gap)


def test_the_length_penalty_is_in_units_of_what_is_needed():
    """Two operations: 2 * 7 + 4 = 18 tokens. 1 - .3 * 21 / 18 = .65 and 1 - .3 * 28 / 18 = .533: the shorter is above."""
    assert needed(CHAIN) == 18
    own, found, _ = credit("penalty", SHORT, LONG, right=(1, 1))
    assert ends(own, found) == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_equal_rewards_are_no_advantage():
    own = tree(SHORT, SHORT, right=(1, 1))
    assert ends(own, whole(own, np.ones(2))) == [0.0, 0.0]


def test_demonstrations_recheck_and_slip_at_their_rates():
    draw = rng(0)
    assert demonstrate(CHAIN, 0.0, 0.0, draw) == [LINE, NEXT, LAST]
    assert demonstrate(CHAIN, 1.0, 0.0, draw) == [LINE, AGAIN, NEXT, f"again {NEXT}", LAST]
    slipped = demonstrate(CHAIN, 0.0, 1.0, draw)
    assert slipped[0] != LINE and slipped[1][0] == slipped[0][-1]  # carried on


@pytest.mark.parametrize(("last", "reward"), [("Answer:0", 1.0), ("Answer:1", 0.0)])
def test_the_last_line_alone_is_verified(last, reward):
    assert verify(CHAIN, [steps(LINE, last)])[0].reward == reward


def test_what_gives_no_answer_is_unparsed():
    assert [one.status for one in verify(CHAIN, [steps(LINE), steps("Answer:0", LINE)])] == ["unparsed", "unparsed"]


def test_arms_of_one_start_policy_for_all_are_found_again():
    """The digest is the folder under which the first claims' arms were finished."""
    one = json.dumps(decides(recipe.SIZES["small"], "one"), sort_keys=True, default=str)
    assert hashlib.sha256(one.encode()).hexdigest()[:12] == "b848f0ab868a"


class Costs(Likes):
    """A recheck costs a hundredth of a line to learn."""

    def score_vector(self, prefixes, continuations, *, dim, seed):
        return np.array(
            [[0.1**0.5 if text.startswith("again ") else 1.0] + [0.0] * (dim - 1) for text in continuations]
        )


def test_a_cheap_recheck_is_paid_in_full_and_charged_where_charged():
    """Likes finds nothing in a recheck: its gain is a line's. In full it stands above the line before it, as C of 1/100 is below
    the mean; charged, below where it is at beta 0."""
    own = tree(SHORT, LONG, right=(1, 1))
    told = {}
    for beta in (0.0, 0.6):
        for name in ("full", "gains", "charged"):
            (found,) = Probe(name, Plan(1, beta=beta), policy=Costs())([own])
            told[name, beta] = dict(zip([step.text for step in own.steps[4:]], found.values_N[4:], strict=True))
    assert told["full", 0.0][AGAIN] == told["full", 0.0][LINE] == told["charged", 0.0][AGAIN]
    assert told["full", 0.6][AGAIN] > told["full", 0.6][LINE] and told["full", 0.6][AGAIN] > told["full", 0.0][AGAIN]
    assert told["gains", 0.6] == told["gains", 0.0] == told["full", 0.0]
    assert all(told["charged", 0.6][text] < told["charged", 0.0][text] for text in LONG)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return str(tmp_path_factory.mktemp("l2t"))


@pytest.fixture(scope="module")
def run(out, one_thread):
    needs_trl()
    return recipe.l2t(size="quick", seeds=(3, 4), out=out)


@pytest.mark.slow
def test_the_run_has_every_arm_at_its_tokens_and_can_be_shown(run, tmp_path):
    rows = {row["arm"]: row for row in run["table"]["rows"]}
    assert list(rows) == ["base", *recipe.ARMS]
    for name, row in rows.items():
        assert {"accuracy", "tokens an attempt"} <= set(row["cells"])
        assert name == "base" or row["cost"]["generated_tokens"] >= recipe.SIZES["quick"].plan.budget
    # What probing costs is told: gains are read in forward passes that GRPO does not have.
    assert rows["full"]["cost"]["forwarded_tokens"] > rows["grpo"]["cost"]["forwarded_tokens"]
    write_report(run, tmp_path / "report.html")


@pytest.mark.slow
def test_every_claim_names_numbers_that_the_recipe_measures(run, out, monkeypatch):
    every_claim_is_measured("l2t", out, monkeypatch)
    # The start policy that all seeds have in the first claims, and one for each of the two seeds in those with their own.
    assert len(list(Path(out, "cache").glob("sft-*"))) == 3


@pytest.mark.parametrize(("knobs", "said"), WRONG_KNOBS)
def test_wrong_knobs_are_named(knobs, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        recipe.l2t(**{"size": "quick", "out": str(tmp_path), **knobs})
