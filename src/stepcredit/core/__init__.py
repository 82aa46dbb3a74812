"""The types every family speaks, and the arithmetic they share. numpy and the standard library only."""
