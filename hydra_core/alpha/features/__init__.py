"""What the models see: causal, scale-free columns of a panel; one file a family, one registration a feature.

Importing this package registers every feature. A new family is a new module here and one line below.
Not here: what they are trained to predict (alpha/labels.py).
"""

from hydra_core.alpha.features import (
    calendar,
    candles,
    cross_section,
    displacement,
    funding,
    intervals,
    layer2,
    liquidations,
    long_short,
    open_interest,
    order_flow,
    returns,
    trend,
    volatility,
    volume,
    volume_profile,
)
from hydra_core.alpha.features.registry import Feature, FeatureSet, feature, features

__all__ = [
    "Feature",
    "FeatureSet",
    "calendar",
    "candles",
    "cross_section",
    "displacement",
    "feature",
    "features",
    "funding",
    "intervals",
    "layer2",
    "liquidations",
    "long_short",
    "open_interest",
    "order_flow",
    "returns",
    "trend",
    "volatility",
    "volume",
    "volume_profile",
]
