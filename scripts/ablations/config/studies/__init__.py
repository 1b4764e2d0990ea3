"""A study: its grid, the points drawn from it, its table, its questions, and its published values."""
