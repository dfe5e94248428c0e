"""Words between processes that no shared memory joins: commands from the command line, signs of life.

A command is carried out by the trader; here it waits and is ticked off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from hydra_core.ledger import codec, schema
from hydra_core.ledger.book import Book
from hydra_core.ledger.engine import upsert
from hydra_core.ledger.records import Command, Heartbeat

_COMMAND = schema.command
_HEARTBEATS = sa.select(schema.heartbeat)
_PENDING = sa.select(_COMMAND).where(_COMMAND.c.done_wall_ms.is_(None)).order_by(_COMMAND.c.id)


class ControlBook(Book):
    """Commands (written by the command line, completed by the trader) and heartbeats (written by each process)."""

    def command(self, kind: str, args: Mapping[str, Any], wall_ms: int) -> int:
        """Leave a command for the trader; returns its id."""
        values = {
            "kind": kind,
            "args": codec.dumps(args),
            "created_wall_ms": wall_ms,
            "done_wall_ms": None,
            "result": "",
        }
        with self._writing() as connection:
            done = connection.execute(sa.insert(_COMMAND).values(**values).returning(_COMMAND.c.id))
            return int(done.scalar_one())

    def pending_commands(self) -> list[Command]:
        """Commands not carried out yet, oldest first."""
        return [_command(row) for row in self._rows(_PENDING)]

    def complete_command(self, command_id: int, wall_ms: int, result: str = "done") -> bool:
        """Tick a command off; False when it was ticked off before (its first result is kept)."""
        where = (_COMMAND.c.id == command_id, _COMMAND.c.done_wall_ms.is_(None))
        with self._writing() as connection:
            done = connection.execute(sa.update(_COMMAND).where(*where).values(done_wall_ms=wall_ms, result=result))
            return done.rowcount == 1

    def command_by_id(self, command_id: int) -> Command | None:
        """A command with its result; None when there is none of that id."""
        query = sa.select(_COMMAND).where(_COMMAND.c.id == command_id)
        return next((_command(row) for row in self._rows(query)), None)

    def heartbeat(self, who: str, wall_ms: int, payload: Mapping[str, Any] | None = None) -> None:
        """Leave a sign of life."""
        with self._writing() as connection:
            row = {"who": who, "wall_ms": wall_ms, "payload": codec.dumps(payload or {})}
            upsert(connection, schema.heartbeat, row)

    def heartbeats(self) -> dict[str, Heartbeat]:
        """The last sign of life of every process, by name."""
        return {
            row["who"]: Heartbeat(row["who"], row["wall_ms"], json.loads(row["payload"]))
            for row in self._rows(_HEARTBEATS)
        }


def _command(row: RowMapping) -> Command:
    return Command(
        id=row["id"],
        kind=row["kind"],
        args=json.loads(row["args"]),
        created_wall_ms=row["created_wall_ms"],
        done_wall_ms=row["done_wall_ms"],
        result=row["result"],
    )
