"""Files that are kept between runs: pinned assets, features, finished models.

Every file is written whole or not at all, and named by a hash of all that made it. Nothing here knows what a file is
for."""
