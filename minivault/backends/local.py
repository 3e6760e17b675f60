"""The model on this machine: requests become sequences of the engine, its outputs become pieces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from minivault.backends.base import Finish, ModelInfo, Piece, Reader, Request
from minivault.backends.outputs import Outputs, fan_out, first_score, piece_of
from minivault.background import Pool, in_thread
from minivault.engine.processor import available_cores
from minivault.engine.sequence import Constraint, Output, SamplingParams
from minivault.engine.sequence import Sequence as EngineSequence
from minivault.errors import FieldError, InvalidRequest, Unavailable
from minivault.libraries import require
from minivault.model_store import StoredModel
from minivault.model_store.recommended import left_out, recommended
from minivault.schemas import FinishReason
from minivault.settings import Settings
from minivault.text_request import Tools

if TYPE_CHECKING:
    from minivault.engine.engine import Engine
    from minivault.engine.runner import Runner
    from minivault.engine.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

_PROMPTS = Pool("prompts made again", 2)
_GRAMMARS = Pool("grammars", 2, nice=True)  # a schema of somebody's may take long


class LocalBackend:
    """Serves a model of the store by the engine, all its requests in one batch.

    `start` loads it; no library of it is imported before. All that is of the model exists from
    then on, and serves until `close`.
    """

    info: ModelInfo
    _tokenizer: Tokenizer
    _engine: Engine

    def __init__(self, settings: Settings, model: StoredModel) -> None:
        self._settings = settings
        self._model = model
        self._loaded = ExitStack()
        self._open: set[Outputs] = set()

    async def start(self) -> None:
        """Loads the model in a thread and starts the engine's. Raises ModelUnusable."""
        self._loop = asyncio.get_running_loop()
        self._engine = await in_thread(self._load)
        self._engine.start(self._deliver)

    async def close(self) -> None:
        """Stops the engine; requests that are still open fail with Unavailable."""
        await in_thread(self._loaded.close)
        for outputs in self._open:
            outputs.put(Unavailable("the model is being unloaded"))

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        """One piece for every token, also for those that make no text yet; then a Finish.

        Closing it frees the sequence at the next step. Raises InvalidRequest for a prompt that does
        not fit, and whatever the engine raised for this sequence.
        """
        engine, tokenizer, outputs = self._engine, self._tokenizer, Outputs()
        if request.tokens is None:  # one that is made again from a record
            tokens = await _PROMPTS.run(self.tokenize, request.prompt)
            request = replace(request, tokens=tuple(tokens))
        constraint = None
        if format := request.params.response_format:
            constraint = await _GRAMMARS.run(tokenizer.constrain, format)
        sequence = self._sequence(request, outputs, constraint)
        if request.params.prompt_logprobs:
            yield first_score(sequence.prompt[0], tokenizer)
            if not sequence.forced and request.max_tokens == 0:
                yield Finish(FinishReason.LENGTH)
                return
        try:
            engine.add(sequence)
        except ValueError as error:  # it could never be held in the memory for keys and values
            raise InvalidRequest([FieldError("max_tokens", str(error))]) from error
        self._open.add(outputs)
        made = 0
        try:
            while True:
                output = await outputs.get()
                made += output.token_id is not None
                if output.text or output.token_id is not None or output.score:
                    yield piece_of(output, tokenizer)
                if output.finish is not None:
                    yield Finish(output.finish, completion_tokens=made)
                    return
        finally:  # may run under cancellation: nothing here may wait
            self._open.discard(outputs)
            engine.cancel(sequence)

    def constrain(self, format: Mapping[str, Any]) -> None:
        """Raises InvalidRequest for a format that no text can be held to. Any thread."""
        self._tokenizer.check_format(format)

    def call_format(
        self, prompt: str, tools: Tools, text: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The format of an answer that may call functions. Any thread. Raises Unsupported."""
        return self._tokenizer.call_format(prompt, tools, text)

    def tokenize(self, prompt: str) -> list[int]:
        """The tokens of a prompt. Any thread.

        Raises InvalidRequest for one that the model has no embedding for: it may not reach the
        engine.
        """
        tokens = self._tokenizer.encode(prompt)
        self._refuse_unknown(tokens)
        return tokens

    def tokenize_bare(self, text: str) -> list[int]:
        """The tokens of a text alone, without those the model wants around it. Any thread."""
        return self._tokenizer.encode_bare(text)

    def tokenizer_info(self) -> Mapping[str, Any]:
        """The names of its special tokens and its chat template. Any thread."""
        return self._tokenizer.info

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of a prompt that comes as tokens. Any thread. Raises InvalidRequest."""
        self._refuse_unknown(tokens)
        return self._tokenizer.spell(tokens)

    def _refuse_unknown(self, tokens: Sequence[int]) -> None:
        tokenizer, embedded = self._tokenizer, self._embedded
        if (largest := max(tokens, default=0)) >= embedded:
            message = (
                f"holds the token {largest} ({tokenizer.token_text(largest)!r}), but this model "
                f"knows {embedded} tokens and its tokenizer {tokenizer.size}"
            )
            raise InvalidRequest([FieldError("prompt", message)])

    def render(
        self, messages: Sequence[Mapping[str, Any]], told: Mapping[str, Any] | None = None
    ) -> str:
        """The prompt that the model's chat template makes. Any thread. Raises InvalidRequest."""
        return self._tokenizer.render(messages, told)

    def _reader(self, request: Request) -> Reader | None:
        return self._tokenizer.reader(request.prompt, request.params.response_format)

    def share(self, request: Request, prompt_tokens: int) -> float:
        """The part of the memory for keys and values that it may come to take. Any thread."""
        return self._engine.share(prompt_tokens + request.params.max_tokens)

    def problem(self) -> str | None:
        """Why the model cannot work now. Any thread."""
        return self._engine.problem()

    def lacks(self) -> list[str]:
        """What the model did not get of this machine, in sentences. After `start`."""
        return self._lacks

    def statistics(self) -> Mapping[str, float]:
        """The engine's gauges. Any thread."""
        return self._engine.statistics()

    def _load(self) -> Engine:
        require("tokenizers")  # before it is built upon
        from minivault.engine.engine import Engine
        from minivault.engine.loading import load_runner
        from minivault.engine.tokenizer import load_tokenizer

        settings, model = self._settings, self._model
        self._tokenizer = tokenizer = load_tokenizer(model.path)
        self._loaded.callback(tokenizer.close)
        runner = load_runner(
            model.path,
            dtype=settings.dtype,
            device=settings.device,
            threads=settings.threads or available_cores(),
            runner=settings.runner,
            max_running=settings.max_running,
            prefix_memory=settings.prefix_memory,
            context=settings.context,
            tokens=tokenizer.size,
        )
        self._embedded, self._lacks = runner.embedded, list(runner.lacks())
        engine = Engine(
            runner,
            max_running=settings.max_running,
            kv_memory=settings.kv_memory,
            end_ids=tokenizer.end_ids,
        )
        self._loaded.callback(engine.close)
        limits = [*_limits(tokenizer, runner, engine), *left_out(model.path)]
        for sentence in limits:
            _log.warning("%s: %s", model.name, sentence)
        self.info = ModelInfo(
            name=model.name,
            context_length=runner.context_length,
            reproducible=runner.reproducible,
            applies_limits=True,
            chat=tokenizer.chat,
            sha256=model.sha256,
            tokenizer_sha256=model.tokenizer_sha256,
            engine={
                **runner.description,
                "mode": runner.mode,
                "tokenizers": version("tokenizers"),
                "llguidance": version("llguidance"),
            },
            notice="; ".join(filter(None, (runner.notice, *limits))) or None,
            defaults=recommended(model.path, model.sha256),
            begin=tokenizer.begin_id,
            vocabulary=runner.vocabulary,
            reader=self._reader if tokenizer.chat else None,
            created=int(model.path.stat().st_mtime),
        )
        return engine

    def _sequence(
        self, request: Request, outputs: Outputs, constraint: Constraint | None
    ) -> EngineSequence:
        tokenizer = self._tokenizer
        prompt = list(request.tokens or ())
        left = self.info.context_length - len(prompt)
        if not prompt or left < 1:
            message = f"has {len(prompt)} tokens; from 1 to {self.info.context_length - 1} fit"
            raise InvalidRequest([FieldError("prompt", message)])
        text = tokenizer.text(prompt, request.params.stop, request.params.response_format)
        group = "" if self._settings.share_prefixes else request.caller
        forced: tuple[int, ...] = ()
        if request.params.prompt_logprobs:
            prompt, forced = prompt[:1], tuple(prompt[1:])
        return EngineSequence(
            prompt,
            _sampling(request, left),
            text,
            owner=outputs,
            group=group,
            constraint=constraint,
            forced=forced,
        )

    def _deliver(self, outputs: list[Output]) -> None:
        """Called by the engine's thread with all that one step brought: one call into the loop."""
        try:
            self._loop.call_soon_threadsafe(fan_out, outputs)
        except RuntimeError:
            if not self._loop.is_closed():  # a closed loop has nobody who waits for text
                raise


def _limits(tokenizer: Tokenizer, runner: Runner, engine: Engine) -> Iterator[str]:
    """What this model cannot do here that one would expect of it, in sentences."""
    if tokenizer.size > runner.embedded:
        yield (
            f"the tokenizer has {tokenizer.size} tokens, the model knows {runner.embedded}: "
            "prompts with others are refused"
        )
    if tokenizer.no_chat:
        yield f"it takes no `messages`: {tokenizer.no_chat}"
    if shortage := engine.shortage():
        yield shortage


def _sampling(request: Request, left: int) -> SamplingParams:
    params = request.params
    return SamplingParams(
        max_tokens=min(params.max_tokens, left),
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        repetition_penalty=params.repetition_penalty,
        seed=request.seed,
        top_logprobs=params.top_logprobs,
        stop=params.stop,
        logprobs=params.logprobs,
        prompt_logprobs=params.prompt_logprobs,
        min_p=params.min_p,
        frequency_penalty=params.frequency_penalty,
        presence_penalty=params.presence_penalty,
        logit_bias=tuple(params.logit_bias.items()),
    )
