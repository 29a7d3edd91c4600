"""Protocols: which captures are trained on, where the threshold is chosen, what is tested; folds, runs and tables."""
