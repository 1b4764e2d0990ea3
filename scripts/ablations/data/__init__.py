"""Datasets and weights: fetched, verified, staged, and opened by runs.

It imports `config`, `errors` and `files`.
"""
