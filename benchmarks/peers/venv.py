"""Installs the peers into a virtual environment of their own, which shares our torch.

llama.cpp is built from the source that llama-cpp-python carries, for this processor; that takes
some minutes, once. What cannot be installed is named with the reason and left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

#: What to install for a module, and the module that shows that it is there.
PACKAGES = {
    "ctranslate2": ("ctranslate2", "transformers", "tokenizers"),
    "gguf": ("gguf",),
    "llama_cpp": ("llama-cpp-python",),
    "fastapi": ("transformers[serving]",),
}

#: Only the library: neither its tools nor its picture reader are measured.
_BUILD = {
    "CMAKE_ARGS": "-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF",
    "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
}


class PeersVenv:
    """The environment in `folder`; made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.python = folder / "bin" / "python"

    def install(self, module: str) -> str | None:
        """Makes sure that a module is there. Returns why it is not, None if it is."""
        self._make()
        if self._has(module):
            return None
        # Where the build tools stand below everything else, others can go on working.
        command = ["nice", "-n", "19", str(self.python), "-m", "pip", "install", "--quiet"]
        done = subprocess.run(
            [*command, *PACKAGES[module]],
            env={**os.environ, **_BUILD},
            capture_output=True,
            text=True,
            check=False,
        )
        if self._has(module):
            return None
        return _reason(done.stderr) or f"{module} is installed and cannot be imported"

    def _make(self) -> None:
        if self.python.exists():
            return
        subprocess.run([sys.executable, "-m", "venv", str(self._folder)], check=True)
        packages = next(self._folder.glob("lib/python*/site-packages"))
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    def _has(self, module: str) -> bool:
        tried = subprocess.run(
            [str(self.python), "-c", f"import {module}"], capture_output=True, check=False
        )
        return tried.returncode == 0


def _reason(said: str) -> str:
    """The line of pip's that says most: its last error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [""])[-1][:200]
