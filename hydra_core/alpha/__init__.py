"""Layer 3, alpha and behaviour: features, labels, the forecaster, the crowd model, the analyst, the policy, the registry.

Nothing here trades, sizes or talks to an exchange; models are trained from panels and served from sealed artifacts.
"""
