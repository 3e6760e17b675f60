"""The container image, built by buildah and run as an engine runs it. `make test-image`, as root.

The base is what MINIVAULT_IMAGE_BASE names, or the Dockerfile's; where no hub is reached, a Debian
by debootstrap with this machine's certificates and pip's settings.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live import wait_for
from tests.tools import ROOT, leave_out, tool

pytestmark = pytest.mark.image

#: Kept between runs: a base, and layers without which a build takes minutes more.
PLACE = ROOT / "build" / "image"
USER = "10001"
DEBIAN = "bookworm"

#: What a container engine does with a root that may be read only: a volume and /tmp are writable.
RUN = f"""\
set -e
mount --rbind "$ROOT" /mnt
mount -o remount,ro,bind /mnt
mount -t tmpfs tmpfs /mnt/tmp
mount --bind "$VOLUME" /mnt/var/lib/minivault
mount -t proc proc /mnt/proc
mount --rbind /dev /mnt/dev
ip link set lo up
cd /mnt/var/lib/minivault
exec chroot --userspec={USER}:{USER} /mnt /usr/bin/env -i "$@"
"""


def run(*command: str, seconds: float = 1800, **options: Any) -> str:
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, **options
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    said: str = ended.stdout
    return said


def buildah(*arguments: str, seconds: float = 1800) -> str:
    return run(tool("buildah"), *arguments, seconds=seconds).strip()


@dataclass(frozen=True)
class Image:
    """Its configuration, and its root as a container has it at first."""

    config: dict[str, Any]
    root: Path


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    tool("buildah")
    if os.geteuid() != 0:
        leave_out("the image is built and run by root alone")
    PLACE.mkdir(parents=True, exist_ok=True)
    storage = PLACE / "storage.conf"
    places = f'graphroot = "{PLACE}/storage"\nrunroot = "{PLACE}/run"\n'
    storage.write_text(f'[storage]\ndriver = "vfs"\n{places}')
    os.environ["CONTAINERS_STORAGE_CONF"] = str(storage)
    os.environ["BUILDAH_ISOLATION"] = "chroot"
    arguments = " ".join(["--build-arg", f"BASE={base()}", *wheels()])
    run("make", "image", "IMAGE_BUILDERS=buildah", f"ARGS={arguments}", cwd=ROOT)
    told = json.loads(buildah("inspect", "--type", "image", "minivault"))
    container = buildah("from", "--pull-never", "minivault")
    try:
        yield Image(told["Docker"]["config"], Path(buildah("mount", container)))
    finally:
        buildah("rm", container)


def base() -> str:
    if named := os.environ.get("MINIVAULT_IMAGE_BASE"):
        return named
    name = "localhost/minivault-base"
    if name in buildah("images", "--format", "{{.Name}}").splitlines():
        return name
    first = (ROOT / "deploy" / "Dockerfile").read_text().partition("ARG BASE=")[2].split()[0]
    try:
        buildah("pull", first, seconds=60)
    except (AssertionError, subprocess.TimeoutExpired):
        return debian(name)
    return first


def debian(name: str) -> str:
    """The same Debian as the Dockerfile's base, with the Python that it has."""
    folder = PLACE / "debian"
    packages = "--include=python3,python3-venv,ca-certificates"
    run(tool("debootstrap"), "--variant=minbase", packages, DEBIAN, str(folder))
    trusted = Path("/etc/ssl/certs/ca-certificates.crt")
    (folder / trusted.relative_to("/")).write_bytes(trusted.read_bytes())
    settings = ["[global]", f"cert = {trusted}", "retries = 1", "timeout = 20"]
    settings += [f"find-links = {' '.join(links())}"] if links() else []
    (folder / "etc" / "pip.conf").write_text("\n".join(settings) + "\n")
    for each in links():
        (folder / each.lstrip("/")).mkdir(parents=True, exist_ok=True)
    container = buildah("from", "scratch")
    buildah("add", container, str(folder), "/")
    buildah("commit", "--rm", container, name)
    run("rm", "-rf", "--one-file-system", str(folder))
    return name


def links() -> list[str]:
    """Folders in which this machine's pip looks for packages."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [each for each in told.split() if each.startswith("/")]


def wheels() -> list[str]:
    return [f"--volume={each}:{each}:ro" for each in links()]


def test_it_says_how_it_wants_to_be_run(image: Image) -> None:
    assert image.config["User"] == f"{USER}:{USER}"
    assert image.config["StopSignal"] == "SIGTERM"
    assert image.config["Volumes"] == {"/var/lib/minivault": {}}
    assert image.config["ExposedPorts"] == {"8000/tcp": {}}
    assert image.config["Healthcheck"]["Test"][0] == "CMD"


def test_nothing_in_it_is_anybodys_to_write(image: Image) -> None:
    own = image.root / "var" / "lib" / "minivault"
    assert (own.stat().st_uid, own.stat().st_mode & 0o777) == (int(USER), 0o700)
    where = ["/opt/minivault", "/usr", "/etc"]
    found = run("chroot", str(image.root), "find", *where, "-xdev", "-not", "-type", "l",
                "(", "-uid", USER, "-o", "-perm", "/o+w", ")")  # fmt: skip
    assert found == ""


def test_it_serves_under_a_root_that_is_read_only_and_ends_when_told(
    image: Image, tmp_path: Path
) -> None:
    """As it comes, in a network of its own; with what a volume begins with."""
    volume = PLACE / "volume"
    run("rm", "-rf", str(volume))
    run("cp", "-a", str(image.root / "var" / "lib" / "minivault"), str(volume))
    key = secrets.token_hex(24)
    environment = [*image.config["Env"], f"MINIVAULT_API_KEY={key}", "MINIVAULT_MODEL=storyteller"]
    command = [*image.config["Entrypoint"], *image.config["Cmd"]]
    output = tmp_path / "output"
    with output.open("w") as written:
        process = subprocess.Popen(
            [tool("unshare"), "--mount", "--net", "sh", "-c", RUN, "sh", *environment, *command],
            stdout=written,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ROOT": str(image.root), "VOLUME": str(volume)},
        )
    try:
        wait_for(lambda: is_ready(process, output), seconds=120)
        assert "compil" not in output.read_text()  # the volume begins with the kernels
        within(process, *image.config["Healthcheck"]["Test"][1:])
        text = within(process, "python3", "-c", ASK, key)
        assert len(text.split()) >= 5
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
        refused = "open('/opt/minivault/x', 'w')"
        with pytest.raises(AssertionError, match="Read-only file system"):
            within(process, "python3", "-c", refused, user="0")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "1 record written" in output.read_text()
    finally:
        process.kill()
        process.wait()
        print(output.read_text())


ASK = """
import json, sys, urllib.request as u
body = json.dumps({"prompt": "Once upon a time", "max_tokens": 10, "seed": 1}).encode()
head = {"Content-Type": "application/json", "Authorization": "Bearer " + sys.argv[1]}
asked = u.Request("http://127.0.0.1:8000/generate", body, {**head, "Accept": "application/json"})
print(json.load(u.urlopen(asked, timeout=60))["text"])
"""


def is_ready(process: subprocess.Popen[bytes], output: Path) -> bool:
    said = output.read_text()
    assert process.poll() is None, said
    return "\nready" in said


def within(process: subprocess.Popen[bytes], *command: str, user: str = USER) -> str:
    """What a command says that is run where a process runs."""
    places = [f"--target={process.pid}", "--mount", "--net", "--root", "--wd"]
    ids = [f"--setuid={user}", f"--setgid={user}"]
    path = "PATH=/opt/minivault/bin:/usr/local/bin:/usr/bin:/bin"
    return run(tool("nsenter"), *places, *ids, "--", "/usr/bin/env", "-i", path, *command)
