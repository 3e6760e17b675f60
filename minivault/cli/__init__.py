"""The command line: `minivault serve`, `generate`, `pull`, `models`, `logs`, `bench`, …"""

from minivault.cli.commands import app, main

__all__ = ["app", "main"]
