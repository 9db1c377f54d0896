"""What tests share: stand-ins, small corpora, hand-made studies, servers.

No tests here."""
