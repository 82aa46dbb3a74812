"""A server on loopback that answers /completions as it is told: by a real small model, or badly."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


@contextmanager
def server(answer, *, models=None, paths=None):
    """Serve `answer(body, asked)`; gives the url and the list of bodies asked for.

    `answer` returns a dict (200), (status, dict or bytes, headers), or a function of the handler that does as it likes.
    """
    asked, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *given):
            pass

        def say(self, status, said, headers=None):
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            found = {"/v1/models": models, "/openapi.json": paths and {"paths": paths}}.get(self.path)
            if isinstance(found, tuple):
                self.say(*found)
            else:
                self.say(404 if found is None else 200, found or {"detail": "Not Found"})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append({**body, "key": self.headers["Authorization"], "path": self.path})
                number = len(asked) - 1
            found = answer(body, number)
            if callable(found):
                found(self)
            elif isinstance(found, tuple):
                self.say(*found)
            else:
                self.say(200, found)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *given):  # a client that hung up
            pass

    own = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{own.server_port}/v1", asked
    finally:
        own.shutdown()
        own.server_close()
        thread.join()


def choice(text="x", finish="stop", index=0, **more):
    return {"text": text, "finish_reason": finish, "index": index, **more}


def model_answers(policy):
    """As vLLM answers, from a `policy/hf`: n, seed, stop, log-probabilities, token ids, echo, usage."""
    lock = threading.Lock()

    def tokens(ids):
        return [policy.tokenizer.decode([token]) for token in ids]

    def answer(body, number):
        prompt = policy.tokenizer(body["prompt"])["input_ids"]
        with lock:
            if body.get("echo"):
                given = [None, *(_one(policy, prompt, place) for place in range(1, len(prompt)))]
                logprobs = {"tokens": [*tokens(prompt), "?"], "token_logprobs": [*given, -1.0]}
                return {"choices": [choice("", "length", logprobs=logprobs)],
                        "usage": {"prompt_tokens": len(prompt), "completion_tokens": 1}}  # fmt: skip
            made = policy.sample([body["prompt"]], body.get("n", 1), np.random.default_rng(body["seed"]),
                                 stop=body.get("stop", ()), max_new_tokens=body["max_tokens"])[0]  # fmt: skip
        choices = [
            choice(one.text, one.finish, place, token_ids=one.token_ids,
                   logprobs={"tokens": tokens(one.token_ids), "token_logprobs": one.logprobs})
            for place, one in enumerate(made)
        ]  # fmt: skip
        usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(len(one.token_ids) for one in made)}
        return {"choices": choices[::-1], "usage": usage}

    return answer


def _one(policy, ids, place):
    """log p of the token at this place."""
    import torch

    with torch.no_grad():
        return policy.model(torch.tensor([ids[:place]])).logits[0, -1].log_softmax(-1)[ids[place]].item()
