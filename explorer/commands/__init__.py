"""One module per command. A command parses options, calls the library and prints; the library never prints."""
