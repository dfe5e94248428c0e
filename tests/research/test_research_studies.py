"""Studies that hosts share in PostgreSQL: nobody draws what another drew, everything counts, and the address stays a secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres_server import empty_database, own_server
from pydantic import SecretStr

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.home import Home
from hydra_core.research.bench import Bench
from hydra_core.research.studies import VARIABLE, open_study
from hydra_core.research.sweeps import StudyResult, sweep
from hydra_core.research.trials import trials_of
from hydra_core.settings import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with own_server() as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[SecretStr]:
    with empty_database(server, "studies") as made:
        yield SecretStr(made)


def square(number: int, parameters: dict[str, float], report) -> float:
    return parameters["x"] ** 2


def run(host: Path, url: SecretStr, objective, count: int) -> StudyResult:
    def suggested(trial) -> dict[str, float]:
        return {"x": trial.suggest_float("x", -1.0, 1.0)}

    return sweep(host, "study", {"x": 0.5}, suggested, objective, count, seed=1, shared=url)


def drawn(host: Path) -> dict[int, float]:
    return {int(row["number"]): row["parameters"]["x"] for row in trials_of(host, "study")}


OTHER_HOST = """
import os, sys, test_research_studies as t
from pathlib import Path
from pydantic import SecretStr
def objective(number, parameters, report):
    if number == 1:
        print("in the second trial", flush=True)
        sys.stdin.read()
    return t.square(number, parameters, report)
t.run(Path(sys.argv[1]), SecretStr(os.environ[t.VARIABLE]), objective, 4)
"""


def test_two_hosts_share_a_study_and_one_that_is_killed_leaves_its_trial_counted(
    url: SecretStr, server: str, tmp_path: Path
) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen(
        [sys.executable, "-c", OTHER_HOST, str(tmp_path / "other")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths, VARIABLE: url.get_secret_value()},
    )  # fmt: skip
    assert child.stdout is not None
    assert "second trial" in child.stdout.readline()
    asked: list[int] = []

    def objective(number: int, parameters: dict[str, float], report) -> float:
        asked.append(number)
        return square(number, parameters, report)

    made = run(tmp_path / "mine", url, objective, 3)
    assert asked == [2, 3]
    assert (made.finished, made.trials) == ((0, 2, 3), 4), "what the other host is still at is a trial, too"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    resumed = run(tmp_path / "third", url, objective, 4)
    assert asked == [2, 3, 4]
    assert (resumed.finished, resumed.trials) == ((0, 2, 3, 4), 5)
    shown = drawn(tmp_path / "third")
    assert len(set(shown.values())) == 5, "no two hosts draw the same"
    assert shown[0] == 0.5
    with empty_database(server, "alone") as alone:
        run(tmp_path / "alone", SecretStr(alone), square, 5)
    assert drawn(tmp_path / "alone") == shown, "a trial's draw follows from its number, whoever runs it"
    assert not (tmp_path / "mine" / "optuna.journal").exists()


@pytest.mark.parametrize("address", ["sqlite:////tmp/studies.db", "postgresql://me:hidden@127.0.0.1:1/studies"])
def test_an_address_that_serves_nothing_is_refused_without_being_told(address: str, tmp_path: Path) -> None:
    with pytest.raises(HydraError, match=VARIABLE) as refused:
        run(tmp_path, SecretStr(address), square, 1)
    assert "hidden" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_database_of_something_else_is_left_alone(url: SecretStr, tmp_path: Path) -> None:
    engine = sa.create_engine(url.get_secret_value())
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num varchar(32))")
    with pytest.raises(UsageError, match="a database of their own"):
        open_study(tmp_path, "study", {}, 1, 1, url)
    assert sa.inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_the_address_comes_from_the_environment_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql+psycopg2://me:hidden@host/studies")
    settings = Settings(data_root=tmp_path)
    bench = Bench.of(Home(tmp_path, "synthetic-1-0"), settings)
    assert bench.studies_url is not None
    assert bench.studies_url.get_secret_value().endswith("@host/studies")
    for shown in (repr(bench), repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hidden" not in shown
