"""How Alembic runs here: always on a connection that the ledger hands in, inside its transaction.

To write a new revision after changing ``schema.py``, copy the newest file in ``versions`` and raise its number.
"""

from __future__ import annotations

from alembic import context

from hydra_core.domain.errors import HydraError
from hydra_core.ledger.schema import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise HydraError("migrations run from Ledger.open only", "Open the ledger; it migrates itself")
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
