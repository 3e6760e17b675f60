"""Writes a GGUF file with its matrices as another type, by llama.cpp: `python -m … IN OUT TYPE`.

What the file has quantized is quantized anew: right for speed, twice as wrong as it need be.
"""

from __future__ import annotations

import ctypes
import sys

import llama_cpp as llama  # type: ignore[import-not-found]  # in the peers' environment

_TYPES = {
    "F32": llama.LLAMA_FTYPE_ALL_F32,
    "BF16": llama.LLAMA_FTYPE_MOSTLY_BF16,
    "Q8_0": llama.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_0": llama.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_1": llama.LLAMA_FTYPE_MOSTLY_Q4_1,
    "Q4_K_M": llama.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}


def quantize(source: str, target: str, kind: str) -> None:
    """Raises RuntimeError where llama.cpp cannot."""
    llama.llama_backend_init()
    params = llama.llama_model_quantize_default_params()
    params.ftype = _TYPES[kind]
    params.allow_requantize = True
    if llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
        raise RuntimeError(f"llama.cpp cannot write {kind}")


if __name__ == "__main__":
    quantize(*sys.argv[1:4])
