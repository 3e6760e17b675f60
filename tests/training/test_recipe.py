from __future__ import annotations

import pytest

from training.recipe import Recipe


def test_the_learning_rate_goes_up_stays_and_falls_to_its_last_share() -> None:
    recipe = Recipe()
    assert recipe.rate(0, 0.0) == pytest.approx(0.01)
    assert recipe.rate(49, 0.001) == pytest.approx(0.5)
    assert recipe.rate(1000, 0.45) == pytest.approx(1.0)
    assert recipe.rate(2000, 0.725) == pytest.approx(0.51)
    assert recipe.rate(5000, 1.0) == pytest.approx(0.02)


def test_crops_are_short_first_and_long_at_the_end() -> None:
    recipe = Recipe()
    assert [recipe.crop_length(progress) for progress in (0, 0.69, 0.71)] == [256, 256, 512]
