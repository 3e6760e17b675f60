"""One OpenAI-compatible server: what it serves, its circuit, and a stream of its completions."""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from minivault.backends.base import Finish, Logprobs, Piece, Request, TokenLogprob
from minivault.errors import BackendFailed, Lost
from minivault.schemas import FinishReason

SILENCE = 60.0  # seconds without a byte after which a server counts as lost
PROBE = 15.0  # seconds that a probe may take
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a lost server is tried again
BUSY = {429, 502, 503, 504, 529}  # the server's trouble; any other status is the request's


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself. `kind` is whose: vllm, llama.cpp, minivault or other."""

    model: str
    kind: str
    context_length: int | None
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """Some text of a stream, with the ids of its tokens where the server tells them."""

    piece: Piece
    ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()


class UpstreamServer:
    """A server and its circuit: closed while it works, open from a loss until a probe succeeds."""

    def __init__(self, url: str, http: httpx2.AsyncClient, limit: int) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.limit = limit
        self.running = 0
        self.losses = 0  # since the last success
        self.facts: Facts | None = None
        self.problem: str | None = "it was not asked yet"
        self._http = http
        self._next_probe = 0.0

    @property
    def has_room(self) -> bool:
        return self.problem is None and self.running < self.limit

    @property
    def due(self) -> bool:
        """Whether a lost server should be tried again now."""
        return self.problem is not None and time.monotonic() >= self._next_probe

    def lost(self, why: str) -> None:
        """Opens the circuit; the pause doubles with each loss in a row."""
        self.losses += 1
        self.problem = why
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.losses - 1))
        self._next_probe = time.monotonic() + pause * random.uniform(0.8, 1.2)

    async def probe(self) -> None:
        """Asks what it serves, and for one token, since only that shows that it works.

        Closes the circuit, or leaves it open for longer.
        """
        try:
            models = await self._json("GET", "/v1/models")
            model = models["data"][0]
            body = {"model": model["id"], "prompt": "a", "max_tokens": 1, "temperature": 0}
            answer = await self._json("POST", "/v1/completions", json={**body, "seed": 1})
            answer["choices"][0]["text"]
        except (httpx2.TransportError, KeyError, IndexError, TypeError, ValueError) as error:
            self.lost(f"{self.url} does not answer as OpenAI's API does ({type(error).__name__})")
            return
        self.facts = Facts(
            model=model["id"],
            kind=_kind(model),
            context_length=_context(model),
            fingerprint=answer.get("system_fingerprint"),
        )
        self.losses, self.problem = 0, None

    async def complete(
        self, request: Request, prompt: str | list[int], told: int
    ) -> AsyncGenerator[Said | Finish, None]:
        """The completion of a prompt that holds `told` of the request's tokens already.

        Closing it hangs up, at which the server stops. Raises Lost, or BackendFailed where the
        request is at fault.
        """
        body = self._body(request, prompt, told)
        self.running += 1
        try:
            async with self._http.stream("POST", f"{self.url}/v1/completions", json=body) as answer:
                if answer.status_code != 200:
                    raise await self._refusal(answer)
                async for item in _items(answer):
                    yield item
        except httpx2.TransportError as error:
            raise Lost(f"{self.url} went away ({type(error).__name__})") from error
        finally:
            self.running -= 1

    def _body(self, request: Request, prompt: str | list[int], told: int) -> dict[str, Any]:
        assert self.facts
        params, kind = request.params, self.facts.kind
        body: dict[str, Any] = {
            "model": self.facts.model,
            "prompt": prompt,
            "max_tokens": request.max_tokens - told,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k or (-1 if kind == "vllm" else 0),
            # llama.cpp takes 32 bits, and the highest of them as a wish for a random one.
            "seed": (request.seed + told) % (2**53 if kind == "minivault" else 2**32 - 1),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body["repeat_penalty" if kind == "llama.cpp" else "repetition_penalty"] = (
            params.repetition_penalty
        )
        if kind == "vllm":
            body["return_token_ids"] = True
        if params.top_logprobs:
            body["logprobs"] = params.top_logprobs
        return body

    async def _refusal(self, answer: httpx2.Response) -> Exception:
        status = answer.status_code
        if status in BUSY:
            return Lost(f"{self.url} answered {status}")
        # Its message may quote the prompt, which an error must not; what is wrong stands beside it.
        try:
            error = json.loads(await answer.aread())["error"]
            told = [str(error[name]) for name in ("type", "code", "param") if error.get(name)]
        except (ValueError, KeyError, TypeError, AttributeError):
            told = []
        return BackendFailed(f"{self.url} refused with {status} ({', '.join(told) or 'no reason'})")

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = await self._http.request(method, self.url + path, timeout=PROBE, **options)
        if not answer.is_success:
            raise ValueError(f"status {answer.status_code}")
        content: dict[str, Any] = answer.json()
        return content


async def _items(answer: httpx2.Response) -> AsyncGenerator[Said | Finish, None]:
    reason, tokens = None, None
    async for line in answer.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        try:
            chunk = json.loads(data)
            if "error" in chunk:
                raise Lost("an upstream server failed in the middle of a text")
            for choice in chunk["choices"]:
                reason = choice.get("finish_reason") or reason
                if said := _said(choice):
                    yield said
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Lost(f"an upstream server sent what is no completion ({error!r})") from error
    if reason is None:
        raise Lost("an upstream server ended a text without saying why")
    ended = FinishReason.LENGTH if reason == "length" else FinishReason.STOP
    yield Finish(ended, completion_tokens=tokens)


def _said(choice: Mapping[str, Any]) -> Said | None:
    ids = tuple(choice.get("token_ids") or ())
    prompt_ids = tuple(choice.get("prompt_token_ids") or ())
    text = choice["text"]
    logprobs = _logprobs(choice.get("logprobs") or {})
    if not (text or ids or prompt_ids):
        return None
    tokens = len(ids) or len(logprobs) or int(bool(text))
    return Said(Piece(text, tokens, logprobs), ids, prompt_ids)


def _logprobs(told: Mapping[str, Any]) -> tuple[Logprobs, ...]:
    tokens = told.get("tokens") or ()
    values = told.get("token_logprobs") or ()
    tops = told.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        Logprobs(
            TokenLogprob(token, value),
            tuple(TokenLogprob(*each) for each in (top or {}).items()),
        )
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _kind(model: Mapping[str, Any]) -> str:
    owner = str(model.get("owned_by", "")).lower()
    kinds = {"vllm": "vllm", "llamacpp": "llama.cpp", "me": "llama.cpp", "minivault": "minivault"}
    return kinds.get(owner, "other")


def _context(model: Mapping[str, Any]) -> int | None:
    meta = model.get("meta") or {}
    found = model.get("max_model_len") or model.get("context_length") or meta.get("n_ctx")
    return int(found) if found else None
