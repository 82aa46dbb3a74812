"""Using a judge, or a vote, to choose among attempts."""
