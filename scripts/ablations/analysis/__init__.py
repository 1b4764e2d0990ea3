"""Numbers from records: cells, effects, variance, design and published values.

The texts for readers are in `presentation`, which imports this folder and is never imported by it.
"""
