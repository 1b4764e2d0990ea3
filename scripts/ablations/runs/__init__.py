"""A run's identity, path and files: record, history, attempts, lock. It imports `kinds`."""
