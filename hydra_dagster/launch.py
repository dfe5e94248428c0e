"""Launching runs on a running platform from outside Dagster, and telling what happens in them.

``python -m hydra_dagster.launch`` reads one JSON request a line on standard input and answers in JSON lines; its other
end is ``hydra_core.platform.runs``. A launched run waits in the queue, so a daemon must be running.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.market import INPUTS
from hydra_core.domain.pairs import DEFAULT_PAIRS, parse_pair
from hydra_core.platform.parts import workspace_path
from hydra_dagster import keys
from hydra_dagster.jobs import ENDED
from hydra_dagster.partitions import range_tags
from hydra_dagster.reporting import progress_in
from hydra_dagster.resources import WorkshopResource

POLL_S: Final = 0.4
STATUS_EVERY: Final = 5
"""Looks at a run's events for each look at its status: an end is an event too, unless the run was deleted."""
_LAUNCH: Final = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PipelineNotFoundError { message }
    ... on ConflictingExecutionParamsError { message }
    ... on InvalidSubsetError { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""

ENDING: Final = frozenset({
    dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED
})  # fmt: skip
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Request:
    """What to launch.

    Parameters
    ----------
    job, location : names
    config : asset ("market/candles", or "market/*" for all market tables) -> its config
    tags : further tags
    months, pairs : the rectangle of partitions of a partitioned job; pairs must be neighbours
    """

    job: str
    location: str
    config: Mapping[str, Mapping[str, Any]]
    tags: Mapping[str, str]
    months: Sequence[str] = ()
    pairs: Sequence[str] = ()

    def run_config(self) -> dict[str, Any]:
        """The config as Dagster wants it: by op."""
        ops: dict[str, Any] = {}
        for name, values in self.config.items():
            every = (
                [keys.market(table) for table in INPUTS]
                if name == f"{keys.MARKET}/*"
                else [dg.AssetKey(name.split("/"))]
            )
            ops.update({keys.op_name(key): {"config": dict(values)} for key in every})
        return {"ops": ops}

    def run_tags(self) -> dict[str, str]:
        """The tags with the range of partitions."""
        if not self.months:
            return dict(self.tags)
        pairs = tuple(parse_pair(pair) for pair in self.pairs) or DEFAULT_PAIRS
        return {**self.tags, **range_tags(self.months, pairs)}


class Launcher:
    """Launches runs through the code servers named in a workspace file, into the instance of the environment."""

    def __init__(self, instance: dg.DagsterInstance, workspace: WorkspaceProcessContext) -> None:
        from dagster_graphql.schema import create_schema

        self._instance = instance
        self._workspace = workspace
        self._schema = create_schema()

    @classmethod
    @contextmanager
    def connected(cls, workspace_file: Path) -> "Iterator[Launcher]":
        """A launcher over a running platform."""
        target = WorkspaceFileTarget([str(workspace_file)])
        with dg.DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as workspace:
            yield cls(instance, workspace)

    def launch(self, request: Request) -> str:
        """Put a run into the queue; returns its id.

        Raises
        ------
        UsageError : Dagster refuses it, in Dagster's words
        """
        # A code server that was started again since has another identity: read the locations anew.
        self._workspace.refresh_workspace()
        selector = {
            "jobName": request.job,
            "repositoryName": "__repository__",
            "repositoryLocationName": request.location,
        }
        run_tags = [{"key": name, "value": value} for name, value in request.run_tags().items()]
        params = {
            "selector": selector,
            "runConfigData": request.run_config(),
            "executionMetadata": {"tags": run_tags},
        }
        context = self._workspace.create_request_context()
        done = asyncio.run(
            self._schema.execute_async(_LAUNCH, context_value=context, variable_values={"params": params})
        ).formatted
        if done.get("errors"):
            raise UsageError("; ".join(str(error["message"]) for error in done["errors"]))
        answer = done["data"]["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            said = [answer["message"]] if "message" in answer else [e["message"] for e in answer.get("errors", [])]
            raise UsageError("; ".join(said) or answer["__typename"])
        return str(answer["run"]["runId"])

    def wait(self, run_id: str, tell: Tell) -> dict[str, Any]:
        """Follow a run to its end; ``tell`` is called for every event; returns how it ended."""
        pause, cursor = threading.Event(), None
        run: dg.DagsterRun | None = None
        over, ended, looks, steps = False, False, 0, dict[str, float]()
        began = finished = 0.0
        error = ""
        while True:
            page = self._instance.get_records_for_run(run_id, cursor=cursor, limit=500)
            cursor = page.cursor
            for record in page.records:
                entry = record.event_log_entry
                began, finished = began or entry.timestamp, entry.timestamp
                tell(_event(run_id, entry))
                error = error or _error(entry)
                _time(entry, steps)
                over = over or (entry.dagster_event is not None and entry.dagster_event.event_type in ENDING)
            if not page.records and ended:
                break
            if over or looks % STATUS_EVERY == 0:
                run = self._instance.get_run_by_id(run_id)
                # One more look after the end: the last events are written before the status, but read after it.
                ended = run is None or run.status in ENDED
            looks += 1
            if not page.has_more and not ended:
                pause.wait(POLL_S)
        status = run.status.value if run else "GONE"
        return {"run_id": run_id, "status": status, "error": error, "seconds": finished - began, "steps": steps}


def launch(workspace_file: Path, request: Request) -> str:
    """Launch one run on a running platform; returns its id."""
    with Launcher.connected(workspace_file) as launcher:
        return launcher.launch(request)


def serve(requests: TextIO, answers: TextIO, workspace_file: Path) -> None:
    """Answer requests until the input ends: launched, events, ended, or refused.

    The platform is connected to with the first request, so this process can be started while the parts are starting.
    """

    def say(word: str, **facts: Any) -> None:
        answers.write(json.dumps({"said": word, **facts}) + "\n")
        answers.flush()

    launcher: Launcher | None = None
    with ExitStack() as kept:
        for line in requests:
            if launcher is None:
                launcher = kept.enter_context(Launcher.connected(workspace_file))
            try:
                request = Request(**json.loads(line))
                run_id = launcher.launch(request)
            except (HydraError, ValueError, TypeError) as error:
                say("refused", error=str(error))
                continue
            say("event", run_id=run_id, kind="launched", step="", message="waiting in the queue", progress=None)
            say("ended", **launcher.wait(run_id, lambda event: say("event", **event)))


def _event(run_id: str, entry: dg.EventLogEntry) -> dict[str, Any]:
    event = entry.dagster_event
    kind = event.event_type_value.lower() if event is not None else "log"
    message = entry.user_message or (event.message if event is not None else "") or ""
    data = event.event_specific_data if event is not None else None
    check = data if isinstance(data, dg.AssetCheckEvaluation) else None
    return {
        "run_id": run_id,
        "kind": kind,
        "step": entry.step_key or "",
        "message": message,
        "progress": progress_in(message),
        "passed": check.passed if check is not None else None,
        "blocking": check is not None and bool(check.blocking),
    }


def _error(entry: dg.EventLogEntry) -> str:
    event = entry.dagster_event
    if event is None or (not event.is_step_failure and not event.is_run_failure):
        return ""
    if not event.is_step_failure:
        return event.message or ""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    cause = data.error
    while cause is not None and cause.cause is not None:
        cause = cause.cause
    return f"{event.step_key}: {cause.message.strip() if cause else event.message}"


def _time(entry: dg.EventLogEntry, steps: dict[str, float]) -> None:
    event = entry.dagster_event
    if event is None or not entry.step_key:
        return
    if event.is_step_start:
        steps[entry.step_key] = -entry.timestamp
    elif (event.is_step_success or event.is_step_failure) and steps.get(entry.step_key, 0.0) < 0:
        steps[entry.step_key] = round(entry.timestamp + steps[entry.step_key], 3)


def main() -> None:
    """Serve standard input and output for the home of the environment."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not break the protocol
    import dagster_graphql.schema  # noqa: F401  takes seconds, in which the platform may still be starting

    home = WorkshopResource().create_resource(dg.build_init_resource_context()).home
    serve(sys.stdin, answers, workspace_path(home))


if __name__ == "__main__":
    main()
