"""Run a finished segmentation model: ONNX Runtime on a CPU, torch on CUDA.

Nothing here changes weights. `window_predictions.py` keeps what has been computed for a recording.
"""
