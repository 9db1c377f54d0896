"""Dask clusters: one made here (`--jobs N`), or any other (`--scheduler ADDRESS`).

Orders and answers are pickles: whoever can reach a scheduler can run code on its workers and in the driver. Use one
that only trusted users can reach; `tls://` addresses work with Dask's own configuration (distributed.comm.tls).
"""

import logging

import dask
from distributed import Client, LocalCluster

from explorer.workers.dask_workers import PATIENCE, DaskWorkers
from explorer.workers.protocol import Builder, OnProgress
from objectives.cache.files import cache_dir
from objectives.errors import StudyError

CONNECTING = 10.0  # seconds for a scheduler to answer
# A worker that died is started again at once, which takes as long as the machine is busy; after 15 s, by default, Dask
# would give it up for good, and the study go on with one less, or with none
STARTING_AGAIN = "7 days"


def local_workers(jobs: int, builder: Builder, on_progress: OnProgress) -> DaskWorkers:
    """So many worker processes on this machine, which only this machine can reach; they end with this process.

    Raises StudyError where they die at once, and what `builder` raises.
    """
    quieter = {
        "distributed.worker.profile.enabled": False,  # a hundred samples a second, while time is taken too
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "temporary-directory": str(cache_dir()),
    }
    # for as long as this process lives: Dask reads it whenever a worker is lost
    dask.config.set({"distributed.deploy.lost-worker-timeout": STARTING_AGAIN})
    with dask.config.set(quieter):
        cluster = LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=None,  # the machine's is enough: a share of it would end workers where there is room
            silence_logs=logging.CRITICAL,
            preload=["explorer.workers.worker_process"],
        )
    return DaskWorkers(Client(cluster, set_as_default=False), builder, on_progress, expected=jobs, cluster=cluster)


def cluster_workers(address: str, builder: Builder, on_progress: OnProgress, patience: float = PATIENCE) -> DaskWorkers:
    """The workers of the Dask scheduler at an address such as tcp://10.0.0.5:8786. See DaskWorkers.

    Raises StudyError where no scheduler answers there.
    """
    try:
        client = Client(address, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no Dask scheduler answers at {address!r} ({error}): start one with `dask scheduler` and give --scheduler "
            "the address that it prints, such as tcp://10.0.0.5:8786"
        ) from error
    return DaskWorkers(client, builder, on_progress, patience=patience)
