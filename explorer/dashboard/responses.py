"""What optuna-dashboard answers about a study, asked for once and completed: notes of trials, and the true front.

The dashboard looks for the note of each trial among all notes of the study, which takes it minutes for ten thousand
trials, and it takes infeasible trials for the best. Since a snapshot does not change, its answer is kept.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from explorer.dashboard.annotations import FIGURES, Annotations

TRIALS, BEST, FIGURE_LIST = "trials", "best_trials", "plotly_graph_objects"


@dataclass(frozen=True)
class Page:
    """head: JSON of everything but the trials, an object without its last brace. trials, best: JSON of each."""

    head: str
    trials: tuple[str, ...]
    best: tuple[str, ...]

    def since(self, count: int) -> bytes:
        """The answer for a browser that has the first `count` trials."""
        trials, best = ", ".join(self.trials[count:]), ", ".join(self.best)
        return f'{self.head}, "{TRIALS}": [{trials}], "{BEST}": [{best}]}}'.encode()


def complete(answer: bytes, annotations: Annotations) -> Page:
    """A page of the dashboard's own answer with all trials."""
    told: dict[str, Any] = json.loads(answer)
    trials, best = told.pop(TRIALS), told.pop(BEST)
    for trial in trials:
        _add_note(trial, annotations.notes)
    if annotations.front is not None:
        best = [trial for trial in trials if trial["number"] in annotations.front]
        # the dashboard takes them from a set
        told[FIGURE_LIST].sort(key=lambda figure: (*FIGURES, figure["id"]).index(figure["id"]))
    head = json.dumps(told).removesuffix("}")
    return Page(head, tuple(map(json.dumps, trials)), tuple(map(json.dumps, best)))


def _add_note(trial: dict[str, Any], notes: Mapping[int, str]) -> None:
    if (note := notes.get(trial["trial_id"])) is not None:
        trial["note"] = {"version": 1, "body": note}
