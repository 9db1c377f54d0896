"""Where in a recording its noise is taken from."""

from pathlib import Path

import numpy as np

from objectives.corpora.simulation.channel import noise_folder, recorded_noise
from tests.support.corpora import write_audio


def test_recorded_noise_begins_anywhere_in_its_file_and_begins_again_where_that_ends(tmp_path: Path) -> None:
    """The file counts up, so that every sample says where it is from."""
    count, step = 32_000, 2.0**-15
    write_audio(tmp_path / "count.wav", np.arange(count, dtype=np.float32) * np.float32(step))
    folder = noise_folder(tmp_path)
    begun = set()
    for seed in range(6):
        places = np.round(recorded_noise(folder, 1000, np.random.default_rng(seed)) / step).astype(int)
        np.testing.assert_allclose(places - places[0], np.arange(1000), atol=1)
        assert 0 <= places[0] <= count - 1000
        begun.add(int(places[0]))
    assert len(begun) == 6
    longer = np.round(recorded_noise(folder, count + 500, np.random.default_rng(0)) / step).astype(int)
    np.testing.assert_allclose(longer, [*range(count), *range(500)], atol=1)
