"""Whatever bytes a model's files hold, the start loads them or refuses them in one line."""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivault.backends.local import LocalBackend
from minivault.errors import CannotStart
from minivault.loading import started
from minivault.model_store import ModelStore
from minivault.settings import Settings
from tests.engine.small_models import save_model

pytestmark = pytest.mark.slow  # transformers is asked too

#: Damages of each kind to each file. All of them take minutes: `make faults`.
EACH = 60 if os.environ.get("MINIVAULT_FULL") else 4

FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
NUMBERS = (b"0", b"-1", b"1000000000", b"99999999999999999999", b"1e308", b"null", b'"x"', b"[]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    save_model("gpt2", folder)
    return folder


def damaged(data: bytes, *, reach: int, seed: int) -> Iterator[bytes]:
    """Cut at any place, one bit flipped, and a number that is another."""
    choice = random.Random(seed)
    for _ in range(EACH):
        yield data[: choice.randrange(len(data))]
        flipped = bytearray(data)
        flipped[choice.randrange(min(reach, len(data)))] ^= 1 << choice.randrange(8)
        yield bytes(flipped)
        if numbers := list(re.finditer(rb"\d+", data[:reach])):
            number = choice.choice(numbers)
            yield data[: number.start()] + choice.choice(NUMBERS) + data[number.end() :]


def load(folder: Path) -> None:
    store = ModelStore(folder.parent, offline=True)
    settings = Settings(models_dir=folder.parent, model=str(folder))

    async def start() -> None:
        backend = await started(LocalBackend(settings, store.get(str(folder))))
        await backend.close()  # type: ignore[attr-defined]

    asyncio.run(start())


def refused(folder: Path) -> str:
    """Why a model cannot be loaded; empty if it can. Any other error is the test's."""
    try:
        load(folder)
    except CannotStart as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", [*FILES, "model.safetensors"])
def test_a_damaged_file_is_loaded_or_refused_in_one_line(
    name: str, whole: Path, tmp_path: Path
) -> None:
    load(whole)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = (whole / name).read_bytes()
    # Weights have no wrong bytes, only wrong numbers; what describes them stands at the beginning.
    reach = 4000 if name == "model.safetensors" else len(data)
    for bytes_ in damaged(data, reach=reach, seed=len(name)):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        (folder / name).write_bytes(bytes_)
        refusal = refused(folder)
        assert len(refusal) < 300
        assert "\n" not in refusal
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500 * 1024, f"{grown // 1024} MiB for a model of 3"


@pytest.mark.parametrize(
    "change, words",
    [
        (('"vocab": {"', '"vocab": {"absurd": 1000000000, "'), "numbers a token 1000000000"),
        (('"n_head": 4', '"n_head": -1'), "cannot write text"),
        (('"n_layer": 3', '"n_layer": 1000000000'), "n_layer"),
    ],
)
def test_a_number_that_cannot_be_is_refused_before_it_is_used(
    change: tuple[str, str], words: str, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "model")
    for name in ("config.json", "tokenizer.json"):
        file = tmp_path / "model" / name
        text = re.sub(r'"vocab":\s*\{\s*"', '"vocab": {"', file.read_text(encoding="utf-8"))
        file.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(CannotStart, match=words):
        load(tmp_path / "model")
