"""What a run executes: the training engine of `cnn` and the solver of `svm`. It imports `data` and below."""
