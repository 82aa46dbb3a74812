"""Judges: an attempt in, one score per step out. They never see an outcome."""
