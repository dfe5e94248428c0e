"""The loop and every rule it uses, compiled: one source for the live step and for millions of bars a second.

The compiled code is cached beside this file. A numba cache knows changes of its own file only, the rules stand in others:
a fingerprint of all their sources is therefore part of the cache's key, and a changed rule is compiled anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from numba import njit
from numba.extending import register_jitable

from hydra_core.decision import rules
from hydra_core.execution import committee, slippage
from hydra_core.research.engine import accounts, loop, memory, money, quiet
from hydra_core.research.engine import inputs as inputs_module
from hydra_core.research.engine import parameters as parameters_module
from hydra_core.research.engine import state as state_module
from hydra_core.risk import exposure, margin, sizing, switches

RULES: Final[tuple[Callable[..., Any], ...]] = (
    committee.forecaster_choice,
    committee.crowd_choice,
    committee.analyst_choice,
    committee.policy_choice,
    committee.carried,
    slippage.peak_impact,
    slippage.expected_cost,
    exposure.penalty,
    exposure.tail_fits,
    exposure.tail_room,
    exposure.largest_gross,
    exposure.trim,
    margin.forced_price,
    switches.day_lost,
    switches.drawn_down,
    switches.position_lost,
    switches.stress_bits,
    rules.clean,
    rules.exit_code,
    rules.to_step,
    rules._cut,
    rules._bar,
    rules._barred_outcome,
    rules._rank,
    rules._room,
    rules._size,
    rules._choices,
    rules._refuse,
    rules.review,
    rules.propose,
    money.tier_fee,
    money.fill_price,
    money.average_entry,
    money.inside_bar,
    money.bankruptcy,
    money.funding_payment,
    parameters_module.terms_of,
    parameters_module.sizes_of,
    parameters_module.guards_of,
    parameters_module.costs_of,
    accounts.end_trip,
    accounts.book_fill,
    accounts.settle,
    accounts.leave,
    accounts.fence,
    accounts.fill_wanted,
    accounts.fill_all,
    accounts.expect_fills,
    accounts.any_waiting,
    accounts.new_day,
    loop.verdicts_of,
    loop.touch,
    loop.mark,
    loop.go_through,
    loop.keep,
    loop.note,
    quiet.mode_of,
    quiet.track,
    quiet.holds_still,
    quiet.hem_in,
    quiet.hear_out,
    quiet.survey,
    quiet.worth_of,
    quiet.turning,
    quiet.stressed,
    quiet.shared_columns,
    quiet.look_ahead,
    quiet.pass_quiet,
    loop.judge,
    loop.carry,
    accounts.finish,
    loop.simulate,
)
"""Plain functions that the engine compiles as they stand."""
APART: Final = frozenset(
    {
        loop.simulate,
        loop.carry,
        accounts.leave,
        accounts.new_day,
        accounts.end_trip,
        accounts.book_fill,
        loop.note,
        rules._cut,
        rules._rank,
        exposure.tail_room,
        rules.clean,
        accounts.finish,
    }
)
"""Those that few bars need; the others are compiled into the loop: a call hands over each array as seven numbers or more,
hundreds in all, which takes as long as much of what is called."""
_SOURCES: Final[tuple[ModuleType, ...]] = (
    committee, slippage, exposure, margin, sizing, switches, rules, money, loop, parameters_module, state_module,
    inputs_module, accounts, quiet, memory,
)  # fmt: skip


def fingerprint() -> int:
    """A number that changes with the source of any rule."""
    digest = hashlib.sha256()
    for module in _SOURCES:
        digest.update(Path(str(module.__file__)).read_bytes())
    return int.from_bytes(digest.digest()[:7], "big")


def _build(sources: int) -> Callable[..., int]:
    """The compiled entry; ``sources`` is closed over and thereby part of the cache's key."""
    for rule in RULES:
        register_jitable(error_model="numpy", forceinline=rule not in APART, _nrt=False)(rule)
    simulate, finish = loop.simulate, accounts.finish

    @njit(cache=True, error_model="numpy", _nrt=False)  # type: ignore[untyped-decorator]
    def run(
        market: Any,
        signals: Any,
        cubes: Any,
        contracts: Any,
        numbers: Any,
        group: Any,
        floors: Any,
        fees: Any,
        assumed: Any,
        initial: float,
        interval_ms: int,
        books: Any,
        work: Any,
        log: Any,
        detail: bool,
    ) -> int:
        simulate(
            market,
            signals,
            cubes,
            contracts,
            numbers,
            group,
            floors,
            fees,
            assumed,
            initial,
            interval_ms,
            books,
            work,
            log,
            detail,
        )
        for one in range(numbers.shape[0]):
            finish(one, market, books, log, detail)
        return sources

    compiled: Callable[..., int] = run
    return compiled


run: Final = _build(fingerprint())
"""``loop.simulate`` and ``accounts.finish`` compiled; arguments as of ``simulate``."""
