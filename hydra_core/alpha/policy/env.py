"""Many lanes of trading over recorded forecasts at once, as stable-baselines3 wants them; one numpy step moves them all.

A lane is one pair from a random start for an episode. The action is the target seen from the forecast's side (against, flat,
with), held for ``every`` bars. The reward is the net return beyond that of the no-trade-band rule on the same bars: what
the market did to both cancels, what the policy does differently remains. Returns enter less their cross-section's mean,
which no pair's forecast speaks of and which is most of the noise.

Not here: the live policy (``artifact``), the judging (``band.trade``, on plain returns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from hydra_core.alpha.models import PolicyObservation
from hydra_core.alpha.policy.band import Band, Lanes, trade
from hydra_core.alpha.policy.observation import canonical
from hydra_core.domain.market import Floats, Ints

TARGETS: Final = np.array([-1.0, 0.0, 1.0])
"""Actions, seen from the forecast's side."""
REWARD_UNIT: Final = 1e-3
"""Ten basis points of notional count as one."""
COLUMNS: Final = 6


class ForecastLanes(VecEnv):
    """The environment; see the module.

    Parameters
    ----------
    book : Lanes to trade
    band : the rule whose net return is taken off
    count : lanes
    every : bars between decisions
    episode : decisions until a lane starts anew
    seed : of the starts
    """

    def __init__(
        self, book: Lanes, band: Band, *, count: int = 64, every: int = 3, episode: int = 96, seed: int = 0
    ) -> None:
        super().__init__(count, spaces.Box(-10.0, 10.0, (COLUMNS,), np.float32), spaces.Discrete(TARGETS.size))
        self._every, self._episode = every, episode
        self._rng = np.random.default_rng(seed)
        self._observation = book.observation
        self._side_cost = book.side_cost
        gross = book.returns - book.funding
        quiet = gross - gross.mean(axis=1, keepdims=True) if gross.shape[1] > 1 else gross
        held = trade(book, band.target)[1]
        before = np.vstack([np.zeros((1, held.shape[1])), held[:-1]])
        reference = held * quiet - book.side_cost * np.abs(held - before)
        self._gain = _ahead_sum(quiet, every)
        self._reference = _ahead_sum(reference, every)
        known = np.isfinite(canonical(book.observation)[0]).all(axis=-1)
        known[len(book) - every :] = False
        self._known = known
        self._held = before
        usable = np.flatnonzero(known[: max(1, len(book) - every)].ravel())
        if usable.size == 0:
            raise ValueError("no row of the lanes has a complete observation")
        self._starts = usable
        self._row = np.zeros(count, np.int64)
        self._pair = np.zeros(count, np.int64)
        self._left = np.zeros(count, np.int64)
        self._position = np.zeros(count)
        self._side = np.ones(count)
        self._actions: Ints = np.zeros(count, np.int64)

    def reset(self) -> npt.NDArray[np.float32]:
        """Start every lane anew."""
        self._restart(np.ones(self.num_envs, bool))
        self._left = self._rng.integers(1, self._episode + 1, self.num_envs)
        return self._see()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = np.asarray(actions, np.int64)

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Move every lane by ``every`` bars; an ended lane starts anew and is cut, not terminal."""
        wanted = TARGETS[self._actions] * self._side
        net = wanted * self._gain[self._row, self._pair] - self._side_cost * np.abs(wanted - self._position)
        rewards = ((net - self._reference[self._row, self._pair]) / REWARD_UNIT).astype(np.float32)
        self._position = wanted
        self._row += self._every
        self._left -= 1
        outside = self._row >= self._known.shape[0]
        blind = outside | ~self._known[np.minimum(self._row, self._known.shape[0] - 1), self._pair]
        done = blind | (self._left <= 0)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            self._row = np.where(blind, self._row - self._every, self._row)
            last = self._see()
            for lane in np.flatnonzero(done):
                infos[lane] = {"terminal_observation": last[lane], "TimeLimit.truncated": True}
            self._restart(done)
        return self._see(), rewards, done, infos

    def _restart(self, lanes: npt.NDArray[np.bool_]) -> None:
        count = int(lanes.sum())
        chosen = self._rng.choice(self._starts, count)
        self._row[lanes], self._pair[lanes] = np.divmod(chosen, self._known.shape[1])
        self._left[lanes] = self._episode
        self._position[lanes] = self._held[self._row[lanes], self._pair[lanes]]

    def _see(self) -> npt.NDArray[np.float32]:
        at, seen = (self._row, self._pair), self._observation
        columns, self._side = canonical(
            PolicyObservation(
                forecast_z=seen.forecast_z[at],
                confidence=seen.confidence[at],
                position=self._position,
                displacement_z=seen.displacement_z[at],
                volatility_ratio=seen.volatility_ratio[at],
                cost_bp_over_sigma=seen.cost_bp_over_sigma[at],
            )
        )
        return columns.astype(np.float32)

    def close(self) -> None:
        """Nothing is held open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Attributes of the lanes: all share this environment's."""
        return [getattr(self, attr_name, None)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute shared by all lanes."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Lanes have no methods of their own."""
        raise NotImplementedError(f"lanes have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No lane is wrapped."""
        return [False] * len(self._indices(indices))

    def _indices(self, indices: int | Sequence[int] | None) -> Sequence[int]:
        if indices is None:
            return range(self.num_envs)
        return [indices] if isinstance(indices, int) else indices


def _ahead_sum(values: Floats, bars: int) -> Floats:
    """Sum over row t and the ``bars - 1`` after it, cut at the end."""
    padded = np.vstack([values, np.zeros((bars - 1, values.shape[1]))])
    total = np.zeros_like(values)
    for ahead in range(bars):
        total += padded[ahead : ahead + values.shape[0]]
    return total
