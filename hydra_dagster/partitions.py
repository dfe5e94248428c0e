"""How market tables are cut: calendar month by pair.

Monthly keys keep an asset below a thousand partitions; the current month is among them (``end_offset=1``) and is
collected again until it is over. A rectangle of months and neighbouring pairs is one run by its range tags.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import dagster as dg

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import month_span
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_dagster import tags

FIRST_MONTH: Final = "2020-01-01"
MONTH: Final = "month"
PAIR: Final = "pair"

MONTHS: Final = dg.MonthlyPartitionsDefinition(start_date=FIRST_MONTH, end_offset=1)
PAIRS: Final = dg.StaticPartitionsDefinition(list(DEFAULT_PAIRS))
PAIR_MONTH: Final = dg.MultiPartitionsDefinition({MONTH: MONTHS, PAIR: PAIRS})


def key_of(month: str, pair: Pair) -> dg.MultiPartitionKey:
    """Partition key of a month (``YYYY-MM``) of a pair."""
    month_span(month)
    return dg.MultiPartitionKey({MONTH: f"{month[:7]}-01", PAIR: pair})


def months_by_pair(keys: Iterable[str]) -> dict[Pair, tuple[str, ...]]:
    """Pair -> months (``YYYY-MM``, ascending) of partition keys, pairs in their usual order."""
    found: dict[str, set[str]] = {}
    for key in keys:
        parts = PAIR_MONTH.get_partition_key_from_str(str(key)).keys_by_dimension
        found.setdefault(parts[PAIR], set()).add(parts[MONTH][:7])
    return {pair: tuple(sorted(found[pair])) for pair in DEFAULT_PAIRS if pair in found}


def range_tags(months: Sequence[str], pairs: Sequence[Pair]) -> dict[str, str]:
    """Tags of one run over every month from the first to the last, for pairs that are neighbours in the usual order.

    Raises
    ------
    UsageError : no month or pair, or pairs with a gap between them (see :func:`rectangles`)
    """
    if not months or not pairs:
        raise UsageError("a range of partitions needs a month and a pair")
    positions = sorted(DEFAULT_PAIRS.index(pair) for pair in pairs)
    if positions != list(range(positions[0], positions[-1] + 1)):
        raise UsageError(f"pairs {', '.join(pairs)} are not neighbours", "Launch one run for each stretch of pairs")
    first, last = DEFAULT_PAIRS[positions[0]], DEFAULT_PAIRS[positions[-1]]
    return {tags.RANGE_START: str(key_of(min(months), first)), tags.RANGE_END: str(key_of(max(months), last))}


def rectangles(pairs: Sequence[Pair]) -> list[tuple[Pair, ...]]:
    """Any selection of pairs as the fewest stretches of neighbours, each of which one run can cover."""
    stretches: list[list[Pair]] = []
    previous = -2
    for position in sorted(DEFAULT_PAIRS.index(pair) for pair in pairs):
        if position != previous + 1:
            stretches.append([])
        stretches[-1].append(DEFAULT_PAIRS[position])
        previous = position
    return [tuple(stretch) for stretch in stretches]


def covered(run_tags: Mapping[str, str]) -> dict[Pair, tuple[str, ...]]:
    """Pair -> months that a run with such tags covers; empty without range tags."""
    if tags.RANGE_START not in run_tags:
        return {}
    span = dg.PartitionKeyRange(run_tags[tags.RANGE_START], run_tags[tags.RANGE_END])
    return months_by_pair(PAIR_MONTH.get_partition_keys_in_range(span))
