"""Rotary positions (arXiv:2104.09864) as tables, in every way in which they are stretched."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minivault.engine.exact import cosines_and_sines, logarithm, powers
from minivault.engine.native.config import Config
from minivault.engine.native.numbers import Array, Floats


@dataclass(frozen=True, slots=True)
class Rope:
    """How fast each pair turns, float32 (pairs,), and what the turned ones are multiplied with.

    Where long texts have `long_steps`, `steps` are those of texts of up to `trained` tokens.
    """

    steps: Array
    factor: float = 1.0
    trained: int | None = None
    long_steps: Array | None = None

    def table(self, context: int) -> Floats:
        """(context, 2 × pairs): each position's cosines, then its sines.

        A context beyond what was trained takes the steps of long texts for all of its texts.
        """
        steps = self.steps
        if self.long_steps is not None and context > (self.trained or 0):
            steps = self.long_steps
        # The angles are rounded as transformers rounds them.
        angles = (np.arange(context, dtype=np.float32)[:, None] * steps).astype(np.float64)
        both = np.concatenate(cosines_and_sines(angles), 1)
        return (both * self.factor).astype(np.float32)


def read_rope(
    config: Config,
    width: int,
    longest: int,
    *,
    theta: float = 10_000.0,
    share: float = 1.0,
    trained: int | None = None,
) -> Rope:
    """Of the settings of one RoPE; `width` is a head's, `longest` the model's context.

    `theta` and `share` (of a head's numbers that turn) count where they name none, `trained`
    instead of what they say. Raises Unsupported.
    """
    kind = config.get("rope_type") or config.get("type") or "default"
    config.skip("type")
    theta = config.number("rope_theta", theta)
    share = config.number("partial_rotary_factor", share)
    rotary = width if kind == "proportional" else int(width * share)
    if rotary % 2 or not 0 < rotary <= width or theta <= 0:
        raise config.wrong("partial_rotary_factor" if theta > 0 else "rope_theta")
    if kind not in _KINDS:
        raise config.wrong("rope_type")
    places = np.arange(0, rotary, 2) / rotary
    lengths = powers(theta, places)  # radians over which a pair turns by one
    inside = config.whole("original_max_position_embeddings", longest) if kind in _TRAINED else 0
    if kind == "proportional":
        lengths[int(share * width // 2) :] = math.inf
    rope = _KINDS[kind](config, lengths.astype(np.float32), theta, trained or inside, longest)
    config.finish()
    return rope


def _plain(config: Config, lengths: Array, theta: float, trained: int, longest: int) -> Rope:
    return Rope(1 / lengths)


def _linear(config: Config, lengths: Array, theta: float, trained: int, longest: int) -> Rope:
    return Rope(1 / lengths / config.number("factor"))


def _partly(config: Config, lengths: Array, theta: float, trained: int, longest: int) -> Rope:
    """Some pairs do not turn: they were given an endless length."""
    return Rope(1 / lengths / config.number("factor", 1.0))


def _dynamic(config: Config, lengths: Array, theta: float, trained: int, longest: int) -> Rope:
    """Its factor counts beyond the model's context alone, where no text gets."""
    config.number("factor")
    return Rope(1 / lengths)


def _llama3(config: Config, lengths: Array, theta: float, trained: int, longest: int) -> Rope:
    """Long waves are stretched, short ones are not, and those between by degrees."""
    factor, low = config.number("factor"), config.number("low_freq_factor")
    high = config.number("high_freq_factor")
    waves = trained / (2 * math.pi * lengths)
    smooth = ((waves - low) / (high - low)).clip(0, 1)
    return Rope((1 - smooth) / lengths / factor + smooth / lengths)


def _yarn(config: Config, lengths: Array, theta: float, trained: int, longest: int) -> Rope:
    """arXiv:2309.00071: between two pairs the steps pass from stretched to plain ones."""
    factor = config.number("factor", longest / trained)
    width = 2 * len(lengths)

    def pair(turns: float) -> float:
        """The pair that turns so often within what was trained."""
        return width * logarithm(trained / (turns * 2 * math.pi)) / (2 * logarithm(theta))

    first, last = (pair(config.number(f"beta_{name}", b)) for name, b in _BETAS.items())
    if config.flag("truncate", default=True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    ramp = (np.arange(len(lengths), dtype=np.float32) - first) / (last - first or 0.001)
    plain = 1 - ramp.clip(0, 1)
    steps = (1 - plain) / (factor * lengths) + plain / lengths
    return Rope(steps, _yarn_factor(config, factor))


def _yarn_factor(config: Config, stretched: float) -> float:
    mscale, of_all = (config.number(name, 0.0) for name in ("mscale", "mscale_all_dim"))
    both = (mscale, of_all) if mscale and of_all else (1.0, 0.0)
    grown = [1 + 0.1 * each * logarithm(stretched) if stretched > 1 else 1.0 for each in both]
    return config.number("attention_factor", grown[0] / grown[1])


def _longrope(config: Config, lengths: Array, theta: float, trained: int, longest: int) -> Rope:
    """arXiv:2402.13753: a factor for each pair, others for long texts."""
    factor = config.number("factor", longest / trained)
    short, long = (
        1 / (np.array(config.numbers(f"{name}_factor", len(lengths)), np.float32) * lengths)
        for name in ("short", "long")
    )
    grown = math.sqrt(1 + logarithm(factor) / logarithm(trained)) if factor > 1 else 1.0
    return Rope(short, config.number("attention_factor", grown), trained, long)


_BETAS = {"fast": 32.0, "slow": 1.0}
_TRAINED = ("llama3", "yarn", "longrope", "su")
_KINDS = {
    "default": _plain,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "su": _longrope,  # its first name
    "proportional": _partly,
}
