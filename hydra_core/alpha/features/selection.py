"""Which features a training asked for (``HYDRA_TRAINING__FEATURES``), and which of them a history and the live plane can give.

Not here: the registry (``registry``), the setting (``hydra_core.settings``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hydra_core.alpha.features.registry import Feature, FeatureSet, features
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.panel import MAX_LOOKBACK_BARS

USUAL: Final = "usual"
ALL: Final = "all"
VARIABLE: Final = "HYDRA_TRAINING__FEATURES"


@dataclass(frozen=True, eq=False)
class Selection:
    """What is trained on.

    Parameters
    ----------
    features : in the order of registration, whatever order they were asked in
    left_out : one line a reason why a feature that was asked for with others is not among them, for the model's card
    """

    features: FeatureSet
    left_out: tuple[str, ...] = ()


def families() -> dict[str, tuple[str, ...]]:
    """Family -> names of its features, in order of registration."""
    found: dict[str, tuple[str, ...]] = {}
    for member in features():
        found[member.family] = (*found.get(member.family, ()), member.name)
    return found


def asked_for(names: Iterable[str]) -> dict[str, bool]:
    """Every feature that some names stand for -> whether it is named itself, not with its family, in order of registration.

    Parameters
    ----------
    names : features, families, ``usual`` (what models train on by default) and ``all``

    Raises
    ------
    UsageError : a name is none of these, or there is none
    """
    asked, by_family, every = tuple(names), families(), features()
    known = {member.name for member in every}
    unknown = [name for name in asked if name not in (USUAL, ALL) and name not in by_family and name not in known]
    if unknown or not asked:
        told = f"unknown features {', '.join(unknown)}" if unknown else "no features"
        raise UsageError(
            f"{VARIABLE} names {told}",
            f"Known: {USUAL}, {ALL}; the families {', '.join(by_family)}; the features {', '.join(sorted(known))}",
        )

    def meant(member: Feature) -> bool:
        groups = {ALL, member.family} | ({USUAL} if member.usual else set())
        return member.name in asked or not groups.isdisjoint(asked)

    return {member.name: member.name in asked for member in every if meant(member)}


def select(names: Iterable[str], inputs: Iterable[str], reach: int = 0) -> Selection:
    """The features that a training asked for, so far as a history holds their inputs and a live panel their look-back.

    What was asked for with its family is left out where it cannot be had; what was named itself is refused.

    Parameters
    ----------
    names : as :func:`asked_for` takes them
    inputs : what the history holds
    reach : rows of features before the newest one that a model reads

    Raises
    ------
    UsageError : a name is unknown, or a named feature looks back further than is kept
    InputMissing : a named feature's inputs are not there, or nothing is left
    """
    held, kept = frozenset(inputs), MAX_LOOKBACK_BARS - reach
    chosen: list[str] = []
    missing: dict[str, list[str]] = {}
    asked = asked_for(names)
    for member in FeatureSet(asked).features:
        lacking = ", ".join(sorted(member.inputs - held))
        if not lacking and member.lookback <= kept:
            chosen.append(member.name)
            continue
        reason = (
            f"the history holds no {lacking}"
            if lacking
            else f"beside {reach} rows that the model reads, it keeps {kept} bars of the {MAX_LOOKBACK_BARS} that are live"
        )
        if asked[member.name]:
            _refuse(member, lacking, reach, kept)
        missing.setdefault(reason, []).append(member.name)
    if not chosen:
        raise InputMissing(f"none of the features in {VARIABLE} can be had: {'; '.join(missing)}", "Name others")
    return Selection(FeatureSet(chosen), tuple(f"left out {', '.join(left)}: {why}" for why, left in missing.items()))


def _refuse(member: Feature, lacking: str, reach: int, kept: int) -> None:
    if lacking:
        raise InputMissing(
            f"{VARIABLE} names {member.name}, which needs {lacking}; the history holds none",
            "Collect it first, or leave the feature out",
        )
    raise UsageError(
        f"{VARIABLE} names {member.name}, which looks back {member.lookback} bars; a model that reads {reach} rows has {kept}",
        "Leave it out, or train a family that reads one row: linear, polynomial or trees",
    )
