"""One module a command. A command parses, calls, prints; what it calls knows nothing of the terminal."""
