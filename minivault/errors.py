"""The errors of MiniVault, one tree. `web/problems.py` makes HTTP of them, `cli/` exit codes.

MiniVaultError                    500
├── InvalidRequest                422  .errors: which field, what is wrong, what would be right
│   ├── KeyConflict               422  the same key or id came with another prompt or parameters
│   ├── PromptTooLong             422  .tokens .context
│   └── Unsupported               422  it is right, but cannot be had here
├── MalformedRequest              400  not JSON, or not readable as a request at all
├── Unauthorized                  401  an API key is missing or wrong
├── TooManyWrongKeys              429  .retry_after seconds
├── Forbidden                     403  another site's page asked
├── NotFound                      404  no such generation, record or page
│   └── UnknownModel              404  another model serves
├── BodyTooLarge                  413
├── UnsupportedMedia              415  a browser sent something that is not application/json
├── Unavailable                   503  .retry_after seconds
│   ├── QueueFull                      too many are waiting
│   ├── Loading                        the model is not there yet
│   ├── Draining                       the server is shutting down
│   └── LogUnavailable                 the vault cannot write
├── BackendFailed                 500  the backend raised while it generated
│   └── Lost                           what made the text is gone; another may make it again
├── CannotStart                   exit code 3
│   ├── ModelNotFound                  no such model, with the names that exist
│   ├── ModelUnusable                  it is there, and cannot be loaded
│   └── DownloadFailed                 the hub refused, stalled or sent something else
├── ChainBroken                   exit code 1  .file .line .reason
├── Incomplete                    of the client: a text did not come to its end; .text so far
│   ├── Gone                           the server cannot go on with it
│   └── Unreachable                    no server answered
└── NotProven                     of the client: a text is not what the log holds
"""

from __future__ import annotations

from dataclasses import dataclass


class MiniVaultError(Exception):
    """Root of the tree. The message is for people: what is wrong, and what would be right.

    It never quotes a prompt or a response.
    """

    status = 500
    title = "Internal error"

    @property
    def detail(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request."""

    field: str
    message: str


class InvalidRequest(MiniVaultError):
    """The request can be read, but something in it is out of bounds."""

    status = 422
    title = "Invalid request"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class KeyConflict(InvalidRequest):
    """A key or an event id names another request than the one that came with it."""

    title = "Key belongs to another request"


class PromptTooLong(InvalidRequest):
    """The prompt leaves no room in the model's context."""

    title = "Prompt too long"

    def __init__(self, tokens: int, context: int) -> None:
        message = (
            f"has {tokens} tokens; this model's context is {context}, so {context - 1} fit "
            "and leave room for one more"
        )
        super().__init__([FieldError("prompt", message)])
        self.tokens = tokens
        self.context = context


class Unsupported(InvalidRequest):
    """What was asked for is right in itself, and cannot be had from this server or model."""

    title = "Not supported"


class MalformedRequest(MiniVaultError):
    """The body or the query cannot be read."""

    status = 400
    title = "Malformed request"


class Unauthorized(MiniVaultError):
    """A key is needed, and none or a wrong one came."""

    status = 401
    title = "Key needed"


class TooManyWrongKeys(MiniVaultError):
    """Wrong keys came from this address: the next one is looked at after `retry_after` seconds."""

    status = 429
    title = "Too many wrong keys"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Forbidden(MiniVaultError):
    """Another site's page caused this request, or a typed-in address did."""

    status = 403
    title = "Refused"


class NotFound(MiniVaultError):
    """There is no such generation, record or page."""

    status = 404
    title = "Not found"


class UnknownModel(NotFound):
    """Another model than the one that serves was asked for."""

    title = "No such model"


class BodyTooLarge(MiniVaultError):
    """The request body is over the limit."""

    status = 413
    title = "Body too large"


class UnsupportedMedia(MiniVaultError):
    """A page sent a body that is not declared as application/json, or a compressed one."""

    status = 415
    title = "Unsupported media type"


class Unavailable(MiniVaultError):
    """Not now: the client may come again after `retry_after` seconds."""

    status = 503
    title = "Not available now"
    reason = "unavailable"  # the word that /metrics counts it by

    def __init__(self, message: str, *, retry_after: int = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Unavailable):
    """As many requests wait as may wait."""

    title = "Queue full"
    reason = "queue"


class Loading(Unavailable):
    """The model is being loaded or downloaded."""

    title = "Loading"
    reason = "loading"


class Draining(Unavailable):
    """The server is shutting down."""

    title = "Shutting down"
    reason = "draining"


class LogUnavailable(Unavailable):
    """The vault cannot be written; without a record nothing is generated."""

    title = "Log not writable"
    reason = "log"


class BackendFailed(MiniVaultError):
    """The backend raised while it made the text."""

    title = "Generation failed"


class Lost(BackendFailed):
    """What made the text went away in the middle; made again, it may come to its end.

    A generation of a reproducible backend that raises this starts over from its first token, at
    most three times, and its readers notice nothing.
    """

    title = "Text lost"


def contained(error: BaseException) -> Exception:
    """What was thrown, as something that `except Exception` takes.

    Extensions throw what is no Exception (Rust's panics are none), and in an event loop or a thread
    that somebody waits for it would get past everything. Ctrl-C is raised again.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, KeyboardInterrupt):
        raise error
    failure = BackendFailed(f"a library threw {type(error).__name__}")
    failure.__cause__ = error
    return failure


def in_short(error: BaseException, length: int = 160) -> str:
    """What a library says, which may be pages: the kind, and the first line, cut."""
    words = next(iter(str(contained(error)).strip().splitlines()), "")
    cut = words if len(words) <= length else f"{words[:length]}…"
    return f"{type(error).__name__}: {cut}" if words else type(error).__name__


class CannotStart(MiniVaultError):
    """Something that is needed to start is missing or wrong (exit code 3)."""

    title = "Cannot start"


class ModelNotFound(CannotStart):
    """No model of that name; the message lists the names that exist."""

    title = "No such model"


class ModelUnusable(CannotStart):
    """The model's files are there, but cannot be loaded."""

    title = "Model unusable"


class DownloadFailed(CannotStart):
    """The hub could not be reached, refused, stalled or sent something else than it announced."""

    title = "Download failed"


class ChainBroken(MiniVaultError):
    """The log was changed: the first bad line (0: no one line), and why (exit code 1)."""

    title = "Chain broken"

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}, line {line}: {reason}" if line else f"{file}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


class Incomplete(MiniVaultError):
    """A client's text did not come to its end; `text` is what came of it."""

    title = "Text incomplete"

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class Gone(Incomplete):
    """The text is not kept any more, and the server cannot make it again."""

    title = "Gone"


class Unreachable(Incomplete):
    """No server answered, for as long as the client was told to try."""

    title = "Server unreachable"


class NotProven(MiniVaultError):
    """What came to a client is not what the log holds, or its receipt is not the record's."""

    title = "Not proven"
