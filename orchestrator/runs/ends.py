"""How does a run end by an exception, and whose fault was it: the code's, the disk's, the machine's?"""

from __future__ import annotations

import socket
import traceback
from dataclasses import replace

from orchestrator.runs.contract import Ended
from orchestrator.runs.folders import NO_ROOM, DiskFull
from trainer.protocol import NotHere, PeerLost

NO_ACCELERATOR = (  # in what a RuntimeError says, in lower case
    "unable to initialize backend",
    "device or resource busy",
    "already in use by",
    "cuda_error_no_device",
    "cuda_error_device_unavailable",
    "no cuda-capable device",
    "no visible tpu",
    "couldn't open iommu group",
    "tpu initialization failed",
    "failed to initialize tpu system",
    "failed to get global tpu topology",
    "libtpu numbers this process",  # ours, in trainer/models/mesh.py
)
# In the words of JAX, of CUDA and its libraries, and of torch, in lower case.
NO_MEMORY = ("out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")
NO_ROOM_FOR = ("alloc", "reserve", "ran out")  # beside RESOURCE_EXHAUSTED, which others than memory are, too


def raised(problem: BaseException) -> Ended:
    """The end that an exception makes."""
    reason = "".join(traceback.format_exception_only(problem)).strip()
    return Ended("raised", reason=reason, traceback="".join(traceback.format_exception(problem)))


def unable(entrypoint: str, problem: Exception) -> Ended:
    """The end of a run whose entrypoint cannot be loaded on this machine."""
    told = hindered(problem) if of_the_machine(problem) else raised(problem)
    if told.how == "unwritten":
        return told
    where = socket.gethostname()
    return replace(told, how="unable", reason=f"{where} cannot import {entrypoint}: {told.reason}")


def of_the_machine(problem: BaseException | None) -> bool:
    """Whether it, or what it came from, says that a disk is full or may not be written: no fault of the
    training code, whatever it was doing."""
    seen: set[int] = set()
    while problem is not None and id(problem) not in seen:
        if isinstance(problem, DiskFull) or (isinstance(problem, OSError) and problem.errno in NO_ROOM):
            return True
        seen.add(id(problem))
        hidden = problem.__suppress_context__
        problem = problem.__cause__ or (None if hidden else problem.__context__)
    return False


def of_the_accelerator(problem: BaseException) -> bool:
    """Whether it says that this machine's accelerator is busy or missing, as JAX and its plugins word it."""
    said = str(problem).lower()
    return isinstance(problem, RuntimeError) and any(words in said for words in NO_ACCELERATOR)


def without_accelerator(problem: BaseException) -> Ended:
    """The end of a run that found none: the machine's trouble, and tried again on another one."""
    told = raised(problem)
    where = socket.gethostname()
    return replace(told, how="lost", reason=f"Trouble of the machine {where}, not of the code: {told.reason}")


def busy(holder: str, within_s: float) -> Ended:
    """The end of a run that never began, since another process did not let go of its accelerator."""
    where = socket.gethostname()
    return Ended(
        "lost",
        reason=f"Trouble of the machine {where}, not of the code: after {within_s:g} s it still waited for "
        f"{holder}. End that process, if it is none of a trial's.",
    )


def out_of_memory(reason: str) -> bool:
    """Whether an exception's words say that an accelerator has no memory left."""
    said = reason.lower()
    room = "resource_exhausted" in said and any(words in said for words in NO_ROOM_FOR)
    return room or any(words in said for words in NO_MEMORY)


def hindered(problem: BaseException) -> Ended:
    """The end of a run whose code met a disk on which nothing can be written."""
    told = raised(problem)
    reason = (
        f"The run could not write its files ({told.reason}). Mend that; it goes on from its last checkpoint."
    )
    return replace(told, how="unwritten", reason=reason)


def unwritten(problem: Exception) -> Ended:
    """The end that a folder makes in which the host cannot write: no fault of the run."""
    if isinstance(problem, DiskFull):  # a sentence already
        return Ended("unwritten", reason=str(problem))
    return Ended(
        "unwritten",
        reason=f"The run's folder cannot be written ({problem}). Mend that; the run goes on from its last "
        f"checkpoint.",
    )


def without_peer(problem: PeerLost) -> Ended:
    """The end of a run in a gang of which another process does not answer: the trouble is that one's."""
    return replace(raised(problem), how="lost")


def elsewhere(problem: NotHere) -> Ended:
    """The end of a run that needs what this machine has not."""
    return replace(raised(problem), how="unable", reason=f"{socket.gethostname()} cannot run it: {problem}")
