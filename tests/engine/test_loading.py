"""Which runner serves a model: what was asked for, or what can be, and it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from minivault.engine.loading import load_runner
from minivault.engine.native.compiler import build
from minivault.engine.native.decoder import Decoder
from minivault.engine.native.runner import NativeRunner
from minivault.engine.transformers.runner import TransformersRunner
from minivault.errors import ModelUnusable
from tests.engine.small_models import save_model
from tests.tools import tool


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("cc")
    return save_model("gpt2", tmp_path_factory.mktemp("models") / "gpt2")


@pytest.fixture(scope="module")
def neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("gpt_neox", tmp_path_factory.mktemp("models") / "neox")


def test_the_native_runner_takes_what_it_knows(gpt2: Path, tmp_path: Path) -> None:
    for options in ({}, {"runner": "native"}, {"dtype": "int8"}):
        runner = load_runner(gpt2, threads=1, **options)  # type: ignore[arg-type]
        assert isinstance(runner, NativeRunner)
        assert runner.notice is None
    assert isinstance(load_runner(save_model("llama", tmp_path), threads=1), NativeRunner)


def test_transformers_takes_the_rest_and_whatever_it_is_asked_to(gpt2: Path, neox: Path) -> None:
    for folder, runner in ((gpt2, "transformers"), (neox, "auto")):
        found = load_runner(folder, threads=1, runner=runner)  # type: ignore[arg-type]
        assert isinstance(found, TransformersRunner)
        assert found.description["runner"] == "transformers"
        says = "by transformers, one text at a time, which is slow: model type gpt_neox"
        assert (says in str(found.notice)) == (runner == "auto")


def test_both_runners_hold_texts_of_so_many_tokens_and_draw_from_so_many(
    gpt2: Path, neox: Path
) -> None:
    for folder in (gpt2, neox):
        bounded = load_runner(folder, threads=1, context=100, tokens=50)
        assert (bounded.context_length, bounded.vocabulary) == (100, 50)
        assert bounded.embedded > 50


@pytest.mark.parametrize(
    "model, options, says",
    [
        ("neox", {"runner": "native"}, "runner native: model type gpt_neox; or .* --runner auto"),
        ("neox", {"dtype": "int8"}, "int8 needs .* native runner: model type gpt_neox; .*bfloat16"),
        ("gpt2", {"dtype": "int8", "runner": "transformers"}, "int8 needs the native runner"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    request: pytest.FixtureRequest, model: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelUnusable, match=says):
        load_runner(request.getfixturevalue(model), threads=1, **options)


def test_the_native_runner_is_for_the_cpu(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a CUDA device at hand, `auto` is the CPU for what nothing else can do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for options in ({"runner": "native"}, {"dtype": "int8"}):
        assert isinstance(load_runner(gpt2, threads=1, **options), NativeRunner)  # type: ignore[arg-type]
        with pytest.raises(ModelUnusable, match="computes on the CPU, not on cuda"):
            load_runner(gpt2, threads=1, device="cuda", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["no-such-compiler", "false"])
def test_without_a_compiler_transformers_serves_and_says_what_is_missing(
    gpt2: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("CC", command)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.cache_clear()
    runner = load_runner(gpt2, threads=1)
    assert isinstance(runner, TransformersRunner)
    assert runner.reproducible
    assert f"{command}" in str(runner.notice)
    assert "slower" in str(runner.notice)
    assert "pip install ziglang" in str(runner.notice)
    assert str(runner.notice) in caplog.text
    with pytest.raises(ModelUnusable, match=f"runner native: .*{command}.*ziglang.*--runner auto"):
        load_runner(gpt2, runner="native")
    with pytest.raises(ModelUnusable, match=f"int8 needs the native runner: .*{command}"):
        load_runner(gpt2, dtype="int8")
    build.cache_clear()


def test_kernels_that_do_not_keep_the_bits_serve_only_who_asks_for_them(
    gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "_keeps_bits", lambda self: False)
    runner = load_runner(gpt2, threads=1)
    assert isinstance(runner, TransformersRunner)
    assert "do not keep a row's bits" in str(runner.notice)
    assert not load_runner(gpt2, threads=1, runner="native").reproducible
