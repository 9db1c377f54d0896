"""Where `explorer export` writes: what would refuse it at the end refuses it at once."""

from pathlib import Path
from typing import NoReturn

import pytest

import explorer.bundle.export
from explorer.bundle.export import export_trial
from objectives.errors import BundleError, CorpusError
from tests.support.export_study import Exports


def never(settings: object) -> NoReturn:
    pytest.fail("an evaluator was built, which takes long")


@pytest.mark.parametrize(("above", "why"), [("", "File exists"), ("inside", "Not a directory")])
def test_what_cannot_be_written_at_the_end_is_refused_at_once(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: str, why: str
) -> None:
    monkeypatch.setattr(explorer.bundle.export, "build_evaluator", never)
    (tmp_path / "file").write_text("what was there")
    folder = tmp_path / "file" / above / "point"
    with pytest.raises(
        BundleError, match=rf"point: cannot be written \({why}\): move away the file .* give another DIR"
    ):
        export_trial(exports.study, 0, folder)
    assert (tmp_path / "file").read_text() == "what was there"


def test_folders_above_go_with_what_fails(exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: object) -> NoReturn:
        raise CorpusError("gone")

    monkeypatch.setattr(explorer.bundle.export, "build_evaluator", refuse)
    with pytest.raises(CorpusError, match="gone"):
        export_trial(exports.study, 0, tmp_path / "points" / "of mine" / "small")
    assert [*tmp_path.iterdir()] == []
