from __future__ import annotations

import hashlib
import json
import os
import resource as limits
import shutil
import socket
import threading
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path

import pytest
from huggingface_hub import close_session

from minivault.errors import DownloadFailed
from minivault.model_store import Deadlines, ModelStore, Progress
from tests.model_store.hub import Hub
from tests.model_store.repository import TAKEN, distilgpt2, lay_out, sharded

NAME = "distilbert/distilgpt2"


def parts(store: ModelStore, name: str = "distilgpt2") -> dict[str, int]:
    folder = store.folder / ".downloads" / name.replace("/", "--")
    return {path.name: path.stat().st_size for path in folder.iterdir()} if folder.is_dir() else {}


def test_only_configuration_tokenizer_and_safetensors_are_downloaded(
    hub: Hub, store: ModelStore
) -> None:
    files = distilgpt2()
    hub.add(NAME, files)
    model = store.pull("distilgpt2")
    assert {path.name for path in model.folder.iterdir()} == TAKEN | {"minivault.json"}
    assert set(hub.asked_for()) == TAKEN
    for name in TAKEN:
        assert (model.folder / name).read_bytes() == files[name]
    assert model.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert (model.name, model.source) == ("distilgpt2", "hub")
    assert model.folder == store.folder / "distilgpt2"
    assert not parts(store)


def test_the_manifest_holds_the_commit_and_our_own_hash_of_every_file(
    hub: Hub, store: ModelStore
) -> None:
    files = distilgpt2()
    commit = hub.add(NAME, files)
    model = store.pull("distilgpt2")
    manifest = json.loads((model.folder / "minivault.json").read_text())
    assert model.revision == manifest["commit"] == commit
    assert manifest["repository"] == NAME
    assert manifest["files"] == {
        name: {"size": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
        for name in TAKEN
    }
    assert all(commit in seen.path for seen in hub.seen if "/resolve/" in seen.path)


def test_the_first_answer_pins_the_commit_even_if_the_repository_moves_on(
    hub: Hub, store: ModelStore
) -> None:
    old = hub.add(NAME, distilgpt2())

    def move_on(progress: Progress) -> None:
        if progress.phase == "downloading" and hub.repositories[NAME].commit == old:
            hub.add(NAME, distilgpt2())

    with pytest.raises(DownloadFailed, match="has no model"):
        store.pull("distilgpt2", progress=move_on)
    assert store.find("distilgpt2") is None


def test_sharded_weights_come_with_their_index(hub: Hub, store: ModelStore) -> None:
    files = sharded()
    hub.add("some/model", files)
    model = store.pull("some/model")
    assert model.folder == store.folder / "some" / "model"
    weights = {name for name in hub.asked_for() if "safetensors" in name}
    assert weights == {name for name in files if name.startswith("model") and "safetensors" in name}
    lines = "".join(
        f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n"
        for name in sorted(weights)
        if not name.endswith(".json")
    )
    assert model.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert store.check("some/model") == []


def indexed(names: dict[str, str]) -> dict[str, bytes]:
    """A repository of three shards, which its index calls by these names."""
    files = {names.get(name, name): data for name, data in sharded().items()}
    index = files["model.safetensors.index.json"].decode()
    for old, new in names.items():
        index = index.replace(f'"{old}"', f'"{new}"')
    return {**files, "model.safetensors.index.json": index.encode()}


def test_shards_are_those_that_the_index_names(hub: Hub, store: ModelStore) -> None:
    names = {"model-00001-of-00003.safetensors": "weights A.safetensors"}
    files = indexed(names) | {"model-00009-of-00009.safetensors": b"left over"}
    hub.add("some/model", files)
    model = store.pull("some/model")
    assert {path.name for path in model.folder.glob("*.safetensors")} == {
        "weights A.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    }
    assert store.check("some/model") == []


@pytest.mark.parametrize(
    "name, problem",
    [("../x.safetensors", "is no shard beside it"), ("other.safetensors", "which is not there")],
)
def test_an_index_that_names_something_else_is_refused(
    name: str, problem: str, hub: Hub, store: ModelStore
) -> None:
    files = indexed({"model-00001-of-00003.safetensors": name})
    files.pop(name)
    hub.add("some/model", files)
    with pytest.raises(DownloadFailed, match=problem):
        store.pull("some/model")
    assert store.find("some/model") is None


def test_a_renamed_repository_is_followed(hub: Hub, store: ModelStore) -> None:
    hub.add("openai-community/gpt2", distilgpt2())
    hub.renamed["gpt2"] = "openai-community/gpt2"
    assert store.pull("gpt2").folder == store.folder / "gpt2"


def test_a_whole_copy_is_not_downloaded_again(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    first = store.pull("distilgpt2")
    hub.seen.clear()
    assert store.pull("distilgpt2") == first
    assert store.pull(NAME, revision=first.revision) == first
    assert hub.seen == []


def test_another_revision_replaces_the_copy(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    old = store.pull("distilgpt2")
    commit = hub.add(NAME, distilgpt2())
    new = store.pull("distilgpt2", revision="main")
    assert new.revision == commit
    assert new.sha256 != old.sha256
    assert store.check("distilgpt2") == []
    assert os.listdir(store.folder / ".downloads") == ["distilgpt2.lock"]


@pytest.mark.slow
def test_an_interrupted_download_goes_on_where_it_stopped(hub: Hub, store: ModelStore) -> None:
    files = distilgpt2()
    hub.add(NAME, files)
    hub.faults.stall_after = {"model.safetensors": 200_000}
    hasty = ModelStore(store.folder, deadlines=Deadlines(first_answer=60.0, stall=1.5))
    with pytest.raises(
        DownloadFailed, match=r"stalled, no byte came for 1\.5 s; what is here is kept"
    ):
        hasty.pull("distilgpt2")
    [here] = [size for name, size in parts(store).items() if name.startswith("model.safetensors.")]
    assert 0 < here <= 200_000
    assert store.find("distilgpt2") is None

    hub.faults.stall_after = {}
    hub.sent.clear()
    hub.seen.clear()
    model = store.pull("distilgpt2")
    assert model.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert dict(hub.sent) == {
        "model.safetensors": len(files["model.safetensors"]) - here,
        **{name: len(files[name]) for name in TAKEN if name > "model.safetensors"},
        "": hub.sent[""],
    }


def test_a_connection_that_breaks_is_made_again_while_bytes_come(
    hub: Hub, store: ModelStore
) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.cut_after = {"model.safetensors": [70_000, 70_000, 1], "config.json": [3]}
    assert store.check(store.pull("distilgpt2").name) == []
    ranges = [
        seen.headers.get("range")
        for seen in hub.seen
        if seen.path.startswith("/cdn/") and "model.s" in seen.path
    ]
    assert ranges == [None, "bytes=70000-", "bytes=140000-", "bytes=140001-"]


def test_a_connection_that_breaks_without_a_byte_is_given_up(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.cut_after = {"model.safetensors": [1000, 0]}
    with pytest.raises(DownloadFailed, match="the connection to localhost:.* broke"):
        store.pull("distilgpt2")
    assert 1000 in parts(store).values()


def test_a_hub_that_ignores_ranges_sends_everything_again(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.cut_after = {"model.safetensors": [100_000]}
    hub.faults.ignore_range = True
    assert store.check(store.pull("distilgpt2").name) == []


def test_what_another_version_left_behind_is_not_continued(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.cut_after = {"model.safetensors": [100_000, 0]}
    with pytest.raises(DownloadFailed):
        store.pull("distilgpt2")
    assert 100_000 in parts(store).values()
    hub.add(NAME, distilgpt2())
    hub.seen.clear()
    assert store.check(store.pull("distilgpt2").name) == []
    assert not any("range" in seen.headers for seen in hub.seen)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_other_bytes_than_announced_are_thrown_away(hub: Hub, store: ModelStore, file: str) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.corrupt = {file}
    with pytest.raises(DownloadFailed, match=f"{file} is not what the hub announced"):
        store.pull("distilgpt2")
    assert not any(name.startswith(file) for name in parts(store))
    assert store.find("distilgpt2") is None
    hub.faults.corrupt = set()
    assert store.check(store.pull("distilgpt2").name) == []


def test_more_bytes_than_announced_are_refused(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.append = {"model.safetensors": b"x" * 100_000}
    with pytest.raises(DownloadFailed, match="more came than"):
        store.pull("distilgpt2")


@pytest.mark.parametrize(
    "status, headers, words",
    [
        (401, {"X-Error-Message": "Invalid username or password."}, "has no model .* set HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "accept its terms on .* and set HF_TOKEN"),
        (404, {"X-Error-Code": "RepoNotFound"}, "has no model distilbert/distilgpt2"),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "; try again later"),
        (429, {"Retry-After": "17"}, "too many requests to .*; try again in 17 s"),
        (500, {}, "answered 500; try again later"),
        (503, {}, "answered 503; try again later"),
    ],
)
@pytest.mark.parametrize("where", ["/api/models/", "/model.safetensors"])
def test_a_refusal_says_what_to_do(
    hub: Hub, store: ModelStore, status: int, headers: dict[str, str], words: str, where: str
) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.status = {where: [(status, headers)]}
    with pytest.raises(DownloadFailed, match=words):
        store.pull("distilgpt2")
    assert store.find("distilgpt2") is None


def test_an_unknown_revision_is_named_so(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    with pytest.raises(DownloadFailed, match="has no such revision"):
        store.pull("distilgpt2", revision="v9")


def test_a_slow_hub_is_given_up_after_the_first_deadline(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.answer_after = 3.0
    store = ModelStore(tmp_path, deadlines=Deadlines(first_answer=0.2))
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1:\d+ did not answer within 0\.2 s"):
        store.pull("distilgpt2")


def test_a_name_look_up_that_hangs_counts_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        released.wait(10)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    store = ModelStore(tmp_path, deadlines=Deadlines(first_answer=0.2))
    try:
        with pytest.raises(DownloadFailed, match=r"hub\.invalid did not answer within 0\.2 s"):
            store.pull("distilgpt2")
    finally:
        released.set()


def test_a_hub_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, store: ModelStore
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(DownloadFailed, match=f"cannot connect to 127.0.0.1:{port}"):
        store.pull("distilgpt2")


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "ftp://127.0.0.1", "http://[", "http://", "http://hub:80x"]
)
def test_an_endpoint_that_is_no_address_is_named(
    endpoint: str, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DownloadFailed, match="HF_ENDPOINT is no address"):
        store.pull("distilgpt2")


#: What of the environment keeps the hub's client from being made, and what is said.
HINDRANCES = [
    ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "pip install socksio"),
    ({"https_proxy": "socks5://me:secret@127.0.0.1:1"}, "pip install socksio"),
    ({"ALL_PROXY": "socks4://127.0.0.1:1"}, "http://host:port"),
    ({"HTTPS_PROXY": "http://proxy:port"}, "http://host:port"),
    ({"SSL_CERT_FILE": "/nowhere"}, "no such file"),
    ({"SSL_CERT_FILE": "/"}, "is a directory"),
    ({"SSL_CERT_FILE": __file__}, "no certificate"),
]


@pytest.mark.parametrize("variables, help", HINDRANCES, ids=str)
def test_a_proxy_or_certificates_that_cannot_be_used_are_told_as_such(
    monkeypatch: pytest.MonkeyPatch, store: ModelStore, variables: dict[str, str], help: str
) -> None:
    if "socksio" in help and find_spec("socksio"):
        pytest.skip("SOCKS works here")
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    close_session()
    with pytest.raises(DownloadFailed) as raised:
        store.pull("distilgpt2")
    said = str(raised.value)
    ((name, value),) = variables.items()
    assert f"{name}={value.replace('me:secret@', '')}" in said
    assert help in said.lower()
    assert len(said) < 300


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(1), RuntimeError("odd")], ids=repr)
def test_whatever_ends_a_download_is_told(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    hub.add(NAME, distilgpt2())
    monkeypatch.setattr("minivault.model_store.hub.HfApi", fail)
    with pytest.raises(DownloadFailed, match=type(error).__name__):
        store.pull("distilgpt2")
    monkeypatch.undo()
    monkeypatch.setattr("minivault.model_store.download.receive", fail)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    with pytest.raises(DownloadFailed, match=type(error).__name__):
        store.pull("distilgpt2")


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b"[]", b'{"id": "a"}'])
def test_a_login_page_is_no_hub(hub: Hub, store: ModelStore, body: bytes) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.body = body
    with pytest.raises(DownloadFailed, match=r"does not answer as a hub does|cannot be used"):
        store.pull("distilgpt2")


def test_a_repository_without_safetensors_is_refused_before_any_byte(
    hub: Hub, store: ModelStore
) -> None:
    files = distilgpt2()
    del files["model.safetensors"]
    hub.add("old/model", files)
    with pytest.raises(DownloadFailed, match=r"has no model\.safetensors"):
        store.pull("old/model")
    assert hub.asked_for() == []


def test_a_token_goes_to_the_hub_and_not_to_the_host_it_redirects_to(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.add(NAME, distilgpt2())
    store.pull("distilgpt2")
    with_token = {
        seen.path.startswith("/cdn/") for seen in hub.seen if "authorization" in seen.headers
    }
    assert with_token == {False}
    assert any(seen.path.startswith("/cdn/") for seen in hub.seen)


def test_nothing_but_the_model_is_asked_for(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    store.pull("distilgpt2")
    paths = {seen.path for seen in hub.seen}
    assert all(f"/{NAME}" in path for path in paths)
    agents = {seen.headers["user-agent"] for seen in hub.seen}
    assert not any("torch" in agent for agent in agents)


def test_files_are_asked_for_uncompressed_since_offsets_mean_their_own_bytes(
    hub: Hub, store: ModelStore
) -> None:
    hub.add(NAME, distilgpt2())
    store.pull("distilgpt2")
    files = [seen for seen in hub.seen if "/resolve/" in seen.path or "/cdn/" in seen.path]
    assert {seen.headers["accept-encoding"] for seen in files} == {"identity"}


def test_too_small_a_disk_is_noticed_before_the_download(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**30, 2**30 - 1000, 1000))
    hub.add(NAME, distilgpt2())
    with pytest.raises(DownloadFailed, match=r"needs 0 MB in .*, where 0 MB are free"):
        store.pull("distilgpt2")
    assert hub.asked_for() == []


def test_a_disk_that_fills_up_is_named(hub: Hub, store: ModelStore) -> None:
    files = distilgpt2()
    hub.add(NAME, files)
    folder = store.folder / ".downloads" / "distilgpt2"
    folder.mkdir(parents=True)
    tag = hashlib.sha256(files["model.safetensors"]).hexdigest()[:12]
    (folder / f"model.safetensors.{tag}.part").symlink_to("/dev/full")
    with pytest.raises(DownloadFailed, match="cannot write to .*: No space left on device"):
        store.pull("distilgpt2")


def test_a_limit_on_file_sizes_is_named(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    soft, hard = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DownloadFailed, match="cannot write to .*: File too large"):
            store.pull("distilgpt2")
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, (soft, hard))
    assert store.check(store.pull("distilgpt2").name) == []


def test_two_that_pull_at_once_download_once(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    phases: dict[str, list[str]] = {"first": [], "second": []}
    waiting = threading.Event()

    def watch_second(progress: Progress) -> None:
        phases["second"].append(progress.phase)
        waiting.set()

    second = threading.Thread(target=lambda: store.pull("distilgpt2", progress=watch_second))

    def start_second(progress: Progress) -> None:
        phases["first"].append(progress.phase)
        if progress.phase == "asking" and second.ident is None:
            second.start()
            assert waiting.wait(60)

    store.pull("distilgpt2", progress=start_second)
    second.join(60)
    assert not second.is_alive()
    assert set(phases["second"]) == {"waiting"}
    assert sorted(hub.asked_for()) == sorted(TAKEN)


def test_progress_grows_to_the_size_of_the_model(hub: Hub, store: ModelStore) -> None:
    files = distilgpt2(2_000_000)
    hub.add(NAME, files)
    seen: list[Progress] = []
    store.pull("distilgpt2", progress=seen.append)
    total = sum(len(files[name]) for name in TAKEN)
    assert [seen[0].phase, seen[-1].phase] == ["asking", "whole"]
    moments = [progress for progress in seen if progress.phase != "asking"]
    done = [progress.done for progress in moments]
    assert done == sorted(done)
    assert done[-1] == total
    assert {progress.total for progress in moments} == {total}


def test_what_progress_raises_stops_the_download_and_it_can_go_on(
    hub: Hub, store: ModelStore
) -> None:
    hub.add(NAME, distilgpt2(2_000_000))

    def interrupt(progress: Progress) -> None:
        if progress.done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull("distilgpt2", progress=interrupt)
    hub.seen.clear()
    store.pull("distilgpt2")
    assert "config.json" not in hub.asked_for()
    assert any("range" in seen.headers for seen in hub.seen)


def test_a_folder_that_was_put_there_by_hand_is_never_replaced(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    lay_out(store.folder / "distilgpt2", {"config.json": b"{}", "mine.txt": b"x"})
    with pytest.raises(
        DownloadFailed, match=r"is in the way \(no model\.safetensors.*move it away"
    ):
        store.pull("distilgpt2")
    assert (store.folder / "distilgpt2" / "mine.txt").read_bytes() == b"x"


def test_a_damaged_download_is_replaced(hub: Hub, store: ModelStore) -> None:
    hub.add(NAME, distilgpt2())
    model = store.pull("distilgpt2")
    (model.folder / "tokenizer.json").unlink()
    assert store.find("distilgpt2") is None
    store.pull("distilgpt2")
    assert store.check("distilgpt2") == []


def test_a_models_folder_that_cannot_be_made_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DownloadFailed, match="cannot write to .*models"):
        ModelStore(tmp_path / "models").pull("distilgpt2")


@pytest.mark.parametrize("by", ["option", "variable"])
def test_offline_never_opens_a_socket(
    by: str, monkeypatch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path
) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    hub.add(NAME, distilgpt2())
    if by == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(socket, "getaddrinfo", no_socket)
    monkeypatch.setattr(socket, "create_connection", no_socket)
    store = ModelStore(tmp_path, offline=by == "option")
    with pytest.raises(DownloadFailed, match="offline"):
        store.pull("distilgpt2")
    assert store.choose(None).download is False
    assert hub.seen == []


def test_whoever_waits_can_leave_while_the_network_stands_still(
    hub: Hub, store: ModelStore
) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.stall_after = {"model.safetensors": 200_000}
    seen: list[Progress] = []

    def leave(progress: Progress) -> None:
        if progress.done > 200_000 and progress is seen[-1]:  # nothing new came
            raise DownloadFailed("the server shut down")
        seen.append(progress)

    with pytest.raises(DownloadFailed, match="the server shut down"):
        store.pull("distilgpt2", progress=leave)
    workers = [thread for thread in threading.enumerate() if thread.name == "download"]
    assert [thread.daemon for thread in workers] == [True]  # still there, and in nobody's way
    hub.faults.stall_after = {}
    hub.closing.set()  # what stands still ends
    assert store.check(store.pull("distilgpt2").name) == []  # waits until it has let go
    workers[0].join(60)
