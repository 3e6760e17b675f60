from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from minivault.errors import DownloadFailed, ModelNotFound, ModelUnusable
from minivault.model_store import ModelStore
from minivault.resources import resource
from tests.model_store.hub import Hub, lfs_pointer
from tests.model_store.repository import distilgpt2, lay_out, sharded


def put(store: ModelStore, name: str, files: dict[str, bytes] | None = None) -> Path:
    """A model as a person copies it: no manifest."""
    return lay_out(store.folder / name, files or distilgpt2(5000))


def test_the_storyteller_is_always_there_and_whole(store: ModelStore) -> None:
    model = store.get("storyteller")
    weights = (model.folder / "model.safetensors").read_bytes()
    assert model.source == "storyteller"
    assert model.sha256 == hashlib.sha256(weights).hexdigest()
    assert model.folder == resource("models/storyteller")
    assert store.check("storyteller") == []
    assert [model.name for model in store.models()] == ["storyteller"]


def test_a_storyteller_of_ones_own_is_served_and_not_called_the_shipped_one(
    store: ModelStore,
) -> None:
    folder = put(store, "storyteller")
    model = store.get("storyteller")
    assert (model.folder, model.source) == (folder, "folder")


def test_a_folder_without_manifest_counts_with_config_safetensors_and_tokenizer(
    store: ModelStore,
) -> None:
    files = distilgpt2(5000)
    folder = put(store, "mine", files)
    model = store.get("mine")
    assert (model.name, model.folder, model.source) == ("mine", folder, "folder")
    assert model.revision is None
    assert model.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert store.check("mine") == []


def test_the_hash_follows_the_file(store: ModelStore) -> None:
    put(store, "mine")
    before = store.get("mine")
    files = distilgpt2(5000)
    put(store, "mine", files)
    after = store.get("mine")
    assert after.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest() != before.sha256
    assert after.tokenizer_sha256 == before.tokenizer_sha256
    put(store, "mine", {"config.json": b"{ }"})
    assert store.get("mine").config_sha256 != after.config_sha256


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"config.json": None}, "no config.json"),
        ({"model.safetensors": None}, "no model.safetensors"),
        ({"tokenizer.json": None, "vocab.json": None}, "no tokenizer"),
        ({"model.safetensors": b""}, "is no safetensors file"),
        ({"model.safetensors": b"PK\x03\x04" + b"pickle" * 50}, "is no safetensors file"),
        ({"model.safetensors": lfs_pointer(b"weights")}, "is no safetensors file"),
        ({"model.safetensors": distilgpt2(5000)["model.safetensors"][:-1]}, "has .* bytes, not"),
        ({"model.safetensors": distilgpt2(5000)["model.safetensors"] + b"x"}, "has .* bytes, not"),
    ],
)
def test_a_copy_that_is_not_whole_is_not_found_and_get_says_why(
    store: ModelStore, change: dict[str, bytes | None], problem: str
) -> None:
    files = {**distilgpt2(5000), **change}
    put(store, "mine", {name: data for name, data in files.items() if data is not None})
    assert store.find("mine") is None
    with pytest.raises(ModelUnusable, match=f"mine is no whole model: .*{problem}"):
        store.get("mine")
    assert [model.name for model in store.models()] == ["storyteller"]


@pytest.mark.parametrize(
    "index, problem",
    [
        (b"not json", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"weight_map": {}}', "no shards"),
        (b'{"weight_map": {"a": "../../secret"}}', "is no shard beside it"),
        (b'{"weight_map": {"a": "../x.safetensors"}}', "is no shard beside it"),
        (b'{"weight_map": {"a": "/etc/x.safetensors"}}', "is no shard beside it"),
        (b'{"weight_map": {"a": ".x.safetensors"}}', "is no shard beside it"),
        (b'{"weight_map": {"a": "x.bin"}}', "is no shard beside it"),
        (b'{"weight_map": {"a": 7}}', "is no shard beside it"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"weight_map": {"a": "model-00009-of-00009.safetensors"}}', "00009.* is missing"),
    ],
)
def test_an_index_is_read_with_care(store: ModelStore, index: bytes, problem: str) -> None:
    put(store, "mine", {**sharded(), "model.safetensors.index.json": index})
    with pytest.raises(ModelUnusable, match=problem):
        store.get("mine")


def test_a_missing_shard_is_named(store: ModelStore) -> None:
    folder = put(store, "mine", sharded(3))
    assert store.find("mine")
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelUnusable, match="model-00002-of-00003.safetensors is missing"):
        store.get("mine")


def test_an_unknown_name_is_answered_with_those_that_exist(store: ModelStore) -> None:
    put(store, "mine")
    put(store, "org/theirs")
    with pytest.raises(
        ModelNotFound,
        match=r"no model 'gpt9' .* there are: mine, org/theirs, storyteller; .*minivault pull gpt9",
    ):
        store.get("gpt9")
    with pytest.raises(ModelNotFound):
        store.check("gpt9")


def test_offline_the_advice_is_not_to_download(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, offline=True)
    with pytest.raises(ModelNotFound, match=r"\(offline\)") as caught:
        store.get("org/model")
    assert "pull" not in str(caught.value)


def test_a_path_names_a_folder_anywhere(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path / "my model", distilgpt2(5000))
    lay_out(tmp_path / "sub" / "dir", distilgpt2(5000))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("./my model", str(tmp_path / "my model"), "~/my model"):
        model = store.get(path)
        assert model.name == "my-model"
        assert (model.folder / "config.json").is_file()
    assert store.get("sub/dir").name == "dir"
    with pytest.raises(ModelNotFound):
        store.get("./nothing")


def test_a_path_into_the_models_folder_is_that_models_name(store: ModelStore) -> None:
    put(store, "org/theirs")
    assert store.get(str(store.folder / "org" / "theirs")).name == "org/theirs"


def test_folders_that_are_no_models_are_not_listed(store: ModelStore) -> None:
    put(store, ".downloads/half")
    put(store, "a b")
    lay_out(store.folder / "empty", {"readme.txt": b""})
    put(store, "good")
    assert [model.name for model in store.models()] == ["good", "storyteller"]


def test_check_reads_every_byte(hub: Hub, store: ModelStore) -> None:
    hub.add("org/model", distilgpt2())
    model = store.pull("org/model")
    assert store.check("org/model") == []
    for name in ("tokenizer.json", "model.safetensors"):
        path = model.folder / name
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    assert store.find("org/model") == model  # the sizes are right; only check reads it all
    assert store.check("org/model") == [
        "model.safetensors was changed: its sha256 is not the one of the manifest",
        "tokenizer.json was changed: its sha256 is not the one of the manifest",
    ]


def test_a_manifest_with_another_size_or_no_sense_is_a_problem(hub: Hub, store: ModelStore) -> None:
    hub.add("org/model", distilgpt2())
    folder = store.pull("org/model").folder
    (folder / "merges.txt").write_bytes(b"x")
    assert store.check("org/model") == ["merges.txt has 1 bytes, not 18"]
    (folder / "merges.txt").unlink()
    assert store.check("org/model") == ["merges.txt is missing"]
    assert store.find("org/model") is None
    (folder / "minivault.json").write_text(json.dumps({"files": 3}))
    assert store.check("org/model") == ["minivault.json cannot be read"]


def test_nothing_asked_and_nothing_cached_the_storyteller_serves_while_distilgpt2_is_pulled(
    store: ModelStore,
) -> None:
    choice = store.choose(None)
    assert choice.model == store.get("storyteller")
    assert (choice.wanted, choice.download) == ("distilgpt2", True)
    assert choice.why is not None
    assert "the storyteller serves instead" in choice.why


def test_nothing_asked_distilgpt2_is_served_once_it_is_there(store: ModelStore) -> None:
    put(store, "distilgpt2")
    choice = store.choose(None)
    assert choice.model == store.get("distilgpt2")
    assert (choice.wanted, choice.download, choice.why) == ("distilgpt2", False, None)


def test_a_half_distilgpt2_is_not_served(store: ModelStore) -> None:
    put(store, "distilgpt2", {"config.json": b"{}"})
    choice = store.choose(None)
    assert choice.model == store.get("storyteller")


@pytest.mark.parametrize("asked", ["storyteller", "mine", "distilbert/distilgpt2"])
def test_what_is_asked_for_and_there_is_served(store: ModelStore, asked: str) -> None:
    put(store, "mine")
    put(store, "distilgpt2")
    choice = store.choose(asked)
    assert choice.model == store.get(asked)
    assert (choice.download, choice.why) == (False, None)


@pytest.mark.parametrize("asked", ["distilgpt2", "org/model"])
def test_what_is_asked_for_and_on_the_hub_is_downloaded_and_never_replaced(
    store: ModelStore, asked: str
) -> None:
    choice = store.choose(asked)
    assert choice.model is None
    assert (choice.wanted, choice.download) == (asked, True)


@pytest.mark.parametrize("asked", ["gpt9", "./nothing", "/nothing", "a/b/c", ""])
def test_what_is_asked_for_and_unknown_is_an_error(store: ModelStore, asked: str) -> None:
    with pytest.raises(ModelNotFound):
        store.choose(asked)


def test_offline_what_is_asked_for_and_not_there_is_an_error(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, offline=True)
    with pytest.raises(ModelNotFound, match="offline"):
        store.choose("distilgpt2")
    choice = store.choose(None)
    assert choice.model == store.get("storyteller")
    assert choice.download is False
    assert choice.why is not None
    assert "offline" in choice.why
    assert "minivault pull distilgpt2" in choice.why


def test_a_failed_download_leaves_the_storyteller_serving(hub: Hub, store: ModelStore) -> None:
    with pytest.raises(DownloadFailed):
        store.pull("distilgpt2")
    assert store.choose(None).model == store.get("storyteller")


def test_a_path_is_not_downloaded(store: ModelStore) -> None:
    with pytest.raises(DownloadFailed, match="only names are downloaded"):
        store.pull("./folder")


def test_importing_the_store_brings_neither_the_hubs_client_nor_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, minivault.model_store, minivault.resources;"
        "print([m for m in ('torch', 'transformers', 'starlette', 'huggingface_hub', 'httpx2')"
        " if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
