"""A virtual environment in which diart 0.9.2 runs: `python -m tests.benchmarks.diart_env FOLDER`.

diart wants pyannote.audio 3 and NumPy 1, so it cannot share an environment with this project. torch and ONNX Runtime
are the versions of this environment, so that both systems are timed on the same kernels; the rest is what diart's own
requirements allow, but for torchvision, of which it uses nothing. What torchaudio no longer has is made up for where
diart is run (tests/benchmarks/diart_peer.py). Takes a minute or two and about 1.6 GB; a folder that is there is
completed.
"""

import argparse
import subprocess
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

DIART = "diart==0.9.2"
NEEDED = (
    "pyannote.audio==3.3.2",
    "pyannote.core==5.0.0",
    "pyannote.database<6",
    "pyannote.metrics<4",
    "pyannote.pipeline<4",
    "numpy<2",
    "pandas<3",
    "scipy<1.17",
    "matplotlib<3.9",  # pyannote.core 5 asks it for what is gone since
    "optuna",
    "Rx==3.2.0",
    "sounddevice",
    "websocket-client",
    "websocket-server",
)
SAME = ("torch", "onnxruntime")  # as here


def python_of(folder: Path) -> Path:
    """The environment's interpreter."""
    return folder / "bin" / "python"


def prepare(folder: Path) -> Path:
    """Make the environment, or complete it. Returns its interpreter. Raises CalledProcessError where pip fails."""
    python = python_of(folder)
    if not python.exists():
        venv.create(folder, with_pip=True)
    same = [f"{name}=={version(name).split('+')[0]}" for name in SAME]
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *same, *NEEDED], check=True)
    subprocess.run([*install, "--no-deps", DIART], check=True)
    return python


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print(prepare(parser.parse_args(arguments).folder))


if __name__ == "__main__":
    main()
