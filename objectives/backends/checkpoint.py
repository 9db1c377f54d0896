"""Read checkpoints of pyannote.audio without running code from them.

A checkpoint is a pickle, and a pickle can run code. With `weights_only`, torch reads one as data: numbers, text,
tensors and the few classes of `ALLOWED`, which is all that pyannote.audio's own checkpoints hold. A checkpoint that
needs more (callbacks of its training, for example) is refused, unless its SHA-256 is among those that the caller
trusts. The bytes that are hashed are the bytes that are read, so the file cannot be swapped in between.
"""

import copyreg
import hashlib
import inspect
import io
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.torch_version import TorchVersion

from objectives.backends.library_errors import ran_out_of_memory
from objectives.backends.pyannote import Model, Problem, Resolution, Specifications
from objectives.errors import ModelError, reason_of

Network = TypeVar("Network", bound=Model)

# constructing these runs no code and reads no file, whatever the arguments
ALLOWED = (TorchVersion, Specifications, Problem, Resolution)

# Python up to 3.11.3 pickles an enum member as a call of getattr, which weights_only refuses
for _choices in (Problem, Resolution):
    copyreg.pickle(_choices, lambda choice: (type(choice), (choice.value,)))

NEEDED = ("state_dict", "hyper_parameters", "pyannote.audio")


def read_checkpoint(path: Path, trusted: Collection[str] = ()) -> dict[str, Any]:
    """Return the content of a checkpoint. trusted: SHA-256 of files that may run code when they are read.

    Raises ModelError if the file is not a checkpoint, or needs more than weights and is not trusted.
    """
    return _read(path, _content(path), trusted)


def build_network(path: Path, checkpoint: dict[str, Any], kind: type[Network]) -> Network:
    """Build the network of a checkpoint, in evaluation mode, as pyannote.audio would load it.

    pyannote.audio imports whatever module the checkpoint names; here it must name `kind`. path: named in messages.
    Raises ModelError if the checkpoint names another kind, or does not fit.
    """
    try:
        architecture = dict(checkpoint["pyannote.audio"]["architecture"])
        name = str(architecture["class"])
        stock = {"module": kind.__module__, "class": kind.__name__} == architecture
        if stock:
            known = inspect.signature(kind).parameters
            given = {key: value for key, value in checkpoint["hyper_parameters"].items() if key in known}
            network = kind(**given)
            network.on_load_checkpoint(checkpoint)
            network.load_state_dict(checkpoint["state_dict"], strict=True)
    except Exception as error:  # a checkpoint's values may be anything, and so may the errors that they cause
        if ran_out_of_memory(error):
            raise
        raise _not_a_checkpoint(path, error) from error
    if not stock:
        raise ModelError(f"{path}: holds a {name}, not a {kind.__name__} of pyannote.audio. Give a checkpoint of one.")
    return network.eval()


def load_as_stock(path: Path) -> Model:
    """Load a checkpoint with pyannote.audio itself.

    That unpickles the file, so its bytes are first read as data. Raises ModelError if that fails.
    """
    content = _content(path)
    _read(path, content, ())
    model = Model.from_pretrained(io.BytesIO(content))
    assert model is not None, "only a name on the Hub may be absent"
    return model.eval()


def plain(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a checkpoint that can be written and read again as data. Only trusted ones have others.

    path: named in messages. Raises ModelError if weights or settings cannot be.
    """
    kept = {name: value for name, value in checkpoint.items() if _is_plain(value)}
    lost = [name for name in NEEDED if name not in kept]
    if lost:
        raise ModelError(
            f"{path}: its {' and '.join(lost)} are not plain data, so that models made of it could not be read "
            "safely. Save it again with pyannote.audio"
        )
    return kept


def from_hub(repository: str) -> Path:
    """Return the path of a Hugging Face repository's checkpoint, downloaded if it is not in the cache. It is not
    verified.

    Raises ModelError if the file cannot be fetched.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        there = try_to_load_from_cache(repository, "pytorch_model.bin")
        if isinstance(there, str):  # no need to ask the Hub for a newer one
            return Path(there)
        return Path(hf_hub_download(repository, "pytorch_model.bin", etag_timeout=5))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ModelError(
            f"{repository}: cannot be fetched from Hugging Face ({type(error).__name__}). Download pytorch_model.bin "
            "where the Hub can be reached, and give its path instead."
        ) from error


def _not_a_checkpoint(path: Path, error: Exception) -> ModelError:
    """Return the error for a file that cannot be used as a checkpoint."""
    unpickling = isinstance(error, torch.serialization.pickle.UnpicklingError)
    reason = str(error).splitlines()[0] if unpickling else reason_of(error)
    return ModelError(
        f"{path}: not a pyannote.audio checkpoint ({type(error).__name__}: {reason}). "
        "Give a file saved by pyannote.audio."
    )


def _read(path: Path, content: bytes, trusted: Collection[str]) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    torch.serialization.add_safe_globals(list(ALLOWED))
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=sha256 not in trusted)
    except Exception as error:  # reading arbitrary bytes as a pickle may raise anything
        if ran_out_of_memory(error):
            raise
        wanted = _more_than_weights(content)
        if wanted and sha256 not in trusted:
            raise ModelError(
                f"{path}: asks for more than weights ({wanted}), so that to load it may run any code. Was it meant "
                f"to? If you trust whoever made it, give `--trust {sha256}`."
            ) from None
        raise _not_a_checkpoint(path, error) from error
    if not isinstance(checkpoint, dict):
        raise _not_a_checkpoint(path, TypeError(f"it holds a {type(checkpoint).__name__}, not a dictionary"))
    return checkpoint


def _is_plain(value: Any) -> bool:
    """Return whether a value, once written, can be read as data."""
    written = io.BytesIO()
    try:
        torch.save(value, written)
        torch.load(io.BytesIO(written.getvalue()), weights_only=True)
    except Exception:  # noqa: BLE001 — pickling an unknown object may raise anything
        return False
    return True


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error


def _more_than_weights(content: bytes) -> str:
    """List the classes and functions that a checkpoint needs beyond those allowed; empty if there are none."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return ""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception:  # noqa: BLE001 — damaged in whatever way: not a checkpoint
        return ""
    return ", ".join(sorted(names))
