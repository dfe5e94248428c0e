"""Where Optuna's studies live: a journal file of the home, or a PostgreSQL database that several hosts share.

A shared study belongs to the data and settings that it is named after, so every host that prepared the same dataset joins the
same one. What a trial draws follows from its number alone, not from who runs it: hosts never draw the same twice, and a study
that was interrupted goes on as if it had not been. The address is a secret: it comes from the environment and is never
written, logged or shown.

Not here: what a trial computes and which trials count (``sweeps``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from pydantic import SecretStr

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.ledger.engine import open_engine, parse_url

if TYPE_CHECKING:
    import optuna

JOURNAL: Final = "optuna.journal"
VARIABLE: Final = "HYDRA_STUDIES_URL"
_OPENING_LOCK: Final = 0x4859_5354
"""Key of the PostgreSQL advisory lock under which tables, a study and its first trial are made."""
_OPTUNA_TABLE: Final = "studies"
_MIGRATIONS_TABLE: Final = "alembic_version"


def open_study(
    studies: Path, name: str, first: dict[str, Any], seed: int, count: int, url: SecretStr | None = None
) -> optuna.Study:
    """A study, made where it is not there yet; its first trial is queued once.

    Parameters
    ----------
    studies : folder of the journal, used without ``url``
    first : parameters of the first trial
    count : trials drawn at random before the sampler looks at their results
    url : PostgreSQL database of Optuna's own; None: the journal

    Raises
    ------
    UsageError : another kind of database, or one that something else keeps its tables in
    HydraError : the database cannot be reached
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if url is None:
        studies.mkdir(parents=True, exist_ok=True)
        return _opened(name, JournalStorage(JournalFileBackend(str(studies / JOURNAL))), first, seed, count)
    with plain_errors(), _alone(url):
        return _opened(name, _shared(url), first, seed, count)


def sampler(seed: int, count: int) -> optuna.samplers.TPESampler:
    """Parzen estimators after ``count`` random trials."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(1, count))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the shared database's refusals into an error that names no address."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (sa.exc.DBAPIError, StorageInternalError) as error:
        why = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error.__cause__ or error)
        raise HydraError(
            f"the studies' database cannot be used: {why.strip().splitlines()[0]}",
            f"Look at the server and at {VARIABLE}; what was tried so far is kept, run it again",
        ) from None


def _opened(name: str, storage: Any, first: dict[str, Any], seed: int, count: int) -> optuna.Study:
    import optuna

    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler(seed, count),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0),
        direction="minimize",
        load_if_exists=True,
    )
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(first)
    return study


def _shared(url: SecretStr) -> Any:
    from optuna.storages import RDBStorage

    parsed = parse_url(url.get_secret_value()).set(drivername="postgresql+psycopg2")
    patience = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
    return RDBStorage(parsed.render_as_string(hide_password=False), engine_kwargs=patience)


@contextmanager
def _alone(url: SecretStr) -> Iterator[None]:
    """No other host opens a study meanwhile, and the database is Optuna's own."""
    if parse_url(url.get_secret_value()).get_backend_name() != "postgresql":
        raise UsageError(
            f"{VARIABLE} is not an address of PostgreSQL", "Write postgresql+psycopg2://…, or leave it out"
        )
    engine = open_engine(url.get_secret_value())
    try:
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_OPENING_LOCK)))
            tables = sa.inspect(connection).get_table_names()
            if _MIGRATIONS_TABLE in tables and _OPTUNA_TABLE not in tables:
                raise UsageError(
                    f"the database of {VARIABLE} holds the tables of something else",
                    "Give the studies a database of their own: CREATE DATABASE optuna",
                )
            yield
    finally:
        engine.dispose()
