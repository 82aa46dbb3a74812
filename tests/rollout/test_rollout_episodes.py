"""episodes: turns and their results, stars and trees of them, folds, and that steps are the tokens the policy was given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from stepcredit.core import registry
from stepcredit.core.environment import Reply, num_calls, one_by_one
from stepcredit.core.log_ratios import encode
from stepcredit.core.rng import rng
from stepcredit.core.truth import verified
from stepcredit.core.types import Completion, Cost, Credit, Judgment, Problem, Record, Step
from stepcredit.policy.hf import HFPolicy
from stepcredit.policy.scripted import Scripted
from stepcredit.rollout._folding import Folding, folded, last_facts, segments
from stepcredit.rollout._writing import Writing
from stepcredit.rollout.episodes import episodes
from stepcredit.train.policy_samples import Rules, policy_samples
from stepcredit.train.tiny import build_tokenizer, tiny_config

PROBLEM = Problem("p", "q")


def reply(problem, steps, draw):
    """`get n` is answered with the number of calls before it, "hm" is a thought, what begins with "a" the answer."""
    text = steps[-1].text
    if text.startswith(("a", "hm")):
        return Reply("answer" if text.startswith("a") else "reason")
    return Reply("tool_call", "none" if text == "get none" else f"= {sum(s.kind == 'tool_result' for s in steps)}")


WORLD = one_by_one(reply)


def play(policy, problems=(PROBLEM,), seed=0, environment=WORLD, **knobs):
    return episodes(problems, policy=policy, environment=environment, rng=rng(seed), **{"num": 1, **knobs})


def texts(tree, leaf):
    return [step.text for step in tree.solution(leaf)]


class Depth:
    """Calls until `depth` turns stand in the prefix, then answers; a token a turn, numbered as they are written."""

    def __init__(self, depth=3, nats=None):
        self.depth, self.nats, self.calls, self.written, self.cost = depth, nats, [], 0, Cost()

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        assert stop == ("\n",) and num == 1
        self.calls.append(list(prefixes))
        self.cost += Cost(forwarded_tokens=7)
        return [[self._one(prefix)] for prefix in prefixes]

    def _one(self, prefix):
        turn = prefix.count("get")
        text = f"a {self.written}" if turn >= self.depth - 1 else f"get {self.written}.{turn}"
        self.written += 1
        return Completion(text, (1,), None if self.nats is None else (-self.nats(turn),))  # a token a turn

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


class Typist:
    """Writes scripted turns in the tokens of a tokenizer, with the newline that closes them; "$" is the end token."""

    def __init__(self, turns, tokenizer):
        self.turns, self.tokenizer, self.given = list(turns), tokenizer, []

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        return [[self._one(prefix)] for prefix in prefixes]

    def _one(self, prefix):
        self.given.append(prefix)
        text = self.turns.pop(0)
        ended = text.endswith("$")
        text = text.removesuffix("$")
        ids = self.tokenizer(text if ended else text + "\n", add_special_tokens=False)["input_ids"]
        ids = [*ids, *([self.tokenizer.eos_token_id] if ended else [])]
        return Completion(text, tuple(ids), tuple([-0.5] * len(ids)))

    def token_ends(self, token_ids):
        spelt = [self.tokenizer.decode([token], skip_special_tokens=True) for token in token_ids]
        return np.cumsum([len(piece) for piece in spelt]).tolist()


def test_an_episode_is_turns_and_results_until_the_answer():
    policy = Scripted(["get a", "hm", "get b", "a x"], {})
    (tree,) = play(policy)
    assert [(s.text, s.kind, s.sampled) for s in tree.steps[1:]] == [
        ("get a", "tool_call", True), ("= 0", "tool_result", False), ("hm", "reason", True), ("get b", "tool_call", True),
        ("= 1", "tool_result", False), ("a x", "answer", True),
    ]  # fmt: skip
    assert policy.asked == ["q\n", "q\nget a\n= 0\n", "q\nget a\n= 0\nhm\n", "q\nget a\n= 0\nhm\nget b\n= 1\n"]
    assert tree.parent_N.tolist() == [-1, 0, 1, 2, 3, 4, 5] and tree.outcomes == (None,) * 7
    assert num_calls(tree) == 2 and all(step.context is None for step in tree.steps)


def test_a_star_is_written_by_all_live_episodes_together():
    """Three problems, two episodes each, three turns: three calls of the policy, whatever ends when."""
    policy = Depth(3)
    problems = [Problem(name, name) for name in "xyz"]
    trees = play(policy, problems, num=2)
    assert [len(call) for call in policy.calls] == [6, 6, 6] and policy.calls[0] == [
        "x\n",
        "x\n",
        "y\n",
        "y\n",
        "z\n",
        "z\n",
    ]
    for tree in trees:
        assert (
            tree.parent_N.tolist() == [-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9] and tree.group_N.tolist() == [0] * 6 + [1] * 5
        )
        assert tree.cost.generated_tokens == 6 and num_calls(tree) == 4
    assert sum(tree.cost.forwarded_tokens for tree in trees) == policy.cost.forwarded_tokens == 21
    # Those that are done are not asked any more: the first answers at once, the second after a call.
    policy = Scripted(["a x", "get a", "a y"], {})
    (tree,) = play(policy, num=2)
    assert policy.asked == ["q\n", "q\n", "q\nget a\n= 0\n"] and [len(texts(tree, leaf)) for leaf in tree.leaves] == [
        1,
        3,
    ]


def test_what_never_answers_is_truncated_and_its_last_call_has_no_result():
    (tree,) = play(Scripted(["get a", "get b", "get c"], {}), max_turns=3)
    assert texts(tree, tree.leaves[0]) == ["get a", "= 0", "get b", "= 1", "get c"]
    assert tree.outcomes[tree.leaves[0]].status == "truncated" and tree.steps[-1].kind == "tool_call"
    # An answer in the last turn is in time.
    (tree,) = play(Scripted(["get a", "a x"], {}), max_turns=2)
    assert tree.outcomes[tree.leaves[0]] is None


def test_a_turn_that_is_cut_is_truncated_and_not_carried_out():
    class Cut(Scripted):
        def _next(self, prefix, stop):
            one = super()._next(prefix, stop)
            return Completion(one.text, finish="length" if one.text == "get lo" else "stop")

    def unasked(problem, steps, draw):
        assert steps[-1].text != "get lo"
        return reply(problem, steps, draw)

    (tree,) = play(Cut(["get a", "get lo"], {}), environment=one_by_one(unasked))
    assert texts(tree, tree.leaves[0]) == ["get a", "= 0", "get lo"]
    assert tree.outcomes[tree.leaves[0]].status == "truncated" and tree.steps[-1].kind == "reason"


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(["q\nget a\n= 0\nget b\n= 1\nget none\nnone\nhm\na x\n= 2 3 4 5 6 7 8 9"])


def test_the_policys_end_ends_the_episode(tokenizer):
    (tree,) = play(Typist(["get a", "get b$"], tokenizer))
    assert texts(tree, tree.leaves[0]) == ["get a", "= 0", "get b"] and tree.outcomes[tree.leaves[0]] is None
    assert tree.steps[-1].token_ids[-1] == tokenizer.eos_token_id and tree.steps[-1].kind == "tool_call"
    # Nothing but the end is a step with no text: what was decided there has its token.
    (tree,) = play(Typist(["get a", "$"], tokenizer))
    assert (tree.steps[-1].text, tree.steps[-1].token_ids) == ("", (tokenizer.eos_token_id,))


def test_the_tokens_of_an_episode_are_those_of_its_text(tokenizer):
    policy = Typist(["get a", "hm", "get b", "a x"], tokenizer)
    (tree,) = play(policy)
    solution = tree.solution(tree.leaves[0])
    laid = encode(tokenizer, ["q\n"])[0]
    for step in solution:
        own = step.token_ids if step.sampled else tokenizer(step.text + "\n", add_special_tokens=False)["input_ids"]
        laid += own
    assert laid == encode(tokenizer, ["q\n" + "".join(step.text + "\n" for step in solution)])[0]
    assert all(step.context is None for step in solution) and all(
        len(step.logprobs) == len(step.token_ids) for step in solution if step.sampled
    )


# Branching


def test_whole_turns_are_continued_never_a_call_without_its_result():
    policy = Depth(4)
    trees = play(policy, [PROBLEM] * 40, num=2, num_rounds=2, num_nodes=3)
    starts = set()
    for tree in trees:
        per_tree = np.bincount(tree.group_N[list(tree.leaves)], minlength=2)
        assert per_tree.tolist() == [7, 7] and all(tree.steps[leaf].kind == "answer" for leaf in tree.leaves)
        assert all(len(texts(tree, leaf)) == 7 for leaf in tree.leaves)  # three calls, three results, an answer
        children = np.bincount(tree.parent_N[1:], minlength=tree.num_nodes)
        branching = [node for node in np.flatnonzero(children > 1).tolist() if node]
        starts |= {tree.steps[node].kind for node in branching}
        assert all(
            parent == 0 or tree.group_N[node] == tree.group_N[parent]
            for node, parent in enumerate(tree.parent_N)
            if node
        )
    assert starts == {"tool_result"}


@pytest.mark.parametrize(("root", "shares"), [(True, [0.25] * 4), (False, [0, 1 / 3, 1 / 3, 1 / 3])])
def test_the_root_is_a_candidate_or_not_and_turns_are_chosen_evenly(root, shares):
    """Three calls and an answer: the prompt and three results. 1,000 choices, four errors of .0145."""
    policy = Depth(4)
    play(policy, [PROBLEM] * 500, num_rounds=1, num_nodes=2, root=root)
    depth = np.array([prefix.count("get") for prefix in policy.calls[4]])  # the first round of continuing
    assert len(depth) == 1000 and np.all(np.abs(np.bincount(depth, minlength=4) / 1000 - shares) < 0.06)


def test_a_continuation_counts_the_turns_before_it():
    (tree,) = play(Depth(9), max_turns=3, num_rounds=1, num_nodes=4)
    assert (
        all(len([s for s in tree.solution(leaf) if s.sampled]) == 3 for leaf in tree.leaves) and len(tree.leaves) == 5
    )
    assert {tree.outcomes[leaf].status for leaf in tree.leaves} == {"truncated"}


def test_leaves_are_pruned_and_paid_for():
    whole, kept = (play(Depth(4), num=2, num_rounds=1, num_nodes=4, num_leaves=k)[0] for k in (None, 2))
    assert np.bincount(kept.group_N[list(kept.leaves)]).tolist() == [2, 2] and len(whole.leaves) == 10
    assert kept.cost.generated_tokens == whole.cost.generated_tokens > sum(len(s.token_ids or ()) for s in kept.steps)
    assert num_calls(kept) < num_calls(whole)


def test_surprise_is_that_of_the_turn_behind_a_result():
    policy = Depth(3, lambda turn: [1.0, 0.5, 2.0][turn])
    play(policy, num_rounds=1, num_nodes=2, choose="entropy")
    assert [prefix.count("get") for prefix in policy.calls[3]] == [
        2,
        0,
    ]  # the answer surprised most, then the first call


def test_a_judges_doubt_of_a_call_is_doubt_of_its_turn():
    def judge(attempts):
        return [Judgment(0.5, [0.9, 0.45, 0.2, 0.5][: sum(s.sampled for s in steps)]) for _, steps in attempts]

    policy = Depth(4)
    (tree,) = play(policy, num_rounds=1, num_nodes=2, choose="judge", judge=judge)
    # Doubtful are turns 2 (.05 from a half) and 3 (.3); the answer is a leaf. They go on behind their results.
    assert sorted(prefix.count("get") for prefix in policy.calls[4]) == [2, 3] and tree.cost.judge_calls == 1


class Clerk:
    """Puts what its turn number says under a key, and reads it again in the last turn."""

    def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
        return [[Completion(self._one(prefix, rng))] for prefix in prefixes]

    def _one(self, prefix, rng):
        puts = prefix.count("\nput")
        if puts < 2:
            return f"put {puts + 1} {int(rng.integers(100, 10**6))}"
        return "answer 1" if "\nget" in prefix else f"get {1 + int(rng.integers(2))}"

    def logprob(self, prefixes, continuations):
        raise NotImplementedError


def test_branches_of_a_tree_share_no_state():
    """Every get finds what the same path has put, never what another branch has put under the same key."""
    task = registry.bind("tasks", "tool_use", backend="store")()
    problems = task.problems(10, rng(0))
    trees = play(Clerk(), problems, environment=task.environment, num=2, num_rounds=3, num_nodes=3)
    read = 0
    for tree in trees:
        assert len({s.text for s in tree.steps if s.text.startswith("put 1")}) > 1  # the branches differ
        for leaf in tree.leaves:
            solution = texts(tree, leaf)
            for place, text in enumerate(solution):
                if text.startswith("get"):
                    key, read = text.split()[1], read + 1
                    put = next(t for t in solution if t.startswith(f"put {key} ")).split()[2]
                    assert solution[place + 1] == f"= {put}"
    assert read == 2 * 10 * 10  # 10 leaves in each of two trees of ten problems


# Folding


def test_a_fold_starts_a_segment_that_the_next_steps_continue(tokenizer):
    """Tokens: q, newline and the start are 3, a call and its result 3 each but "none", 2. Above 10 it folds: before turn 3."""
    policy = Typist(["get a", "get none", "get b", "a x"], tokenizer)
    (tree,) = play(policy, fold_after=10)
    solution = tree.solution(tree.leaves[0])
    memory = "q\nget a\n= 0\n"  # none is no fact
    # Before turn 4 there is nothing left out: what is remembered is the text as it stands.
    assert [step.context for step in solution if step.sampled] == [None, None, memory, None]
    assert policy.given == ["q\n", memory, memory, "q\nget a\n= 0\nget b\n= 2\n"]
    # Every turn a segment, where one alone is over the limit.
    policy = Typist(["get a", "get b", "get a", "a x"], tokenizer)
    (tree,) = play(policy, fold_after=10)
    assert policy.given[3] == "q\nget b\n= 1\nget a\n= 2\n" == tree.steps[-1].context
    # A limit that lets a turn fit in: the steps behind a fold continue it.
    policy = Typist(["get a", "get none", "get none", "hm", "a x"], tokenizer)
    (tree,) = play(policy, fold_after=15)
    assert [s.context is None for s in tree.solution(tree.leaves[0]) if s.sampled] == [True, True, True, False, True]
    assert policy.given[3:] == [memory, memory + "hm\n"]


def test_each_segment_is_a_row_under_its_own_prompt(tokenizer):
    policy = Typist(["get a", "get none", "get none", "hm", "a x"], tokenizer)
    (tree,) = play(policy, fold_after=15)
    credit = Credit(np.ones(tree.num_nodes), "advantage", np.ones(tree.num_nodes), "test")
    rows = policy_samples([tree], [credit], tokenizer, rules=Rules(contexts="own"))
    memory = "q\nget a\n= 0\n"
    assert [tokenizer.decode(row.token_ids_T[1:]) for row in rows] == [
        memory + 2 * "get none\nnone\n", memory + "hm\na x\n",
    ]  # fmt: skip
    assert [tokenizer.decode(row.token_ids_T[row.loss_mask_T]) for row in rows] == [
        "get a\nget none\nget none\n",
        "hm\na x\n",
    ]


@pytest.mark.parametrize(("after", "num_segments"), [(10, 4), (20, 3), (99, 1)])
def test_a_demonstration_is_folded_as_an_episode_would_be(tokenizer, after, num_segments):
    """Tokens before each turn, unfolded: 3, 9, 14, 20, 22, 28; two facts behind the prompt are 15.

    Limit 20: 22 is folded to 15, and so is the 21 after it. Limit 10: 14 to one fact, 9; the 15 after that is two facts as it
    stands; 17, with the thought, and the 21 after it are folded to 15.
    """
    (tree,) = play(Typist(["get a", "get none", "get b", "hm", "get a", "a x"], tokenizer), fold_after=after)
    played, writing = list(tree.solution(tree.leaves[0])), Writing()
    plain = [replace(step, context=None) for step in played]
    assert folded(PROBLEM, plain, Folding(after, last_facts), writing, tokenizer) == played
    credit = Credit(np.ones(tree.num_nodes), "advantage", np.ones(tree.num_nodes), "test")
    rows = policy_samples([tree], [credit], tokenizer, rules=Rules(contexts="own"))
    assert [tokenizer.decode(row.token_ids_T[1:]) for row in rows] == segments(PROBLEM, played, writing)
    assert len(rows) == num_segments


def test_how_it_is_folded_is_a_function_and_the_environment_knows_the_whole_path(tokenizer):
    def count(problem, steps):
        return [f"= {sum(step.sampled for step in steps)}"]

    policy = Typist(["get a", "get b", "a x"], tokenizer)
    (tree,) = play(policy, fold_after=4, fold=count)
    assert policy.given == ["q\n", "q\n= 1\n", "q\n= 2\n"]
    assert texts(tree, tree.leaves[0]) == ["get a", "= 0", "get b", "= 1", "a x"]


def test_a_branch_behind_a_fold_goes_on_in_its_segment(tokenizer):
    turns = ["get a", "get none", "get none", "hm", "a x"]
    policy = Typist([*turns, *turns[4:], "hm", "a x"], tokenizer)
    (tree,) = play(policy, fold_after=15, num_rounds=2, num_nodes=1, root=False, choose="judge",
                   judge=lambda attempts: [Judgment(0.5, [0, 0, 0, 0.5, 0][: sum(s.sampled for s in a)]) for _, a in attempts])  # fmt: skip
    # The thought is continued, twice: behind the fold's text and the thought, as the first time.
    assert policy.given[5] == policy.given[4] == "q\nget a\n= 0\nhm\n" and len(tree.leaves) == 3
    contexts = [[s.context for s in tree.solution(leaf) if s.sampled] for leaf in tree.leaves]
    assert [len(one) for one in contexts] == [5, 5, 6]
    assert all(one[3] == "q\nget a\n= 0\n" and not any(one[:3] + one[4:]) for one in contexts)


def test_without_a_tokenizer_words_are_counted():
    policy = Scripted(["get a", "get b", "a x"], {})
    play(policy, fold_after=5)  # q get a = 0 are five words
    assert policy.asked == ["q\n", "q\nget a\n= 0\n", "q\nget a\n= 0\nget b\n= 1\n"]
    policy = Scripted(["get a", "get b", "a x"], {})
    play(policy, fold_after=4, fold=lambda problem, steps: ["so"])
    assert policy.asked == ["q\n", "q\nso\n", "q\nso\n"] or policy.asked == ["q\n", "q\nso\n", "q\nso\nget b\n= 1\n"]


def test_a_task_longer_than_the_policys_memory_is_solved_only_with_folds():
    """Six hops need 6 x 5 words and more; a reader of the last 16 words of its text alone finds the way with folds."""
    task = registry.bind("tasks", "kg_hop", hops=6, slip=0.0)()
    problems = task.problems(20, rng(0))

    class Forgetful:
        def sample(self, prefixes, num, rng, *, stop=(), max_new_tokens=256):
            return [[Completion(self._one(prefix))] for prefix in prefixes]

        def _one(self, prefix):
            words = prefix.split()[-16:]
            if "q" not in words:
                return "a ada"
            place = words.index("q")
            _, start, *path = words[place : place + 8]
            at = 2 * ["s"].count("s") and [i for i, word in enumerate(words) if word == "s"]
            if not at:
                return f"s {start} {path[0]}"
            _, _, relation, found = words[at[-1] : at[-1] + 4]
            due = path.index(relation) + 1
            return f"a {found}" if due == len(path) else f"s {found} {path[due]}"

        def logprob(self, prefixes, continuations):
            raise NotImplementedError

    def accuracy(**knobs):
        trees = play(Forgetful(), problems, environment=task.environment, max_turns=9, **knobs)
        return np.mean([verified(Record(tree), task.verify).tree.reward_N[tree.leaves[0]] for tree in trees])

    assert accuracy() < 0.3 and accuracy(fold_after=16) == 1.0


def test_the_last_facts_are_calls_that_found_something():
    steps = [s for call, result in [("g 1", "= 1"), ("g 2", "ERROR x"), ("g 3", "none"), ("g 4", "= 4"), ("g 5", "= 5")]
             for s in (Step(call), Step(result, kind="tool_result", sampled=False))]  # fmt: skip
    assert last_facts(PROBLEM, steps) == ["g 4", "= 4", "g 5", "= 5"]
    assert (
        last_facts(PROBLEM, steps, num=9) == ["g 1", "= 1", "g 4", "= 4", "g 5", "= 5"]
        and last_facts(PROBLEM, []) == []
    )


# A policy that writes whatever tokens it likes


@pytest.fixture(scope="module")
def wild(tokenizer):
    """An untrained model: it ends, breaks off and misspells, so that its tokens are often not those of their text."""
    torch.manual_seed(0)
    config = tiny_config(tokenizer, hidden=16, layers=2, heads=2, max_positions=256)
    return HFPolicy(LlamaForCausalLM(config), tokenizer, batch_size=16)


class Watched:
    """A policy whose every question and answer is kept, in tokens."""

    def __init__(self, own):
        self.own, self.kept = own, []

    def __getattr__(self, name):
        return getattr(self.own, name)

    def sample(self, prefixes, num, rng, **knobs):
        groups = self.own.sample(prefixes, num, rng, **knobs)
        heads = encode(self.own.tokenizer, prefixes)
        self.kept += [(*head, *one.token_ids) for head, (one,) in zip(heads, groups, strict=True)]
        return groups


@pytest.mark.parametrize(
    "knobs", [{}, {"fold_after": 40}, {"num_rounds": 2, "root": False}, {"fold_after": 40, "num_rounds": 2}]
)
def test_segments_are_token_by_token_what_the_policy_was_given(wild, knobs):
    """Whatever it writes: each row, cut behind any of its steps, is a prompt and what was sampled behind it, at its log-probability."""
    policy = Watched(wild)
    problems = [Problem(prompt, prompt) for prompt in ("q", "get a", "= 4", "hm")]
    trees = play(policy, problems, num=6, max_turns=5, max_new_tokens=32, **knobs)
    credits = [Credit(np.ones(tree.num_nodes), "advantage", np.ones(tree.num_nodes), "test") for tree in trees]
    rows = policy_samples(trees, credits, wild.tokenizer, rules=Rules(contexts="own"))
    told = [step for tree in trees for step in tree.steps if step.context is not None]
    assert len(told) > 5 and len(rows) > 24 and sum(num_calls(tree) for tree in trees) > 10
    kept, trained = set(policy.kept), 0
    for row in rows:
        ids, mask = row.token_ids_T.tolist(), row.loss_mask_T
        ends = [t + 1 for t in range(len(ids)) if mask[t] and (t + 1 == len(ids) or not mask[t + 1])]
        assert all(tuple(ids[:end]) in kept for end in ends)
        trained += int(mask.sum())
        with torch.no_grad():
            logprob_TV = wild.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        there = logprob_TV[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()[mask[1:]]
        assert np.allclose(there, row.old_logprob_T[mask], atol=1e-4)
    assert trained == sum(len(step.token_ids) for tree in trees for step in tree.steps if step.sampled)


def test_the_same_seed_gives_the_same_trees(wild):
    def unsure(problem, steps, draw):
        one = reply(problem, steps, draw)
        return Reply(one.kind, None if one.result is None else f"= {int(draw.integers(9))}")

    for environment in (WORLD, one_by_one(unsure)):
        one, two, other = (
            play(wild, [PROBLEM, Problem("r", "= 4")], seed, environment, num=4, num_rounds=1, max_new_tokens=12)
            for seed in (1, 1, 2)
        )
        assert all(
            a.steps == b.steps and a.parent_N.tolist() == b.parent_N.tolist() for a, b in zip(one, two, strict=True)
        )
        assert any(a.steps != b.steps for a, b in zip(one, other, strict=True))
    assert play(wild, []) == []


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"num": 0}, "0 trees"), ({"num_nodes": 0}, "0 nodes"), ({"num_rounds": 1, "num_leaves": 4}, "4 leaves; .* 1 to 3"),
        ({"max_turns": 0}, "max_turns is 0"), ({"fold_after": 0}, "fold_after is 0"), ({"delimiter": ""}, "delimiter ''"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"), ({"choose": "judge"}, "judge not given"),
        ({"choose": "entropy", "num_rounds": 1}, "needs log-probabilities"),
    ],
)  # fmt: skip
def test_wrong_knobs_are_named(knobs, said):
    with pytest.raises(ValueError, match=said):
        play(Depth(2), **knobs)
