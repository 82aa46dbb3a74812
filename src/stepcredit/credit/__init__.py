"""From outcomes at the leaves to a number on every step: one file per mechanism, Tree -> Credit."""
