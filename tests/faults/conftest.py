"""What the tests of faults share with those of the explorer: a storage that is quick to make."""

from tests.explorer.conftest import migrations_read_once, no_flush, postgres_server, postgres_url, url

__all__ = ["migrations_read_once", "no_flush", "postgres_server", "postgres_url", "url"]
