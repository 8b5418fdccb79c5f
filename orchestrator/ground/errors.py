"""Which things can go wrong, by name, and how is each told to scripts: at a terminal and over HTTP?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class OrchError(Exception):
    """A domain error: its text is a sentence for a person."""


class BadSpec(OrchError):
    """A spec, a config or an option that cannot be run; `problems` holds one sentence each."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NotFound(OrchError):
    """No study, arm, trial or preset of that name."""


class NameTaken(OrchError):
    """A study of that name exists; `study_id` tells which."""

    def __init__(self, name: str, study_id: str) -> None:
        self.name, self.study_id = name, study_id
        super().__init__(
            f"A study named {name!r} exists already (id {study_id}). "
            f"Choose another name, or look at it with `orch study show {name}`."
        )


class KeyUsed(OrchError):
    """An idempotency key was used before, for another request."""


class MoveRefused(OrchError):
    """A state may not follow another; both are named."""


class Fenced(OrchError):
    """This process no longer leads: another one took over, and its writes are refused."""


class LedgerBusy(OrchError):
    """The ledger does not answer now; the same call may go through later."""


class LedgerDamaged(OrchError):
    """The ledger's file, or a page of it, is damaged: a person must put a backup in its place."""


class LedgerTooNew(OrchError):
    """The ledger was written by a newer release."""


class MissingPackage(OrchError):
    """A package that this needs is not installed; the sentence names the extra that brings it."""


class BackendLost(OrchError):
    """The workers cannot be reached now."""


class MirrorLost(OrchError):
    """MLflow does not answer now, or does not take what is written to it."""


class MirrorDeleted(OrchError):
    """A person deleted the study in MLflow: it is mirrored no more, unless asked for."""


class ServiceLost(OrchError):
    """The service that was named cannot be reached now, or does not answer as one of ours."""


class NotAllowed(OrchError):
    """The service does not know the token, or the token does not open this."""


UNEXPECTED, USAGE, REFUSED, TAKEN, NOT_FOUND, UNREACHABLE = range(1, 7)  # exit codes of the command line


class Telling(NamedTuple):
    kind: str  # for scripts: of the command line's JSON and, after urn:orch:, of a problem's type
    exit_code: int
    status: int  # of HTTP
    title: str


# The first that fits an error tells it, and of one kind the first is what a client raises.
TELLINGS: tuple[tuple[type[OrchError], Telling], ...] = (
    (BadSpec, Telling("bad-spec", USAGE, 422, "This cannot be run as it is written")),
    (MissingPackage, Telling("missing-package", USAGE, 422, "A package that this needs is not installed")),
    (KeyUsed, Telling("key-used", REFUSED, 422, "The idempotency key belongs to another request")),
    (NotFound, Telling("not-found", NOT_FOUND, 404, "There is none of that name")),
    (NameTaken, Telling("name-taken", TAKEN, 409, "Another study has that name")),
    (MoveRefused, Telling("refused", REFUSED, 409, "Refused by the state of things")),
    (LedgerBusy, Telling("ledger-unreachable", UNREACHABLE, 503, "The ledger does not answer now")),
    (Fenced, Telling("ledger-unreachable", UNREACHABLE, 503, "The ledger cannot be written now")),
    (LedgerDamaged, Telling("ledger-damaged", UNREACHABLE, 503, "The ledger is damaged")),
    (LedgerTooNew, Telling("ledger-unreachable", UNREACHABLE, 503, "The ledger is of a newer release")),
    (BackendLost, Telling("workers-unreachable", UNREACHABLE, 503, "The workers cannot be reached now")),
    (MirrorLost, Telling("mlflow-unreachable", UNREACHABLE, 503, "MLflow cannot be reached now")),
    (ServiceLost, Telling("service-unreachable", UNREACHABLE, 503, "The service cannot be reached now")),
    (NotAllowed, Telling("not-allowed", REFUSED, 403, "The token does not open this")),
    (OrchError, Telling("refused", REFUSED, 409, "Refused by the state of things")),
)


def telling(error: OrchError) -> Telling:
    return next(told for known, told in TELLINGS if isinstance(error, known))


def closest(given: str, allowed: Sequence[str], *, most: int = 3) -> str:
    """What follows a sentence about a name that is not there: those like it most, however little."""
    return did_you_mean(difflib.get_close_matches(given, allowed, n=most, cutoff=0.0))


def did_you_mean(names: Sequence[str]) -> str:
    """ " Did you mean 'x', 'y' or 'z'?"; "" without names."""
    *first, last = map(repr, names) if names else [""]
    return f" Did you mean {', '.join(first)}{' or ' if first else ''}{last}?" if last else ""


def nearest(given: Any, allowed: Iterable[str]) -> str:
    """A hint that follows a sentence, as " Did you mean 'x'?"; "" where no name is near."""
    near = difflib.get_close_matches(given, list(allowed), n=1) if isinstance(given, str) else []
    return f" Did you mean {near[0]!r}?" if near else ""
