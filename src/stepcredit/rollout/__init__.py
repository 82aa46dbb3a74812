"""Growing trees: which attempts are sampled from a policy, and where from."""
