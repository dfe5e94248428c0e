"""Market assets and their checks: a range of partitions in one run, on the real lake and the real expectations."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster_moment import NOW_MS
from market_double import collecting, first_price_negative

from hydra_core.domain.errors import DataCorrupt, Refused, VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import Liquidation
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.domain.tables import BOOK, TRADES
from hydra_core.lake.spool import Spool
from hydra_dagster import checks, keys, reporting
from hydra_dagster.assets import market
from hydra_dagster.jobs import collect as collect_job
from hydra_dagster.jobs import reference as reference_job
from hydra_dagster.partitions import range_tags
from hydra_dagster.resources import Workshop, WorkshopResource
from hydra_dagster.schedules import collect_config, open_months

BTC, ETH = DEFAULT_PAIRS[:2]
START = NOW_MS - 33 * DAY_MS
END = START + 5 * DAY_MS
MONTHS = ["2024-08", "2024-09"]


def run(resource: WorkshopResource, instance: dg.DagsterInstance, more: tuple = (), job=collect_job, **config):
    """One run over the last days of August and the first of September, of two pairs."""
    definitions = dg.Definitions(
        assets=[*market.ASSETS, *more],
        asset_checks=checks.CHECKS,
        jobs=[job],
        resources={"workshop": resource},
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def(job.name).execute_in_process(
        instance=instance,
        run_config=config or collect_config(NOW_MS, start_ms=START, end_ms=END),
        tags=range_tags(MONTHS, [BTC, ETH]),
        raise_on_error=False,
    )


def newest(instance: dg.DagsterInstance, table: str) -> dg.AssetMaterialization:
    event = instance.fetch_materializations(keys.market(table), limit=1).records[0].asset_materialization
    assert event is not None
    return event


def test_a_range_of_months_and_pairs_is_one_run_with_each_partition_told(
    monkeypatch, instance, resource, workshop
) -> None:
    """Two months of two pairs: four partitions of every table, rows and hashes of each, the checks evaluated once."""
    calls: list[tuple] = []
    monkeypatch.setattr("hydra_core.lake.collect.collect", collecting(calls=calls))
    with Spool(workshop.home.spool) as spool:
        spool.add(Liquidation(BTC, END - DAY_MS, True, 0.5, 60_000.0))
    done = run(resource, instance)
    assert done.success
    assert {(pair, month) for pair, month, *_ in calls} == {(p, m) for p in (BTC, ETH) for m in MONTHS}
    assert {(now, clip, refresh) for *_, now, clip, refresh in calls} == {(NOW_MS, (START, END), False)}
    made = instance.get_materialized_partitions(keys.CANDLES_KEY)
    assert made == {"2024-08-01|BTCUSDT", "2024-08-01|ETHUSDT", "2024-09-01|BTCUSDT", "2024-09-01|ETHUSDT"}
    event = newest(instance, "funding")
    held = workshop.lake.read("funding", ETH, START, END).height
    assert event.metadata["rows_in_run"].value == 2 * held
    assert 0 < event.metadata["dagster/row_count"].value < held
    assert workshop.lake.read("liquidations", BTC)["side"].to_list() == ["long"]
    words = {(e.asset_key.path[-1], e.check_name): e.passed for e in done.get_asset_check_evaluations()}
    assert all(words.values())
    assert {name for name in words} >= {
        ("candles", "expectations"),
        ("candles", "intervals_agree"),
        ("funding", "no_gaps"),
    }


def test_what_the_trader_heard_is_taken_up_compared_and_forgotten_in_time(
    monkeypatch, instance, resource, workshop
) -> None:
    """Books and trades through the job ``reference``; a trade that no candle knows is a warning, and old candles go."""
    monkeypatch.setattr("hydra_core.lake.collect.collect", collecting())
    collecting()(None, workshop.lake, [BTC], ["2024-08"], ["candles_1m"], NOW_MS, clip=(START, END))
    minute = START - START % 60_000 + 60_000
    with Spool(workshop.home.spool) as spool:
        for place in range(12):
            ts = minute + place * 20_000
            spool.add_trade(BTC, 100 + place, ts, 100.0, 1 / 3 if place != 7 else 5.0, False)
            spool.add_book(BTC, ts, [(99.5, 1.0)], [(100.5, 2.0)])
        spool.add_candle(BTC, Interval.M1, minute, (100.0, 100.0, 100.0, 100.0, 1.0))
    config = collect_config(NOW_MS, start_ms=START, end_ms=END, tables=keys.EXTRA_TABLES)
    done = run(resource, instance, job=reference_job, **config)
    assert done.success
    assert workshop.lake.read(TRADES, BTC).height == workshop.lake.read(BOOK, BTC).height == 12
    words = {(e.asset_key.path[-1], e.check_name): e for e in done.get_asset_check_evaluations()}
    assert words["captures", "expectations"].passed
    compared = words["captures", "cross_checks"]
    assert (compared.passed, compared.severity) == (False, dg.AssetCheckSeverity.WARN)
    [said] = [row.data for row in compared.metadata["comparisons"].records]
    assert (said["comparison"], said["pair"]) == ("trades_make_the_candle", BTC)
    assert said["detail"].startswith("1 of 2 minutes")
    assert not list(workshop.home.spool.rglob("*.jsonl")), "all of it is weeks old and in the lake"
    assert newest(instance, "captures").metadata["rows_in_run"].value == 24


def test_collecting_again_gives_the_same_data_version(monkeypatch, instance, resource) -> None:
    monkeypatch.setattr("hydra_core.lake.collect.collect", collecting())
    versions = []
    for _ in range(2):
        done = dg.materialize(
            [market.ASSETS[0]],
            instance=instance,
            resources={"workshop": resource},
            run_config={"ops": {"market__candles": {"config": {"as_of_ms": NOW_MS, "start_ms": START, "end_ms": END}}}},
            tags=range_tags(MONTHS, [BTC, ETH]),
        )
        assert done.success
        versions.append(newest(instance, "candles").tags["dagster/data_version"])
    assert versions[0] == versions[1]
    assert newest(instance, "candles").metadata["months_changed"].value == 0


def test_a_broken_row_fails_the_check_and_stops_what_stands_after_it_in_the_run(
    monkeypatch, instance, resource
) -> None:
    """One price of 5m candles is negative: the rule and the pair are named, the dataset is not made on it."""

    @dg.asset(key=keys.DATASET, deps=[keys.CANDLES_KEY])
    def dataset() -> None:
        raise AssertionError("made on rows that failed their check")

    job = dg.define_asset_job("both", selection="*", executor_def=dg.in_process_executor)
    monkeypatch.setattr("hydra_core.lake.collect.collect", collecting(first_price_negative))
    done = run(resource, instance, more=(dataset,), job=job)
    assert not done.success
    failed = [e for e in done.get_asset_check_evaluations() if not e.passed and e.blocking]
    assert [(e.asset_key, e.check_name, e.blocking) for e in failed] == [(keys.CANDLES_KEY, keys.EXPECTATIONS, True)]
    table = [record.data for record in failed[0].metadata["expectations"].records]
    assert any(row["table"] == "candles_5m" and row["severity"] == "critical" and row["rows"] >= 1 for row in table)
    assert instance.get_latest_materialization_event(keys.DATASET) is None


def test_a_gap_and_a_remark_warn_and_stop_nothing(monkeypatch, instance, resource) -> None:
    from dataclasses import replace

    from hydra_core.lake.gaps import Gap, GapKind

    plain = collecting()

    def with_remarks(*arguments, **options):
        hole = Gap(START, START + DAY_MS, GapKind.INSIDE)
        line = "candles_1h differs from what 1m candles make: 1 of 700 candles"
        return [replace(one, gaps=(hole,), warnings=(line,)) for one in plain(*arguments, **options)]

    monkeypatch.setattr("hydra_core.lake.collect.collect", with_remarks)
    done = run(resource, instance)
    assert done.success
    failed = {e.check_name: e.severity for e in done.get_asset_check_evaluations() if not e.passed}
    assert failed == {"no_gaps": dg.AssetCheckSeverity.WARN, "intervals_agree": dg.AssetCheckSeverity.WARN}


def test_only_the_exchanges_silence_is_worth_another_try_and_each_failure_is_one_line() -> None:
    for error, again in (
        (VenueUnavailable("no word", "Wait"), True),
        (Refused("no"), False),
        (DataCorrupt("bad"), False),
    ):
        with pytest.raises(dg.Failure) as caught, reporting.plain_failures():
            raise error
        assert (caught.value.description, caught.value.allow_retries) == (str(error), again)
    with pytest.raises(ZeroDivisionError), reporting.plain_failures():
        raise ZeroDivisionError


def test_the_open_months_are_this_and_the_one_before() -> None:
    assert open_months(NOW_MS) == ("2024-09", "2024-10")
    assert open_months(NOW_MS - 1) == ("2024-08", "2024-09")


def test_market_time_is_asked_from_the_venue_when_the_run_was_not_told(monkeypatch, instance, resource) -> None:
    calls: list[tuple] = []
    monkeypatch.setattr("hydra_core.lake.collect.collect", collecting(calls=calls))
    monkeypatch.setattr(Workshop, "market_now", lambda self: NOW_MS - 5)
    done = dg.materialize(
        [market.ASSETS[1]],
        instance=instance,
        resources={"workshop": resource},
        partition_key="2024-09-01|BTCUSDT",
        raise_on_error=True,
    )
    assert done.success
    assert [(pair, month, table, now, clip) for pair, month, table, now, clip, _ in calls] == [
        (BTC, "2024-09", "funding", NOW_MS - 5, None)
    ]


@pytest.mark.parametrize("table", ["candles", "liquidations"])
def test_every_market_asset_is_backfilled_by_one_run(table: str) -> None:
    asset = next(each for each in market.ASSETS if each.key == keys.market(table))
    assert asset.backfill_policy == dg.BackfillPolicy.single_run()
