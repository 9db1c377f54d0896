"""DER by recording as an artifact: order, CSV, plot."""

import csv
import io

import pytest

from explorer.figures.recordings import as_png
from explorer.front.frames import as_csv, frame_of
from explorer.front.recordings import RecordingErrors, by_recording
from explorer.storage.trial_record import attributes_of
from objectives.operating_point import BASELINE
from tests.support.analytic_evaluator import measurement

SILENT = RecordingErrors("silent", None, None, None, None, 1.5, 0.0, 0.0, 0.0)


def errors(name: str, der: float) -> RecordingErrors:
    return RecordingErrors(name, der, 0.0, der, 0.0, 0.0, der / 10, 0.0, 10.0)


def test_recordings_come_worst_first_and_what_has_no_speech_last() -> None:
    told = {
        one.recording: {key: value for key, value in vars(one).items() if key != "recording"}
        for one in (errors("b", 5.0), SILENT, errors("a", 5.0), errors("worst", 50.0))
    }
    assert [one.recording for one in by_recording(told)] == ["worst", "a", "b", "silent"]


def test_the_csv_is_what_was_measured() -> None:
    # DER of the baseline is 15 %: of 100 s of speech in two halves, 7.5 s are missed in a; b has 3.75 s of each other
    recordings = by_recording(attributes_of(measurement(BASELINE))["recordings"])
    first, second = csv.DictReader(io.StringIO(as_csv(frame_of(RecordingErrors, recordings))))
    assert (first["recording"], float(first["der"]), float(first["missed_detection_seconds"])) == ("a", 15.0, 7.5)
    assert (second["recording"], float(second["der"]), float(second["confusion_seconds"])) == ("b", 15.0, 3.75)
    assert {float(line["total_seconds"]) for line in (first, second)} == {50.0}


def test_what_is_not_known_is_empty_in_the_csv() -> None:
    (line,) = csv.DictReader(io.StringIO(as_csv(frame_of(RecordingErrors, [SILENT]))))
    assert (line["der"], line["false_alarm_seconds"]) == ("", "1.5")


def height(png: bytes) -> int:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[20:24], "big")


@pytest.mark.parametrize("names", [[], ["only"], ["a", "b", r"$\no^ $math$"]])
def test_a_plot_of_few(names: list[str]) -> None:
    assert height(as_png([*(errors(name, 20.0) for name in names), SILENT], r"Trial $\1$")) > 100


def test_a_plot_grows_with_its_bars_up_to_some_height() -> None:
    sizes = [height(as_png([errors(str(n), 20.0) for n in range(count)], "many")) for count in (10, 100, 120)]
    assert sizes[0] < sizes[1] == sizes[2]
