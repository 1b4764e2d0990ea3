"""The user's own scripts: their process, and what they leave. It imports `kinds` and `runs`."""
