"""What differs between kinds of run: hyperparameters, metrics, record.

It imports no other folder of the library.
"""
