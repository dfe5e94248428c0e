"""Training of the policy: imitate the no-trade band, then improve on it by PPO; the best on later rows is kept.

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
from torch.nn import functional

from hydra_core.alpha.models import PolicyObservation
from hydra_core.alpha.policy.band import Band, Lanes, Target, trade, tune_band
from hydra_core.alpha.policy.env import TARGETS, ForecastLanes
from hydra_core.alpha.policy.observation import canonical
from hydra_core.domain.market import Floats

CHECKS = 5
"""How often in a training the policy is judged on the later rows."""
VALID_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class PolicyHyper:
    """What a sweep may vary."""

    learning_rate: float = 1e-3
    gamma: float = 0.97
    gae_lambda: float = 0.9
    entropy: float = 0.003
    every: int = 3
    lanes: int = 64
    steps: int = 100_000

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-serialisable."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """A trained network with the rule it started from.

    Parameters
    ----------
    gains : mean net return beyond the band on the later rows (bp per bar and pair) at every check; the largest was kept
    """

    network: torch.nn.Module
    band: Band
    hyper: PolicyHyper
    gains: tuple[float, ...]

    def target(self, observation: PolicyObservation) -> Floats:
        """Wanted positions of the observation's shape, as the exported policy gives them."""
        columns, side = canonical(observation)
        known = np.isfinite(columns).all(axis=-1)
        with torch.inference_mode():
            scores = self.network(torch.from_numpy(np.nan_to_num(columns).astype(np.float32)))
        return np.where(known, TARGETS[scores.argmax(-1).numpy()] * side, 0.0)


class ActionScores(torch.nn.Module):
    """The part of a PPO policy that chooses actions: canonical columns (n, 6) to scores (n, 3)."""

    def __init__(self, model: PPO) -> None:
        super().__init__()
        self.body = model.policy.mlp_extractor.policy_net
        self.head = model.policy.action_net

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """Scores of the three targets."""
        scores: torch.Tensor = self.head(self.body(columns))
        return scores


def train_policy(
    book: Lanes,
    hyper: PolicyHyper,
    *,
    seed: int,
    threads: int = 1,
    progress: Callable[[int, int, float], None] | None = None,
) -> TrainedPolicy:
    """Train on recorded out-of-sample forecasts.

    Parameters
    ----------
    book : Lanes; the newest quarter chooses among checkpoints, the rest trains
    progress : called with (check, checks, gain in bp per bar and pair); may raise to stop early
    """
    torch.set_num_threads(threads)
    split = int(len(book) * (1 - VALID_SHARE))
    band = tune_band(book)
    early, late = book.rows(slice(0, split)), book.rows(slice(split, len(book)))
    env = ForecastLanes(early, band, count=hyper.lanes, every=hyper.every, seed=seed)
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda left: hyper.learning_rate * left,
        n_steps=64,
        batch_size=1024,
        n_epochs=6,
        gamma=hyper.gamma,
        gae_lambda=hyper.gae_lambda,
        clip_range=0.15,
        ent_coef=hyper.entropy,
        policy_kwargs={"net_arch": [48, 48]},
        seed=seed,
        device="cpu",
    )
    _imitate(model, early, band, seed)
    judge = _Judge(model, late, band, hyper.steps, progress)
    judge.check()
    model.learn(hyper.steps, callback=judge)
    network = ActionScores(model)
    network.load_state_dict(judge.best)
    network.eval()
    return TrainedPolicy(network, band, hyper, tuple(judge.gains))


def _imitate(model: PPO, book: Lanes, band: Band, seed: int, steps: int = 300) -> None:
    """Teach the policy the band's choice in every row and every position, softly, so that it goes on exploring."""
    rng = np.random.default_rng(seed)
    seen = book.observation
    usable = np.flatnonzero(np.isfinite(canonical(seen)[0]).all(axis=-1).ravel())
    scores = ActionScores(model)
    optimizer = torch.optim.Adam(scores.parameters(), lr=3e-3)
    for _ in range(steps):
        at = rng.choice(usable, 1024)
        part = PolicyObservation(
            forecast_z=seen.forecast_z.ravel()[at],
            confidence=seen.confidence.ravel()[at],
            position=rng.choice(TARGETS, at.size),
            displacement_z=seen.displacement_z.ravel()[at],
            volatility_ratio=seen.volatility_ratio.ravel()[at],
            cost_bp_over_sigma=seen.cost_bp_over_sigma.ravel()[at],
        )
        columns, side = canonical(part)
        wanted = torch.from_numpy(np.rint(band.target(part) * side).astype(np.int64) + 1)
        optimizer.zero_grad()
        functional.cross_entropy(
            scores(torch.from_numpy(columns.astype(np.float32))), wanted, label_smoothing=0.1
        ).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


class _Judge(BaseCallback):
    """Judges the policy on the later rows a few times and keeps the best weights."""

    def __init__(
        self, model: PPO, late: Lanes, band: Band, steps: int, progress: Callable[[int, int, float], None] | None
    ) -> None:
        super().__init__()
        self._ppo, self._late, self._progress = model, late, progress
        self._between = max(1, steps // CHECKS)
        self._reference = trade(late, band.target)[0]
        self.gains: list[float] = []
        self.best: dict[str, torch.Tensor] = {}

    def check(self) -> None:
        """Judge now."""
        network = ActionScores(self._ppo)
        rule = TrainedPolicy(network, Band(0, 0), PolicyHyper(), ())
        target: Target = rule.target
        gain = float((trade(self._late, target)[0] - self._reference).mean()) * 1e4
        if not self.gains or gain > max(self.gains):
            self.best = {name: value.clone() for name, value in network.state_dict().items()}
        self.gains.append(gain)
        if self._progress is not None:
            self._progress(len(self.gains) - 1, CHECKS, gain)

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._between * len(self.gains):
            self.check()
        return True
