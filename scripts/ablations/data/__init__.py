"""Datasets and weights: fetched, verified, staged, and opened again by a run.

It imports `config` and below.
"""
