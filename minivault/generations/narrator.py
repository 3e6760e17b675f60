"""Makes the text of a record again with a loaded backend: what a replay compares with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from minivault.backends.base import Backend, Finish, Request
from minivault.generations.record import engine_data
from minivault.generations.run import run
from minivault.schemas import EffectiveParameters
from minivault.vault.record import Record
from minivault.vault.replay import Origin


class Narrator:
    """Tells records again. `told` is what was said last, `tokens` how many tokens it took."""

    def __init__(
        self, backend: Backend, progress: Callable[[int], None] = lambda tokens: None
    ) -> None:
        self._backend = backend
        self._progress = progress
        self.told = ""
        self.tokens = 0

    @property
    def origin(self) -> Origin:
        info = self._backend.info
        model = {"name": info.name, "sha256": info.sha256}
        return Origin(model, engine_data(info), info.reproducible)

    async def tell(self, record: Record, max_tokens: int) -> AsyncGenerator[str, None]:
        """The text from its beginning, stop strings applied; ends after `max_tokens`."""
        params = EffectiveParameters.model_validate({**record.params, "max_tokens": max_tokens})
        request = Request(record.prompt or "", params, record.seed or 0)
        self.told, self.tokens, tail = "", 0, ""
        async for item in run(self._backend, request):
            text = tail if isinstance(item, Finish) else item.text
            self.told += text
            if not isinstance(item, Finish):
                tail = item.tail
                self.tokens += item.tokens
                self._progress(self.tokens)
            yield text
