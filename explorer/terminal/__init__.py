"""What commands print to: streams, screens of any width, tables; and the signals that end a command.

Nothing here depends on what is printed."""
