"""Launching Dagster runs from HYDRA's own programs, through a helper process that speaks JSON lines.

The helper is ``python -m hydra_dagster.launch``: nothing of Dagster is imported here. One helper serves many runs, so
its import is paid once and can overlap with the platform's start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO, cast

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.home import Home
from hydra_core.platform.supervisor import last_line


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing that happened in a run.

    Parameters
    ----------
    kind : Dagster's event type in lower case (``step_start``, ``asset_materialization``, …), ``log`` or ``launched``
    step : the asset or check it happened in, e.g. ``market__candles``; empty for the run itself
    message : what it said
    progress : (done, total) where the message reports progress
    passed : of an evaluated check, whether it passed; None for everything else
    blocking : of an evaluated check, whether failing stops the run
    """

    run_id: str
    kind: str
    step: str
    message: str
    progress: tuple[int, int] | None = None
    passed: bool | None = None
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended: Dagster's status word, and the first error of a run that failed."""

    run_id: str
    status: str
    error: str = ""
    seconds: float = 0.0
    steps: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds each step took."""

    @property
    def succeeded(self) -> bool:
        """Whether every step did its work."""
        return self.status == "SUCCESS"


class RunConsole:
    """A helper process that launches runs and tells what happens in them.

    Parameters
    ----------
    home : the home whose platform is running
    environment : the whole environment of the helper
    """

    def __init__(self, home: Home, environment: Mapping[str, str]) -> None:
        self._log = home.run / "logs" / "console.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hydra_dagster.launch"],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def run(
        self,
        job: str,
        location: str,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        months: Sequence[str] = (),
        pairs: Sequence[str] = (),
        on_event: Callable[[RunEvent], None] | None = None,
    ) -> RunOutcome:
        """Launch a job and wait for its end.

        Parameters
        ----------
        job, location : names, e.g. ``collect`` in ``hydra_research``
        config : run config
        months, pairs : the rectangle of partitions (``YYYY-MM``) of a partitioned job; pairs must be neighbours in the
            list of known pairs
        on_event : called for everything that happens

        Raises
        ------
        UsageError : the job, its config or its partitions are refused
        HydraError : the helper ended
        """
        request = {
            "job": job,
            "location": location,
            "config": dict(config or {}),
            "tags": dict(tags or {}),
            "months": list(months),
            "pairs": list(pairs),
        }
        out = cast(TextIO, self._process.stdin)
        try:
            out.write(json.dumps(request) + "\n")
            out.flush()
        except OSError as error:
            raise HydraError(f"the run console is gone: {last_line(self._log)}", f"See {self._log}") from error
        for line in cast(TextIO, self._process.stdout):
            said = json.loads(line)
            word = said.pop("said")
            if word == "refused":
                raise UsageError(f"{location} refused {job}: {said['error']}")
            if word == "ended":
                return RunOutcome(**said)
            if on_event:
                progress = said.pop("progress")
                on_event(RunEvent(**said, progress=tuple(progress) if progress else None))
        raise HydraError(f"the run console ended: {last_line(self._log)}", f"See {self._log}")

    def close(self) -> None:
        """End the helper; runs it launched go on."""
        cast(TextIO, self._process.stdin).close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast(TextIO, self._process.stdout).close()

    def __enter__(self) -> RunConsole:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
