"""A whole session of real commands in one process, which reaches nobody: `python shut_off.py FOLDER CORPUS`.

`block` is what the session and every process that it starts run first: a connection to anything but this machine is
refused and written down.
"""

import os
import sys
from pathlib import Path

BLOCK = """
import os, socket

def refuse(name, address):
    with open(os.environ["ATTEMPTS"], "a") as file:
        print(os.getpid(), name, address, file=file)
    raise OSError(101, "the network is blocked")

def guard(name):
    genuine = getattr(socket.socket, name)
    def guarded(self, *given):
        address = given[-1]
        here = self.family == socket.AF_UNIX or str(address[0]) in ("127.0.0.1", "::1", "localhost")
        return genuine(self, *given) if here else refuse(name, address)
    setattr(socket.socket, name, guarded)

for name in ("connect", "connect_ex", "sendto"):
    guard(name)
ask = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **options: (
    ask(host, *more, **options) if host in (None, "", "127.0.0.1", "::1", "localhost") else refuse("getaddrinfo", host)
)
"""

# What is left of a dashboard that was asked for its page and ended.
DASHBOARD = """
import re, subprocess, sys, urllib.request
words = [sys.executable, "-u", "-m", "explorer", "dashboard", "--port", "0"]
with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as served:
    page = urllib.request.urlopen(re.search("http://[0-9.:]+", served.stdout.readline()).group())
    served.terminate()
sys.exit(page.status != 200 or served.returncode)
"""

# A program of the user's own that runs a bundle's model: with this project's library, and with what the card names.
LIBRARY = """
import sys
from pathlib import Path
from objectives.backends.onnxruntime import open_session
open_session(Path(sys.argv[1], "model.onnx"), 1)
"""
STOCK = """
import sys
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
"""
SHERPA = """
import sys
import sherpa_onnx as sherpa
sherpa.SpeakerEmbeddingExtractor(sherpa.SpeakerEmbeddingExtractorConfig(model=sys.argv[1] + "/embedding.onnx"))
"""

STUDY = """
description = "a study of CANARY"
corpus = {corpus!r}
trials = 0
[space]
precision = ["fp32"]
pruning_structure = ["none"]
"""


def commands(folder: Path, corpus: str) -> list[list[str]]:
    """What is typed, in order."""
    bundle = str(folder / "out" / "bundle")
    return [
        ["corpus", corpus, "--check"],
        ["run", str(folder / "study.toml"), "--jobs", "2"],
        ["status", "study"],
        ["front", "study", "--plot", str(folder / "out" / "front.html")],
        ["recommend", "study", "--format", "json"],
        ["report", "study", str(folder / "out" / "report")],
        ["export", "study", "0", bundle],
        ["diarize", f"{corpus}/dev00.wav", "--point", bundle, "--rttm", str(folder / "out" / "dev00.rttm")],
        ["models", "list"],
        ["assets", "list"],
    ]


def main(folder: Path, corpus: str) -> None:
    """Run them all. Any failure is raised."""
    from explorer.cli import app

    (folder / "study.toml").write_text(STUDY.format(corpus=corpus))
    for words in commands(folder, corpus):
        print("$", *words[:1], f"({sum(os.times()[:4]):.0f} s of a processor before)", flush=True)
        if app(words, standalone_mode=False):
            raise SystemExit(f"{words} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
