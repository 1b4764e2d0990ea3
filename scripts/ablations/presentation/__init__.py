"""Tables and figures of those numbers: all text that readers see. It imports `analysis` and below."""
