"""Load pyannote.database protocols: train → train, development → calib, test → eval.

RTTM and UEM files are read by our own strict reader, because pyannote.database silently accepts malformed lines. What
it computes from other formats, or for meta-protocols (X.*), is used as it is. The configuration is that of
`NAME@path/to/database.yml`, else those that pyannote.database looks for: ~/.pyannote/database.yml, ./database.yml, and
the files in PYANNOTE_DATABASE_CONFIG (separated by `;`). If several define a protocol, the last one wins.
"""

import contextlib
import io
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pyannote.core import Annotation, Timeline

from objectives.corpora.corpus import Corpus, Recording, Remark, make_recording
from objectives.corpora.folder_notes import nothing_in
from objectives.corpora.rttm import Written, read_rttm, read_uem
from objectives.errors import CorpusError, quoted, reason_of

CONFIG_VARIABLE = "PYANNOTE_DATABASE_CONFIG"
SCOPE = "scope"  # of a protocol's labels, beside its subsets
SPLIT_OF_SUBSET = {"train": "train", "development": "calib", "test": "eval"}

_READERS: Mapping[str, tuple[str, Callable[[Path], Mapping[str, Written[Any]]]]] = {
    "annotation": (".rttm", read_rttm),
    "annotated": (".uem", read_uem),
}


def protocol_corpus(name_and_path: str) -> Corpus:
    """Load a protocol: `AMI.SpeakerDiarization.mini`, or `AMI.SpeakerDiarization.mini@path/to/database.yml`.

    Raises CorpusError if there is no such configuration or protocol, if one of its files is missing or malformed, or if
    a recording cannot be used.
    """
    name, _, path = name_and_path.partition("@")
    if name.count(".") != 2:
        raise CorpusError(f"protocol {name!r}: write protocol:Database.SpeakerDiarization.Protocol")
    configs = _configs(Path(path) if path else None)
    with _pyannote(name, configs):
        registry = _registry(name, configs)
        protocol = registry.get_protocol(name)
    source = _Source(name, registry, configs)
    splits: dict[str, tuple[Recording, ...]] = {}
    for subset, split in SPLIT_OF_SUBSET.items():
        splits[split] = tuple(source.recording(subset, file) for file in source.files(protocol, subset))
    if not any(splits.values()):
        raise CorpusError(
            f"protocol {name}: has no file in {', '.join(SPLIT_OF_SUBSET)}: give it at least a test subset"
            f" (configuration: {_listed(configs)})"
        )
    return Corpus(name, splits, source.left_out(splits))


class _Source:
    """Turns the files of one protocol into recordings. Every RTTM and UEM is read once."""

    def __init__(self, name: str, registry: Any, configs: tuple[Path, ...]) -> None:
        self._name, self._registry, self._configs = name, registry, configs
        self._read: dict[Path, Mapping[str, Written[Any]]] = {}

    def files(self, protocol: Any, subset: str) -> list[Any]:
        """Return the files of a subset without reading their annotations; none if the protocol has no such subset."""
        for key in _READERS:
            path = self._declared_path(subset, None, key)
            if path is not None and path.is_file():
                self._content(key, path)  # pyannote.database's errors do not name file and line
        with _pyannote(self._name, self._configs):
            try:
                # not protocol.train() and the like, which read each annotation immediately, with the lenient reader
                return [file for file in getattr(protocol, f"{subset}_iter")() if file["uri"]]  # a .lst may end blank
            except NotImplementedError:  # how pyannote.database says that a protocol has no such subset
                return []

    def recording(self, subset: str, file: Any) -> Recording:
        from pyannote.database import FileFinder

        uri: str = file["uri"]
        with _pyannote(f"{self._name}, {subset} file {uri!r}", self._configs):
            audio = file.get("audio") or FileFinder(registry=self._registry)(file)
        reference, origin = self._value(subset, file, "annotation", Annotation)
        if reference is None:
            raise CorpusError(
                f"protocol {self._name}: {subset} file {quoted(uri)} has no annotation: name its RTTM "
                f"(configuration: {_listed(self._configs)})"
            )
        annotated, _ = self._value(subset, file, "annotated", Timeline)
        return make_recording(uri, Path(audio), reference, annotated, origin=origin)

    def left_out(self, splits: Mapping[str, tuple[Recording, ...]]) -> tuple[Remark, ...]:
        """Return remarks about recordings in RTTM and UEM files that no subset lists, and unused subsets."""
        used = {unicodedata.normalize("NFC", one.uri) for recordings in splits.values() for one in recordings}
        lost: dict[str, str] = {}
        for path, content in self._read.items():
            for uri in content.keys() - used:
                lost.setdefault(uri, f"{path.name} mentions it, and no subset lists it")
        subsets = {
            str(key)
            for content in self._registry.configs.values()
            for key in _entry(content, ("Protocols", *self._name.split("."))) or {}
            if key != SCOPE and key not in SPLIT_OF_SUBSET
        }
        unread = f"no subset that is read: these are {', '.join(SPLIT_OF_SUBSET)}"
        return (
            *(Remark("recording", uri, lost[uri]) for uri in sorted(lost)),
            *(Remark("file", f"{self._name}.{subset}", unread) for subset in sorted(subsets)),
        )

    def _value(self, subset: str, file: Any, key: str, kind: type) -> tuple[Any, str]:
        """Return a file's value for a key as Written (None if there is none), and its source for messages."""
        uri: str = file["uri"]
        path = self._declared_path(subset, file, key)
        content = None if path is None else self._content(key, path)
        if path is None or content is None:
            with _pyannote(f"{self._name}, {subset} file {uri!r}, {key}", self._configs):
                value = file.get(key)
            if value is not None and not isinstance(value, kind):
                raise CorpusError(
                    f"protocol {self._name}: {key} of {quoted(uri)} is not of type {kind.__name__}: use RTTM and UEM "
                    f"files (configuration: {_listed(self._configs)})"
                )
            return None if value is None else Written(value), f"protocol {self._name}"
        normal = unicodedata.normalize("NFC", uri)
        if not content:
            raise CorpusError(f"{path}: {nothing_in(path)}, and {subset} of {self._name} lists {uri!r}: correct either")
        if normal not in content:
            others = ", ".join(quoted(other) for other in list(content)[:3])
            raise CorpusError(f"{path}: mentions {others} but not {uri!r} ({subset} of {self._name}): correct the URIs")
        return content[normal], str(path)

    def _content(self, key: str, path: Path) -> Mapping[str, Written[Any]] | None:
        """Return the content of an RTTM or UEM file by URI; None for other files."""
        if path.suffix.lower() != _READERS[key][0]:
            return None
        if path not in self._read:
            self._read[path] = _READERS[key][1](path)
        return self._read[path]

    def _declared_path(self, subset: str, file: Any, key: str) -> Path | None:
        """Return the file that database.yml names for a key, found as pyannote.database finds it.

        None if it names none, or if it is a template such as {uri}.rttm and no file is given.
        """
        found: Path | None = None
        for config, content in self._registry.configs.items():
            entry = _entry(content, ("Protocols", *self._name.split("."), subset, key))
            # the subsets of meta-protocols (X.*) name other protocols instead of files
            if isinstance(entry, str) and (file is not None or "{" not in entry):
                path = Path(entry if file is None else entry.format(**abs(file))).expanduser()
                found = path if path.is_file() else config.parent / path
        return found


def _entry(content: Any, steps: tuple[str, ...]) -> Any:
    """Return the entry of a configuration at a path of keys; None if there is none."""
    for step in steps:
        content = {str(name): value for name, value in content.items()}.get(step) if isinstance(content, dict) else None
    return content


def _configs(given: Path | None) -> tuple[Path, ...]:
    if given is not None:
        if not given.expanduser().is_file():
            raise CorpusError(f"{given}: no such file: give the database.yml that defines the protocol, after the @")
        return (given.expanduser(),)
    usual = [Path.home() / ".pyannote" / "database.yml", Path("database.yml")]
    named = [Path(entry).expanduser() for entry in os.environ.get(CONFIG_VARIABLE, "").split(";") if entry]
    found = tuple(path for path in (*usual, *named) if path.is_file())
    if not found:
        raise CorpusError(
            "no pyannote.database configuration: append @path/to/database.yml to the protocol's name, or set "
            f"{CONFIG_VARIABLE} to its path"
        )
    return found


def _listed(configs: tuple[Path, ...]) -> str:
    return ", ".join(str(config) for config in configs)


def _registry(name: str, configs: tuple[Path, ...]) -> Any:
    from pyannote.database import registry as shared
    from pyannote.database.registry import Registry

    # meta-protocols look up their parts in pyannote.database's global registry; all others get a registry of their own
    registry = shared if name.startswith("X.") else Registry()
    for config in configs:
        registry.load_database(config)
    return registry


@contextlib.contextmanager
def _pyannote(what: str, configs: tuple[Path, ...]) -> Iterator[None]:
    """Call pyannote.database inside: its prints and warnings are suppressed, its errors become CorpusError."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    # a wrong entry in a database.yml may raise any of these; there is no narrower family
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise CorpusError(
            f"protocol {what}: {type(error).__name__}: {reason_of(error)} (configuration: {_listed(configs)}): "
            "correct the entry there, or the file that it names"
        ) from error
