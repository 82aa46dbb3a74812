import asyncio
import contextlib
import socket
import time

import numpy as np
import pytest
from loopback import choice, model_answers, server
from transformers import LlamaForCausalLM

from stepcredit.core.protocols import Policy
from stepcredit.core.registry import bind
from stepcredit.core.rng import rng
from stepcredit.policy.hf import HFPolicy
from stepcredit.train.tiny import build_tokenizer, tiny_config

pytest.importorskip("openai", reason="the openai client is not installed: pip install 'stepcredit[http]'")
VLLM = {"data": [{"id": "m", "owned_by": "vllm"}]}


@pytest.fixture
def local():
    """A policy with a small untrained model, and probabilities far from uniform."""
    import torch

    own = build_tokenizer(["3 +4 *0 -2\n3+4=2\n2*0=0\n", "1 -2\n1-2=4\n12"])
    config = tiny_config(own, hidden=16, layers=2, heads=2, max_positions=64)
    config.initializer_range = 0.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HFPolicy(LlamaForCausalLM(config), own, device="cpu")


def remote(url, **knobs):
    return bind("policy", "openai", url=url, **knobs)("m")


def fast(url, **knobs):
    """No look at the list of models, and retries that do not wait: servers here say Retry-After."""
    return remote(url, **{"server": "openai", **knobs})


def ok(*texts):
    return {"choices": [choice(text, index=place) for place, text in enumerate(texts)]}


SOON = {"Retry-After": "0.01"}


def test_continuations_of_a_prefix_are_one_request_and_are_the_models(local):
    with server(model_answers(local), models=VLLM) as (url, asked):
        own = remote(url)
        groups = own.sample(["3 +4\n", "1 -2\n"], 5, rng(0), stop=["="], max_new_tokens=8)
    assert isinstance(own, Policy) and own.kind == "vllm"
    assert [body["n"] for body in asked] == [5, 5] and {body["prompt"] for body in asked} == {"3 +4\n", "1 -2\n"}
    by_prompt = {body["prompt"]: body for body in asked}
    for prefix, group in zip(["3 +4\n", "1 -2\n"], groups, strict=True):
        body = by_prompt[prefix]
        assert body["stop"] == ["="] and body["max_tokens"] == 8 and body["path"] == "/v1/completions"
        # What vLLM would take from generation_config.json is named, and neutral.
        assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (
            1,
            1,
            -1,
            0,
            1,
        )
        expected = local.sample([prefix], 5, np.random.default_rng(body["seed"]), stop=["="], max_new_tokens=8)[0]
        assert group == expected and any(one.text != group[0].text for one in group)
    assert own.cost.generated_tokens == sum(len(one.token_ids) for group in groups for one in group)
    assert own.cost.forwarded_tokens == 5 + 5 and own.cost.seconds > 0 and own.num_uncounted == 0  # <bos> 3 " +" 4 \n


def test_the_same_generator_sends_the_same_seeds(local):
    seeds = []
    for seed in (0, 0, 1):
        with server(model_answers(local), models=VLLM) as (url, asked):
            made = remote(url).sample(["3 +4\n", "1 -2\n"], 2, rng(seed), max_new_tokens=4)
            seeds.append((sorted(body["seed"] for body in asked), made))
    assert seeds[0] == seeds[1] and seeds[0][0] != seeds[2][0] and len(set(seeds[0][0])) == 2


def test_logprobs_of_given_text_are_those_of_the_model(local):
    prefixes = ["3 +4\n", "3 +4\n", "1 -2\n", "3 +4\n3+4=2\n"]
    continuations = ["3+4=2", "", "1-2=4\n1", "2*0=0"]
    with server(model_answers(local), models=VLLM) as (url, asked):
        own = remote(url)
        found = own.logprob(prefixes, continuations)
        assert np.isnan(own.logprob(["1"], ["2"])).all()  # "12" is one token
        with pytest.raises(ValueError, match="not empty"):
            own.logprob([""], ["2"])
        with pytest.raises(ValueError, match="1 prefixes need as many continuations, got 2"):
            own.logprob(["a"], ["2", "3"])
        assert own.logprob([], []).shape == (0,)
    assert found == pytest.approx(local.logprob(prefixes, continuations), abs=1e-5) and found[1] == 0
    assert len(asked) == 6 + 2  # three prefixes, three texts: each once


def test_a_server_that_does_not_echo_is_said():
    with (
        server(lambda body, number: ok("x")) as (url, _),
        pytest.raises(ValueError, match="no log-probabilities of a text"),
    ):
        fast(url).logprob(["a"], ["b"])
    with pytest.raises(ValueError, match="transformers serve gives no log-probabilities"):
        remote("http://127.0.0.1:9/v1", server="transformers").logprob(["a"], ["b"])


def test_a_server_that_ignores_n_is_asked_for_the_rest_and_then_singly():
    with server(lambda body, number: ok(f"{body['seed']}")) as (url, asked):
        own = fast(url)
        groups = own.sample(["a", "b"], 3, rng(0))
        assert [body.get("n") for body in asked] == [3, 3, None, None, None, None]
        assert len({one.text for group in groups for one in group}) == 6  # each its own seed
        own.sample(["a"], 2, rng(0))
        assert [body.get("n") for body in asked[6:]] == [None, None]
    assert own.num_uncounted == 8 and own.cost.generated_tokens == 0  # it does not say what it took


def test_completions_all_alike_that_cannot_be_chance_are_refused():
    def same(logprob):
        given = {"tokens": ["a", "b"], "token_logprobs": [logprob, logprob]}
        return lambda body, number: {"choices": [choice("ab", index=k, logprobs=given) for k in range(4)]}

    # Three more of e^-2 a token: e^-12 is chance; of e^-4: e^-24 < 1e-9 is not.
    with server(same(-2.0)) as (url, _):
        assert len(fast(url).sample(["p"], 4, rng(0))[0]) == 4
    with server(same(-4.0)) as (url, _):
        with pytest.raises(RuntimeError, match=r"4 times the same completion, 'ab'.*together=False"):
            fast(url).sample(["p"], 4, rng(0))
        assert len(fast(url, temperature=0.0).sample(["p"], 4, rng(0))[0]) == 4  # as it was asked to


def test_text_ends_before_the_stop_string_even_where_the_server_leaves_it():
    with server(lambda body, number: {"choices": [choice("ab;cd.", "length")]}) as (url, asked):
        (one,) = fast(url).sample(["p"], 1, rng(0), stop=[".", ";"])[0]
    assert (one.text, one.finish, one.token_ids, one.logprobs) == ("ab", "stop", None, None)
    assert asked[0]["key"] == "Bearer none"


def test_failures_are_retried_with_the_same_body():
    answers = [
        (429, {"error": {"message": "slow down"}}, SOON),
        (500, b"oops", SOON),
        (503, {"detail": "no"}, SOON),
        ok("x"),
    ]
    with server(lambda body, number: answers[number]) as (url, asked):
        own = fast(url, num_retries=3)
        assert own.sample(["p"], 1, rng(0))[0][0].text == "x"
    assert len(asked) == 4 and all(body == asked[0] for body in asked) and own.server.num_retried == 3


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((429, {"error": {"message": "slow down"}}, SOON), RuntimeError, r"answers 429: slow down \(asked 3 times\)"),
        ((500, b"<html>", SOON), RuntimeError, r"answers 500: .*\(asked 3 times\)"),
        ((401, {"error": {"message": "bad key"}}), ValueError, "answers 401: bad key; allowed: its key, as api_key"),
        ((404, {"error": {"message": "no such model"}}), ValueError, "404: no such model; it may have no model 'm'"),
        ((400, {"detail": "too long"}), ValueError, "answers 400: too long$"),
        ((422, {"detail": [{"loc": "top_k"}]}), ValueError, "answers 422: .*top_k"),
        ((200, b'{"choices": [{"te', {}), RuntimeError, r"cannot be read: .*\(asked 3 times\)"),
        ((200, b"<html>busy</html>", {"Content-Type": "text/html"}), RuntimeError, "cannot be read"),
        ((200, b"[]", {}), RuntimeError, r"cannot be read: no choices in '\[\]'"),
        ({"choices": []}, RuntimeError, "no choices"),
        ({"choices": [{"finish_reason": "stop"}]}, RuntimeError, "without a text and a known finish_reason"),
        ({"choices": [choice(finish="abort")]}, RuntimeError, "known finish_reason"),
        ({"choices": [choice(text=None)]}, RuntimeError, "without a text"),
    ],
)  # fmt: skip
def test_what_fails_for_good_is_said(answer, error, said, monkeypatch):
    monkeypatch.setattr("stepcredit.policy._server._LONGEST_WAIT", 0.01)
    with server(lambda body, number: answer) as (url, asked):
        with pytest.raises(error, match=said):
            fast(url, num_retries=2).sample(["p"], 1, rng(0))
        assert len(asked) == (1 if error is ValueError else 3)


def test_a_connection_closed_early_is_tried_again(monkeypatch):
    monkeypatch.setattr("stepcredit.policy._server._LONGEST_WAIT", 0.01)

    def half(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [')
        handler.close_connection = True

    def hang_up(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)

    with server(lambda body, number: [half, hang_up, ok("x")][number]) as (url, _):
        own = fast(url)
        own.server._answered = True
        assert own.sample(["p"], 1, rng(0))[0][0].text == "x"
    with server(lambda body, number: half) as (url, asked):
        own = fast(url, num_retries=1)
        own.server._answered = True
        with pytest.raises(ConnectionError, match=r"broke the connection.*\(asked 2 times\)"):
            own.sample(["p"], 1, rng(0))
        assert len(asked) == 2


def trickle(handler):
    """A byte at a time, for ever: no single read is slow."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(400):
            handler.wfile.write(b" ")
            time.sleep(0.02)


def stall(handler):
    time.sleep(8)


@pytest.mark.parametrize("slow", [stall, trickle])
def test_a_server_that_stalls_is_not_waited_for(slow, monkeypatch):
    monkeypatch.setattr("stepcredit.policy._server._LONGEST_WAIT", 0.01)
    with server(lambda body, number: slow) as (url, asked):
        own = fast(url, timeout=0.5, num_retries=1)
        start = time.perf_counter()
        with pytest.raises(TimeoutError, match=r"did not answer within 0.5 s \(asked 2 times\)"):
            own.sample(["p"], 1, rng(0))
        assert time.perf_counter() - start < 6 and len(asked) == 2


def test_one_refusal_ends_the_call_without_waiting_for_the_rest():
    with server(lambda body, number: (400, {"detail": "no"}) if body["prompt"] == "bad" else stall) as (url, _):
        start = time.perf_counter()
        with pytest.raises(ValueError, match="answers 400: no"):
            fast(url).sample(["good"] * 5 + ["bad"], 1, rng(0))
        assert time.perf_counter() - start < 6


def test_retries_of_a_call_have_a_budget():
    with server(lambda body, number: (500, {"detail": "no"}, SOON)) as (url, asked):
        with pytest.raises(RuntimeError):
            fast(url, num_retries=4, retry_share=0.1, concurrency=40).sample(["p"] * 40, 1, rng(0))
        # 40 requests, and at most 4 + 0.1 * 40 retries.
        assert len(asked) <= 48


def test_no_more_requests_are_under_way_than_allowed():
    here, most = [], []

    def answer(body, number):
        here.append(number)
        most.append(len(here))
        time.sleep(0.02)
        here.pop()
        return ok("x")

    with server(answer) as (url, asked):
        fast(url, concurrency=3).sample([str(n) for n in range(12)], 1, rng(0))
    assert max(most) == 3 and {body["prompt"] for body in asked} == {str(n) for n in range(12)}


def test_where_there_is_no_server_it_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        start = time.perf_counter()
        for knobs in ({}, {"server": "vllm"}):
            with pytest.raises(ConnectionError, match=f"no server at {url}"):
                remote(url, **knobs).sample(["p"], 1, rng(0))
        assert time.perf_counter() - start < 6


def test_a_model_the_server_does_not_have_a_refused_key_and_a_busy_server_are_said(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    with (
        server(ok, models={"data": [{"id": "other"}, {"id": "third"}]}) as (url, _),
        pytest.raises(ValueError, match="has no model 'm'; allowed: other, third"),
    ):
        remote(url)
    with (
        server(ok, models=(401, {"error": {"message": "bad key"}})) as (url, _),
        pytest.raises(ValueError, match="401: bad key; allowed: its key"),
    ):
        remote(url)
    with (
        server(ok, models=(503, {"detail": "loading"})) as (url, _),
        pytest.raises(ValueError, match="answers 503 when asked for its models: name its kind"),
    ):
        remote(url)
    with server(lambda body, number: ok("x")) as (url, asked):
        own = remote(url)  # neither a list of models nor a description of itself
        own.sample(["p"], 1, rng(0))
        assert own.kind == "openai" and asked[0]["key"] == "Bearer from-the-environment"
        assert not {"top_k", "min_p", "return_token_ids"} & set(asked[0])  # hosted servers refuse what they do not know


def test_each_kind_of_server_is_recognised_and_asked_in_its_own_words():
    for kind, knobs in {
        "sglang": {"models": {"data": [{"id": "m", "owned_by": "sglang"}]}},
        "transformers": {"models": (500, b"no cache"), "paths": {"/v1/completions": {}, "/load_model": {}}},
    }.items():
        with server(lambda body, number: ok("x"), **knobs) as (url, asked):
            own = remote(url, temperature=0.5, extra={"user": "u"})
            own.sample(["p"], 2, rng(0))
            assert own.kind == kind and all(body["user"] == "u" for body in asked)
            if kind == "sglang":
                assert asked[0]["top_k"] == -1 and asked[0]["n"] == 2 and asked[0]["temperature"] == 0.5
            else:
                assert len(asked) == 2 and "n" not in asked[0] and '"do_sample": true' in asked[0]["generation_config"]


def test_it_works_inside_a_running_loop():
    async def notebook(url):
        return fast(url).sample(["p"], 1, rng(0))

    with server(lambda body, number: ok("x")) as (url, _):
        assert asyncio.run(notebook(url))[0][0].text == "x"


def test_knobs_out_of_range_are_named():
    for knobs in ({"concurrency": 0}, {"timeout": 0}, {"num_retries": -1}, {"retry_share": -0.1}, {"temperature": -1},
                  {"top_p": 0}, {"server": "tgi"}, {"url": "localhost:8000"}):  # fmt: skip
        with pytest.raises(ValueError, match="allowed"):
            remote(**{"url": "http://127.0.0.1:9/v1", "server": "openai", **knobs})
    own = fast("http://127.0.0.1:9/v1")
    for given in ({"num": 0}, {"max_new_tokens": 0}, {"stop": [""]}):
        with pytest.raises(ValueError, match="allowed"):
            own.sample(["p"], **{"num": 1, "rng": rng(0), **given})
    assert own.sample([], 3, rng(0)) == []


def test_without_the_client_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(ValueError, match=r"pip install 'stepcredit\[http\]'"):
        remote("http://127.0.0.1:9/v1")
