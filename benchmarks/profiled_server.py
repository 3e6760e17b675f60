"""`minivault serve` with a profile of its event loop's thread: `python -m … FILE OPTIONS`."""

from __future__ import annotations

import cProfile
import socket
import sys

from minivault import server
from minivault.cli import main


class ProfiledServer(server.Server):
    """Writes the profile when the last connection is closed: the process ends right after."""

    file: str

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        profile = cProfile.Profile()
        try:
            profile.runcall(super().run, sockets)
        finally:
            profile.dump_stats(self.file)


if __name__ == "__main__":
    ProfiledServer.file = sys.argv[1]
    server.Server = ProfiledServer  # type: ignore[misc]  # what `serve` runs
    sys.exit(main(["serve", *sys.argv[2:]]))
