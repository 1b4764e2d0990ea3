"""Numbers from records: cells, effects, variance, design, published values.

It contains no text for readers.
"""
