"""One file per figure of a study."""
