"""Export a trial as a bundle: files that run elsewhere, measured again before they are released."""

import platform
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from safetensors.numpy import save_file

from explorer.atomic_files import appearing, writing
from explorer.bundle.bundle import (
    CARD,
    CHECKPOINT,
    EMBEDDING,
    FILES,
    FORMAT,
    MODEL,
    POINT,
    PROJECTION,
    WEIGHTS,
    Bundle,
    Manifest,
    describe_file,
    read_bundle,
)
from explorer.bundle.card import card
from explorer.bundle.parity import OnProgress, measure_parity
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.study_record import refuse_other_data, stored_definition
from explorer.terminal.corpus_remarks import print_remarks
from objectives.backends.checkpoint import read_checkpoint
from objectives.cache.assets import ASSETS
from objectives.compression.compressor import FinishedModel, load_network
from objectives.compression.low_bit import save_plain
from objectives.compression.precisions import PRECISION_MODES
from objectives.errors import BundleError, StudyError
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.measurement import DATA
from objectives.models.embedding import SpeakerEmbedding
from objectives.models.segmentation import DEFAULT_SEGMENTATION, contract_of
from objectives.operating_point import OperatingPoint
from objectives.runtime.segmentation_onnx import portable_onnx
from objectives.streaming.incremental.online import full_tracking
from studies.definition import StudyDefinition
from studies.search_space import recall

# The parts of an evaluator's identity in which a trial must agree with the evaluator that its bundle is compared on.
# The code may differ: whether it still gives the same answers is what is measured
COMPARED = tuple(key for key in DATA if key != "code")

SHOWN = (record.RTF_SPREAD, record.RTF_RATIO, record.THREADS, record.PARAMS, record.KEPT_UNITS)  # as they are
PACKAGES = ("explorer", "torch", "torchao", "pyannote.audio", "onnxruntime", "onnx", "optuna", "numpy", "scipy")


def export_trial(
    study: optuna.Study,
    number: int,
    folder: Path,
    force: bool = False,
    on_progress: OnProgress = lambda stage, fraction: None,
    trusted: frozenset[str] = frozenset(),
) -> Bundle:
    """Write the operating point of a complete trial into `folder`, which appears once it is complete and was measured.

    force: replace an existing bundle; nothing else is ever replaced. trusted: see EvaluatorSettings. Missing parent
    folders are created.
    Raises StudyError if there is no such complete trial or its model is no longer available, BundleError if the folder
    is taken or the bundle does not agree with the trial, and whatever the corpus and models raise.
    """
    folder = folder.resolve()  # a link to a bundle stays a link
    _refuse_taken(folder, force)
    definition = stored_definition(study)
    trial = _complete(study, number)
    point = recall(trial, definition.space)
    assert point is not None, "it is complete"
    with (
        appearing(folder, force) as staged,  # first: a folder that cannot be written is refused at once
        build_evaluator(definition.evaluator_settings(trusted=trusted)) as evaluator,
    ):
        print_remarks(evaluator.remarks)
        refuse_other_data(study, [trial], evaluator.identity, COMPARED)
        with writing(folder):
            _write_embedding(staged, evaluator.accuracy.embedding)  # first: nine tenths of the bundle's size
        model = _model_of(evaluator, point, trial, on_progress)
        on_progress("writing", 0.0)
        with writing(folder):
            _write_model(staged, model)
        manifest = _manifest(study, definition, trial, point, model, evaluator, staged)
        with writing(folder):
            _write_manifest(staged, manifest)
        der, size, rtf = trial.values
        _check_size(staged, size)
        parity = measure_parity(read_bundle(staged), evaluator, model, der, rtf, on_progress)
        manifest = manifest.model_copy(update={"parity": asdict(parity)})
        with writing(folder):
            (staged / CARD).write_text(card(manifest, folder.name), encoding="utf-8")
            files = manifest.files | {CARD: describe_file(staged / CARD)}
            _write_manifest(staged, manifest.model_copy(update={"files": files}))
        if force:
            _refuse_taken(folder, force)  # again, since minutes have passed
    return read_bundle(folder)


def _complete(study: optuna.Study, number: int) -> FrozenTrial:
    trial = bulk_sql.read_own(study, number)
    if trial.state is not TrialState.COMPLETE:
        raise StudyError(
            f"trial {number} of {study.study_name!r} is {trial.state.name.lower()}, so nothing was measured that an "
            "export could be compared with: choose a complete one"
        )
    return trial


def _model_of(
    evaluator: Evaluator, point: OperatingPoint, trial: FrozenTrial, on_progress: OnProgress
) -> FinishedModel:
    """Return the trial's model, from the store or made again. Raises StudyError if that gives another model."""
    model = evaluator.model(point, on_progress)
    known = str(trial.user_attrs.get(record.MODEL_KEY))
    if model.key != known:
        raise StudyError(
            f"trial {trial.number} ran the model {known[:12]}, and what is made of the same settings now is "
            f"{model.key[:12]}: the recordings or weights that it is made from, the version of explorer or torchao, or "
            "whether it is trained on a GPU has changed since. Run the study again under another --name, and export "
            "from that"
        )
    return model


def _write_model(folder: Path, model: FinishedModel) -> None:
    portable_onnx(model, folder / MODEL)
    if model.bits is None:
        shutil.copyfile(model.checkpoint, folder / CHECKPOINT)
        state = read_checkpoint(model.checkpoint)["state_dict"]
        save_plain(load_network(model), state, folder / WEIGHTS)
    else:
        shutil.copyfile(model.checkpoint, folder / WEIGHTS)


def _write_embedding(folder: Path, embedding: SpeakerEmbedding) -> None:
    shutil.copyfile(embedding.network, folder / EMBEDDING)
    affine = {"weight": np.ascontiguousarray(embedding.weight), "bias": np.ascontiguousarray(embedding.bias)}
    save_file(affine, folder / PROJECTION)


def _check_size(folder: Path, size: float) -> None:
    """Check the size against the trial's: that of the checkpoint if there is one, else of the low-bit file."""
    path = folder / CHECKPOINT if (folder / CHECKPOINT).exists() else folder / WEIGHTS
    if path.stat().st_size != round(size * 2**20):
        raise BundleError(
            f"{path.name} has {path.stat().st_size} bytes, and the trial's size was {size:.6f} MiB: it is not the "
            "model that was measured; run the study again with this version"
        )


def _manifest(
    study: optuna.Study,
    definition: StudyDefinition,
    trial: FrozenTrial,
    point: OperatingPoint,
    model: FinishedModel,
    evaluator: Evaluator,
    folder: Path,
) -> Manifest:
    embedding = evaluator.accuracy.embedding
    attributes = record.measured_attributes(trial)
    der, size, rtf = trial.values
    described = {
        "format": FORMAT,
        "operating_point": {
            "mode": point.mode,
            "chunk_length": point.chunk_length if point.streamed else None,
            "right_context": point.right_context if point.streamed else None,
            "latency": record.latency_of(point),
            "pruning": point.pruning,
            "precision": point.precision,
            "online": None if point.tracking is None else asdict(full_tracking(point.tracking, embedding)),
        },
        "segmentation": {
            **asdict(contract_of(load_network(model))),
            "execution": PRECISION_MODES[model.precision].execution("onnxruntime cpu"),
        },
        "embedding": {
            "name": Path(embedding.name).name,  # not the path, which would reveal folders
            "key": embedding.key,
            "step": embedding.step,
            **{f"block_{name}": samples for name, samples in asdict(embedding.blocks).items()},
            **asdict(embedding.filterbank),
        },
        "clustering": asdict(evaluator.accuracy.clustering)
        | {"offline_threshold": evaluator.accuracy.embedding.threshold},
        "measured": {
            "der": der,
            "size_mib": size,
            "rtf": rtf,
            "errors": attributes[record.POOLED],
            **{name: attributes[name] for name in SHOWN},
            "update_latency": attributes.get(record.UPDATE_LATENCY),
            "recordings": len(attributes[record.RECORDINGS]),
            "corpus": Path(definition.corpus).name,
            "split": definition.split,
            "machine": attributes[record.MACHINE],
            "execution": attributes[record.EXECUTION],
        },
        "parity": {},
        "provenance": {
            "study": study.study_name,
            "trial": trial.number,
            "origin": record.origin_of(trial),
            "model_key": model.key,
            "data": evaluator.identity["corpus"],
            "measured_on": attributes.get(record.DATA) or {key: evaluator.identity[key] for key in COMPARED},
            "measured_with": attributes.get(record.VERSIONS) or {},
            "model_sha256": model.sha256,
            "compression": asdict(evaluator.compressor.settings),
            "story": attributes[record.STORY],
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "licences": _licences(definition),
        "files": {path.name: describe_file(path) for path in sorted(folder.iterdir())},
    }
    return Manifest.model_validate(described)


def _licences(definition: StudyDefinition) -> dict[str, str]:
    """Return the licence of each file: that of what it was made from."""
    own = "that of the checkpoint it was made from, which explorer does not know"
    base = definition.models.segmentation or DEFAULT_SEGMENTATION
    pinned, voices = ASSETS["segmentation-3.0"], ASSETS["campplus"]
    segmentation = f"{pinned.licence}, {pinned.holder}" if base == DEFAULT_SEGMENTATION else own
    embedding = f"{voices.licence}, {voices.holder}" if definition.models.embedding in (None, voices.name) else own
    return {**dict.fromkeys((MODEL, WEIGHTS, CHECKPOINT), segmentation), EMBEDDING: embedding, PROJECTION: embedding}


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / POINT).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _refuse_taken(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else None
    if found == []:
        return
    if not force:
        raise BundleError(f"{folder} exists: give another DIR, or --force to replace a bundle")
    if found is None or POINT not in found:
        raise BundleError(f"{folder} is not a bundle, and --force replaces nothing else: give another DIR")
    if others := [name for name in found if name not in FILES]:
        raise BundleError(
            f"{folder} holds {', '.join(others)} beside a bundle, and --force replaces nothing else: move that away, "
            "or give another DIR"
        )
