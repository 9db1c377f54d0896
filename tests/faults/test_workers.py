"""Workers of `--jobs 2` that die while they hold the machine, or lose their GPU."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from explorer.workers.dask_cluster import local_workers
from explorer.workers.dask_workers import DaskWorkers
from objectives import machine
from objectives.errors import EvaluationError
from tests.explorer.workers.test_protocol import answers, task
from tests.support.remote_evaluators import HOLDS, KILLS, LOSES_GPU, MEASURED, StandIn, notes, wait_for
from tests.support.system_processes import is_alive


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers leave word of what happens to them."""
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def workers(folder: Path) -> Iterator[DaskWorkers]:
    # Dask gives up who is not there again by then: as on a machine so busy that a worker takes longer to start
    dask.config.set({"distributed.deploy.lost-worker-timeout": "0.1 s"})
    with local_workers(2, StandIn(folder), lambda *word: None) as opened:
        yield opened
    started = {int(line.split()[0]) for line in notes(folder, "built")}
    wait_for(lambda: not any(is_alive(pid) for pid in started))


def test_the_machine_is_free_again_when_who_holds_it_is_killed_and_the_trial_is_begun_again(
    workers: DaskWorkers, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, what in enumerate((HOLDS, MEASURED)):
        workers.submit(task(number, what))
    assert list(answers(workers, 1)) == [1]
    wait_for(lambda: bool(notes(folder, "holds")), workers._step)
    os.kill(int(notes(folder, "holds")[0]), signal.SIGKILL)
    with machine.quiet():
        pass
    (answer,) = answers(workers, 1).values()
    assert (answer.error, answer.attempts) == (None, 2)
    assert re.search(r"died; last heard of at 'accuracy', with \d+ MiB in use; what it did is begun again", caplog.text)


def test_who_kills_every_worker_fails_with_a_likely_reason(workers: DaskWorkers) -> None:
    for number, what in enumerate((KILLS, MEASURED), start=10):
        workers.submit(task(number, what))
    found = answers(workers, 2)
    assert isinstance(found[10].error, EvaluationError)
    assert re.search(r"in each of 2 attempts, \S+ last.*killed, as the system does if memory", str(found[10].error))
    assert found[11].error is None


def test_a_worker_that_lost_its_gpu_fails_one_trial_and_makes_room_for_another(
    workers: DaskWorkers, folder: Path
) -> None:
    wait_for(lambda: workers.slots == 2, workers._step)  # all come back
    built = len(notes(folder, "built"))
    workers.submit(task(20, LOSES_GPU))
    failed = answers(workers, 1)[20]
    assert isinstance(failed.error, EvaluationError)
    assert str(failed.error).startswith("the GPU failed")
    lost = int(failed.worker.split(":")[1])
    wait_for(lambda: not is_alive(lost), workers._step)
    for number in range(21, 24):
        workers.submit(task(number, MEASURED))
    assert all(answer.error is None for answer in answers(workers, 3).values())
    wait_for(lambda: workers.slots == 2, workers._step)  # all come back
    assert len(notes(folder, "built")) == built + 1, "a nanny started one in its place"
