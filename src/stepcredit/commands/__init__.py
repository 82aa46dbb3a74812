"""The commands of the command line, one file each: a typed function `run` whose signature is its options."""
