"""A study's results as pandas data frames, and the CSV that is made from these.

A column has the same type in every study, however many of its values are missing: `float64`, `Int64`, `boolean`, `str`,
and `object` for tuples and mappings. pandas is imported when a frame is made, so that commands that print tables start
without it.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from optuna.trial import FrozenTrial, TrialState

from explorer.front.recordings import RecordingErrors, by_recording
from explorer.front.rows import COLUMNS, Comparison, FrontRow, flat
from explorer.storage import trial_record as record

if TYPE_CHECKING:
    import pandas as pd

TYPES = {int: "Int64", float: "float64", bool: "boolean", str: "str"}  # the pandas types that hold a missing value


def front(rows: Iterable[FrontRow]) -> "pd.DataFrame":
    """Return a data frame with a row for each row of the front; see FrontRow. What was not measured is missing.

    Columns:
        trial: number of the trial in the study; missing for a fixed point that is not queued yet.
        origin: `search`, `baseline`, or the fixed point of the paper.
        standing: `front`, `dominated`, `infeasible`, `waiting`, `running` or `failed`.
        dominated_by, exceeded: tuples; trials of the front that dominate the row, names of the limits that it exceeds.
        chunk_length, right_context, latency: seconds; missing in the offline mode.
        pruning, precision, mode: `Hidden-40`, `int8_ptq`, `online`.
        online: mapping; settings of online tracking, in the units of objectives.operating_point.OnlineTracking; None
            for a threshold that is not given.
        kept: mapping; units that are left in each pruned part.
        params: number of parameters of the segmentation model.
        der, false_alarm, missed_detection, confusion: percent of the scored reference speech.
        size: MiB, of the segmentation model.
        rtf, rtf_low, rtf_high: seconds of compute per second of audio; median, smallest and largest of the repeats.
        rtf_ratio: rtf over that of the FP32 baseline timed along with it.
        update_latency: mapping; seconds of compute of an update (`median`, `p95`, `p99`) over a number of `updates`.
        stage_shares: mapping; share of the RTF that each stage takes, from 0 to 1.
        peak_memory_mib: MiB, of the timing process.
        execution: `native` or `emulated`; an emulated RTF says nothing about a gain.
        kernel: what ran the windows that the DER comes from.
        reused_from: number of the trial whose measurement this one took over.
        error: why the trial failed.
        model_key, model_sha256: of the finished model and its file.
        data, versions: mappings; what the trial was measured on and with, and the versions of packages.
        paper_params, paper_size, paper_rtf, paper_der: what the paper published, on other recordings and another
            machine: millions, MiB, seconds of compute per second of audio, percent.
        versus: number of the trial that the DER is compared with.
        der_difference, der_low, der_high: percentage points; der minus that of `versus`, and its 95 % interval.
        tied: whether that interval contains zero.
        tied_with_best: the same for the difference to the lowest DER of the front.
    """
    import pandas as pd

    records = [flat(row) for row in rows]
    return pd.DataFrame({name: _column([one[name] for one in records], kind) for name, kind in COLUMNS.items()})


def pairs(compared: Iterable[Comparison]) -> "pd.DataFrame":
    """Return a data frame with a row for each comparison of two operating points by DER.

    Columns:
        kind: why the two are compared, such as `front neighbours` or `QAT against PTQ`.
        trial, versus: numbers of the two trials.
        point, versus_point: their operating points in words.
        der, versus_der: percent of the scored reference speech.
        der_difference, der_low, der_high: percentage points; der minus versus_der, and its 95 % interval, which is
            missing if there is a single recording.
        recordings: number of recordings that the interval is taken over.
        tied: whether the interval contains zero.
    """
    return frame_of(Comparison, compared)


def recordings(trials: Iterable[FrozenTrial]) -> "pd.DataFrame":
    """Return a data frame with a row for each recording of each trial, in the order of the trials, highest DER first.

    Columns:
        trial: number of the trial in the study.
        origin: `search`, `baseline`, or the fixed point of the paper.
        complete: whether all recordings were scored; a trial that was stopped has some of them, or none.
        recording: URI of the recording.
        der, false_alarm, missed_detection, confusion: percent of the recording's scored reference speech; missing if it
            has none.
        false_alarm_seconds, missed_detection_seconds, confusion_seconds: seconds of error.
        total_seconds: seconds of scored reference speech.
    """
    found = [
        (trial, errors) for trial in trials for errors in by_recording(trial.user_attrs.get(record.RECORDINGS, {}))
    ]
    frame = frame_of(RecordingErrors, (errors for _, errors in found))
    frame.insert(0, "trial", _column([trial.number for trial, _ in found], "Int64"))
    frame.insert(1, "origin", _column([record.origin_of(trial) for trial, _ in found], "str"))
    frame.insert(2, "complete", _column([trial.state is TrialState.COMPLETE for trial, _ in found], "boolean"))
    return frame


def frame_of(kind: type[Any], rows: Iterable[Any]) -> "pd.DataFrame":
    """Return a data frame with a column for each field of `kind`, a dataclass, typed as the field is."""
    import pandas as pd

    found, hints = list(rows), get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    columns = {name: _column([getattr(row, name) for row in found], _type_of(hints[name])) for name in names}
    return pd.DataFrame(columns)


def as_csv(frame: "pd.DataFrame") -> str:
    """Return a frame as CSV: tuples joined by spaces, mappings as `key=value`, missing values empty.

    Numbers keep all of their digits, and lines end with a line feed.
    """
    import pandas as pd

    text = {
        name: pd.Series([_cell(cell) for cell in column], dtype=object)
        for name, column in frame.items()
        if column.dtype == object
    }
    return str(pd.DataFrame({**frame, **text}).to_csv(index=False, lineterminator="\n"))


def _column(values: list[Any], kind: str) -> "pd.Series":
    import numpy as np
    import pandas as pd

    # text is not backed by Arrow, which has no room for a file name that is not UTF-8
    return pd.Series(values, dtype=pd.StringDtype("python", na_value=np.nan) if kind == "str" else kind)


def _type_of(hint: Any) -> str:
    """Return the pandas type of a field: that of the one class its values have, if they are not None."""
    classes = {type(value) if isinstance(value, str) else value for value in _flattened(hint)} - {types.NoneType}
    return TYPES.get(classes.pop(), "object") if len(classes) == 1 else "object"


def _flattened(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union and the values of a literal."""
    if get_origin(hint) in (Union, types.UnionType, Literal):
        return tuple(one for part in get_args(hint) for one in _flattened(part))
    return (hint,)


def _cell(cell: object) -> object:
    if isinstance(cell, Mapping):
        return " ".join(f"{key}={value}" for key, value in cell.items())
    return " ".join(map(str, cell)) if isinstance(cell, tuple) else cell
