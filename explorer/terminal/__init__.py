"""Where commands print: streams, screens of any width, tables, and the signals that end a command.

Nothing here knows what is printed."""
