"""Training of the policy: PPO learns when to make the moves that the no-trade band wishes for.

Not here: lanes and rewards (``env``), the rule (``band``), the sealed folder (``artifact``). Source: Schulman et al. (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from hydra_core.alpha.models import PolicyObservation
from hydra_core.alpha.policy.band import Band, Lanes, tune_band
from hydra_core.alpha.policy.env import TimingLanes
from hydra_core.alpha.policy.timing import timed_target
from hydra_core.domain.market import Floats

Report = Callable[[int, int, float], None]
"""Called now and then with (steps done, steps in all, mean reward of recent lanes); may raise to stop."""


@dataclass(frozen=True, slots=True)
class PolicyHyper:
    """What a sweep may vary."""

    learning_rate: float = 2e-3
    gamma: float = 0.98
    gae_lambda: float = 0.9
    entropy: float = 0.01
    width: int = 32
    lanes: int = 128
    steps: int = 100_000

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-serialisable."""
        return asdict(self)


class ActionScores(torch.nn.Module):
    """The part of a PPO policy that chooses: canonical columns (n, 6) to scores of waiting and moving (n, 2)."""

    def __init__(self, model: PPO) -> None:
        super().__init__()
        self.body = model.policy.mlp_extractor.policy_net
        self.head = model.policy.action_net

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """Scores of the two choices."""
        scores: torch.Tensor = self.head(self.body(columns))
        return scores


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """A trained network with the band whose wishes it times."""

    network: ActionScores
    band: Band
    hyper: PolicyHyper

    def target(self, observation: PolicyObservation) -> Floats:
        """Wanted positions of the observation's shape, as the exported policy gives them."""
        return timed_target(observation, self.band, self._scores)

    def _scores(self, columns: Floats) -> Floats:
        with torch.inference_mode():
            return np.asarray(self.network(torch.from_numpy(columns.astype(np.float32))).numpy(), np.float64)


def train_policy(
    book: Lanes, hyper: PolicyHyper, *, seed: int, threads: int = 1, progress: Report | None = None
) -> TrainedPolicy:
    """Train on recorded out-of-sample forecasts: the band is tuned on them, then the timing learnt.

    Parameters
    ----------
    book : Lanes
    seed : of starts, weights and exploration

    Raises
    ------
    InputMissing : the tuned band never wishes to move
    """
    torch.set_num_threads(threads)
    band = tune_band(book)
    model = PPO(
        "MlpPolicy",
        TimingLanes(book, band, count=hyper.lanes, seed=seed),
        learning_rate=lambda left: hyper.learning_rate * left,
        n_steps=64,
        batch_size=2048,
        n_epochs=6,
        gamma=hyper.gamma,
        gae_lambda=hyper.gae_lambda,
        clip_range=0.2,
        ent_coef=hyper.entropy,
        policy_kwargs={"net_arch": [hyper.width, hyper.width]},
        seed=seed,
        device="cpu",
    )
    model.learn(hyper.steps, callback=None if progress is None else _Reporter(progress, hyper.steps))
    return TrainedPolicy(ActionScores(model).eval(), band, hyper)


class _Reporter(BaseCallback):
    """Tells of the progress after each collection of experience."""

    def __init__(self, report: Report, steps: int) -> None:
        super().__init__()
        self._report, self._steps = report, steps

    def _on_rollout_end(self) -> None:
        self._report(
            min(self.num_timesteps, self._steps), self._steps, float(np.mean(self.locals["rollout_buffer"].rewards))
        )

    def _on_step(self) -> bool:
        return True
