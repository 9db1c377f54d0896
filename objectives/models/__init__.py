"""The models as released: segmentation, speaker embedding, their features and their ONNX files.

Nothing here prunes, quantizes or streams.
"""
