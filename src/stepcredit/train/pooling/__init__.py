"""Outcome losses: each file maps step logits to the log-likelihood of the outcome, so that outcomes alone train steps.

Every pooling has the same shape: `(logit_BSC, step_BS, *, knobs) -> (log_right_B, log_wrong_B)`, the log-probabilities
(nats) of a right and a wrong outcome; `step_BS` is True where a step is real, and every row has at least one.
Registered with `likelihood`: "exact" (the default) where the two sum to one, "composite" for a mean of step
log-likelihoods, "none" for another loss, whose two numbers are minus its value in either case.
"""
