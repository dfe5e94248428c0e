"""The forecaster: a small transformer with a linear skip over feature windows, its calibrator and its sealed artifact.

Not here: features and labels (their own packages), folds and gates (``research/``).
"""
