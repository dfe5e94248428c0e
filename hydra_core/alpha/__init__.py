"""Layer 3, alpha and behaviour: features, labels, forecaster, crowd model, analyst, policy, model registry.

Nothing here trades, sizes or talks to an exchange; models are trained from panels and served from sealed artifacts.
"""
