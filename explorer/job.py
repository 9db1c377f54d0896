"""Something that a worker of a Dask cluster is to do, as the driver keeps it."""

from dataclasses import dataclass

from distributed import Future

from explorer.worker_process import Kind, Outcome
from explorer.workers import OnStage, Task
from objectives.operating_point import OperatingPoint


@dataclass(eq=False)
class Job:
    """Something to be done by a worker.

    address: of the only one that may do it; None for whichever is free. future: while a worker has it. doer: its
    address. last_word: what its doer told last, for people. outcome: once it is done.
    """

    number: int
    kind: Kind
    on_stage: OnStage
    about: Task | OperatingPoint | None = None
    address: str | None = None
    attempts: int = 0
    future: Future | None = None
    doer: str = ""
    last_word: str = ""
    outcome: Outcome | None = None
