"""Data files by checksum, the tables that problems and networks learn from, minibatches of their rows."""
