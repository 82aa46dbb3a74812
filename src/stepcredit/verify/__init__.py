"""Verifiers: they read the answer off a finished attempt and decide its outcome, the anchor of every step signal."""
