"""Reading a bundle: every field and every file is checked, and what is wrong is named."""

import contextlib
import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from explorer.bundle.bundle import EMBEDDING, MODEL, POINT, PROJECTION, Bundle, Manifest, describe_file, read_bundle
from objectives.errors import BundleError
from objectives.operating_point import BASELINE, OnlineTracking, OperatingPoint, Pruning
from objectives.streaming.clustering import ClusteringSettings
from tests.support.export_study import Exports

SOUND: dict[str, Any] = {
    "format": "explorer bundle 1",
    "operating_point": {
        "mode": "chunk-wise",
        "chunk_length": 0.5,
        "right_context": 0.25,
        "latency": 0.75,
        "pruning": {"structure": "hidden", "ratio": 0.4},
        "precision": "int8_ptq",
    },
    "segmentation": {
        "window": 160_000,
        "frames": 589,
        "field": 991,
        "centre": 495,
        "step": 270,
        "speakers": 3,
        "max_at_once": 2,
        "execution": "native",
    },
    "embedding": {
        "name": "campplus",
        "key": "e73d",
        "step": 320,
        "block_length": 16_000,
        "block_left": 8_000,
        "block_right": 640,
        "window": "povey",
        "scale": 1.0,
    },
    "clustering": {"speakers": [1, 4], "method": "centroid", "threshold": 0.8, "offline_threshold": 0.7},
    "measured": {"der": 12.5},
    "parity": {},
    "provenance": {},
    "versions": {"python": "3.11"},
    "licences": {"model.onnx": "MIT"},
}
NAMES = (MODEL, EMBEDDING, PROJECTION, "model.safetensors")

Where = tuple[str, ...]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose models are a few bytes: they are not loaded when it is read."""
    folder = tmp_path_factory.mktemp("bundle")
    for name in NAMES:
        (folder / name).write_text(f"{name} is here")
    write(folder, sound(folder))
    return folder


def sound(folder: Path) -> dict[str, Any]:
    files = {name: describe_file(folder / name).model_dump() for name in NAMES}
    return copy.deepcopy({**SOUND, "files": files})


def write(folder: Path, told: object) -> None:
    (folder / POINT).write_text(json.dumps(told))


def message(folder: Path, told: object) -> str:
    write(folder, told)
    with pytest.raises(BundleError) as error:
        read_bundle(folder)
    said = str(error.value)
    assert str(folder) in said
    return said


def places(told: dict[str, Any], above: Where = ()) -> Iterator[Where]:
    for key, value in told.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


def holder(told: dict[str, Any], where: Where) -> dict[str, Any]:
    for key in where[:-1]:
        told = told[key]
    return told


def test_what_was_written_is_read(folder: Path) -> None:
    write(folder, sound(folder))
    bundle = read_bundle(folder)
    assert bundle.point == OperatingPoint(0.5, 0.25, Pruning("hidden", 0.4), "int8_ptq")
    assert bundle.clustering == ClusteringSettings(0.8, (1, 4), "centroid")
    assert bundle.clustering.offline_threshold(0.7) == 0.8
    assert bundle.manifest.segmentation.contract().frames == 589


THRESHOLDS = ("tau_active", "rho_update", "delta_new")


def online(told: dict[str, Any], **thresholds: float | None) -> dict[str, Any]:
    part = dict.fromkeys(THRESHOLDS) | thresholds | {"min_duration_off": 0.5}
    told["operating_point"] |= {"mode": "online", "online": part, "latency": 1.25}
    return told


@pytest.mark.parametrize("thresholds", [{}, {"tau_active": 0.25, "rho_update": 0.5, "delta_new": 0.75}])
def test_an_online_point_has_all_thresholds_or_none(folder: Path, thresholds: dict[str, float]) -> None:
    write(folder, online(sound(folder), **thresholds))
    bundle = read_bundle(folder)
    assert bundle.point.online == OnlineTracking(**thresholds, min_duration_off=0.5)
    assert bundle.point.online.by_clusters is (not thresholds)
    assert Manifest.model_validate_json(bundle.manifest.model_dump_json()) == bundle.manifest


@pytest.mark.parametrize("name", THRESHOLDS)
def test_an_online_point_with_some_thresholds_is_refused(folder: Path, name: str) -> None:
    needle = "operating_point.online: tau_active, rho_update, delta_new are given all together or not at all"
    assert needle in message(folder, online(sound(folder), **{name: 0.5}))


FREE = ("measured", "parity", "provenance")  # they hold whatever they hold, for people
OPEN = ("versions", "licences")  # names of their own
CHECKED = [
    where
    for where in places({**SOUND, "files": {name: {"sha256": "0" * 64, "bytes": 1} for name in NAMES}})
    if where[0] not in FREE or len(where) == 1
]
REQUIRED = [where for where in CHECKED if where[0] not in OPEN or len(where) == 1]
WRONG: dict[type, tuple[object, ...]] = {
    str: (None, True, 7, 7.5, [], {"a": 1}),
    int: (None, True, "7", 7.5, -1, [1], {"a": 1}),
    float: (None, True, "0.5", -1.0, [0.5], {"a": 1}),
    dict: (None, True, 7, "seven", [{}]),
    list: (True, 7, "seven", [], [2], [1, "2"], [1, 2, 3], [0, 1], [3, 2]),
}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(CHECKED), data=st.data())
def test_a_wrong_value_is_named(folder: Path, where: Where, data: st.DataObject) -> None:
    told = sound(folder)
    inside = holder(told, where)
    may_be_none = where in {("clustering", "threshold"), ("clustering", "speakers")}
    wrong = WRONG[type(inside[where[-1]])]
    inside[where[-1]] = data.draw(st.sampled_from([value for value in wrong if value is not None or not may_be_none]))
    said = message(folder, told)
    assert where[-1] in said or where[-1].replace("_", " ") in said
    assert "export the operating point again" in said


@pytest.mark.parametrize("where", REQUIRED, ids=".".join)
def test_a_missing_field_is_named(folder: Path, where: Where) -> None:
    told = sound(folder)
    del holder(told, where)[where[-1]]
    if where == ("files", "model.safetensors"):  # nothing that runs needs it
        write(folder, told)
        assert read_bundle(folder)
        return
    assert where[-1] in message(folder, told)


@pytest.mark.parametrize(
    "where", [(), ("operating_point",), ("operating_point", "pruning"), ("segmentation",), ("embedding",)], ids=".".join
)
def test_a_field_too_many_is_named(folder: Path, where: Where) -> None:
    told = sound(folder)
    holder(told, (*where, "x"))["of a later version"] = 1
    assert "of a later version" in message(folder, told)


@pytest.mark.parametrize(
    ("where", "value", "needle"),
    [
        (("operating_point", "chunk_length"), 0.001, "chunk length C = 0.001 s is outside the design space"),
        (("operating_point", "chunk_length"), None, "chunk_length = None does not go with the mode 'chunk-wise'"),
        (("operating_point", "right_context"), 9.0, "right context R = 9 s"),
        (("operating_point", "latency"), 0.5, "latency = 0.5 s is not C + R = 0.75 s, pauses"),
        (("operating_point", "mode"), "offline", "chunk_length = 0.5 does not go with the mode 'offline'"),
        (("operating_point", "pruning", "ratio"), 0.99, "pruning ratio = 0.99"),
        (("operating_point", "pruning", "structure"), "none", "pruning ratio = 0.4 needs a structure"),
        (("operating_point", "precision"), "int2", "operating_point.precision"),
        (("segmentation", "speakers"), 9, "segmentation.speakers"),
        (("segmentation", "max_at_once"), 4, "max_at_once = 4 is more than the 3 speakers"),
        (("segmentation", "centre"), 991, "centre = 991 lies outside of the field"),
        (("segmentation", "window"), 10**9, "segmentation.window"),
        (("embedding", "block_length"), 16_001, "block_length = 16001 is not a multiple of step = 320"),
        (("embedding", "block_left"), 128_000, "block_length, block_left and block_right are 144640 samples"),
        (("embedding", "block_left"), 320, "block_left = 320 is less than block_right = 640"),
        (("embedding", "scale"), 0.0, "embedding.scale"),
        (("clustering", "method"), "kmeans", "clustering.method"),
        (("clustering", "threshold"), -0.1, "clustering.threshold"),
        (("clustering", "offline_threshold"), None, "clustering.offline_threshold"),
        (("clustering", "speakers"), [3, 2], "speakers is (3, 2): give a number from 1 up"),
        (("format",), "explorer bundle 2", "format: Input should be 'explorer bundle 1'"),
        (("files", MODEL, "sha256"), "ABC", "files.model.onnx.sha256"),
        (("files", MODEL, "bytes"), -1, "files.model.onnx.bytes"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_what_lies_outside_or_does_not_fit_is_said(folder: Path, where: Where, value: object, needle: str) -> None:
    told = sound(folder)
    holder(told, where)[where[-1]] = value
    assert needle in message(folder, told)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b", "..", ".", "", "a\x00b", ".hidden", "a\nb"])
def test_a_path_is_no_file_of_the_bundle(folder: Path, name: str) -> None:
    told = sound(folder)
    told["files"][name] = told["files"][MODEL]
    assert "files." in message(folder, told)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"format": NaN}', "[" * 100_000, "\ud800"])
def test_what_is_no_json_of_ours_is_said(folder: Path, text: str) -> None:
    (folder / POINT).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BundleError, match=POINT):
        read_bundle(folder)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_damage_of_any_byte_is_no_traceback(folder: Path, at: int, byte: int, cut: bool) -> None:
    write(folder, sound(folder))
    raw = (folder / POINT).read_bytes()
    at %= len(raw)
    (folder / POINT).write_bytes(raw[:at] if cut else raw[:at] + bytes([byte]) + raw[at + 1 :])
    with contextlib.suppress(BundleError):  # where the byte is part of a name or of what people read, all is well
        read_bundle(folder)


# --- files


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A bundle of one's own."""
    for name in NAMES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write(tmp_path, sound(tmp_path))
    return tmp_path


Damage = Callable[[Path], object]


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("damage", "needle"),
    [
        (change, "it was changed or cut short, copy the bundle again"),
        (lambda path: path.write_bytes(path.read_bytes()[:5]), "5 bytes with SHA-256"),
        (Path.unlink, "there is no such file"),
        (as_folder, "there is no such file"),
        (as_pipe, "there is no such file"),
    ],
    ids=["changed", "cut short", "missing", "a folder", "a pipe"],
)
def test_a_file_that_is_not_what_it_was_is_named(copied: Path, name: str, damage: Damage, needle: str) -> None:
    damage(copied / name)
    with pytest.raises(BundleError, match=needle) as error:
        read_bundle(copied)
    assert str(copied / name) in str(error.value)


@pytest.mark.parametrize("path", ["nowhere", MODEL])
def test_what_is_no_bundle_is_refused_with_the_remedy(copied: Path, path: str) -> None:
    with pytest.raises(BundleError, match="give the folder that `explorer export STUDY TRIAL DIR` wrote"):
        read_bundle(copied / path)


# --- models


@pytest.fixture
def real(exports: Exports, tmp_path: Path) -> Bundle:
    """A real bundle of one's own."""
    bundle = exports.bundle(BASELINE)
    for name in (MODEL, EMBEDDING, PROJECTION):
        (tmp_path / name).symlink_to(bundle.folder / name)
    return replace(bundle, folder=tmp_path)


def put(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"noise" * 1000, b"\x08\x08"], ids=["empty", "noise", "no graph"])
def test_a_model_that_is_none_is_named(real: Bundle, content: bytes) -> None:
    for name, load in ((MODEL, real.runtime), (EMBEDDING, real.embedding), (PROJECTION, real.embedding)):
        kept = (real.folder / name).resolve()
        put(real.folder / name, content)
        with pytest.raises(BundleError, match=f"{name}: cannot be loaded"):
            load()
        (real.folder / name).unlink()
        (real.folder / name).symlink_to(kept)


def test_one_model_in_the_place_of_the_other_is_named(real: Bundle) -> None:
    one, other = ((real.folder / name).resolve() for name in (MODEL, EMBEDDING))
    for name, target in ((MODEL, other), (EMBEDDING, one)):
        (real.folder / name).unlink()
        (real.folder / name).symlink_to(target)
    with pytest.raises(BundleError, match=f"{MODEL}: cannot be loaded"):
        real.runtime()
    with pytest.raises(BundleError, match=f"{EMBEDDING}: cannot be loaded"):
        real.embedding()


@pytest.mark.parametrize(
    ("part", "change", "needle"),
    [
        ("segmentation", {"step": 271}, "receptive_field_shift is 270, and by operating_point.json it is 271"),
        ("segmentation", {"window": 170_000}, "window_size is 160000"),
        ("segmentation", {"speakers": 4}, "num_speakers is 3"),
        ("segmentation", {"frames": 590}, r"gives \(1, 589, 7\) for a window, and by .* it is \(1, 590, 7\)"),
        (
            "embedding",
            {"step": 640, "block_left": 7_680},
            "gives 32 features for 64 frames, and by operating_point.json step = 640",
        ),
    ],
)
def test_what_the_models_do_not_do_is_said(real: Bundle, part: str, change: dict[str, int], needle: str) -> None:
    told = real.manifest.model_dump()
    told[part] |= change
    other = replace(real, manifest=Manifest.model_validate_json(json.dumps(told)))
    with pytest.raises(BundleError, match=needle):
        _ = other.runtime() if part == "segmentation" else other.embedding()


def test_a_projection_of_another_embedding_is_named(real: Bundle) -> None:
    affine = load_file(real.folder / PROJECTION)
    (real.folder / PROJECTION).unlink()
    save_file({"weight": affine["weight"][:, 2:].copy(), "bias": affine["bias"]}, real.folder / PROJECTION)
    with pytest.raises(BundleError, match=f"{PROJECTION}: cannot be loaded"):
        real.embedding()


def test_its_embedding_is_the_one_that_was_measured(real: Bundle, exports: Exports) -> None:
    ours, theirs = real.embedding(), exports.evaluator.accuracy.embedding
    assert (ours.key, ours.step, ours.blocks) == (theirs.key, theirs.step, theirs.blocks)
    heard = exports.evaluator.recordings[0].waveform()[: 3 * 16_000]
    np.testing.assert_array_equal(ours.of(heard), theirs.of(heard))
    np.testing.assert_array_equal(ours.pool(ours.of(heard)), theirs.pool(theirs.of(heard)))
