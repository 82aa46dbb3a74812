"""Options under which a scorer is trained in a second."""

TINY = ["--tokenizer", "word", "--hidden", "16", "--heads", "2", "--layers", "1", "--updates", "5", "--batch_size", "8"]
