"""Who is measured, at which widths of the weights, and by which process."""

from __future__ import annotations

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
PIPELINE = "transformers pipeline, a thread per request, over HTTP"

_LLAMA = {"float32": "F32", "bfloat16": "BF16", "int8": "Q8_0"}
_TRANSFORMERS = ("float32", "bfloat16")
_ALL = ("float32", "bfloat16", "int8")

CONTENDERS: tuple[Contender, ...] = (
    *(Contender("transformers generate", width, "run_transformers") for width in _TRANSFORMERS),
    *(Contender(PIPELINE, width, "run_completions", server="pipeline") for width in _TRANSFORMERS),
    *(
        Contender(
            "transformers serve",
            width,
            "run_completions",
            server="transformers serve",
            needs="fastapi",
        )
        for width in _TRANSFORMERS
    ),
    *(
        Contender(
            "CTranslate2",
            width,
            "run_ctranslate2",
            format="ctranslate2",
            needs="ctranslate2",
        )
        for width in _ALL
    ),
    *(
        Contender(
            "llama.cpp",
            width,
            "run_llama",
            own_width=own,
            format="gguf",
            needs="llama_cpp",
        )
        for width, own in _LLAMA.items()
    ),
    *(Contender(ENGINE, width, "run_minivault") for width in _ALL),
    *(Contender(SERVER, width, "run_minivault", server="minivault") for width in _ALL),
)
