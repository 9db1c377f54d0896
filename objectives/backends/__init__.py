"""One module for each library that needs care: imports, telemetry, errors, file formats.

Nothing else imports pyannote.audio, torchao or ONNX Runtime. Nothing here knows of operating points."""
