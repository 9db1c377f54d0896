"""The example for SLURM, with an sbatch that runs its jobs here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributed import Client

SBATCH = """#!/bin/sh
cp "$1" "{folder}/job.sh"
setsid sh "{folder}/job.sh" > "{folder}/job.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- -"$1"
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Environment of a machine whose SLURM is this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(script.format(folder=tmp_path))
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_its_workers_come_and_go(slurm: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "explorer.workers.slurm", "--jobs", "1", "--cores", "2", "--interface", "lo",
               "--cache", str(tmp_path / "cache"), "--sbatch=--constraint=icelake", "--queue", "cpu"]  # fmt: skip
    with subprocess.Popen(
        command, env=slurm, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as example:
        assert example.stdin is not None
        assert example.stdout is not None
        try:
            told = example.stdout.readline()
            assert told.startswith("explorer run joint --scheduler tcp://127.0.0.1:"), example.communicate()
            with Client(told.split()[-1], timeout=60) as client:
                client.wait_for_workers(1, timeout=60)
                (worker,) = client.scheduler_info()["workers"].values()
                assert worker["memory_limit"] == 0
                seen = client.run(os.getenv, "EXPLORER_CACHE")
                assert list(seen.values()) == [str(tmp_path / "cache")]
            script = (tmp_path / "job.sh").read_text()
            for line in ("#SBATCH -p cpu", "#SBATCH --exclusive", "#SBATCH --constraint=icelake", "#SBATCH -n 1"):
                assert line in script
            _, log = example.communicate("\n", timeout=60)
        finally:
            example.kill()
    assert example.returncode == 0, log
    assert "#SBATCH" in log
