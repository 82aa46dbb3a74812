"""Critique-GRPO on prompts that the start policy never solves: refinements, policy shaping, more attempts, a critic that misleads.

Critique-GRPO (arXiv:2506.03106; 3 to 32 B parameters, GPT-4o's critiques) reports 47.1 against GRPO's 42.7 at 7 B over eight tasks,
+3.1 of it from policy shaping (43.95 without), pass@4 = 0 on 29 % of training prompts with refinements right on 55 % of them, and
an explosion of entropy with inverted critiques. Here: chains modulo 5 with eight facts that the policy gets wrong nearly always,
an oracle's critiques, equal generated tokens. Departures: `recipes/critique_grpo`, whose EXPECTATION was written before these seeds.
From seed 685 on: critics without the oracle, size "critics", a start policy that has seen no step's truth and is told all critiques.
The plateau is those problems none of whose 8 attempts by the start policy was right; it is tested by new attempts.
"""

from __future__ import annotations

from _claim import Claim, minus

from stepcredit.core.types import Estimate

SEEDS = (680, 681, 682, 683, 684)
PAPER = "arXiv:2506.03106"
BUDGET = "recipes/critique_grpo --size small: equal generated tokens, critiques and refinements included"
CRITIC_SEEDS = (685, 686, 687, 688, 689)
CRITICS = "recipes/critique_grpo --size critics: equal generated tokens, critiques and refinements included"
HELD_OUT, TRAIN, SOLVED = "held-out plateau", "train plateau", "train plateau, solved"
CLAIMS = (
    Claim("critique_shaped_above_unshaped", PAPER, "Policy shaping of refinements solves more of the held-out plateau than the ordinary ratio.",
          "unshaped", HELD_OUT, "below: at a chance of .002 the shaped gain is .02, the ordinary one 1", SEEDS, BUDGET),
    Claim("critique_shaped_above_grpo_8", PAPER, "Seven attempts and a shaped refinement solve more of the held-out plateau than GRPO with eight attempts.",
          "grpo_8", HELD_OUT, "above", SEEDS, BUDGET),
    Claim("critique_unshaped_above_grpo_8", PAPER, "Seven attempts and an unshaped refinement solve more of the held-out plateau than GRPO with eight attempts.",
          "grpo_8", HELD_OUT, "above", SEEDS, BUDGET),
    Claim("critique_shaped_solves_train_prompts", PAPER, "With shaped refinements more of the training prompts that were never solved are solved later than with GRPO.",
          "grpo_8", SOLVED, "above", SEEDS, BUDGET),
    Claim("grpo_16_above_grpo_8", PAPER, "Twice the attempts a prompt, at equal tokens, solve more of the held-out plateau.",
          "grpo_8", HELD_OUT, "even: both stay near nothing", SEEDS, BUDGET),
    Claim("misleading_critic_below_grpo_8", PAPER, "GRPO without critiques succeeds more often at held-out problems than with a critic that misleads.",
          "misleading", "success", "even or above, by little: refinements that mislead are wrong, and the group stays silent", SEEDS, BUDGET),
    Claim("misleading_critic_raises_entropy", PAPER, "A critic that misleads leaves the policy more surprised by its own tokens than GRPO.",
          "grpo_8", "surprise", "even: nothing is trained on wrong refinements alone", SEEDS, BUDGET),
    Claim("critique_near_reference", "ours", "A shaped refinement teaches no worse (.05) than the task's own solution in its place.",
          "reference", HELD_OUT, "above -.05", SEEDS, BUDGET, -0.05),
    Claim("released_copies_teach_nothing", PAPER, "A group of copies of one refinement, as the released script makes it, leaves the start policy as it is.",
          "copies", "success", "exactly: all advantages are 0", SEEDS, BUDGET, -1e-9),
    Claim("critic_oracle_above_grpo_8", PAPER, "Told the first mistake by an oracle, a policy that saw no step's truth leaves the held-out plateau sooner than GRPO.",
          "grpo_8", HELD_OUT, "above, by .3 or more", CRITIC_SEEDS, CRITICS),
    Claim("critic_verdict_above_grpo_8", PAPER, "A verdict alone as the critique solves more of the held-out plateau than GRPO with eight attempts.",
          "grpo_8", HELD_OUT, "above by .1 or so, unsettled", CRITIC_SEEDS, CRITICS),
    Claim("critic_answer_above_verdict", PAPER, "The verdict with the answer solves more of the held-out plateau than the verdict alone.",
          "unshaped_verdict", HELD_OUT, "even: more refinements end right, of which four in five by lines that are wrong", CRITIC_SEEDS, CRITICS),
    Claim("critic_oracle_above_answer", PAPER, "A critique that names the mistake solves more of the held-out plateau than the verdict with the answer.",
          "unshaped_answer", HELD_OUT, "above", CRITIC_SEEDS, CRITICS),
    Claim("critic_answer_raises_entropy", "ours", "Refinements made to fit an answer that was given away leave the policy more surprised by its own tokens than GRPO.",
          "grpo_8", "surprise", "above: four in five of them teach a wrong line", CRITIC_SEEDS, CRITICS),
    Claim("critic_own_above_grpo_8", PAPER, "With the policy's own critiques it solves more of the held-out plateau than GRPO with eight attempts.",
          "grpo_8", HELD_OUT, "even: it does not know which line is wrong; fewer than one refinement in ten is right", CRITIC_SEEDS, CRITICS),
    Claim("critic_inverted_below_grpo_8", PAPER, "GRPO without critiques succeeds more often at held-out problems than with verdicts turned round.",
          "unshaped_inverted", "success", "even: wrong attempts are called right and copied, and the group stays silent", CRITIC_SEEDS, CRITICS),
    Claim("critic_inverted_every_below_grpo_8", PAPER, "GRPO without critiques succeeds more often at held-out problems than with verdicts turned round where every problem is refined.",
          "unshaped_inverted_every", "success", "even: right attempts are spoilt, which is held against what nobody writes", CRITIC_SEEDS, CRITICS),
    Claim("critic_inverted_every_raises_entropy", PAPER, "Verdicts turned round, every problem refined, leave the policy more surprised by its own tokens than GRPO.",
          "grpo_8", "surprise", "below: spoilt attempts push towards the habits", CRITIC_SEEDS, CRITICS),
    Claim("refine_all_fail_above_every", PAPER, "To refine only where all attempts fail solves more of the held-out plateau, at equal tokens, than to refine one attempt at every problem.",
          "unshaped_every", HELD_OUT, "above by little: fewer updates for the same tokens, no more right attempts on the plateau", CRITIC_SEEDS, CRITICS),
    Claim("critic_verdict_tried_7_above_1", PAPER, "All seven failed attempts refined behind a verdict, one kept, solve more of the held-out plateau than one refined.",
          "unshaped_verdict", HELD_OUT, "above: with seven tries a group in two or three has a right one", CRITIC_SEEDS, CRITICS),
    Claim("critique_shaped_3x_above_unshaped", PAPER, "Policy shaping at three times the rate solves more of the held-out plateau than the ordinary ratio at one.",
          "unshaped", HELD_OUT, "below: the rate harms all else", CRITIC_SEEDS, CRITICS),
    Claim("critique_shaped_3x_above_unshaped_3x", PAPER, "At a rate three times too large, policies trained with shaped refinements succeed more often than with the ordinary ratio.",
          "unshaped_3x", "success", "above by .1 or so, unsettled: both are harmed", CRITIC_SEEDS, CRITICS),
)  # fmt: skip
# The arm that is compared with each claim's control: first minus control.
ARMS = {
    "critique_shaped_above_unshaped": "shaped",
    "critique_shaped_above_grpo_8": "shaped",
    "critique_unshaped_above_grpo_8": "unshaped",
    "critique_shaped_solves_train_prompts": "shaped",
    "grpo_16_above_grpo_8": "grpo_16",
    "misleading_critic_below_grpo_8": "grpo_8",
    "misleading_critic_raises_entropy": "misleading",
    "critique_near_reference": "shaped",
    "released_copies_teach_nothing": "start",
    "critic_oracle_above_grpo_8": "unshaped",
    "critic_verdict_above_grpo_8": "unshaped_verdict",
    "critic_answer_above_verdict": "unshaped_answer",
    "critic_oracle_above_answer": "unshaped",
    "critic_answer_raises_entropy": "unshaped_answer",
    "critic_own_above_grpo_8": "unshaped_own",
    "critic_inverted_below_grpo_8": "grpo_8",
    "critic_inverted_every_below_grpo_8": "grpo_8",
    "critic_inverted_every_raises_entropy": "unshaped_inverted_every",
    "refine_all_fail_above_every": "unshaped",
    "critic_verdict_tried_7_above_1": "unshaped_verdict_tried_7",
    "critique_shaped_3x_above_unshaped": "shaped_3x",
    "critique_shaped_3x_above_unshaped_3x": "shaped_3x",
}


def measure(
    claim: Claim, size: str | None = None, out: str = "runs/critique_grpo"
) -> tuple[Estimate, dict[str, float]]:
    """The claim's difference, paired by seed, with a t-interval over seeds; and the mean cost of the first arm; its own size where none is given."""
    from stepcredit.recipes.critique_grpo import results

    first = ARMS[claim.slug]
    named = [name for name in (first, claim.control) if name != "start"]
    size = size or ("critics" if claim.seeds == CRITIC_SEEDS else "small")
    found = results(size, claim.seeds, named, out=out)
    return minus(found, first, claim.control, claim.metric)
