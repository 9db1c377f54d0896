"""What a bundle's card says, from figures of which no two are alike."""

from types import SimpleNamespace
from typing import Any

import pytest

from explorer.bundle.bundle import EMBEDDING, MODEL, ClusteringPart, OnlinePart
from explorer.bundle.card import card, parity_in_words
from objectives.operating_point import Pruning

PARITY = {
    "recordings": 4,
    "windows": 50,
    "agreement": 0.9995,
    "der_bundle": 21.25,
    "der_trial": 21.5,
    "stock_agreement": 0.9991,
    "stock_windows": 16,
    "live_seconds": 30.0,
}


def told(online: OnlinePart | None = None, latency: float | None = 1.5, execution: str = "native") -> SimpleNamespace:
    point = SimpleNamespace(
        precision="int8_ptq", pruning=Pruning("linear", 0.4), chunk_length=1.0, right_context=0.5, latency=latency,
        online=online,
    )  # fmt: skip
    measured: dict[str, Any] = {
        "der": 21.5,
        "errors": {"false_alarm": 3.5, "missed_detection": 6.25, "confusion": 11.75, "total_seconds": 1234.0},
        "recordings": 4,
        "corpus": "calls",
        "split": "eval",
        "size_mib": 2.125,
        "params": 1_450_000,
        "rtf": 0.05,
        "rtf_spread": (0.04, 0.07),
        "threads": 2,
        "rtf_ratio": 0.75,
        "execution": execution,
        "machine": {"cpu": "a processor"},
    }
    provenance = {"trial": 7, "origin": "search", "study": "night", "exported": "today", "data": "calls 1a2b"}
    files = {name: SimpleNamespace(bytes=size << 20, sha256=f"hash of {name}") for name, size in FILES.items()}
    return SimpleNamespace(
        operating_point=point, measured=measured, parity=PARITY, provenance={**provenance, "model_key": "a key"},
        files=files, licences={MODEL: "MIT", EMBEDDING: "Apache-2.0"},
        clustering=ClusteringPart(speakers=None, method="centroid", threshold=0.8125, offline_threshold=0.8),
    )  # fmt: skip


FILES = {MODEL: 2, EMBEDDING: 27}  # MiB


def test_every_figure_is_said_under_its_own_name() -> None:
    said = card(told(), "small")
    for line in (
        "# Operating point: int8_ptq, linear pruned by 40 %, 1.5 s",
        "C = 1 s, R = 0.5 s, so an algorithmic latency of 1.5 s.",
        "From trial 7 (search) of the study `night`, exported today.",
        "| DER | 21.50 % (false alarm 3.5, missed 6.2, confusion 11.8; collar 0.5 s, overlap scored) |",
        "| on | 4 recordings, 1234 s of scored speech, of `calls`, split `eval`, by which it was chosen",
        "| size | 2.125 MiB, 1.45 M parameters |",
        "| RTF | 0.0500 [0.0400–0.0700] on 2 thread(s), 0.75 × the FP32 baseline's, timed in turns with it |",
        "the clustering (threshold 0.8125)",
        f"| `{MODEL}` | 2.000 | `hash of {MODEL}` | MIT |",
        f"| `{EMBEDDING}` | 27.000 | `hash of {EMBEDDING}` | Apache-2.0 |",
    ):
        assert line in said


def test_an_emulated_rtf_is_no_gain_to_claim() -> None:
    assert "(emulated: no gain to claim)" in card(told(execution="emulated"), "small")
    assert "emulated" not in card(told(), "small")


def test_an_online_point_says_its_thresholds_and_no_clustering() -> None:
    online = OnlinePart(tau_active=0.125, rho_update=0.25, delta_new=0.75, min_duration_off=0.5)
    said = card(told(online), "small")
    assert "the tracking of speakers\n(tau_active 0.125, rho_update 0.25, delta_new 0.75, min_duration_off 0.5)" in said
    assert "a name is final when its block is emitted" in said
    assert "threshold 0.8125" not in said


def test_an_online_point_without_thresholds_says_how_speakers_are_found() -> None:
    online = OnlinePart(tau_active=None, rho_update=None, delta_new=None, min_duration_off=0.5)
    said = card(told(online), "small")
    assert "the tracking of speakers\n(threshold 0.8125, min_duration_off 0.5)" in said
    assert "None" not in said


def test_an_offline_point_is_not_to_be_streamed() -> None:
    said = card(told(latency=None), "small")
    assert "Offline: the whole recording is heard first." in said
    assert "explorer diarize call.wav" not in said


@pytest.mark.parametrize("without", ["stock_agreement", "live_seconds"])
def test_parity_is_said_of_what_was_compared(without: str) -> None:
    whole = parity_in_words(PARITY)
    assert "gives 99.95 % of the frames of 50 windows the trial's class" in whole
    assert "DER 21.25 %, the trial's 21.50 %." in whole
    stock, live = "99.91 % of the frames of 16 windows", "on 30 s."
    assert stock in whole
    assert live in whole
    less = parity_in_words({**PARITY, without: None})
    assert (stock in less, live in less) == (without != "stock_agreement", without != "live_seconds")
