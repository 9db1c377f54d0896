"""Checkpoints are data: none of them runs, whichever way it comes in."""

import ast
import hashlib
import sys
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch

import objectives.models.embedding_loading
import objectives.models.segmentation
from objectives.backends.checkpoint import ALLOWED, build_network, load_as_stock, plain, read_checkpoint
from objectives.backends.pyannote import Model, Problem, PyanNet, WeSpeakerResNet34
from objectives.cache.assets import fetch
from objectives.compression.compressor import Compressor, load_network, save_checkpoint
from objectives.errors import AssetError, ModelError
from objectives.models.embedding_loading import load_embedding
from objectives.models.segmentation import SIMSAMU_SEGMENTATION, load_segmentation, segmentation_checkpoint
from objectives.operating_point import UNPRUNED
from tests.support.checkpoints import as_speaker_embedding, changed_checkpoint
from tests.support.hostile_pickles import HOSTILE, Touch, Writer, among_training_state, nothing_else

ROOT = Path(__file__).resolve().parents[3]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.mark.parametrize("write", HOSTILE)
def test_these_checkpoints_are_hostile_indeed(write: Writer, tmp_path: Path, sentinel: Path) -> None:
    write(tmp_path / "evil.bin", sentinel)
    with suppress(RuntimeError):  # a bare pickle is no checkpoint, and runs all the same
        torch.load(tmp_path / "evil.bin", weights_only=False)
    assert sentinel.exists()


@pytest.mark.parametrize("load", [load_segmentation, load_as_stock, lambda path: load_embedding(str(path))])
@pytest.mark.parametrize("write", HOSTILE)
def test_a_hostile_checkpoint_is_refused_and_does_not_run(
    write: Writer, load: Any, tmp_path: Path, sentinel: Path
) -> None:
    path = tmp_path / "evil.bin"
    write(path, sentinel)
    with pytest.raises(ModelError, match=r"evil\.bin: (not a pyannote|asks for more)"):
        load(path)
    assert not sentinel.exists()


def test_the_refusal_names_what_was_asked_for_and_how_to_trust_it(tmp_path: Path, sentinel: Path) -> None:
    path = tmp_path / "evil.bin"
    among_training_state(path, sentinel)
    with pytest.raises(ModelError) as refusal:
        load_segmentation(path)
    assert "io.open" in str(refusal.value) or "builtins.open" in str(refusal.value)
    assert f"`--trust {sha256_of(path)}`" in str(refusal.value)


def test_a_repository_of_the_hub_is_not_trusted_for_being_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sentinel: Path
) -> None:
    path = tmp_path / "pytorch_model.bin"
    among_training_state(path, sentinel)
    monkeypatch.setattr(objectives.models.segmentation, "from_hub", lambda name: path)
    monkeypatch.setattr(objectives.models.embedding_loading, "from_hub", lambda name: path)
    with pytest.raises(ModelError, match="--trust"):
        load_segmentation(segmentation_checkpoint(SIMSAMU_SEGMENTATION))
    with pytest.raises(ModelError, match="--trust"):
        load_embedding("pyannote/wespeaker-voxceleb-resnet34-LM")
    assert not sentinel.exists()


def test_what_is_in_the_hubs_own_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = "0" * 40
    repository = tmp_path / "models--medkit--simsamu-segmentation"
    path = repository / "snapshots" / revision / "pytorch_model.bin"
    for made, text in ((path, "weights"), (repository / "refs" / "main", revision)):
        made.parent.mkdir(parents=True)
        made.write_text(text)

    def refuse(*address: object) -> None:
        raise AssertionError(f"{address} was asked for")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    assert segmentation_checkpoint(SIMSAMU_SEGMENTATION) == path


def test_what_a_checkpoint_may_ask_for_is_made_of_values_alone() -> None:
    """Text, choices and records whose making runs nothing but what is generated for them."""
    assert ALLOWED
    for kind in ALLOWED:
        assert issubclass(kind, (str, Enum)) or is_dataclass(kind), kind
        assert not hasattr(kind, "__post_init__"), kind
        assert "__setstate__" not in vars(kind), kind


def test_a_checkpoint_cannot_have_a_module_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyannote.audio imports the module that a checkpoint names as its architecture, which `weights_only` lets by."""
    sentinel = tmp_path / "it ran"
    (tmp_path / "innocent.py").write_text(f"open({str(sentinel)!r}, 'w')\nclass PyanNet: pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["pyannote.audio"]["architecture"]["module"] = "innocent"

    path = changed_checkpoint(tmp_path / "model.bin", change)
    with pytest.raises(ModelError, match=r"holds a PyanNet, not a PyanNet of pyannote\.audio"):
        load_segmentation(path)
    assert not sentinel.exists()
    assert "innocent" not in sys.modules


def test_the_training_state_of_lightning_asks_for_nothing_more(tmp_path: Path) -> None:
    def change(checkpoint: dict[str, Any]) -> None:
        score = torch.tensor(0.25)
        checkpoint |= {
            "epoch": 3,
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": score, "dirpath": "/tmp"}},
            "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": score}}, "param_groups": [{"lr": 1e-3}]}],
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 1}}}},
        }

    load_segmentation(changed_checkpoint(tmp_path / "model.bin", change))


def test_what_is_trusted_is_content_and_not_a_place(tmp_path: Path, sentinel: Path) -> None:
    path = tmp_path / "mine.bin"
    among_training_state(path, sentinel)
    trusted = frozenset({sha256_of(path)})
    assert isinstance(load_segmentation(path, trusted), PyanNet)
    assert sentinel.exists()
    sentinel.unlink()
    nothing_else(path, sentinel)
    with pytest.raises(ModelError, match="asks for more"):
        load_segmentation(path, trusted)
    assert not sentinel.exists()


@pytest.fixture
def evil(tmp_path: Path, sentinel: Path) -> bytes:
    """A hostile checkpoint, made while the pinned one that it is made of can still be had."""
    among_training_state(tmp_path / "evil.bin", sentinel)
    return (tmp_path / "evil.bin").read_bytes()


def test_settings_are_data_however_python_pickles_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.2 writes them as a call of getattr."""
    monkeypatch.setattr(Enum, "__reduce_ex__", lambda choice, protocol: (getattr, (type(choice), choice.name)))
    path = fetch("segmentation-3.0")
    found = plain(path, read_checkpoint(path))
    assert found["pyannote.audio"]["specifications"].problem is Problem.MONO_LABEL_CLASSIFICATION


def test_models_made_of_a_trusted_checkpoint_are_data_again(
    tmp_path: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = changed_checkpoint(tmp_path / "mine.bin", lambda checkpoint: checkpoint.update(remark=Touch(sentinel)))
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="--trust"):
        Compressor(base).finish(UNPRUNED, "fp32")
    assert not sentinel.exists()
    made = Compressor(base, trusted=frozenset({sha256_of(base)})).finish(UNPRUNED, "fp16")
    sentinel.unlink()
    assert "remark" not in read_checkpoint(made.checkpoint)
    load_network(made)
    assert not sentinel.exists()


def test_a_swapped_model_of_the_store_does_not_run(
    tmp_path: Path, sentinel: Path, evil: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = changed_checkpoint(tmp_path / "base.bin", lambda checkpoint: None)
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    made = Compressor(base).finish(UNPRUNED, "fp32")
    made.checkpoint.write_bytes(evil)
    with pytest.raises(ModelError, match="asks for more"):  # swapped after it was checked
        load_network(made)
    with pytest.warns(RuntimeWarning, match="made again"):  # and before
        load_network(Compressor(base).finish(UNPRUNED, "fp32"))
    assert not sentinel.exists()


def test_a_swapped_asset_does_not_run(
    tmp_path: Path, sentinel: Path, evil: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    path = tmp_path / "assets" / "segmentation-3.0" / "pytorch_model.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(evil)
    with pytest.raises(AssetError, match="not what was pinned"):
        fetch("segmentation-3.0")
    with pytest.raises(ModelError, match="asks for more"):  # swapped after it was checked
        load_segmentation(path)
    assert not sentinel.exists()


@pytest.mark.parametrize("kind", [PyanNet, WeSpeakerResNet34])
def test_what_is_read_as_data_is_what_pyannote_loads(kind: type[Model], tmp_path: Path) -> None:
    path = fetch("segmentation-3.0")
    if kind is WeSpeakerResNet34:
        path = changed_checkpoint(tmp_path / "embedding.bin", as_speaker_embedding)
    ours, stock = build_network(path, read_checkpoint(path), kind), load_as_stock(path)
    assert type(ours) is type(stock) is kind
    assert ours.hparams == stock.hparams
    assert ours.specifications == stock.specifications
    theirs = stock.state_dict()
    assert list(ours.state_dict()) == list(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.state_dict().items())


def test_a_checkpoint_read_as_data_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    """Sizes and hashes of finished models did not change when unpickling ended."""
    path = fetch("segmentation-3.0")
    save_checkpoint(read_checkpoint(path), tmp_path / "ours.bin")
    save_checkpoint(torch.load(path, weights_only=False), tmp_path / "stock.bin")
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "stock.bin").read_bytes()


# (module, names) that make objects of what a file says; where a line may use one all the same, and why
DOORS = {"pickle": {"load", "loads", "Unpickler"}, "yaml": {"load", "unsafe_load", "full_load"}, "joblib": {"load"}}
WORDS = (*DOORS, "torch.load", "allow_pickle", "from_pretrained")
OPEN = {("explorer/workers/worker_process.py", "pickle.loads")}  # of what it has just pickled itself


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    text = path.read_text(encoding="utf-8")
    if not any(word in text for word in WORDS):
        return []
    tree = ast.parse(text)
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_nothing_else_in_the_product_unpickles() -> None:
    doors = {f"{module}.{name}" for module, names in DOORS.items() for name in names}
    found, loads = set(), set()
    for path in (path for layer in ("objectives", "studies", "explorer") for path in (ROOT / layer).rglob("*.py")):
        place = str(path.relative_to(ROOT))
        for name, call in calls(path):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert "allow_pickle" not in options, place
            if name in doors:
                found.add((place, name))
            if name == "torch.load":
                loads.add((place, options.get("weights_only", "absent")))
            if name == "Model.from_pretrained":
                found.add((place, name))
    assert found == OPEN | {("objectives/backends/checkpoint.py", "Model.from_pretrained")}
    assert loads == {
        ("objectives/backends/checkpoint.py", "True"),
        ("objectives/backends/checkpoint.py", "sha256 not in trusted"),
        ("objectives/models/embedding_loading.py", "True"),
    }
