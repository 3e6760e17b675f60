from __future__ import annotations

import importlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from minivault.model_store import ModelStore
from minivault.resources import resource
from training.corpus import END_OF_TEXT
from training.model import new_model
from training.optimizer import split
from training.recipe import Recipe
from training.train import Training, main

pytestmark = pytest.mark.slow  # transformers takes seconds to come

SMALL = Recipe(
    steps=30,
    vocabulary=300,
    layers=1,
    width=16,
    heads=2,
    context=32,
    short_context=16,
    batch_tokens=128,
    warmup_steps=5,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some chapters of the storyteller's own held-out text."""
    folder = tmp_path_factory.mktemp("corpus")
    text = (resource("models/storyteller") / "valid.txt").read_text(encoding="utf-8")
    chapters = text.split(END_OF_TEXT)[:6]
    (folder / "text.txt").write_text(END_OF_TEXT.join(part[:4000] for part in chapters))
    return folder


def test_a_training_learns_and_writes_what_transformers_loads(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = asdict(replace(SMALL, report_every=10))
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    main([f"--corpus={corpus}", f"--out={tmp_path / 'models' / 'mine'}", *arguments])

    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("step")]
    assert len(losses) == 3
    assert losses[-1] < losses[0] - 0.2
    made = json.loads((tmp_path / "models" / "mine" / "training.json").read_text())
    assert made["tokens_seen"] == 30 * 128
    assert made["held_out_loss"] < losses[0]

    model = ModelStore(tmp_path / "models").get("mine")
    transformers = importlib.import_module("transformers")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model.folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.folder)
    inputs = tokenizer("The little rabbit", return_tensors="pt")
    output = loaded.generate(**inputs, max_new_tokens=4, do_sample=False, min_new_tokens=4)
    assert len(output[0]) == len(inputs["input_ids"][0]) + 4
    assert (loaded.config.eos_token_id, tokenizer.eos_token) == (0, END_OF_TEXT)


def test_the_same_seed_makes_the_same_model(corpus: Path) -> None:
    first, second, other = (
        Training(corpus, replace(SMALL, steps=3, seed=seed)) for seed in (1, 1, 2)
    )
    for training in (first, second, other):
        training.run()
    weights = [training.model.transformer.wte.weight for training in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = new_model(SMALL, vocabulary=300, end=0)
    matrices, others = split(model)
    assert [tuple(matrix.shape) for matrix in matrices] == [(16, 48), (16, 16), (16, 64), (64, 16)]
    assert sum(p.numel() for p in matrices + others) == model.num_parameters()


def test_the_defaults_are_the_storytellers_shape() -> None:
    model = new_model(Recipe(), vocabulary=8192, end=0)
    assert model.num_parameters() == 6_967_296
    shipped = json.loads((resource("models/storyteller") / "config.json").read_bytes())
    for key in ("n_layer", "n_embd", "n_head", "n_positions", "vocab_size", "activation_function"):
        assert getattr(model.config, key) == shipped[key], key


def test_too_little_text_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text(f"one{END_OF_TEXT}two")
    with pytest.raises(SystemExit) as caught:
        main([f"--corpus={tmp_path}", f"--out={tmp_path / 'out'}"])
    assert caught.value.code == 2
    assert "are less than one context" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
