"""Who is measured, at which widths of the weights, and by which process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Server = Literal["minivault", "pipeline", "transformers serve"]
Format = Literal["folder", "gguf", "ctranslate2"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to make text, at one width.

    `width` is what figures are compared by, `own_width` the contender's word for it. `run` is the
    measuring module, `server` what it asks if it asks one, `needs` the module that must be there.
    """

    name: str
    width: str
    run: str
    own_width: str = ""
    server: Server | None = None
    format: Format = "folder"
    needs: str | None = None

    @property
    def label(self) -> str:
        return f"{self.name}, {self.own_width or self.width}"

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("MiniVault")


ENGINE = "MiniVault engine"
SERVER = "MiniVault over HTTP"
LLAMA = "llama.cpp"
PIPELINE = "transformers pipeline, a thread per request, over HTTP"

#: The types of GGUF files, by the widths they are compared by.
TYPES = {
    "float32": "F32",
    "bfloat16": "BF16",
    "int8": "Q8_0",
    "Q4_0": "Q4_0",
    "Q4_1": "Q4_1",
    "Q4_K_M": "Q4_K_M",
}
WIDTHS = tuple(TYPES)
_WIDE = ("float32", "bfloat16")
_OF_A_FOLDER = ("float32", "bfloat16", "int8")


def _libraries() -> Iterator[Contender]:
    """Those that read a folder, or what is made of one."""
    for width in _WIDE:
        yield Contender("transformers generate", width, "run_transformers")
    for width in _OF_A_FOLDER:
        yield Contender(
            "CTranslate2", width, "run_ctranslate2", format="ctranslate2", needs="ctranslate2"
        )
    for width in _WIDE:
        yield Contender("vLLM", width, "run_vllm", needs="vllm")


def _servers() -> Iterator[Contender]:
    for width in _WIDE:
        yield Contender(PIPELINE, width, "run_completions", server="pipeline")
    for width in _WIDE:
        yield Contender(
            "transformers serve",
            width,
            "run_completions",
            server="transformers serve",
            needs="fastapi",
        )


def _llama(widths: Iterable[str]) -> Iterator[Contender]:
    for width in widths:
        yield Contender(LLAMA, width, "run_llama", TYPES[width], format="gguf", needs="llama_cpp")


def of_a_shape() -> list[Contender]:
    """Who runs a GPT-2 of random weights: we read the folder, llama.cpp a file made of it."""
    return [
        *_libraries(),
        *_servers(),
        *_llama(_OF_A_FOLDER),
        *(Contender(ENGINE, width, "run_minivault") for width in _OF_A_FOLDER),
        *(Contender(SERVER, width, "run_minivault", server="minivault") for width in _OF_A_FOLDER),
    ]


def of_a_file() -> list[Contender]:
    """Who runs a chat model that is a GGUF file: we and llama.cpp read the same ones."""
    files = [
        Contender(ENGINE, width, "run_minivault", own, format="gguf")
        for width, own in TYPES.items()
    ]
    served = [
        Contender(SERVER, width, "run_minivault", own, server="minivault", format="gguf")
        for width, own in TYPES.items()
    ]
    return [*_libraries(), *_llama(WIDTHS), *files, *served]
