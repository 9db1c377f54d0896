"""What is cut out of a recording, and in which order somebody's recordings are used."""

from pathlib import Path

import numpy as np
import pytest

from objectives.corpora.simulation import utterances as module
from objectives.corpora.simulation.speakers import Source
from objectives.corpora.simulation.utterances import FADE, Deck, Utterance, sounds
from tests.support.corpora import write_audio


def test_what_is_cut_out_fades_in_and_out(tmp_path: Path) -> None:
    """Within 5 ms at either end, so that no cut clicks."""
    path = write_audio(tmp_path / "level.wav", np.full(16_000, 0.5, np.float32))
    sound = sounds(Source("level", path), [(200, 100)])[200, 100]
    ramp = np.linspace(0.0, 0.5, FADE)
    assert (FADE, len(sound)) == (80, 1600)
    assert sound[:FADE] == pytest.approx(ramp, abs=1e-4)
    assert sound[FADE:-FADE] == pytest.approx(0.5, abs=1e-4)
    assert sound[-FADE:] == pytest.approx(ramp[::-1], abs=1e-4)


def test_all_sources_are_used_once_before_any_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [Source(name, Path(name)) for name in "abc"]
    monkeypatch.setattr(module, "utterances", lambda person, source: (Utterance(person, source, 0, 500, -20.0),))
    deck = Deck("ana", sources, np.random.default_rng(0))
    drawn, rounds = [], []
    for _ in range(9):
        drawn.append(deck.draw().source.name)
        rounds.append(deck.rounds)
    assert [sorted(drawn[first : first + 3]) for first in (0, 3, 6)] == [["a", "b", "c"]] * 3
    assert rounds == [1, 1, 1, 2, 2, 2, 3, 3, 3]
