"""Assign recordings to splits, by a splits.json or at random."""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from objectives.corpora.corpus import SPLIT_NAMES
from objectives.errors import CorpusError, quoted, reason_of

EVAL_SHARE, CALIB_SHARE = 0.3, 0.1  # of the recordings; the rest is train


def seeded_splits(uris: Iterable[str], seed: int) -> dict[str, tuple[str, ...]]:
    """Draw URIs into train / calib / eval (60 / 10 / 30 % by count), each sorted. Empty splits are left out.

    Recordings are ordered by a hash of seed and URI, so that the draw does not depend on the order of the files. A
    single recording goes to eval, a second one to train, a third one to calib. With three or more, no split is empty.
    """
    drawn = sorted(
        set(uris), key=lambda uri: hashlib.sha256(f"{seed}\0{uri}".encode(errors="surrogateescape")).digest()
    )
    count = len(drawn)
    evaluated = max(1, int(EVAL_SHARE * count + 0.5))
    calibrated = max(1, int(CALIB_SHARE * count + 0.5)) if count > 2 else 0
    members = {
        "train": drawn[evaluated + calibrated :],
        "calib": drawn[evaluated : evaluated + calibrated],
        "eval": drawn[:evaluated],
    }
    return {split: tuple(sorted(chosen)) for split, chosen in members.items() if chosen}


def read_splits(path: Path, known: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read URIs by split from a splits.json, {"train": ["uri", …], …}, in the order of the file.

    known: URIs with audio; those that no split names are left out of the corpus. Raises CorpusError if the file is not
    such an object, names an unknown split or URI, or names a URI twice.
    """
    known = frozenset(known)
    splits: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for split, uris in _read_object(path).items():
        if split not in SPLIT_NAMES:
            raise CorpusError(f"{path}: unknown split {quoted(split)}: use {', '.join(SPLIT_NAMES)}")
        if not (isinstance(uris, list) and all(isinstance(uri, str) for uri in uris)):
            raise CorpusError(
                f"{path}: split {split!r} must be a list of URIs and is {quoted(uris)}: write "
                f'{{"{split}": ["call01", "call02"]}}'
            )
        splits[split] = tuple(unicodedata.normalize("NFC", uri) for uri in uris)
        for uri in splits[split]:
            if uri not in known:
                raise CorpusError(
                    f"{path}: split {split!r} names {quoted(uri)}, and no audio file has that name: correct either"
                )
            if uri in seen:
                raise CorpusError(
                    f"{path}: {uri!r} is in split {seen[uri]} and again in {split}: remove it from one split"
                )
            seen[uri] = split
    if not seen:
        raise CorpusError(
            f"{path}: names no recording: list URIs by split, or remove the file to draw splits from the seed"
        )
    return splits


def _read_object(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_once)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested too deeply
        raise CorpusError(
            f"{path}: is not JSON ({reason_of(error)}): write an object of split names and lists of URIs"
        ) from error
    if not isinstance(content, dict):
        raise CorpusError(
            f"{path}: must be an object of split names and lists of URIs, not a {type(content).__name__}: write "
            '{"eval": ["call01"]}'
        )
    return content


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object, refusing duplicate keys. The json module would silently keep the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{quoted(twice)} is named twice")
    return found
