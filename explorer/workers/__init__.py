"""Where trials are evaluated: in this process, in worker processes of a local Dask cluster, or of any Dask cluster.

Workers evaluate and answer. They never open a study."""
