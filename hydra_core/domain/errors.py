"""The tree of HYDRA's errors; an error class is a decision about what happens next.

HydraError                     shown to a person as one line: what, where, what to do
├── UsageError                 the caller's words are off: exit code 2
├── InputMissing               a declared input is absent, empty or not finite: no new entries
│   └── InputStale             the input is there but too old
├── DataCorrupt                bytes on disk do not match their recorded hash or schema: quarantined, fetched again
├── ArtifactInvalid            a model's folder is absent, altered or of another version: its seat abstains
├── LeaseLost                  another window holds the lease: this one stops, nothing is committed
├── LockHeld                   another process owns the resource: start nothing
└── VenueError                 the exchange said or did something
    ├── VenueUnavailable       no word from the exchange: reads are retried, readings grow stale
    ├── Refused                the exchange said no: the order is dead, the reason is kept
    ├── OutcomeUnknown         no word on an order: look it up by client id, never send again
    └── Unsupported            the exchange does not offer this: absent, not empty
"""

from __future__ import annotations


class HydraError(Exception):
    """Base of all errors that HYDRA raises on purpose.

    Parameters
    ----------
    what : str
        What went wrong and where, with the value found.
    remedy : str
        What the reader can do about it; empty where nothing can be done.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what if not remedy else f"{what}. {remedy}")
        self.what = what
        self.remedy = remedy


class UsageError(HydraError):
    """The caller's words are off: say which, list what is accepted, exit with 2."""

    exit_code = 2


class InputMissing(HydraError):
    """A declared input is absent, empty or not finite: new entries are blocked, protective exits go on."""


class InputStale(InputMissing):
    """A declared input is older than its limit: treated as missing."""


class DataCorrupt(HydraError):
    """Bytes on disk do not match their recorded hash or schema: the file is set aside and fetched again."""


class ArtifactInvalid(HydraError):
    """A model's folder is absent, altered or of another version: its seat abstains and says why."""


class LeaseLost(HydraError):
    """Another window run holds the lease: this one stops at once and commits nothing more."""


class LockHeld(HydraError):
    """Another process owns this resource: start nothing, name the owner."""


class LedgerUnusable(HydraError):
    """The books cannot be read or written now: send nothing that would have to be booked, and try again later."""


class LedgerLocked(LedgerUnusable, LockHeld):
    """Another process keeps a transaction open on the books."""


class VenueError(HydraError):
    """The exchange said or did something that ends the call."""


class VenueUnavailable(VenueError):
    """No usable word from the exchange: retry reads with backoff; readings grow stale meanwhile."""


class Refused(VenueError):
    """The exchange said no: the order is dead, the reason goes to the ledger, the next cycle decides anew."""


class OutcomeUnknown(VenueError):
    """No word on an order: look it up by client id, never send it again, count it at its worst case meanwhile."""


class Unsupported(VenueError):
    """The exchange does not offer this: the table is absent, not empty."""
