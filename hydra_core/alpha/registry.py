"""The model registry: sealed artifact folders under their content hash, and which of them hold the seats.

``<root>/<kind>/<version>/`` is never changed after it appeared (attachments apart); ``<root>/champions.json`` names the
champions and keeps every promotion and demotion. Both move atomically, so a killed process leaves no half of anything.

Not here: what a model must pass (``research/gates``), how it is loaded (``models``). A version is the SHA-256 over the
names and contents of the folder's files, ``card.json`` counted without its own version; attachments are not counted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from hydra_core.alpha.models import KINDS
from hydra_core.domain.errors import ArtifactInvalid

CARD: Final = "card.json"
ATTACHMENTS: Final = frozenset({"leaks.json", "report.html", "validation.json"})
"""Files that may be added to a sealed folder: they tell of the model and are no part of it."""
CHAMPIONS: Final = "champions.json"
RENEWS: Final = "renews"
"""Setting on the card of a version whose weights are another's: which one first brought them."""
_KEPT_HISTORY: Final = 500


class Estimate(BaseModel):
    """A measured number with its interval (95 % unless said); ``low`` and ``high`` are None where none was computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float | None = None
    high: float | None = None


class Card(BaseModel):
    """What a model is and what made it; see the parameters.

    Parameters
    ----------
    kind, version : kind of model and content hash of its folder (empty until it is saved)
    inputs : panel inputs it cannot do without
    lookback : rows it needs, 5m bars
    horizon_bars : bars ahead that it speaks of
    pairs : what it was trained on
    trained_until_ms : close of the newest bar that any of its labels reached, epoch ms, market time
    data_hashes : name -> SHA-256 of what it was trained on
    settings, seeds, libraries : what a repetition needs
    metrics : out-of-sample figures with intervals
    trials : configurations tried before this one was chosen, aborted ones included
    notes : plain words on the choices made
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    version: str = ""
    inputs: tuple[str, ...]
    lookback: int
    horizon_bars: int
    pairs: tuple[str, ...] = ()
    trained_until_ms: int = 0
    data_hashes: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    code_version: str = ""
    metrics: dict[str, Estimate] = Field(default_factory=dict)
    trials: int = 0
    libraries: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class ModelRegistry:
    """Artifacts and champions under one folder.

    Parameters
    ----------
    root : Path, the home's ``models`` folder; made when first written to
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, kind: str, folder: Path) -> str:
        """Seal a copy of an artifact folder; returns its version. Saving the same contents again changes nothing.

        Raises
        ------
        ArtifactInvalid : no readable ``card.json`` of that kind in the folder
        """
        card = read_card(folder)
        if card.kind != kind or kind not in KINDS:
            raise ArtifactInvalid(f"{folder}: card says kind {card.kind!r}, saved as {kind!r}", f"Known: {KINDS}")
        version = content_version(folder)
        target = self.root / kind / version
        if target.exists():
            return version
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".staged-", dir=target.parent))
        try:
            shutil.copytree(folder, staged, dirs_exist_ok=True)
            write_card(staged, card.model_copy(update={"version": version}))
            for file in staged.rglob("*"):
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
            staged.chmod(0o755)
            try:
                staged.rename(target)
            except OSError:
                if not target.exists():
                    raise
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return version

    def path(self, kind: str, version: str) -> Path:
        """Folder of a version after checking that its contents still have that hash; raises ArtifactInvalid."""
        folder = self.root / kind / version
        if not folder.is_dir():
            raise ArtifactInvalid(f"no {kind} {version[:12]} in {self.root}", "Train it again, or promote another")
        found = content_version(folder)
        if found != version:
            raise ArtifactInvalid(
                f"{kind} {version[:12]} was altered: its contents hash to {found[:12]}",
                "Delete the folder and train again, or promote another version",
            )
        return folder

    def card(self, kind: str, version: str) -> Card:
        """The card of a version; raises ArtifactInvalid when there is none."""
        return read_card(self.root / kind / version)

    def attach(self, kind: str, version: str, name: str, content: bytes) -> Path:
        """Add or replace an attachment of a sealed folder, atomically; the version stays what it is."""
        if name not in ATTACHMENTS:
            raise ArtifactInvalid(f"{name!r} is no attachment", f"Allowed: {', '.join(sorted(ATTACHMENTS))}")
        target = self.root / kind / version / name
        if not target.parent.is_dir():
            raise ArtifactInvalid(f"no {kind} {version[:12]} in {self.root}", "Train it again")
        return write_atomically(target, content)

    def list(self, kind: str | None = None) -> Sequence[Card]:
        """Cards of all saved versions (of one kind), sorted by kind, then by how recent their data are."""
        kinds = KINDS if kind is None else (kind,)
        cards = [
            read_card(folder)
            for each in kinds
            for folder in sorted((self.root / each).glob("[0-9a-f]*"))
            if (folder / CARD).exists()
        ]
        return sorted(cards, key=lambda card: (card.kind, card.trained_until_ms, card.version))

    def champion(self, kind: str) -> str | None:
        """Version that holds the seat, or None."""
        return self.champions().get(kind)

    def champions(self) -> dict[str, str]:
        """Kind -> version of every champion."""
        return dict(self._read()["champions"])

    def history(self, kind: str | None = None) -> Sequence[dict[str, Any]]:
        """Promotions and demotions, oldest first."""
        return [row for row in self._read()["history"] if kind is None or row["kind"] == kind]

    def seated_ms(self, kind: str, version: str) -> int | None:
        """Market time at which a version last took its seat, epoch ms; None where it never did."""
        return next((int(row["at_ms"]) for row in reversed(self.history(kind)) if row["version"] == version), None)

    def origin(self, kind: str, version: str) -> str:
        """The version that first brought the weights of this one, which may be itself; raises ArtifactInvalid."""
        return str(self.card(kind, version).settings.get(RENEWS) or version)

    def weights_since_ms(self, kind: str, version: str) -> int | None:
        """Market time at which a version's weights took the seat, epoch ms: a renewed calibration makes no model younger."""
        since = self.seated_ms(kind, self.origin(kind, version))
        return self.seated_ms(kind, version) if since is None else since

    def promote(self, kind: str, version: str, verdict: Mapping[str, Any], *, at_ms: int) -> None:
        """Give a version its seat.

        Parameters
        ----------
        verdict : what it passed, JSON-serialisable; kept in the history
        at_ms : market time, epoch ms

        Raises
        ------
        ArtifactInvalid : the version is absent or altered
        """
        self.path(kind, version)
        self._seat(kind, version, "promote", verdict, at_ms)

    def demote(self, kind: str, reason: str, *, at_ms: int) -> str | None:
        """Empty the seat; returns the version that held it."""
        return self._seat(kind, None, "demote", {"reason": reason}, at_ms)

    def rollback(self, kind: str, reason: str, *, at_ms: int) -> str | None:
        """Give the seat back to the champion before the present one (or empty it); returns who holds it now."""
        previous: list[str | None] = [None]
        for row in self.history(kind):
            if row["action"] == "rollback":
                previous.pop()
            else:
                previous.append(row["version"])
        if len(previous) < 2:
            raise ArtifactInvalid(f"no {kind} was ever promoted", "Nothing to roll back")
        version = previous[-2]
        if version is not None:
            self.path(kind, version)
        self._seat(kind, version, "rollback", {"reason": reason}, at_ms)
        return version

    def give_back(self, kind: str, version: str, reason: str, *, at_ms: int) -> str | None:
        """:meth:`rollback`, or with the first digits of a version: give the seat to that former champion.

        Raises
        ------
        ArtifactInvalid : the digits name no former champion, or more than one, or nobody ever held the seat
        """
        if not version:
            return self.rollback(kind, reason, at_ms=at_ms)
        former = sorted({str(row["version"]) for row in self.history(kind) if row["version"]})
        found = [each for each in former if each.startswith(version)]
        if len(found) != 1:
            known = ", ".join(each[:12] for each in former) or "none"
            raise ArtifactInvalid(
                f"{version!r} names {len(found)} former {kind} champions", f"Former champions: {known}"
            )
        self.promote(kind, found[0], {"reason": reason}, at_ms=at_ms)
        return found[0]

    def _seat(self, kind: str, version: str | None, action: str, verdict: Mapping[str, Any], at_ms: int) -> str | None:
        if kind not in KINDS:
            raise ArtifactInvalid(f"unknown kind of model {kind!r}", f"Known: {', '.join(KINDS)}")
        with self._locked():
            state = self._read()
            before = state["champions"].get(kind)
            if action == "promote" and before == version:
                return before if before is None else str(before)
            if version is None:
                state["champions"].pop(kind, None)
            else:
                state["champions"][kind] = version
            row = {"kind": kind, "version": version, "previous": before, "action": action, "at_ms": at_ms}
            state["history"] = [*state["history"], {**row, "verdict": dict(verdict)}][-_KEPT_HISTORY:]
            write_atomically(self.root / CHAMPIONS, json.dumps(state, indent=1, sort_keys=True).encode())
            return None if before is None else str(before)

    def _read(self) -> dict[str, Any]:
        file = self.root / CHAMPIONS
        if not file.exists():
            return {"champions": {}, "history": []}
        try:
            state: dict[str, Any] = json.loads(file.read_text())
        except ValueError as error:
            raise ArtifactInvalid(
                f"{file} is not readable: {error}", "Restore it from a backup or delete it"
            ) from error
        return state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".champions.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def content_version(folder: Path) -> str:
    """SHA-256 over the names and contents of an artifact's files; raises ArtifactInvalid for an unreadable card."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name in ATTACHMENTS:
            continue
        content = file.read_bytes() if name != CARD else _sealed_bytes(read_card(folder))
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def read_card(folder: Path) -> Card:
    """The card in an artifact folder; raises ArtifactInvalid when it is absent or malformed."""
    file = folder / CARD
    try:
        return Card.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactInvalid(f"{file} is not a model card: {error}", "Train the model again") from error


def write_card(folder: Path, card: Card) -> None:
    """Write the card into a folder that is being made."""
    write_atomically(folder / CARD, json.dumps(card.model_dump(mode="json"), indent=1, sort_keys=True).encode())


def write_atomically(target: Path, content: bytes) -> Path:
    """Write a whole file or nothing: temporary file, fsync, rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh = Path(name)
    fresh.chmod(0o644)
    return fresh.replace(target)


def _sealed_bytes(card: Card) -> bytes:
    """Canonical bytes of a card without its version."""
    return json.dumps(card.model_dump(mode="json", exclude={"version"}), sort_keys=True).encode()
