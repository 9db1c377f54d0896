"""Make the released segmentation model smaller: pruning, recovery, quantization, low-bit weights.

`compressor.py` makes finished models. Nothing here runs a stream or scores a recording."""
