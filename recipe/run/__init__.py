"""One training run, from its beginning or its checkpoint to its result."""
