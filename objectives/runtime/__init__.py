"""How a finished segmentation model runs: ONNX Runtime on a CPU, torch on CUDA.

Nothing here changes weights; what is computed once for a recording is kept by `window_predictions.py`."""
