"""How the pairs move together: a shrunk correlation matrix and a fast mean correlation.

Not here: penalties and limits on correlation (risk/). Source: Ledoit and Wolf (2004), shrinkage towards the scaled
identity; the weight that it finds is given to a prior where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.domain.rowmemory import bar_of, memory_of
from hydra_core.statistics.registry import statistic
from hydra_core.statistics.rolling import exponential_mean, newest_products
from hydra_core.statistics.view import View

MATRIX_BARS: Final = 288
"""Bars that a correlation matrix is made of: one day at 5m."""
MATRIX_EVERY: Final = 48
"""It is renewed when the UTC bar number is a multiple of this: four hours at 5m, live as in a backtest."""
MATRIX_LOOKBACK: Final = MATRIX_BARS + MATRIX_EVERY
PRIOR_PAIRS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "DOGEUSDT", "XRPUSDT", "ADAUSDT", "LTCUSDT")
PRIOR_ROWS: Final = (
    (1.00, 0.85, 0.70, 0.70, 0.65, 0.55, 0.70, 0.65),
    (0.85, 1.00, 0.70, 0.75, 0.65, 0.55, 0.70, 0.70),
    (0.70, 0.70, 1.00, 0.65, 0.60, 0.50, 0.65, 0.60),
    (0.70, 0.75, 0.65, 1.00, 0.60, 0.55, 0.65, 0.65),
    (0.65, 0.65, 0.60, 0.60, 1.00, 0.55, 0.65, 0.60),
    (0.55, 0.55, 0.50, 0.55, 0.55, 1.00, 0.65, 0.60),
    (0.70, 0.70, 0.65, 0.65, 0.65, 0.65, 1.00, 0.70),
    (0.65, 0.70, 0.60, 0.65, 0.60, 0.60, 0.70, 1.00),
)
"""Correlation of hourly returns of the eight pairs from mid 2022 to the end of 2024, to the next 0.05: what is believed of
them before today is looked at."""
PRIOR_OTHER: Final = 0.65
"""The same of any other pair with any pair."""
FAST_HALF_LIFE: Final = 24.0
FAST_BARS: Final = 288
_AT_ONCE: Final = 24
"""Pairs whose products are taken all at once; those of more, one pair with all behind it at a time, so that what is worked on
stays in the processor's cache."""


def ledoit_wolf(returns: Floats) -> tuple[Floats, float]:
    """Shrunk covariance of the columns and the weight given to the scaled identity.

    Parameters
    ----------
    returns : array (n, P), finite; columns are centred here

    Returns
    -------
    (covariance (P, P), shrinkage in [0, 1])
    """
    n, p = returns.shape
    centred = returns - returns.mean(axis=0)
    sample = centred.T @ centred / n
    level = np.trace(sample) / p
    distance = float(((sample - level * np.eye(p)) ** 2).sum()) / p
    squares = centred**2
    noise = float((squares.T @ squares / n - sample**2).sum()) / n / p
    shrinkage = min(1.0, max(0.0, noise / distance)) if distance > 0 else 1.0
    return (1.0 - shrinkage) * sample + shrinkage * level * np.eye(p), shrinkage


def prior_correlation(pairs: Sequence[str]) -> Floats:
    """What is believed of pairs before anything is measured, shape (P, P), positive definite."""
    place = {pair: at for at, pair in enumerate(PRIOR_PAIRS)}
    table = np.array(PRIOR_ROWS)
    out = np.full((len(pairs), len(pairs)), PRIOR_OTHER)
    known = [at for at, pair in enumerate(pairs) if pair in place]
    rows = [place[pairs[at]] for at in known]
    out[np.ix_(known, known)] = table[np.ix_(rows, rows)]
    np.fill_diagonal(out, 1.0)
    return out


def shrunk_correlation(log_return: Floats, prior: Floats | None = None) -> Floats:
    """Correlation matrix of the columns after Ledoit-Wolf shrinkage of the standardised returns.

    Rows with a missing value are left out; a column that does not move, or fewer than thirty rows, is taken as
    perfectly correlated with everything: what cannot be measured gets no diversification credit.

    Parameters
    ----------
    log_return : array (n, P)
    prior : array (P, P), what the matrix is shrunk towards; left out: no correlation at all

    Returns
    -------
    array (P, P), positive semi-definite, ones on the diagonal
    """
    p = log_return.shape[1]
    out = np.ones((p, p))
    seen = np.isfinite(log_return)
    columns = np.flatnonzero(seen.mean(axis=0) >= 0.9)
    if not columns.size:
        return out
    r = log_return[seen[:, columns].all(axis=1)][:, columns]
    if r.shape[0] < 30:
        return out
    spread = r.std(axis=0)
    moving = spread > 0
    if not moving.any():
        return out
    columns, r, spread = columns[moving], r[:, moving], spread[moving]
    covariance, weight = ledoit_wolf(r / spread)
    if prior is not None:
        covariance = covariance + weight * (prior[np.ix_(columns, columns)] - np.eye(columns.size))
    scale = np.sqrt(np.diag(covariance))
    out[np.ix_(columns, columns)] = covariance / np.outer(scale, scale)
    np.fill_diagonal(out, 1.0)
    return out


def matrix_anchors(panel: Panel, rows: Ints) -> Ints:
    """The row whose matrix is in force at each of ``rows``: the newest one on the UTC grid; -1 before the panel."""
    behind = (panel.close_ms[rows] // panel.interval.ms) % MATRIX_EVERY
    return np.asarray(np.maximum(rows - behind, -1))


def correlations(panel: Panel, rows: Ints) -> Floats:
    """Correlation matrix in force at each row.

    Parameters
    ----------
    panel : Panel
    rows : int64 array (n,), row numbers

    Returns
    -------
    array (n, P, P); all ones where the look-back of :data:`MATRIX_LOOKBACK` rows is not complete

    Raises
    ------
    InputMissing : the panel is empty
    """
    if not len(panel):
        raise InputMissing("correlation of an empty panel", "Load history first")
    anchors = matrix_anchors(panel, np.asarray(rows, np.int64))
    renewed, where = np.unique(anchors, return_inverse=True)
    pairs = len(panel.pairs)
    matrices = np.ones((renewed.size, pairs, pairs))
    memory = memory_of(panel) if renewed.size == 1 else None  # a live cycle asks of one, for hours of the same
    prior = prior_correlation(panel.pairs)
    for index, anchor in enumerate(renewed):
        if anchor >= MATRIX_BARS:
            compute = partial(_matrix_at, panel, int(anchor), prior)
            bar = bar_of(panel, int(anchor))
            known = None if memory is None else memory.recall("correlation", bar, bar + 1, compute)
            matrices[index] = compute()[0] if known is None else known[0]
    return matrices[where]


def _matrix_at(panel: Panel, anchor: int, prior: Floats, _rows: int = 1) -> Floats:
    """The matrix of a row, shape (1, P, P)."""
    log_close = np.log(panel.close[anchor - MATRIX_BARS : anchor + 1])
    return shrunk_correlation(np.diff(log_close, axis=0), prior)[None]


def _products(pairs: int) -> list[tuple[Any, Any]]:
    """Columns of the two factors of every product of two pairs, in the order of the upper triangle's rows."""
    if pairs <= _AT_ONCE:
        first, second = np.triu_indices(pairs, 1)
        return [(first, second)]
    return [(slice(one, one + 1), slice(one + 1, None)) for one in range(pairs - 1)]


def _correlations(r: Floats, variance: Floats) -> Floats:
    """Correlation of every two columns, (T - FAST_BARS + 1, products)."""
    parts: list[Floats] = []
    for one, other in _products(r.shape[1]):
        product = exponential_mean(r[:, one] * r[:, other], FAST_HALF_LIFE, FAST_BARS)
        parts.append((product / _scale(variance[:, one], variance[:, other]))[FAST_BARS - 1 :])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _scale(first: Floats, second: Floats) -> Floats:
    """Product of two standard deviations from their squares."""
    return np.asarray(np.sqrt(np.maximum(first * second, 1e-24)))


@statistic("mean_correlation", lookback=FAST_BARS + 1)
def mean_correlation(view: View) -> Floats:
    """Mean pairwise correlation with a half-life of two hours (5m bars), shape (T,).

    Not shrunk and renewed at every bar: it is the alarm for a market that starts to move as one. A panel of one pair
    has no pairwise correlation: 0.
    """
    r = view.log_return
    pairs = r.shape[1]
    if pairs < 2:
        return np.zeros(r.shape[0])
    variance = exponential_mean(r**2, FAST_HALF_LIFE, FAST_BARS)
    # the first row's return is that of a bar before the view
    newest = newest_products(r[1:], FAST_HALF_LIFE, FAST_BARS)
    if newest is None:
        correlation = _correlations(r, variance)
    else:
        first, second = np.triu_indices(pairs, 1)
        correlation = np.full((r.shape[0] - FAST_BARS + 1, first.size), np.nan)
        worth = variance[-newest.shape[0] :]
        correlation[-newest.shape[0] :] = newest / _scale(worth[:, first], worth[:, second])
    known = np.isfinite(correlation)
    count = known.sum(axis=1)
    out = np.full(r.shape[0], np.nan)
    total = np.where(known, correlation, 0.0).sum(axis=1)
    out[FAST_BARS - 1 :] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out
