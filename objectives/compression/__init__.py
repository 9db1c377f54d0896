"""From the released segmentation model to a smaller one: pruning, recovery, quantization, low-bit weights.

`compressor.py` makes a finished model. Nothing here runs a stream or scores a recording."""
