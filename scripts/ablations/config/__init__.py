"""The config, checked whole before any job starts. It imports `kinds` and `runs`."""
