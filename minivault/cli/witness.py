"""`minivault witness`: a small witness, so that two teams can witness each other's logs."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from minivault.errors import CannotStart
from minivault.vault.signing import Signer
from minivault.vault.tree.witness import MOST_BYTES, Witness, read_log


def witness(
    name: Annotated[str, typer.Argument(help="Its name, as example.org/witness; no blanks.")],
    *,
    key: Annotated[Path, typer.Option(exists=True, help="Its key, of minivault logs keygen.")],
    log: Annotated[
        list[str], typer.Option(help="A log, as logs verifier-key prints it; may be given again.")
    ],
    state: Annotated[Path, typer.Option(help="Where it remembers what it saw.")] = Path("witness"),
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8090,
) -> None:
    """Witness others' logs: sign each tree that grew from what was seen before, and no other.

    The key must be one that signs nothing else. It speaks HTTP; a proxy gives it TLS.
    """
    from minivault.vault.tree.cosignature import WitnessKey, key_of

    signer = Signer.load(key)
    WitnessKey.parse(str(key_of(name, signer)))
    logs = dict(map(read_log, log))
    try:
        server = served(Witness(name, signer, logs, state.expanduser()), host, port)
    except OSError as error:
        raise CannotStart(f"{host}:{port}: {error.strerror}") from error
    with server:
        print(f"witness: {key_of(name, signer)}")
        print(f"listens: http://{host}:{server.server_address[1]}", flush=True)
        server.serve_forever()


def served(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server that answers add-checkpoint; the caller runs and closes it. Raises OSError."""

    class Asked(BaseHTTPRequestHandler):
        timeout = 10  # seconds until a client that says nothing is left
        server_version = "minivault-witness"
        sys_version = ""

        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if self.path.rsplit("/", 1)[-1] != "add-checkpoint":
                return self.send_error(404)
            if not size.isdecimal() or int(size) > MOST_BYTES:
                return self.send_error(413)
            answer = witness.add_checkpoint(self.rfile.read(int(size)))
            body = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing of what strangers send is printed."""

    return ThreadingHTTPServer((host, port), Asked)
