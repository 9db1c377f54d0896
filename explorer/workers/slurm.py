"""A Dask cluster on SLURM for `explorer run --scheduler`. Keep it running on a node that stays up; Enter ends it.

    pip install -e ".[slurm]"
    python -m explorer.workers.slurm --jobs 8 --queue cpu --cores 4 --interface ib0 --sbatch=--constraint=icelake

Each job is one worker, alone on its node, so that other work does not affect an RTF. Ask for nodes of one kind: workers
that differ are refused. For a scheduler other than SLURM, see the classes in https://jobqueue.dask.org.
"""

from pathlib import Path
from typing import Annotated

import typer

CACHE = Path.home() / "explorer-cache"


def main(
    jobs: Annotated[int, typer.Option(help="Workers, each a job of its own.", min=1)] = 2,
    cores: Annotated[int, typer.Option(help="Of a node.", min=1)] = 4,
    memory: Annotated[str, typer.Option(help="Of a node, as sbatch takes it.")] = "16GB",
    walltime: Annotated[str, typer.Option(help="After which SLURM ends a worker; its trial goes to another.")] = (
        "08:00:00"
    ),
    queue: Annotated[str | None, typer.Option(help="Partition. Default: the site's.")] = None,
    interface: Annotated[str | None, typer.Option(help="Network between the nodes, such as `ib0`.")] = None,
    cache: Annotated[Path, typer.Option(help="EXPLORER_CACHE, on a file system that the nodes share.")] = CACHE,
    sbatch: Annotated[list[str] | None, typer.Option(help="Another option of sbatch, repeatable.")] = None,
) -> None:
    """Start workers on SLURM, and print the command that has them evaluate a study's trials."""
    # imported here so that `--help` works without the `slurm` extra
    from dask_jobqueue import SLURMCluster

    with SLURMCluster(
        queue=queue,
        cores=cores,
        processes=1,
        memory=memory,
        walltime=walltime,
        interface=interface,
        job_extra_directives=["--exclusive", *(sbatch or ())],
        job_script_prologue=[f"export EXPLORER_CACHE={cache} OMP_NUM_THREADS=1"],
        # with a limit, Dask would hold work back at 80 % of it and kill the worker at 95 %
        worker_extra_args=["--memory-limit", "0"],
    ) as cluster:
        cluster.scale(jobs=jobs)  # not adapt(): trials are only given to workers that are there
        typer.echo(cluster.job_script(), err=True)
        typer.echo(f"explorer run joint --scheduler {cluster.scheduler_address}")
        input("Enter ends the workers. ")


if __name__ == "__main__":
    typer.run(main)
