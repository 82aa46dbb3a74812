"""score_vector: projected gradients against finite differences and autograd, on tiny random models."""

import numpy as np
import pytest
import torch
from test_policy_hf import PREFIXES, policy, token_logprobs

from stepcredit.core.rng import rng
from stepcredit.policy._score_vector import directions

CONTINUATIONS = ["3+4=2\n", "1-2=4\n4*3=2", "0"]


def gradient(own, prefix, continuation):
    """The whole gradient in the output embedding, [V, D], by autograd; for models whose embeddings are not tied."""
    ids = own.tokenizer(prefix)["input_ids"]
    tail = own.tokenizer(continuation, add_special_tokens=False)["input_ids"]
    logprob_TV = own.model(torch.tensor([[*ids, *tail]])).logits[0].log_softmax(-1)
    total = sum(logprob_TV[len(ids) - 1 + t, token] for t, token in enumerate(tail))
    return torch.autograd.grad(total, own.model.get_output_embeddings().weight)[0].double().numpy()


def untied():
    own = policy()
    weight = own.model.get_output_embeddings().weight
    own.model.get_output_embeddings().weight = torch.nn.Parameter(weight.detach().clone())
    return own


def test_it_is_the_derivative_along_each_direction():
    """(log p(W + e D) - log p(W - e D)) / 2e, D the outer product of the direction's signs over sqrt(dim)."""
    own, dim, size = untied(), 5, 1e-3
    found = own.score_vector(PREFIXES, CONTINUATIONS, dim=dim, seed=3)
    weight = own.model.get_output_embeddings().weight
    signs_VR, signs_DR = directions(*weight.shape, dim, 3)
    own.model.double()
    for r in range(dim):
        step = torch.tensor(np.outer(signs_VR[:, r], signs_DR[:, r]) / np.sqrt(dim) * size)
        said = []
        for sign in (1, -1):
            with torch.no_grad():
                own.model.get_output_embeddings().weight += sign * step
            said.append([sum(token_logprobs(own, p, own.tokenizer(c, add_special_tokens=False)["input_ids"]))
                         for p, c in zip(PREFIXES, CONTINUATIONS, strict=True)])  # fmt: skip
            with torch.no_grad():
                own.model.get_output_embeddings().weight -= sign * step
        assert found[:, r] == pytest.approx((np.array(said[0]) - said[1]) / (2 * size), rel=1e-3, abs=1e-4)
    assert np.abs(found).max() > 0.1


def test_it_is_the_whole_gradient_seen_in_the_directions():
    own = untied()
    found = own.score_vector(PREFIXES, CONTINUATIONS, dim=7, seed=1)
    signs_VR, signs_DR = directions(*own.model.get_output_embeddings().weight.shape, 7, 1)
    for row, (prefix, continuation) in enumerate(zip(PREFIXES, CONTINUATIONS, strict=True)):
        seen = np.einsum("vr,vd,dr->r", signs_VR, gradient(own, prefix, continuation), signs_DR) / np.sqrt(7)
        assert found[row] == pytest.approx(seen, rel=1e-4, abs=1e-4)


def test_its_squared_length_estimates_that_of_the_gradient():
    """Unbiased: over 60 seeds of 64 directions the mean is within a few percent."""
    own = untied()
    whole = np.sum(gradient(own, PREFIXES[0], CONTINUATIONS[0]) ** 2)
    seen = [np.sum(own.score_vector(PREFIXES[:1], CONTINUATIONS[:1], seed=seed) ** 2) for seed in range(60)]
    assert np.mean(seen) == pytest.approx(whole, rel=5 * np.std(seen) / np.sqrt(60) / whole)
    assert np.std(seen) / np.sqrt(60) < 0.1 * whole


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_batches_and_shared_texts_change_nothing(kind):
    prefixes = ["3 +4 *0\n", "3 +4 *0\n3+4=2\n", *PREFIXES]
    continuations = ["3+4=2\n", "2*0=0\n", *CONTINUATIONS]
    whole = policy(kind).score_vector(prefixes, continuations, dim=8)
    small = policy(kind, batch_size=2)
    alone = np.concatenate([small.score_vector([p], [c], dim=8) for p, c in zip(prefixes, continuations, strict=True)])
    assert np.allclose(whole, alone, rtol=0, atol=1e-4)
    assert np.allclose(small.score_vector(prefixes, continuations, dim=8), alone, rtol=0, atol=1e-4)


def test_the_steps_of_an_attempt_are_read_in_one_pass():
    own = policy()
    own.score_vector(["3 +4 *0\n", "3 +4 *0\n3+4=2\n"], ["3+4=2\n", "2*0=0"])
    assert own.cost.forwarded_tokens == len(own.tokenizer("3 +4 *0\n3+4=2\n2*0=0")["input_ids"])


def test_the_gradient_of_a_text_is_the_sum_of_its_parts():
    own = policy()
    parts = own.score_vector(["3 +4\n", "3 +4\n3+4=2\n"], ["3+4=2\n", "2*0=0"], dim=6)
    assert own.score_vector(["3 +4\n"], ["3+4=2\n2*0=0"], dim=6)[0] == pytest.approx(parts.sum(0), abs=1e-4)


def test_the_same_seed_is_the_same_bytes_and_nothing_is_left_behind():
    own = policy()
    for number, parameter in enumerate(own.model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        parameter.grad = torch.ones_like(parameter) if number % 4 == 0 else None
    before = [(p.requires_grad, None if p.grad is None else p.grad.clone(), p.clone()) for p in own.model.parameters()]
    state = torch.get_rng_state()
    first = own.score_vector(PREFIXES, CONTINUATIONS)
    assert first.shape == (3, 64) and first.dtype == np.float64
    assert own.score_vector(PREFIXES, CONTINUATIONS).tobytes() == first.tobytes()
    assert own.score_vector(PREFIXES, CONTINUATIONS, seed=1).tobytes() != first.tobytes()
    assert torch.equal(torch.get_rng_state(), state)
    for parameter, (needs, grad, value) in zip(own.model.parameters(), before, strict=True):
        assert parameter.requires_grad == needs and torch.equal(parameter, value)
        assert parameter.grad is None if grad is None else torch.equal(parameter.grad, grad)
    assert not own.model.get_output_embeddings()._forward_hooks
    assert own.sample(PREFIXES, 1, rng(0), max_new_tokens=2)


def test_an_empty_continuation_has_no_gradient_and_no_question_no_row():
    own = policy()
    assert not own.score_vector(PREFIXES, ["", "", ""]).any()
    assert own.score_vector([], [], dim=3).shape == (0, 3)


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match="dim 0; allowed: 1 or more"):
        policy().score_vector(PREFIXES, CONTINUATIONS, dim=0)
    with pytest.raises(ValueError, match="3 prefixes need as many continuations, got 1"):
        policy().score_vector(PREFIXES, ["1"])
    capped = policy()
    plain = capped.model.forward

    def forward(**given):
        out = plain(**given)
        out.logits = out.logits.tanh()
        return out

    capped.model.forward = forward
    with pytest.raises(ValueError, match="LlamaForCausalLM are not what its output embedding gives"):
        capped.score_vector(PREFIXES, CONTINUATIONS)
    assert not capped.model.get_output_embeddings()._forward_hooks


def test_the_network_of_these_tests_is_far_from_uniform():
    """Else gradients would be about those of a constant."""
    own = policy()
    p_V = np.exp([token_logprobs(own, "3 +4\n", [token])[0] for token in range(own.model.config.vocab_size)])
    assert p_V.max() > 3 / len(p_V)
