"""Decision cycles: the lease of a window, decisions and their plans, grid points that nobody decided.

No grid point is decided twice: (account, strategy, cycle) is a key, and the commit checks the holder's fencing number
in its own transaction, so that a window that was replaced while it slept commits nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from hydra_core.domain.errors import HydraError, LeaseLost
from hydra_core.domain.trading import Decision, Mode, Pins, Plan
from hydra_core.ledger import codec, schema
from hydra_core.ledger.book import Book
from hydra_core.ledger.engine import insert_once
from hydra_core.ledger.records import DecisionLine, DecisionRecord, LeaseClaim, LeaseRecord, MissedSpan

_LEASE = schema.lease
_DECISION = schema.decision
_PLAN = schema.plan
_MISSED = schema.missed
_NEWEST_PLAN = (
    sa.select(_PLAN.c.body, _PLAN.c.expires_ms, _PLAN.c.ended_ms)
    .where(_PLAN.c.account == sa.bindparam("account"))
    .order_by(_PLAN.c.cycle_ms.desc(), _PLAN.c.plan_id.desc())
    .limit(1)
)
"""Statements that every cycle asks are built once: building one costs more than SQLite takes to answer it."""
_LEASE_ROW = sa.select(_LEASE).where(_LEASE.c.name == sa.bindparam("lease")).with_for_update()
_PROLONG = (
    sa.update(_LEASE)
    .where(
        _LEASE.c.name == sa.bindparam("lease"),
        _LEASE.c.run_id == sa.bindparam("holder"),
        _LEASE.c.fence == sa.bindparam("claimed"),
    )
    .values(renewed_wall_ms=sa.bindparam("renewed"), expires_wall_ms=sa.bindparam("expires"))
)


class CycleBook(Book):
    """Leases, decisions, plans and missed points; written by window runs."""

    def acquire_lease(self, name: str, run_id: str, wall_ms: int, ttl_ms: int) -> LeaseClaim | None:
        """Take a lease that is free or run out; None while another run holds it.

        Every taking gets a higher fencing number, also by the same run.
        """
        with self._writing() as connection:
            fresh = {
                "name": name, "run_id": "", "fence": 0,
                "acquired_wall_ms": 0, "renewed_wall_ms": 0, "expires_wall_ms": 0,
            }  # fmt: skip
            insert_once(connection, _LEASE, fresh)
            standing = _lease_row(connection, name)
            assert standing is not None
            if _lease(standing).held(wall_ms) and standing["run_id"] != run_id:
                return None
            fence = standing["fence"] + 1
            changes = {
                "run_id": run_id, "fence": fence,
                "acquired_wall_ms": wall_ms, "renewed_wall_ms": wall_ms, "expires_wall_ms": wall_ms + ttl_ms,
            }  # fmt: skip
            connection.execute(sa.update(_LEASE).where(_LEASE.c.name == name).values(**changes))
            return LeaseClaim(name, run_id, fence)

    def renew_lease(self, claim: LeaseClaim, wall_ms: int, ttl_ms: int) -> None:
        """Prolong a lease; raises LeaseLost when another run took it or it was given back."""
        with self._writing() as connection:
            if not _prolong(connection, claim, wall_ms, ttl_ms):
                _check_claim(connection, claim)

    def release_lease(self, claim: LeaseClaim) -> bool:
        """Give a lease back; False when it was lost before (nothing changes then)."""
        where = (_LEASE.c.name == claim.name, _LEASE.c.run_id == claim.run_id, _LEASE.c.fence == claim.fence)
        with self._writing() as connection:
            done = connection.execute(sa.update(_LEASE).where(*where).values(run_id="", expires_wall_ms=0))
            return done.rowcount == 1

    def lease(self, name: str) -> LeaseRecord | None:
        """The lease as it stands; None when it was never taken."""
        rows = self._rows(sa.select(_LEASE).where(_LEASE.c.name == name))
        return next((_lease(row) for row in rows), None)

    def commit_decision(self, record: DecisionRecord, claim: LeaseClaim, ttl_ms: int | None = None) -> bool:
        """Book a decision and its plan in one transaction that checks (and with ``ttl_ms`` renews) the lease.

        Returns False, and changes nothing, when the grid point is decided already.

        Raises
        ------
        LeaseLost : the claim is no longer the standing one; nothing is committed
        """
        decided, made = record.decision, record.decision.plan
        row = {
            "account": record.account, "strategy": record.strategy, "cycle_ms": decided.cycle_ms,
            "mode": decided.mode.value, "plan_id": made.plan_id if made is not None else None,
            "outcomes": codec.dumps(Counter(pair.outcome for pair in decided.pairs)), "body": codec.dumps(decided),
            "inputs": codec.text_of(record.inputs), "pins": codec.dumps(record.pins), "data_hash": decided.data_hash,
            "run_id": record.run_id, "fence": claim.fence, "latency_ms": record.latency_ms,
            "committed_wall_ms": record.committed_wall_ms,
        }  # fmt: skip
        with self._writing() as connection:
            if ttl_ms is None or not _prolong(connection, claim, record.committed_wall_ms, ttl_ms):
                _check_claim(connection, claim)
            if not insert_once(connection, _DECISION, row):
                return False
            if made is not None:
                _book_plan(connection, made, record.account, record.strategy)
            return True

    def record_missed(
        self, account: str, strategy: str, first_ms: int, last_ms: int, points: int, reason: str, claim: LeaseClaim
    ) -> bool:
        """Book a span of grid points (both ends included) that nobody decided; False when it is booked already.

        Raises
        ------
        LeaseLost : the claim is no longer the standing one
        """
        row = {
            "account": account, "strategy": strategy, "first_ms": first_ms, "last_ms": last_ms,
            "points": points, "reason": reason,
        }  # fmt: skip
        with self._writing() as connection:
            _check_claim(connection, claim)
            return insert_once(connection, _MISSED, row)

    def last_cycle(self, account: str, strategy: str) -> int | None:
        """The newest grid point that was decided or booked as missed; None for a fresh account."""
        newest = sa.select(sa.func.max(_DECISION.c.cycle_ms).label("at")).where(
            _DECISION.c.account == account, _DECISION.c.strategy == strategy
        )
        missed = sa.select(sa.func.max(_MISSED.c.last_ms).label("at")).where(
            _MISSED.c.account == account, _MISSED.c.strategy == strategy
        )
        points = [
            row["at"] for row in self._rows(sa.select(sa.union_all(newest, missed).subquery())) if row["at"] is not None
        ]
        return max(points, default=None)

    def decision(self, account: str, strategy: str, cycle_ms: int) -> DecisionRecord | None:
        """A decision with its inputs; None when that grid point was not decided."""
        key = (_DECISION.c.account == account, _DECISION.c.strategy == strategy, _DECISION.c.cycle_ms == cycle_ms)
        return next((_record(row) for row in self._rows(sa.select(_DECISION).where(*key))), None)

    def decisions(
        self, account: str, *, since_ms: int = 0, until_ms: int | None = None, limit: int = 1_000
    ) -> list[DecisionLine]:
        """Decisions of an account in one line each, newest first."""
        columns = [_DECISION.c[name] for name in DecisionLine.__dataclass_fields__]
        query = sa.select(*columns).where(_DECISION.c.account == account, _DECISION.c.cycle_ms >= since_ms)
        if until_ms is not None:
            query = query.where(_DECISION.c.cycle_ms < until_ms)
        rows = self._rows(query.order_by(_DECISION.c.cycle_ms.desc()).limit(limit))
        return [
            DecisionLine(**{**row, "mode": Mode(row["mode"]), "outcomes": json.loads(row["outcomes"])}) for row in rows
        ]

    def decision_records(self, account: str, *, since_ms: int = 0, limit: int = 100) -> list[DecisionRecord]:
        """Whole decisions of an account, newest first."""
        query = sa.select(_DECISION).where(_DECISION.c.account == account, _DECISION.c.cycle_ms >= since_ms)
        return [_record(row) for row in self._rows(query.order_by(_DECISION.c.cycle_ms.desc()).limit(limit))]

    def count_decisions(self, account: str) -> int:
        """How many grid points were decided for an account."""
        query = sa.select(sa.func.count().label("n")).select_from(_DECISION).where(_DECISION.c.account == account)
        return int(self._rows(query)[0]["n"])

    def missed(self, account: str, strategy: str, limit: int = 1_000) -> list[MissedSpan]:
        """Spans of grid points that nobody decided, newest first."""
        query = sa.select(_MISSED).where(_MISSED.c.account == account, _MISSED.c.strategy == strategy)
        rows = self._rows(query.order_by(_MISSED.c.first_ms.desc()).limit(limit))
        return [MissedSpan(row["first_ms"], row["last_ms"], row["points"], row["reason"]) for row in rows]

    def record_plan(self, plan: Plan, account: str, strategy: str) -> bool:
        """Book a plan that no cycle made (a manual flatten); False when its id is known already."""
        with self._writing() as connection:
            return _book_plan(connection, plan, account, strategy)

    def plan(self, plan_id: str) -> Plan | None:
        """A plan by its id."""
        rows = self._rows(sa.select(_PLAN.c.body).where(_PLAN.c.plan_id == plan_id))
        return next((codec.loads(Plan, row["body"]) for row in rows), None)

    def latest_plan(self, account: str) -> Plan | None:
        """The newest plan of an account, expired or not: it supersedes all others."""
        rows = self._rows(_NEWEST_PLAN, {"account": account})
        return next((codec.loads(Plan, row["body"]) for row in rows), None)

    def standing_plan(self, account: str, now_ms: int) -> Plan | None:
        """The newest plan if it is still to be worked: not expired at market time ``now_ms`` and not ended."""
        rows = self._rows(_NEWEST_PLAN, {"account": account})
        return next(
            (codec.loads(Plan, row["body"]) for row in rows if row["ended_ms"] is None and row["expires_ms"] > now_ms),
            None,
        )

    def end_plan(self, plan_id: str, ts_ms: int, reason: str) -> bool:
        """Note that a plan is worked no more (done, cancelled by the guard); False when that was noted before."""
        where = (_PLAN.c.plan_id == plan_id, _PLAN.c.ended_ms.is_(None))
        with self._writing() as connection:
            changes = {"ended_ms": ts_ms, "end_reason": reason}
            return connection.execute(sa.update(_PLAN).where(*where).values(**changes)).rowcount == 1

    def plans_after(self, account: str, cycle_ms: int) -> list[Plan]:
        """Plans of cycles later than ``cycle_ms``, oldest first."""
        query = sa.select(_PLAN.c.body).where(_PLAN.c.account == account, _PLAN.c.cycle_ms > cycle_ms)
        return [codec.loads(Plan, row["body"]) for row in self._rows(query.order_by(_PLAN.c.cycle_ms, _PLAN.c.plan_id))]

    def plans(self, account: str, limit: int = 100) -> list[Plan]:
        """Plans of an account, newest first."""
        query = sa.select(_PLAN.c.body).where(_PLAN.c.account == account)
        rows = self._rows(query.order_by(_PLAN.c.cycle_ms.desc(), _PLAN.c.plan_id.desc()).limit(limit))
        return [codec.loads(Plan, row["body"]) for row in rows]

    def keep_blob(self, digest: str, kind: str, body: str) -> bool:
        """Keep a text under its hash (settings, market rules) so that decisions can name it; False when it is there."""
        with self._writing() as connection:
            return insert_once(connection, schema.blob, {"hash": digest, "kind": kind, "body": body})

    def blob(self, digest: str) -> str:
        """The text kept under a hash; raises HydraError when there is none."""
        rows = self._rows(sa.select(schema.blob.c.body).where(schema.blob.c.hash == digest))
        if not rows:
            raise HydraError(f"the ledger keeps nothing under {digest}")
        return str(rows[0]["body"])


def _lease_row(connection: Connection, name: str) -> RowMapping | None:
    return connection.execute(_LEASE_ROW, {"lease": name}).mappings().first()


def _lease(row: RowMapping) -> LeaseRecord:
    return LeaseRecord(**row)


def _check_claim(connection: Connection, claim: LeaseClaim) -> None:
    """Raise unless the claim is the standing one; the row stays locked until the transaction ends.

    A lease past its time that nobody else took still counts: the fencing number alone decides.
    """
    row = _lease_row(connection, claim.name)
    if row is None or (row["run_id"], row["fence"]) != (claim.run_id, claim.fence):
        holder = f"run {row['run_id']} (fence {row['fence']})" if row is not None and row["run_id"] else "nobody"
        raise LeaseLost(f"lease {claim.name} is held by {holder}, not by run {claim.run_id} (fence {claim.fence})")


def _prolong(connection: Connection, claim: LeaseClaim, wall_ms: int, ttl_ms: int) -> bool:
    """Prolong the standing claim; False, and nothing changed, where another stands. The row stays locked."""
    place = {"lease": claim.name, "holder": claim.run_id, "claimed": claim.fence}
    done = connection.execute(_PROLONG, {**place, "renewed": wall_ms, "expires": wall_ms + ttl_ms})
    return done.rowcount == 1


def _book_plan(connection: Connection, plan: Plan, account: str, strategy: str) -> bool:
    row: dict[str, Any] = {
        "plan_id": plan.plan_id, "account": account, "strategy": strategy, "cycle_ms": plan.cycle_ms,
        "expires_ms": plan.expires_ms, "body": codec.dumps(plan), "ended_ms": None, "end_reason": "",
    }  # fmt: skip
    return insert_once(connection, _PLAN, row)


def _record(row: RowMapping) -> DecisionRecord:
    return DecisionRecord(
        account=row["account"],
        strategy=row["strategy"],
        decision=codec.loads(Decision, row["body"]),
        pins=codec.loads(Pins, row["pins"]),
        inputs=json.loads(row["inputs"]),
        run_id=row["run_id"],
        latency_ms=row["latency_ms"],
        committed_wall_ms=row["committed_wall_ms"],
        fence=row["fence"],
    )
