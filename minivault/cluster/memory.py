"""Whether as many replicas fit in this machine's memory as are wanted."""

from __future__ import annotations

from pathlib import Path

from minivault.errors import CannotStart
from minivault.model_store import ModelStore
from minivault.settings import Settings
from minivault.size import Bytes

#: What Ray, Serve and HAProxy take (about 700 MB), and what a server takes besides its weights.
RAY = 700 * 2**20
SERVER = 300 * 2**20

#: Weights lie in memory as on disk, and in part once more in another form.
_WEIGHTS = 1.25


def require_room(replicas: int, settings: Settings, available: int | None = None) -> None:
    """Raises CannotStart where they do not fit. `available`: bytes; by default what Linux says."""
    free = free_memory() if available is None else available
    if free is None:
        return
    each = SERVER + int(_WEIGHTS * _weights(settings))
    if RAY + replicas * each <= free:
        return
    fit = max(0, (free - RAY) // each)
    advice = f"--replicas {fit}" if fit else "a smaller model"
    raise CannotStart(
        f"{replicas} replicas need about {_told(RAY + replicas * each)} of memory, "
        f"{_told(each)} each and {_told(RAY)} for Ray, and {_told(free)} are free: {advice}"
    )


def free_memory() -> int | None:
    """Bytes that programs can still have; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def _weights(settings: Settings) -> int:
    """Bytes of the model; 0 where another server or a backend of one's own has it."""
    if settings.upstream or settings.backend not in (None, "local"):
        return 0
    model = ModelStore(settings.models_dir, offline=True).choose(settings.model).model
    return model.size if model else 0


def _told(size: int) -> str:
    return str(Bytes(f"{max(1, size >> 20)} MiB"))
