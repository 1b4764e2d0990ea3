"""The training engine of `cnn` runs and the solver of `svm` runs.

It imports `data`, `runs`, `kinds`, `errors` and `files`.
"""
