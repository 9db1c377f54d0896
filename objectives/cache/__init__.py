"""Files that are kept between runs: pinned assets, features, finished models.

Every file is written completely or not at all. Its name is a hash of everything that its content depends on. Nothing
here depends on what a file is used for."""
