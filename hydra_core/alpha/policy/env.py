"""Many lanes of one question over recorded forecasts, as stable-baselines3 wants them; one numpy step moves them all.

A lane starts where the no-trade band wishes to move a pair's position, and asks each bar: move now, or wait? Waiting one bar
earns what the move would have lost in it (so a wait before a setback is worth something); moving ends the lane, and so
does the band's dropping its wish, both at no further reward: at the band's edge holding and having moved are worth the same.
Returns enter less their cross-section's mean, which no pair's forecast speaks of and which is most of the noise.

Not here: the live policy (``timing``, ``artifact``), the judging (``band.trade``, on plain returns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from hydra_core.alpha.models import PolicyObservation
from hydra_core.alpha.policy.band import Band, Lanes, band_target, worth
from hydra_core.alpha.policy.timing import COLUMNS, canonical
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Bools, Ints

REWARD_UNIT: Final = 1e-3
"""Ten basis points of notional count as one."""
START_WORTH: Final = 0.5
"""Lanes start where the forecast exceeds the band's edge by at most this many round trips."""
_HELD: Final = np.array([-1.0, 0.0, 1.0])


class TimingLanes(VecEnv):
    """The environment; see the module.

    Parameters
    ----------
    book : Lanes to trade
    band : whose wishes are timed
    count : lanes
    longest : bars after which a lane is cut
    seed : of the starts

    Raises
    ------
    InputMissing : the band wishes nothing in any complete row
    """

    def __init__(self, book: Lanes, band: Band, *, count: int = 64, longest: int = 36, seed: int = 0) -> None:
        super().__init__(count, spaces.Box(-10.0, 10.0, (COLUMNS,), np.float32), spaces.Discrete(2))
        self._band, self._longest = band, longest
        self._rng = np.random.default_rng(seed)
        gross = book.returns - book.funding
        self._gain = gross - gross.mean(axis=1, keepdims=True) if gross.shape[1] > 1 else gross
        self._seen = book.observation
        self._worth = worth(book.observation)
        self._known: Bools = np.asarray(np.isfinite(canonical(book.observation, np.ones_like(gross))).all(axis=-1))
        self._known[-1] = False
        self._starts = self._find_starts()
        if not len(self._starts):
            raise InputMissing(
                "the no-trade band never wishes to move", "Forecasts say nothing: there is nothing to time"
            )
        self._row = np.zeros(count, np.int64)
        self._pair = np.zeros(count, np.int64)
        self._waited = np.zeros(count, np.int64)
        self._held = np.zeros(count)
        self._move = np.zeros(count)
        self._actions: Ints = np.zeros(count, np.int64)

    def _find_starts(self) -> Ints:
        """(row, pair, held) of every complete row where a holder of ``held`` would be told to move."""
        found = []
        for index, held in enumerate(_HELD):
            move = band_target(self._worth, np.full_like(self._worth, held), self._band.enter, self._band.leave) - held
            near = np.sign(move) * self._worth <= self._band.enter + START_WORTH
            rows, pairs = np.nonzero((move != 0) & near & self._known)
            found.append(np.stack([rows, pairs, np.full(rows.size, index)], axis=1))
        return np.concatenate(found)

    def reset(self) -> npt.NDArray[np.float32]:
        """Start every lane anew."""
        self._restart(np.ones(self.num_envs, np.bool_))
        return self._see()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep the actions (0 waits, 1 moves) for :meth:`step_wait`."""
        self._actions = np.asarray(actions, np.int64)

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Move every lane by one bar; an ended lane starts anew."""
        waits = self._actions == 0
        lost = -self._move * self._gain[self._row, self._pair] / REWARD_UNIT
        rewards = np.where(waits, lost, 0.0).astype(np.float32)
        self._row += 1
        self._waited += 1
        at = (self._row, self._pair)
        wish = band_target(self._worth[at], self._held, self._band.enter, self._band.leave)
        blind = ~self._known[at]
        done = ~waits | blind | (wish == self._held) | (self._waited >= self._longest)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._move = np.where(done, self._move, wish - self._held)
        if done.any():
            nothing = np.zeros(COLUMNS, np.float32)
            for lane in np.flatnonzero(done):
                infos[lane] = {"terminal_observation": nothing}
            self._restart(done)
        return self._see(), rewards, done, infos

    def _restart(self, lanes: Bools) -> None:
        chosen = self._starts[self._rng.integers(0, len(self._starts), int(lanes.sum()))]
        self._row[lanes], self._pair[lanes] = chosen[:, 0], chosen[:, 1]
        self._held[lanes] = _HELD[chosen[:, 2]]
        self._waited[lanes] = 0
        value = self._worth[self._row[lanes], self._pair[lanes]]
        wish = band_target(value, self._held[lanes], self._band.enter, self._band.leave)
        self._move[lanes] = wish - self._held[lanes]

    def _see(self) -> npt.NDArray[np.float32]:
        at, seen = (self._row, self._pair), self._seen
        part = PolicyObservation(
            forecast_z=seen.forecast_z[at],
            confidence=seen.confidence[at],
            position=self._held,
            displacement_z=seen.displacement_z[at],
            volatility_ratio=seen.volatility_ratio[at],
            cost_bp_over_sigma=seen.cost_bp_over_sigma[at],
        )
        return canonical(part, self._move).astype(np.float32)

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
        raise AttributeError(f"lanes have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No lane is wrapped."""
        return [False] * len(self._indices(indices))

    def _indices(self, indices: int | Sequence[int] | None) -> Sequence[int]:
        if indices is None:
            return range(self.num_envs)
        return [indices] if isinstance(indices, int) else indices
