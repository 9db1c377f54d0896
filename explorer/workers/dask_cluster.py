"""Connect to Dask clusters: a local one started here (`--jobs N`), or any other (`--scheduler ADDRESS`).

Orders and answers are pickles: anyone who can reach a scheduler can run code on its workers and in the driver. Use one
that only trusted users can reach. `tls://` addresses work with Dask's own configuration (distributed.comm.tls).
"""

import logging

import dask
from distributed import Client, LocalCluster

from explorer.workers.dask_workers import PATIENCE, DaskWorkers
from explorer.workers.protocol import Build, OnProgress
from objectives.cache.files import cache_dir
from objectives.errors import StudyError

CONNECTING = 10.0  # seconds for a scheduler to answer
# Dask restarts a worker that died at once, but on a busy machine that takes a while. By default Dask would give the
# worker up after 15 s, and the study would go on with one worker less, or with none
STARTING_AGAIN = "7 days"


def local_workers(jobs: int, build: Build, on_progress: OnProgress) -> DaskWorkers:
    """Start this many worker processes, which can only be reached from this machine and end with this process.

    Raises StudyError if the workers die at once, and whatever `build` raises.
    """
    quieter = {
        "distributed.worker.profile.enabled": False,  # it samples 100 times a second, also while RTF is measured
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "temporary-directory": str(cache_dir()),
    }
    # set for the life of this process: Dask reads it whenever a worker is lost
    dask.config.set({"distributed.deploy.lost-worker-timeout": STARTING_AGAIN})
    with dask.config.set(quieter):
        cluster = LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=None,  # a limit per worker would kill workers while the machine still has memory
            silence_logs=logging.CRITICAL,
            preload=["explorer.workers.worker_process"],
        )
    return DaskWorkers(Client(cluster, set_as_default=False), build, on_progress, expected=jobs, cluster=cluster)


def cluster_workers(address: str, build: Build, on_progress: OnProgress, patience: float = PATIENCE) -> DaskWorkers:
    """Use the workers of the Dask scheduler at an address such as tcp://10.0.0.5:8786. See DaskWorkers.

    Raises StudyError if no scheduler answers there, and as DaskWorkers does.
    """
    try:
        client = Client(address, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no Dask scheduler answers at {address!r} ({error}): start one with `dask scheduler` and give --scheduler "
            "the address that it prints, such as tcp://10.0.0.5:8786"
        ) from error
    return DaskWorkers(client, build, on_progress, patience=patience)
