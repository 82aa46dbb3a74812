"""The chain against enumeration of all state paths, against its own likelihood's gradient, and against its gauges."""

import itertools

import numpy as np
import pytest

from stepcredit.core import chain

LINKS = ("derivation", "retry", "free")
RATES = ((0.0, 0.0), (0.2, 0.05), (0.0, 0.3))


def draw_rates(link, num_steps, rng):
    """keep_S, fix_S and the start of a random attempt under a link."""
    keep, fix = rng.uniform(0.05, 0.95, num_steps), rng.uniform(0.05, 0.95, num_steps)
    if link == "derivation":
        return keep, np.full(num_steps, 0.1), 1.0
    if link == "retry":
        return np.ones(num_steps), fix, 0.0
    return keep, fix, 1.0


def enumerate_paths(keep, fix, right, start, fp, fn):
    """Every path of states s_0..s_S (1 ok, 0 broken) with its joint probability with the outcome."""
    for path in itertools.product((0, 1), repeat=len(keep) + 1):
        probability = start if path[0] else 1 - start
        for j, (before, after) in enumerate(itertools.pairwise(path)):
            p_ok = keep[j] if before else fix[j]
            probability *= p_ok if after else 1 - p_ok
        p_right = 1 - fn if path[-1] else fp
        yield path, probability * (p_right if right else 1 - p_right), probability


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("num_steps", [1, 2, 4, 6])
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("link", LINKS)
def test_chain_equals_enumeration_of_all_state_paths(link, rates, num_steps):
    fp, fn = rates
    rng = np.random.default_rng([num_steps, len(link)])
    keep, fix, start = draw_rates(link, num_steps, rng)
    for right in (True, False):
        paths = list(enumerate_paths(keep, fix, right, start, fp, fn))
        evidence = sum(joint for _, joint, _ in paths)
        got = chain.posterior(keep, fix, right, start=start, fp=fp, fn=fn)
        assert np.isclose(chain.log_likelihood(keep, fix, right, start=start, fp=fp, fn=fn), np.log(evidence))
        for j in range(num_steps):
            prior_ok = sum(prior for path, _, prior in paths if path[j + 1])
            assert np.isclose(chain.filtered(keep, fix, start)[j], prior_ok)
            share = {
                "ok_S": sum(joint for path, joint, _ in paths if path[j + 1]),
                "was_ok_S": sum(joint for path, joint, _ in paths if path[j]),
                "kept_S": sum(joint for path, joint, _ in paths if path[j] and path[j + 1]),
                "fixed_S": sum(joint for path, joint, _ in paths if not path[j] and path[j + 1]),
                "first_error_S": sum(joint for path, joint, _ in paths if all(path[: j + 1]) and not path[j + 1]),
            }
            for name, joint in share.items():
                assert np.isclose(getattr(got, name)[j], joint / evidence, atol=1e-10), name


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("link", LINKS)
def test_posterior_weighted_bce_has_the_gradient_of_the_likelihood(link, right):
    """RSP, Prop. 2: with targets and weights held fixed, d/du of -[kept log k + (was_ok - kept) log(1 - k)] and its
    twin for fix are the gradient of -log P(outcome) in the logits, checked by central differences."""
    rng = np.random.default_rng(3)
    keep, fix, start = draw_rates(link, 5, rng)
    keep = np.clip(keep, 0.05, 0.95)
    logit_keep, logit_fix = np.log(keep / (1 - keep)), np.log(fix / (1 - fix))
    noise = {"start": start, "fp": 0.1, "fn": 0.05}
    post = chain.posterior(keep, fix, right, **noise)
    was_broken = 1 - post.was_ok_S
    bce_keep = post.was_ok_S * keep - post.kept_S  # d/du of weighted BCE: weight * sigmoid(u) - target mass
    bce_fix = was_broken * fix - post.fixed_S
    h = 1e-5
    for j in range(5):
        bump = np.eye(5)[j] * h
        for expected, plus, minus in (
            (bce_keep[j], (sigmoid(logit_keep + bump), fix), (sigmoid(logit_keep - bump), fix)),
            (bce_fix[j], (keep, sigmoid(logit_fix + bump)), (keep, sigmoid(logit_fix - bump))),
        ):
            up, down = chain.log_likelihood(*plus, right, **noise), chain.log_likelihood(*minus, right, **noise)
            assert np.isclose(expected, -(up - down) / (2 * h), atol=1e-7)


def test_swapping_the_states_at_one_time_leaves_the_likelihood():
    """The gauge: (k_t, f_t) -> (1 - k_t, 1 - f_t) with k_(t+1) <-> f_(t+1) renames the state at t and nothing else."""
    rng = np.random.default_rng(0)
    keep, fix = rng.uniform(size=6), rng.uniform(size=6)
    for t in range(5):
        swapped_keep, swapped_fix = keep.copy(), fix.copy()
        swapped_keep[t], swapped_fix[t] = 1 - keep[t], 1 - fix[t]
        swapped_keep[t + 1], swapped_fix[t + 1] = fix[t + 1], keep[t + 1]
        a, b = chain.filtered(keep, fix), chain.filtered(swapped_keep, swapped_fix)
        assert np.isclose(a[-1], b[-1]) and np.isclose(a[t], 1 - b[t])
        assert np.isclose(chain.log_likelihood(keep, fix, True), chain.log_likelihood(swapped_keep, swapped_fix, True))


def test_splitting_a_step_leaves_the_likelihood_and_shares_its_blame():
    """(1 - h) = (1 - h')(1 - h''): .72 = .8 * .9, so that no state and no other step notices."""
    whole, split = np.array([0.9, 0.72, 0.6]), np.array([0.9, 0.8, 0.9, 0.6])
    none3, none4 = np.zeros(3), np.zeros(4)
    assert np.isclose(chain.filtered(whole, none3)[-1], chain.filtered(split, none4)[-1])
    blame_whole = chain.posterior(whole, none3, False).first_error_S
    blame_split = chain.posterior(split, none4, False).first_error_S
    assert np.allclose(blame_whole, [blame_split[0], blame_split[1] + blame_split[2], blame_split[3]])


def test_verifier_noise_is_absorbed_exactly_by_a_free_last_step():
    """(fp, fn) -> (fp', fn') with k_T' = (fp + J k_T - fp') / J', and so for fix: the rates are not identified."""
    keep, fix = np.array([0.9, 0.8, 0.7]), np.array([0.0, 0.1, 0.3])
    fp, fn, fp_other, fn_other = 0.2, 0.1, 0.05, 0.02
    j, j_other = 1 - fp - fn, 1 - fp_other - fn_other
    keep_other, fix_other = keep.copy(), fix.copy()
    keep_other[-1] = (fp + j * keep[-1] - fp_other) / j_other
    fix_other[-1] = (fp + j * fix[-1] - fp_other) / j_other
    for right in (True, False):
        assert np.isclose(
            chain.log_likelihood(keep, fix, right, fp=fp, fn=fn),
            chain.log_likelihood(keep_other, fix_other, right, fp=fp_other, fn=fn_other),
        )


def test_derivation_without_recovery_is_survival():
    """CRM: a_j = prod keep, and on failure the first error is h_j S_(j-1) / (1 - S_S): here .1, .45, .09 over .64."""
    keep, none = np.array([0.9, 0.5, 0.8]), np.zeros(3)
    assert np.allclose(chain.filtered(keep, none), [0.9, 0.45, 0.36])
    assert np.allclose(chain.posterior(keep, none, False).first_error_S, np.array([0.1, 0.45, 0.09]) / 0.64)
    assert np.allclose(chain.posterior(keep, none, True).ok_S, 1.0)  # a lucky answer cannot be flagged


def test_retry_is_the_noisy_or_and_has_no_first_error():
    """1 - (1 - .2)(1 - .5) = .6; a chain that starts broken never breaks."""
    fix, keep = np.array([0.2, 0.5]), np.ones(2)
    assert np.isclose(chain.filtered(keep, fix, 0.0)[-1], 0.6)
    for right in (True, False):
        assert np.all(chain.posterior(keep, fix, right, start=0.0).first_error_S == 0)
    impossible = chain.posterior(keep, np.zeros(2), True, start=0.0)  # nothing fixed, and yet it is right
    assert np.all(impossible.first_error_S == 0)


@pytest.mark.parametrize("keep_rate", [0.5, 0.999, 1.0, 0.0])
def test_long_chains_stay_finite(keep_rate):
    keep, fix = np.full(2000, keep_rate), np.zeros(2000)
    for right in (True, False):
        post = chain.posterior(keep, fix, right)
        for name in ("ok_S", "was_ok_S", "kept_S", "fixed_S", "first_error_S"):
            values = getattr(post, name)
            assert np.all(np.isfinite(values)) and np.all((values >= -1e-9) & (values <= 1 + 1e-9))
        assert np.isfinite(chain.log_likelihood(keep, fix, right))


def test_long_failures_are_explained_in_full():
    """On a certain failure the first-error posterior is a distribution, however long the attempt."""
    post = chain.posterior(np.full(2000, 0.999), np.zeros(2000), False)
    assert np.isclose(post.first_error_S.sum(), 1.0)


def test_decoding_needs_no_threshold_on_steps():
    assert chain.decode_first_error(np.array([0.9, 0.9, 0.9])) == -1  # S_S = .729
    # blames .3, .7 * .7 = .49, .7 * .3 * .1: the second step
    assert chain.decode_first_error(np.array([0.7, 0.3, 0.9])) == 1
    # blames .5, .5 * 1 and a sure survivor: a tie goes to the earliest step
    assert chain.decode_first_error(np.array([0.5, 0.0, 1.0])) == 0
    # S_S = .9 * .9 * .65 = .527, just over one half: no error, although the last step alone is the likeliest
    assert chain.decode_first_error(np.array([0.9, 0.9, 0.65])) == -1


def test_bad_rates_and_shapes_are_refused():
    with pytest.raises(ValueError, match=r"fp=0\.6, fn=0\.4"):
        chain.check_rates(0.6, 0.4)
    with pytest.raises(ValueError, match="expected one non-empty"):
        chain.filtered(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="expected one non-empty"):
        chain.posterior(np.ones(0), np.ones(0), True)


def test_an_unlikely_success_is_still_a_success():
    """.9 ** 300 = 2e-14: far under any floor, and yet a right outcome says that every step held."""
    post = chain.posterior(np.full(300, 0.9), np.zeros(300), True)
    assert np.allclose(post.ok_S, 1.0) and np.all(post.first_error_S == 0)
