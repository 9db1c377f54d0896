"""Load corpora: AMI excerpts, SIMSAMU, a folder of audio + RTTM, a pyannote.database protocol."""

import unicodedata
from pathlib import Path

from objectives.cache import assets
from objectives.corpora.corpus import Corpus, Recording, make_recording
from objectives.corpora.folder import folder_corpus
from objectives.corpora.protocol import protocol_corpus
from objectives.corpora.rttm import read_rttm, read_uem
from objectives.errors import CorpusError

AMI_EXCERPTS = "ami-excerpts"
SIMSAMU = "simsamu"
PROTOCOL_PREFIX = "protocol:"
SIMSAMU_REPOSITORY = "medkit/simsamu"

KNOWN = (
    f"{AMI_EXCERPTS}, {SIMSAMU} (or {SIMSAMU}:FOLDER), a folder of audio + RTTM, "
    f"{PROTOCOL_PREFIX}NAME (or {PROTOCOL_PREFIX}NAME@database.yml)"
)

# No meeting is in two splits. The sessions are {trn00-trn03}, {trn04}, {trn05}, {trn06, trn09}, {trn07, trn08},
# {dev00, dev01} and {tst00, tst01}
AMI_SPLITS = {
    "train": ("trn00", "trn01", "trn02", "trn03", "trn06", "trn09"),
    "calib": ("trn04", "trn05"),
    "eval": ("trn07", "trn08", "dev00", "dev01", "tst00", "tst01"),
}


def load_corpus(name_or_path: str | Path, seed: int = 0) -> Corpus:
    """Load a corpus by name or path. Every reference is checked against its recording; audio is decoded on demand.

    - `ami-excerpts`: 14 excerpts of 30 s from AMI meetings, fetched once, with fixed splits by session.
    - `simsamu`: from the Hugging Face Hub; `simsamu:FOLDER`: a local copy, `<id>/<id>.{m4a,rttm}`.
    - a folder: audio + RTTM (+ UEM, + splits.json {split: [uris]}).
    - `protocol:NAME` or `protocol:NAME@database.yml`: train → train, development → calib, test → eval.

    seed: for drawing the splits (60 / 10 / 30 % train / calib / eval) of a folder without splits.json. Other sources
    have fixed splits.

    Raises CorpusError for an unknown name; a missing or malformed RTTM or UEM (with file and line), or one for other
    recordings; a turn or an annotated part past the end; empty or unreadable audio; annotated parts without speech; and
    splits that overlap or name missing recordings. Raises AssetError if the excerpts cannot be fetched.
    """
    name = str(name_or_path)
    if name == AMI_EXCERPTS:
        return _ami_excerpts()
    if name == SIMSAMU:
        return folder_corpus(_download_simsamu(), SIMSAMU, seed)
    if name.startswith(PROTOCOL_PREFIX):
        return protocol_corpus(name.removeprefix(PROTOCOL_PREFIX))
    is_simsamu = name.startswith(f"{SIMSAMU}:")
    folder = Path(name.removeprefix(f"{SIMSAMU}:") if is_simsamu else name).expanduser()
    if folder.is_dir():
        return folder_corpus(folder, SIMSAMU if is_simsamu else folder.resolve().name, seed)
    if folder.exists() or is_simsamu:
        raise CorpusError(f"{folder}: is not a folder: give the folder that holds the audio and its RTTM")
    raise CorpusError(f"unknown corpus {name!r}, and no such folder: use one of {KNOWN}")


def _ami_excerpts() -> Corpus:
    folder = assets.fetch(AMI_EXCERPTS)
    # one file is spelt trñ00 on disk but trn00 in the RTTM and UEM
    audio = {_without_accents(path.stem): path for path in sorted(folder.glob("*.wav"))}
    tables = {}
    for subset in ("train", "development", "test"):
        rttm, uem = folder / f"debug.{subset}.rttm", folder / f"debug.{subset}.uem"
        references, parts = read_rttm(rttm), read_uem(uem)
        tables.update({uri: (references[uri], parts[uri], rttm) for uri in references.keys() & parts.keys()})

    def recording(uri: str) -> Recording:
        if uri not in audio or uri not in tables:
            raise CorpusError(f"{folder}: {uri} is missing: run `explorer assets verify {AMI_EXCERPTS}`")
        reference, annotated, origin = tables[uri]
        # the second half of each file is not annotated, so it is neither read nor scored
        return make_recording(uri, audio[uri], reference, annotated, origin=origin, ends_where_annotated=True)

    return Corpus(AMI_EXCERPTS, {split: tuple(recording(uri) for uri in uris) for split, uris in AMI_SPLITS.items()})


def _download_simsamu() -> Path:
    import huggingface_hub  # imported here because it is slow to import and rarely needed
    from huggingface_hub.errors import HTTPError

    try:
        folder = huggingface_hub.snapshot_download(
            SIMSAMU_REPOSITORY, repo_type="dataset", allow_patterns=["*.m4a", "*.rttm", "*.csv"]
        )
    except (OSError, HTTPError) as error:
        reason = "".join(str(error).splitlines()[:1]) or type(error).__name__
        raise CorpusError(
            f"{SIMSAMU_REPOSITORY} cannot be had from the Hugging Face Hub ({reason}): connect, or "
            f"pass a local copy as {SIMSAMU}:FOLDER"
        ) from error
    return Path(folder)


def _without_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
