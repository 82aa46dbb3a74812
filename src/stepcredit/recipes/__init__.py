"""Recipes: one file per paper or study, each bridging the families it needs. `run(config) -> Report`."""
