"""The metadata that sherpa-onnx reads from an ONNX file; a missing key ends its process. Needs no torch.

The keys are those of its loaders (`offline-speaker-segmentation-pyannote-model.cc`,
`speaker-embedding-extractor-model.cc`) and of its export scripts.
"""

from objectives.models.contract import SAMPLE_RATE, Contract

NORMALIZATION = "global-mean"  # subtract the mean over the input; the only one that sherpa-onnx supports


def segmentation_metadata(contract: Contract) -> dict[str, str]:
    """Return the metadata that sherpa-onnx needs for a segmentation model. Lengths are in samples."""
    numbers = {
        "sample_rate": SAMPLE_RATE,
        "window_size": contract.window,
        "receptive_field_size": contract.field,
        "receptive_field_shift": contract.step,
        "num_speakers": contract.speakers,
        "powerset_max_classes": contract.max_at_once,
        "num_classes": len(contract.powerset),
    }
    texts = {"model_type": "pyannote-segmentation-3.0", "version": "1"}
    return {name: str(number) for name, number in numbers.items()} | texts
