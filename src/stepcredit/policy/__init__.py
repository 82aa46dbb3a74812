"""Things that write tokens: one file, one policy."""
