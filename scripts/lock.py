"""The lock: the exact version of every package that is installed, and the hashes of its files.

    python -m scripts.lock write [--upgrade]        `make lock`: resolves pyproject.toml anew
    python -m scripts.lock section NAME             the lines of one section of a lock, for pip
    python -m scripts.lock resolve lowest|newest    what `make test-lowest`, `test-newest` install

The lock is a requirements file, so that pip installs it by the index, mirror and certificates that
its user has configured; pylock.toml (PEP 751) names the addresses of files on one index. It holds
for every Python and platform at once (markers). Only `write` and `resolve` need uv.

torch has a version and no hashes: its own index for CPUs, the default index and a mirror each give
another file of the same version. All other packages are the same files everywhere.

clients.lock is another lock of the same form: what `make clients` runs against a server. Each of
its sections is an environment of its own, since what they need conflicts. deploy/requirements.lock
is one, too: what `make lint-deploy` checks with.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
CLIENTS_LOCK = ROOT / "clients.lock"
DEPLOY_LOCK = ROOT / "deploy" / "requirements.lock"

#: What each section is for; the order in the file.
SECTIONS = {
    "serve": "what `make install` brings",
    "torch": "torch itself, without hashes (see scripts/lock.py)",
    "cuda": "what torch's builds for NVIDIA cards need; installed only with such a build",
    "compiler": "a C compiler, where the machine has none",
    "cluster": "Ray Serve, for `minivault cluster` and `make test-cluster`",
    "shared": "what a fleet (Ray Serve, obstore) and the developers' tools both need",
    "develop": "what `make test` and the other targets for developers bring",
    "s3": "a server that speaks S3, for `make faults`",
}

#: The sections of clients.lock: dependency groups of pyproject.toml, without torch.
CLIENTS = {
    "frameworks": "libraries that a program imports, and llm",
    "aider": "an editor in the terminal",
    "lm-eval": "lm-evaluation-harness",
    "open-webui": "a page for chats",
}

#: That of deploy/requirements.lock.
DEPLOY = {"deploy": "what `make lint-deploy` checks with"}

#: The lock that a section is in.
_LOCKS = dict.fromkeys(CLIENTS, CLIENTS_LOCK) | dict.fromkeys(DEPLOY, DEPLOY_LOCK)

_OLDEST_PYTHON = "3.11"
_TORCH = re.compile(r"torch==|nvidia-|cuda-|triton==")

Requirements = dict[str, str]
"""The first line of a requirement (name, version, marker), and all its lines."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    commands = arguments.add_subparsers(dest="command", required=True)
    commands.add_parser("write").add_argument("--upgrade", action="store_true")
    commands.add_parser("section").add_argument("name", choices=[*SECTIONS, *_LOCKS])
    commands.add_parser("resolve").add_argument("resolution", choices=("lowest", "newest"))
    asked = arguments.parse_args()
    if asked.command == "write":
        LOCK.write_text(_locked(upgrade=asked.upgrade), encoding="utf-8")
        for path, meanings in ((CLIENTS_LOCK, CLIENTS), (DEPLOY_LOCK, DEPLOY)):
            path.write_text(_groups(path, meanings, upgrade=asked.upgrade), encoding="utf-8")
    elif asked.command == "section":
        lock = read(_LOCKS.get(asked.name, LOCK))
        print("\n".join(lock[asked.name].values()))
    else:
        print("\n".join(_resolved(asked.resolution)))


def read(lock: Path = LOCK) -> dict[str, Requirements]:
    """The sections of a lock."""
    text = lock.read_text(encoding="utf-8")
    parts = re.split(r"^# \[([\w-]+)\].*\n", text, flags=re.MULTILINE)[1:]
    return {name: _parsed(lines) for name, lines in zip(parts[::2], parts[1::2], strict=True)}


def _parsed(lines: str) -> Requirements:
    blocks = re.split(r"\n(?=\S)", lines.strip())
    return {block.splitlines()[0].rstrip(" \\"): block for block in blocks if "==" in block}


def _locked(*, upgrade: bool) -> str:
    options = ["--universal", "--python-version", _OLDEST_PYTHON, "--generate-hashes"]
    kept = "" if upgrade or not LOCK.exists() else LOCK.read_text(encoding="utf-8")
    more = ["--extra", "compiler", "--group", "s3"]
    everything = _compiled([*options, "--group", "dev", *more], kept=kept)
    # What the narrower resolutions hold is what they hold of the widest: versions agree.
    pinned = ["--constraints", _file("".join(f"{line}\n" for line in everything))]
    serve = _compiled([*options, *pinned])
    compiler = _compiled([*options, *pinned, "--extra", "compiler"])
    fleet = ["--extra", "cluster", "--extra", "fleet"]
    cluster = _compiled([*options, *pinned, *fleet], kept=kept)
    develop = _compiled([*options, *pinned, "--group", "dev"])
    narrower = {"serve": serve, "compiler": compiler, "shared": cluster, "develop": develop}
    sections: dict[str, Requirements] = {name: {} for name in SECTIONS}
    for line, block in everything.items():
        if line.startswith("torch=="):
            sections["torch"][line] = line
        elif line.startswith(("nvidia-", "cuda-", "triton==")):
            sections["cuda"][line] = block
        else:
            name = next((name for name, lines in narrower.items() if line in lines), "s3")
            sections[name][line] = block
    sections["cluster"] = {line: each for line, each in cluster.items() if line not in everything}
    return _written(SECTIONS, sections)


def _groups(path: Path, meanings: dict[str, str], *, upgrade: bool) -> str:
    """Dependency groups of pyproject.toml, each resolved by itself."""
    kept = {} if upgrade or not path.exists() else read(path)
    options = ["--universal", "--python-version", _OLDEST_PYTHON, "--generate-hashes"]
    sections = {}
    for name in meanings:
        group = ["--group", f"pyproject.toml:{name}"]
        found = _resolve([*options, *group], kept="\n".join(kept.get(name, {}).values()))
        sections[name] = {line: block for line, block in found.items() if not _TORCH.match(line)}
    return _written(meanings, sections)


def _written(meanings: dict[str, str], sections: dict[str, Requirements]) -> str:
    head = "# Made by `make lock` from pyproject.toml; see scripts/lock.py. Not to be edited.\n"
    return head + "".join(
        f"\n# [{name}] {meaning}\n" + "".join(f"{block}\n" for block in sections[name].values())
        for name, meaning in meanings.items()
    )


def _resolved(resolution: str) -> list[str]:
    """Requirements of this Python on this machine, without torch, which comes before them."""
    how = ["--resolution", "lowest-direct"] if resolution == "lowest" else ["--upgrade"]
    python = ["--python", sys.executable]
    ours = _compiled([*python, *how])
    pinned = ["--constraints", _file("".join(f"{line}\n" for line in ours))]
    everything = _compiled([*python, *pinned, "--group", "dev"])
    return [line for line in everything if not _TORCH.match(line)]


def _compiled(options: list[str], *, kept: str = "") -> Requirements:
    """What uv makes of pyproject.toml and what building it needs."""
    return _resolve(["pyproject.toml", "--group", "build", *options], kept=kept)


def _resolve(options: list[str], *, kept: str) -> Requirements:
    """What uv makes of a command line; versions stay as in `kept` where they can."""
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    output = _file(kept)
    command = [str(uv), "pip", "compile", *options]
    quiet = ["--quiet", "--no-header", "--no-annotate", "--output-file", output]
    # What installs is there before: llm names it as something that it needs.
    subprocess.run([*command, *quiet, "--no-emit-package", "pip"], cwd=ROOT, check=True)
    return _parsed(Path(output).read_text(encoding="utf-8"))


def _file(text: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write(text)
    return file.name


if __name__ == "__main__":
    main()
