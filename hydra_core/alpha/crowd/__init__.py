"""The crowd model: how likely the longs, or the shorts, are forced out within the next hours.

``columns`` is what it sees, ``logistic`` how it is fitted, ``model`` what an artifact holds and how it is served,
``train`` how one is made, ``score`` how it is judged against volatility alone. Not here: gates (research/), votes
(execution/committee).
"""

from hydra_core.alpha.crowd.model import CrowdArtifact, load
from hydra_core.alpha.crowd.score import CrowdMetrics
from hydra_core.alpha.crowd.train import CrowdCandidate, evaluate_crowd, train_crowd

__all__ = ["CrowdArtifact", "CrowdCandidate", "CrowdMetrics", "evaluate_crowd", "load", "train_crowd"]
