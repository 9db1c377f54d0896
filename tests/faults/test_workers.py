"""Workers of `--jobs 2` that die while they hold the machine, or lose their GPU."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from explorer.clusters import local_workers
from explorer.dask_workers import DaskWorkers
from objectives import machine
from objectives.errors import EvaluationError
from tests.explorer.remote import HOLDS, KILLS, LOSES_GPU, MEASURED, StandIn, notes, wait_for
from tests.explorer.test_workers import answers, task
from tests.objectives.processes import is_alive


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[DaskWorkers]:
    with local_workers(2, StandIn(tmp_path), lambda *word: None) as opened:
        yield opened
    started = {int(line.split()[0]) for line in notes(tmp_path, "built")}
    wait_for(lambda: not any(is_alive(pid) for pid in started))


def test_the_machine_is_free_again_when_who_holds_it_is_killed_and_the_trial_is_begun_again(
    workers: DaskWorkers, tmp_path: Path
) -> None:
    for number, what in enumerate((HOLDS, MEASURED)):
        workers.submit(task(number, what))
    assert list(answers(workers, 1)) == [1]
    wait_for(lambda: bool(notes(tmp_path, "holds")))
    os.kill(int(notes(tmp_path, "holds")[0]), signal.SIGKILL)
    with machine.quiet():
        pass
    (answer,) = answers(workers, 1).values()
    assert (answer.error, answer.attempts) == (None, 2)

    # one that kills whoever takes it on: it fails with what was last heard, and the others go on
    for number, what in enumerate((KILLS, MEASURED)):
        workers.submit(task(number, what))
    killed = answers(workers, 2)[0]
    assert isinstance(killed.error, EvaluationError)
    said = (
        r"in each of 2 attempts, \S+ last; last heard of at 'accuracy', with \d+ MiB in use: killed"
    )
    assert re.search(said, str(killed.error))


def test_a_worker_that_lost_its_gpu_fails_one_trial_and_makes_room_for_another(
    workers: DaskWorkers, tmp_path: Path
) -> None:
    workers.submit(task(0, LOSES_GPU))
    failed = answers(workers, 1)[0]
    assert isinstance(failed.error, EvaluationError)
    assert str(failed.error).startswith("the GPU failed")
    lost = int(failed.worker.split(":")[1])
    wait_for(lambda: not is_alive(lost))
    for number in range(1, 5):
        workers.submit(task(number, MEASURED))
    found = answers(workers, 4).values()
    assert all(answer.error is None for answer in found)
    while workers.slots < 2:
        workers._step()
    assert len(notes(tmp_path, "built")) == 3, "a nanny started one in its place"
