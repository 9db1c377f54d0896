"""Settings of the released SIMSAMU pipeline (medkit/simsamu-diarization, config.yaml), which the paper does not
vary."""

CLUSTERING_METHOD = "centroid"
CLUSTERING_THRESHOLD = 0.7045654963945799  # for WeSpeaker, the pipeline's embedding; each embedding has its own
MIN_CLUSTER_SIZE = 12  # windows, one a second
MIN_DURATION_OFF = 0.9559021479110187  # seconds: pauses of up to this are closed
