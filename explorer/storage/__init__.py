"""Read and write a study's database: connections, the records of trials and studies, snapshots.

Nothing here decides what to search."""
