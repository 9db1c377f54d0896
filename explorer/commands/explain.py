"""`explorer explain`: show where the errors and the time of a trial come from."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console

from explorer.commands.options import FormatOption, TrustOption, print_as, trusted_files
from explorer.commands.study_options import StorageOption, StudyArgument, StudyDeviceOption, TrialArgument, open_study
from explorer.statistics.differences import points_in_words
from explorer.terminal.progress import progress
from explorer.terminal.screen import say
from explorer.terminal.tables import Table, print_table, words

if TYPE_CHECKING:  # imports torch
    from explorer.diagnostics.explanation import Explanation

CONDITIONS = {
    "none": "as it is",
    "segmentation": "oracle segmentation",
    "clustering": "oracle clustering",
    "both": "both",
}
LABEL = 24  # characters of a row's label, so that the columns of all tables line up


def explain(
    study: StudyArgument,
    trial: TrialArgument,
    device: StudyDeviceOption = None,
    trust: TrustOption = None,
    storage_url: StorageOption = None,
    format: FormatOption = "table",
) -> None:
    """Show where the errors and the time of a trial come from.

    The DER is measured four times: as it is; with **oracle segmentation** (the reference's speech replaces the model's
    in each window); with **oracle clustering** (each local speaker of the model is named by the reference speaker with
    whom it shares most of its window); and with both. The last is the floor set by frames, blocks, closed pauses and
    the number of local speakers. Each is split into false alarm, missed detection and confusion. The cost of a stage is
    what its oracle saves. The two costs need not add up, since a perfect segmentation also avoids clustering errors.
    One may be below 0, since names that are right in their windows need not give the fewest errors in their blocks.

    The RTF of the trial is split into segmentation, embedding, clustering and the rest.

    For a pruned model, or one of lower precision, it also reports what the model adds to the DER of the unpruned FP32
    model at the same operating point, which is measured too. What is added under oracle clustering is due to the
    segmentation, the rest to the clustering.

    Differences are in points of DER, with the 95 % interval of a paired bootstrap over recordings; `tied` marks one
    that the recordings cannot distinguish from zero. Offline, chunk-wise and online trials are all accepted.

        explorer explain quickstart 13

        explorer explain quickstart 13 --format json | jq .added
    """
    loaded = open_study(study, storage_url)
    # imported late, so that neither `--help` nor a wrong name loads torch
    from explorer.diagnostics.explanation import explain as explained

    with progress() as show:
        answer = explained(loaded, trial, device, show, trusted_files(trust))
    print_as(format, answer, print_answer)


def print_answer(answer: "Explanation", console: Console) -> None:
    """Print errors, what compression added and time, then the same in words."""
    say(f"trial {answer.trial} of {answer.study} ({answer.origin}): {answer.point}\n", console)
    for table in _tables(answer):
        print_table(table, console)
    for line in (*answer.said, *(f"caveat: {line}" for line in answer.caveats)):
        say(line, console)
    measured_on = f"{len(answer.errors[0].recordings)} recordings, {answer.scored_seconds:.0f} s of scored speech"
    say(f"measured on: {answer.data['corpus'].split(' ')[0]}, {answer.data['split']}, {measured_on}", console)


def _tables(answer: "Explanation") -> Iterator[Table]:
    costs = {"segmentation": points_in_words(answer.segmentation), "clustering": points_in_words(answer.clustering)}
    rows = [(CONDITIONS[one.perfect], one, costs.get(one.perfect, "")) for one in answer.errors]
    if answer.added is not None:
        beside = "" if answer.added.trial is None else f" (trial {answer.added.trial})"
        names = (f"unpruned fp32{beside}", "  its oracle clustering")
        rows += [(name, one, "") for name, one in zip(names, answer.added.errors, strict=True)]
    table = Table(words("errors"), "DER %", "false alarm", "missed", "confusion", words("costs, points"))
    for name, one, cost in rows:
        rates = (one.der, one.false_alarm, one.missed_detection, one.confusion)
        table.add(f"{name:<{LABEL}}", *(f"{rate:.2f}" for rate in rates), cost)
    yield table
    if answer.added is not None:
        table = Table(words("added by compression"), words("points"))
        for part in ("total", "segmentation", "clustering"):
            table.add(f"{part:<{LABEL}}", points_in_words(getattr(answer.added, part)))
        yield table
    if answer.time is not None:
        table = Table(words("time"), "RTF", "share")
        table.add(f"{'all':<{LABEL}}", f"{answer.time.rtf:.4f}", "")
        for stage, rtf in (answer.time.stages or {}).items():
            table.add(f"{stage:<{LABEL}}", f"{rtf:.4f}", f"{100 * (answer.time.shares or {})[stage]:.1f} %")
        yield table
