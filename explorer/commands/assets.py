"""`explorer assets`: list, fetch and verify what is pinned."""

import typer

app = typer.Typer(no_args_is_help=True, help="Pinned weights and audio: list, fetch, verify.")
