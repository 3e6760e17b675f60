"""Matrix products with weights that are laid out once for reading fast; rows never mix."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Activation = Literal["gelu", "gelu_tanh", "relu"]
Kind = Literal["packed", "plain", "int8"]


class Linear(Protocol):
    """x (rows, inputs) to x·Wᵀ + b (rows, outputs), then the activation it was made with.

    `residual` (rows, outputs) is added last; a layer has an activation or a residual, never both.
    """

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor: ...


def make_linear(
    kind: Kind, weight: Tensor, bias: Tensor | None = None, activation: Activation | None = None
) -> Linear:
    """A layer of this kind for `weight` (outputs, inputs), which may be dropped afterwards."""
    if kind == "int8":
        return Int8Linear(weight, bias, activation)
    if kind == "packed" and packing_works(weight.dtype):
        return PackedLinear(weight, bias, activation)
    return PlainLinear(weight, bias, activation)


class PlainLinear:
    """What every torch can do, on every device."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, activation: Activation | None = None
    ) -> None:
        self._weight = weight.contiguous()
        self._bias = bias
        self._activation = activation

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = functional.linear(x, self._weight, self._bias)
        return _finished(y, self._activation, residual)


class PackedLinear:
    """oneDNN's product with a weight in oneDNN's own layout; activation and sum are fused.

    These are the operators that Inductor emits for frozen weights. F.linear would lay the weight
    out anew in every call: twice the time for one row, four times for the vocabulary.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, activation: Activation | None = None
    ) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        self._bias = bias
        self._attribute, self._algorithm = _FUSED[activation]
        self._single = torch.ops.mkldnn._linear_pointwise.default
        self._binary = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y: Tensor
        if residual is None:
            y = self._single(x, self._weight, self._bias, self._attribute, [], self._algorithm)
        else:
            y = self._binary(x, residual, self._weight, self._bias, "add")
        return y


class Int8Linear:
    """Weights in 8 bits with one scale per output, inputs in 8 bits with one scale per row.

    Rows are scaled to integers here, so that the product is a sum of integers, which is exact in
    any order: no row can change another. float32 in and out.
    Method: absolute-maximum quantization per vector, as in arXiv:2208.07339, section 2.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, activation: Activation | None = None
    ) -> None:
        self._product = _int8_product(weight.float())
        self._bias = None if bias is None else bias.float()
        self._activation = activation

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        largest = x.abs().amax(1, keepdim=True).clamp_min_(_TINY)
        y = self._product(x * (self._product.levels / largest))
        y = y.mul_(largest.mul_(1 / self._product.levels))
        if self._bias is not None:
            y = y.add_(self._bias)
        return _finished(y, self._activation, residual)


class _Int8Product(Protocol):
    levels: int

    def __call__(self, x: Tensor) -> Tensor:
        """x, scaled to at most `levels`, is rounded to integers and multiplied."""
        ...


class _PackedInt8:
    """FBGEMM's product. The input's scale is always 1: rows bring their own."""

    def __init__(self, integers: Tensor, scales: Tensor, levels: int) -> None:
        self.levels = levels
        self._middle = levels + 1
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():  # torch means to move these operators elsewhere
            warnings.simplefilter("ignore")
            weight = torch._make_per_channel_quantized_tensor(integers, scales.double(), zeros, 0)
        self._weight = torch.ops.quantized.linear_prepack(weight, None)
        self._multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self._multiply(x, 1.0, self._middle, self._weight)
        return y


class _PlainInt8:
    """The same integers by a plain operator: slow, and everywhere."""

    levels = 127

    def __init__(self, integers: Tensor, scales: Tensor) -> None:
        self._weight = integers.t().contiguous()
        self._scales = scales

    def __call__(self, x: Tensor) -> Tensor:
        product = torch._int_mm(x.round().to(torch.int8), self._weight)
        return product.float().mul_(self._scales)


_TINY = 1e-30
_VECTOR = 64  # numbers that the widest kernel takes at once: two vectors of bfloat16
_UNCUT = 32768  # torch's grain: an element-wise operator on fewer numbers runs in one thread
_FUSED: dict[Activation | None, tuple[str, str]] = {
    None: ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


def _finished(y: Tensor, activation: Activation | None, residual: Tensor | None) -> Tensor:
    """Activation and sum by operators of their own."""
    if activation == "relu":
        return y.relu_()
    if activation is not None:
        return _gelu(y, "tanh" if activation == "gelu_tanh" else "none")
    return y if residual is None else y.add_(residual)


def _gelu(y: Tensor, approximation: str) -> Tensor:
    """GELU in blocks that torch neither cuts among threads nor ends within a vector.

    At such an end it computes single numbers by another formula, with other bits.
    """
    width = y.shape[1]
    padded = functional.pad(y, (0, -width % _VECTOR)) if width % _VECTOR else y
    blocks = torch.split(padded, max(1, _UNCUT // padded.shape[1]))
    found = [functional.gelu(block, approximate=approximation) for block in blocks]
    whole = found[0] if len(found) == 1 else torch.cat(found)
    return whole[:, :width].contiguous() if width % _VECTOR else whole


def _int8_product(weight: Tensor) -> _Int8Product:
    scales = weight.abs().amax(1).clamp_min(_TINY) / 127
    integers = (weight / scales[:, None]).round().to(torch.int8)
    levels = _int8_levels()
    return _PackedInt8(integers, scales, levels) if levels else _PlainInt8(integers, scales)


@cache
def packing_works(dtype: torch.dtype) -> bool:
    """Whether this torch, on this processor, has the private operators, and they are right."""
    dice = torch.Generator().manual_seed(0)
    x, weight = torch.randn(3, 40, generator=dice), torch.randn(24, 40, generator=dice)
    bias = torch.randn(24, generator=dice)
    exact = functional.linear(x, weight, bias)
    try:
        packed = PackedLinear(weight.to(dtype), bias.to(dtype))
        y = packed(x.to(dtype), torch.zeros(3, 24, dtype=dtype))
        activated = PackedLinear(weight.to(dtype), None, "gelu_tanh")(x.to(dtype))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    expected = functional.gelu(exact - bias, approximate="tanh")
    tolerance = 40 * torch.finfo(dtype).eps
    return _close(y, exact, tolerance) and _close(activated, expected, tolerance)


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return float((found.float() - expected).abs().max()) <= tolerance * float(expected.abs().max())


@cache
def _int8_levels() -> int:
    """Into how many steps the packed product may cut a row's largest value; 0 if it is not exact.

    Without VNNI it adds pairs of products in 16 bits, which only 63 steps cannot overflow.
    """
    weight = torch.full((32, 256), 127, dtype=torch.int8)
    weight[::2] = -128
    for levels in (127, 63):
        x = torch.full((3, 256), float(levels))
        expected = (x.double() @ weight.t().double()).float()
        try:
            found = _PackedInt8(weight, torch.ones(32), levels)(x)
        except (RuntimeError, AttributeError, NotImplementedError):
            return 0
        if torch.equal(found, expected):
            return levels
    return 0
