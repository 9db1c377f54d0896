"""One module for each library that needs special handling: imports, telemetry, errors, file formats.

No other package imports pyannote.audio, torchao or ONNX Runtime. Nothing here depends on operating points."""
