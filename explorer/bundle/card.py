"""Write the card of a bundle: what it is, how to run it, and what other programs do not support. Needs no torch."""

from collections.abc import Mapping
from typing import Any

from explorer import markdown
from explorer.bundle.bundle import CHECKPOINT, EMBEDDING, MODEL, POINT, PROJECTION, WEIGHTS, Manifest
from objectives.models.released_pipeline import MIN_DURATION_OFF

WHAT = {
    MODEL: "the segmentation model for ONNX Runtime and sherpa-onnx: `x` (N, 1, T) → `y` (N, frames, classes)",
    WEIGHTS: "its weights without a pickle",
    CHECKPOINT: "the same for stock pyannote.audio, which unpickles it: check the SHA-256 first",
    EMBEDDING: "the speaker embedding: `x` (N, T, 80), a log-mel filterbank → `embedding`, `features`",
    PROJECTION: "its last layer, for pooling by a speaker's activity",
}


def card(file: Manifest, name: str) -> str:
    """Return the card as Markdown. name: of the bundle's folder."""
    values = {
        "file": file,
        "name": name,
        "parity": parity_in_words(file.parity),
        "what": WHAT,
        "clustering": file.clustering.settings().words,
        "min_duration_off": MIN_DURATION_OFF,
        "MODEL": MODEL,
        "CHECKPOINT": CHECKPOINT,
        "EMBEDDING": EMBEDDING,
        "POINT": POINT,
    }
    return markdown.render("explorer.bundle", "card.md.j2", values) + "\n"


def parity_in_words(parity: Mapping[str, Any]) -> str:
    """Return how the bundle compares with its trial, in a few sentences on one line."""
    return " ".join(markdown.render("explorer.bundle", "parity.md.j2", {"parity": parity}).split())
