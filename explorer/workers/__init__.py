"""Evaluate trials: in this process, in worker processes of a local Dask cluster, or in those of any Dask cluster.

Workers evaluate and answer. They never open a study."""
