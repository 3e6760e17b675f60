"""Which runner serves a model: the native one where it can, else the one of transformers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minivault.engine.processor import shows_gpu
from minivault.engine.runner import NATIVE_ONLY, Dtype, NoKernels, Runner, Unsupported
from minivault.errors import ModelUnusable
from minivault.gguf import is_gguf
from minivault.libraries import require

if TYPE_CHECKING:
    from minivault.engine.native.runner import NativeRunner

Device = Literal["auto", "cpu", "cuda"]
RunnerName = Literal["auto", "native", "transformers"]

_log = logging.getLogger(__name__)


def load_runner(
    folder: Path,
    *,
    dtype: Dtype | Literal["auto"] = "auto",
    device: Device = "auto",
    threads: int | None = None,
    runner: RunnerName = "auto",
    max_running: int = 32,
    prefix_memory: int = 0,
    context: int | None = None,
    tokens: int | None = None,
    speculates: bool = True,
) -> Runner:
    """Loads a model's weights. Takes the calling thread as long as it takes.

    `threads`: of the model; None takes as many as there are cores. `max_running`: how many
    sequences it may hold at once. `prefix_memory`: bytes for prefilled beginnings that are kept.
    `context`: tokens of a text at most; None takes the usual bound. `tokens`: how many ids the
    tokenizer has; others are never drawn. `speculates`: the native runner guesses texts ahead.

    Raises ModelUnusable, also where runner, dtype and device do not go together.
    """
    from minivault.engine.native.memory import give_back_free

    try:
        if runner == "transformers":
            raise Unsupported("runner transformers was asked for")
        return _native(
            folder,
            dtype,
            device,
            runner,
            threads=threads,
            max_running=max_running,
            prefix_memory=prefix_memory,
            context=context,
            tokens=tokens,
            speculates=speculates,
        )
    except Unsupported as error:
        why = error
    finally:  # the weights as the files hold them, and what was made on the way
        give_back_free()
    if runner == "native":
        raise ModelUnusable(f"runner native: {why}; or use --runner auto") from why
    if dtype in NATIVE_ONLY:
        raise ModelUnusable(
            f"dtype {dtype} needs the native runner: {why}; or use --dtype bfloat16 or float32"
        ) from why
    require("torch")  # before it is built upon
    from minivault.engine.transformers.runner import TransformersRunner

    served = TransformersRunner(
        folder, dtype=dtype, device=device, threads=threads, context=context, tokens=tokens
    )
    if runner == "auto" and served.description["device"] == "cpu":
        slower = "the model runs several times slower than it could, by transformers"
        if not isinstance(why, NoKernels):
            slower = "the model is computed by transformers, one text at a time, which is slow"
        served.notice = "; ".join(filter(None, (f"{slower}: {why}", served.notice)))
    if served.notice:
        _log.warning("%s", served.notice)
    return served


def _native(
    folder: Path,
    dtype: Dtype | Literal["auto"],
    device: Device,
    runner: RunnerName,
    **options: int | None,
) -> NativeRunner:
    """Raises Unsupported where it cannot be, NoKernels where it could be on this machine."""
    from minivault.engine.native.runner import NativeRunner

    wanted = runner == "native" or dtype in NATIVE_ONLY
    if device == "cuda" or (device == "auto" and not wanted and shows_gpu()):
        from minivault.engine.transformers.pipeline import chosen_device  # takes a second

        on = chosen_device(device)
        if on.type != "cpu":
            raise Unsupported(f"it computes on the CPU, not on {on.type} (--device cpu)")
    # The same wherever it runs, as the bytes of its texts are.
    own: Literal["file", "bfloat16"] = "file" if is_gguf(folder) else "bfloat16"
    width = own if dtype == "auto" else dtype
    native = NativeRunner(folder, dtype=width, **options)  # type: ignore[arg-type]
    if not native.reproducible and not wanted:
        raise NoKernels("its C kernels do not keep a row's bits on this processor")
    return native
