"""Training models: a small language model from scratch, judges from credit or outcomes."""
