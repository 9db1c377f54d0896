"""`explorer status`: show how far a study is, what failed, and what it was made of."""

import json
from collections.abc import Mapping

from rich.console import Console

from explorer.commands.options import FormatOption, print_as
from explorer.commands.study_options import StorageOption, StudyArgument, open_study
from explorer.search.status import StudyStatus
from explorer.search.status import status as status_of
from explorer.storage.provenance import in_words
from explorer.terminal.screen import say
from explorer.terminal.tables import print_fields


def status(
    study: StudyArgument,
    format: FormatOption = "table",
    storage_url: StorageOption = None,
) -> None:
    """Show how far a study is: trials by state and origin, the best of each objective, seconds a trial, failures with
    their errors, the definition and the machine, and which pruned model Table 2 is about.

        explorer status quickstart

        explorer status joint --format json
    """
    print_as(format, status_of(open_study(study, storage_url)), _print)


def _print(found: StudyStatus, console: Console) -> None:
    lines = {
        "study": found.name,
        "trials": _counts(found.states),
        "origins": _counts(found.origins),
        "still to run": str(found.remaining),
        "reused": str(found.reused),
        "stopped": _counts(found.stopped) if found.stopped else "0",
        "seconds a trial": "–" if found.seconds is None else f"{found.seconds:.1f} (median of the measured)",
        "machine": ", ".join(f"{key} {value}" for key, value in found.machine.items()) or "–",
    }
    lines["versions"] = ", ".join(f"{key} {value}" for key, value in found.versions.items()) or "not kept"
    if found.mixed:
        lines["caveat"] = in_words(found.mixed)
    lines |= {f"data: {key}": value for key, value in found.data.items()}
    if found.table2_variant is not None:
        lines["Table 2's variant"] = str(found.table2_variant)
    for best in found.best:
        lines[f"best {best.metric}"] = f"{best.value:.4g} (trial {best.trial})"
    for key, value in found.definition.items():
        lines[f"definition {key}"] = json.dumps(value, ensure_ascii=False)
    print_fields(lines.items(), console)
    for number, why in found.left_out.items():
        say(f"left out: trial {number}: {why}", console)
    for failure in found.failures:
        say(f"failed: trial {failure.trial} ({failure.origin}): {failure.error}", console)


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counted.items()) or "none yet"
