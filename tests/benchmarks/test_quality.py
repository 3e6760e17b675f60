"""What narrow weights cost is measured rightly, and costs no more than it did."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.quality import Width, cells, of_folder, quality, spreads
from minivault.engine.tokenizer import load_tokenizer
from minivault.resources import resource
from tests.gguf.smollm2 import smollm2

TEXT = "Once upon a time there was a little fox who lived in a hole under an old tree. " * 4


def test_the_same_expectations_diverge_by_nothing() -> None:
    even = np.log(np.full((2, 4), 0.25, np.float32))
    found = quality([even], [even], [[0, 1, 2]])
    assert found.divergence == 0.0
    assert found.same_likeliest == 1.0
    assert math.isclose(found.perplexity, 4.0, rel_tol=1e-6)


def test_divergence_is_of_the_reference_from_what_is_found() -> None:
    true, found = (np.array([each], np.float32) for each in ((0.75, 0.25), (0.5, 0.5)))
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    measured = quality([np.log(found)], [np.log(true)], [[0, 1]])
    assert math.isclose(measured.divergence, expected, rel_tol=1e-6)
    assert math.isclose(measured.perplexity, 2.0, rel_tol=1e-6)


def test_the_storytellers_widths_keep_their_bounds() -> None:
    folder = resource("models/storyteller")
    texts = [load_tokenizer(folder).encode(TEXT)[:80]]
    rows = {row["weights"]: row["divergence"] for row in of_folder(folder, texts, threads=2)}
    assert rows["float32"] == 0.0
    assert rows["bfloat16"] < 0.001
    assert rows["int8"] < 0.01
    assert rows["int8"] < rows["int4"] < 0.2


def test_a_divergence_above_its_bound_stands_out() -> None:
    row = {"weights": "Q8_0", "by": "MiniVault", "divergence": 0.009}
    rest = {"same_likeliest": 0.97, "perplexity": 12.0}
    theirs = {**row, "by": "llama.cpp", "divergence": 0.005}
    assert cells({**row, **rest}, [row, theirs])[2] == "**0.00900 (≤ 0.00600)**"
    assert cells({**row, **rest, "divergence": 0.0055}, [row, theirs])[2] == "0.00550 (≤ 0.00600)"


@pytest.mark.slow
def test_a_chat_models_own_width_costs_what_its_activations_cost() -> None:
    file = smollm2()
    texts = [load_tokenizer(file).encode(TEXT)[:80]]
    reference = spreads(file, "float32", texts, 2)
    bounds: dict[Width, float] = {"file": 0.01, "bfloat16": 0.001, "int8": 0.01}
    for width, most in bounds.items():
        assert quality(spreads(file, width, texts, 2), reference, texts).divergence < most, width
