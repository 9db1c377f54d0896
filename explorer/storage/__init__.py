"""What a study's database holds and how it is read and written: connections, records of trials and studies, snapshots.

Nothing here decides what to search."""
