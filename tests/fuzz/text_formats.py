"""Formats of text, loaded in this process."""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

from objectives.corpora.corpus import SPLIT_NAMES, Corpus
from objectives.corpora.folder import folder_corpus
from objectives.corpora.protocol import protocol_corpus
from objectives.corpora.rttm import read_rttm, read_uem
from objectives.corpora.splits import read_splits
from objectives.corpora.summary import summarize_recordings
from studies import definition as definitions
from tests.fuzz.cases import Format
from tests.fuzz.mutation import VALUES, mutated, mutated_json
from tests.support.corpora import rttm, write_recording

TURNS = [(0.25, 0.5, "ana"), (0.5, 1.0, "bea"), (1.5, 0.125, "ana")]
RTTM = rttm("call01", TURNS) + ";; a comment\n" + rttm("appel_é", TURNS[:2])
UEM = ";; parts\ncall01 1 0.000 1.500\ncall01 1 1.5 2.0\nappel_é NA 0 2\n"
SPLITS = {"train": ["call01"], "calib": ["call02"], "eval": ["call03", "appel_é"]}
SIMSAMU = "rec_name,medecin,patient\ncall01,speaker_1,speaker_2\nappel_é,speaker_3,speaker_4-speaker_5\n"
URIS = ("call01", "call02", "call03", "appel_é")
DATABASE = """\
Databases:
  Calls: '{uri}.wav'
Protocols:
  Calls:
    SpeakerDiarization:
      ours:
        train:
          uri: train.lst
          annotation: all.rttm
          annotated: all.uem
        test:
          uri: test.lst
          annotation: all.rttm
"""
STUDY = """\
description = "a study"
corpus = "ami-excerpts"
split = "eval"
sampler = "tpe"
seed = 1
trials = 12
timeout = 3600.5

[space]
chunk_length = [0.1, 5.0]
right_context = [0.01, 5.0]
look_ahead = ["none", "some"]
pruning_structure = ["none", "hidden", "linear", "both"]
pruning_ratio = [0.05, 0.95]
precision = ["fp32", "fp16", "int8_ptq"]

[recovery]
steps = 30
learning_rate = 1e-3

[quantization]
group_size = 32
sincnet = "int8"

[fixed]
right_context = [0.5, 5.0]
chunk_length = [0.1, 0.5]
variants = ["Hidden-40", "Linear-40"]
precisions = ["int8_ptq"]
table2_variant = "Linear-40"

[limits]
latency = 1.0
rtf = 0.1

[racing]
alpha = 0.05
"""
_VALUE = re.compile(r"(?m)(?<== ).*$")


def _text(valid: str) -> Any:
    return lambda prepared, draw: mutated(valid.encode(), draw)


def _rttm(_: object, path: Path) -> None:
    for uri, reference in read_rttm(path).items():
        assert uri
        assert all(0 <= turn.start < turn.end < math.inf for turn in reference.content.itersegments())


def _uem(_: object, path: Path) -> None:
    for parts in read_uem(path).values():
        assert all(0 <= part.start < part.end < math.inf for part in parts.content)


def _splits(_: object, path: Path) -> None:
    splits = read_splits(path, URIS)
    named = [uri for uris in splits.values() for uri in uris]
    assert named
    assert len(set(named)) == len(named)
    assert set(named) <= set(URIS)
    assert set(splits) <= set(SPLIT_NAMES)


def _study_bytes(_: object, draw: random.Random) -> bytes:
    if draw.random() < 0.5:
        return mutated(STUDY.encode(), draw)
    spans = [match.span() for match in _VALUE.finditer(STUDY)]
    start, end = draw.choice(spans)
    other_start, other_end = draw.choice(spans)
    value = STUDY[other_start:other_end] if draw.random() < 0.3 else json.dumps(draw.choice(VALUES))
    return (STUDY[:start] + value + STUDY[end:]).encode("utf-8", "surrogatepass")


def _study(_: object, path: Path) -> None:
    name, definition = definitions.find(str(path))
    assert name == path.stem
    assert definitions.parse(json.loads(definition.model_dump_json()), "again") == definition
    low, high = definition.space.chunk_length
    assert 0.02 <= low <= high <= 5.0
    definition.identity()


def _calls(folder: Path, *others: str) -> Path:
    """A folder of four calls, to which a case adds a file."""
    for uri in URIS:
        write_recording(folder, uri)
    (folder / "all.rttm").write_text("".join(rttm(uri, TURNS) for uri in URIS))
    (folder / "all.uem").write_text("".join(f"{uri} 1 0 2\n" for uri in URIS))
    (folder / "train.lst").write_text("call01\ncall02\n")
    (folder / "test.lst").write_text("call03\nappel_é\n")
    return folder


def _loads(corpus: Corpus) -> None:
    """What `explorer corpus` does."""
    summarize_recordings(corpus)
    corpus.shared_speakers()
    assert corpus.split("all")


def _of_folder(folder: Path) -> Path:
    for uri in URIS:
        write_recording(folder, uri)
    return folder


def _folder(_: object, path: Path) -> None:
    _loads(folder_corpus(path.parent, "calls", 0))


def _people(folder: object, path: Path) -> None:
    corpus = folder_corpus(path.parent, "calls", 0)
    _loads(corpus)
    assert len(corpus.split("all")) == len(URIS)


def _protocol(_: object, path: Path) -> None:
    _loads(protocol_corpus(f"Calls.SpeakerDiarization.ours@{path}"))


def _json_of(valid: Any) -> Any:
    return lambda prepared, draw: mutated_json(valid, draw)


def _nothing(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


_CALL = rttm("call01", TURNS)
_PARTS = "call01 1 0.0 1.25\ncall01 1 1.5 2.0\n"

TEXT_FORMATS = (
    Format("rttm", ".rttm", _nothing, _text(RTTM), _rttm),
    Format("uem", ".uem", _nothing, _text(UEM), _uem),
    Format("splits.json", ".json", _nothing, _json_of(SPLITS), _splits, "splits.json"),
    Format("study.toml", ".toml", _nothing, _study_bytes, _study),
    Format("folder: rttm", ".rttm", _of_folder, _text(_CALL), _folder, "call01.rttm"),
    Format("folder: uem", ".uem", _of_folder, _text(_PARTS), _folder, "call01.uem"),
    Format("folder: simsamu csv", ".csv", _of_folder, _text(SIMSAMU), _people, "people.csv"),
    Format("database.yml", ".yml", _calls, _text(DATABASE), _protocol, "database.yml", "Calls.SpeakerDiarization.ours"),
)
