"""optuna-dashboard's answers about a study, requested once and completed: notes of trials, and the true front.

The dashboard looks up each trial's note among all notes of the study, which takes minutes for ten thousand trials, and
it counts infeasible trials among the best. Since a snapshot does not change, its answer is kept.
"""

import json
from dataclasses import dataclass
from typing import Any

from explorer.dashboard.annotations import FIGURES, Annotations

TRIALS, BEST, FIGURE_LIST = "trials", "best_trials", "plotly_graph_objects"


@dataclass(frozen=True)
class Page:
    """head: JSON of everything but the trials, without the last brace. trials, best: JSON of each trial."""

    head: str
    trials: tuple[str, ...]
    best: tuple[str, ...]

    def since(self, count: int) -> bytes:
        """Return the answer for a browser that has the first `count` trials."""
        trials, best = ", ".join(self.trials[count:]), ", ".join(self.best)
        return f'{self.head}, "{TRIALS}": [{trials}], "{BEST}": [{best}]}}'.encode()


def complete(answer: bytes, annotations: Annotations) -> Page:
    """Build a page from the dashboard's own answer with all trials."""
    response: dict[str, Any] = json.loads(answer)
    trials, best = response.pop(TRIALS), response.pop(BEST)
    for trial in trials:
        if (note := annotations.notes.get(trial["trial_id"])) is not None:
            trial["note"] = {"version": 1, "body": note}
    if annotations.front is not None:
        best = [trial for trial in trials if trial["number"] in annotations.front]
        # the dashboard takes them from a set, in no particular order
        response[FIGURE_LIST].sort(key=lambda figure: (*FIGURES, figure["id"]).index(figure["id"]))
    head = json.dumps(response).removesuffix("}")
    return Page(head, tuple(map(json.dumps, trials)), tuple(map(json.dumps, best)))
