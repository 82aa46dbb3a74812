"""Procedural domains with an exact step oracle each: one file, one task."""
