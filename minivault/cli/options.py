"""Options of the command line, made from the fields of pydantic models: one source for both."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from minivault.errors import FieldError, InvalidRequest
from minivault.schemas import field_errors
from minivault.settings import Settings
from minivault.size import Bytes

Command = Callable[..., None]

#: What of a server's settings matters wherever a model is loaded or a log opened.
MODEL_AND_LOG = {
    "model",
    "models_dir",
    "backend",
    "runner",
    "dtype",
    "device",
    "threads",
    "context",
    "kv_memory",
    "offline",
    "logs_dir",
    "secret_file",
    "signing_key",
}

#: What is not typed by Typer itself: the models read these from text.
_METAVARS: dict[object, str] = {Bytes: "SIZE", Path: "PATH", str: "TEXT"}


def options(
    model: type[BaseModel], *, only: Collection[str] | None = None, but: Collection[str] = ()
) -> list[inspect.Parameter]:
    """One option for each field: `max_running` is `--max-running`."""
    assert {*(only or ()), *but} <= model.model_fields.keys(), "a field that is not there"
    return [
        _option(name, field)
        for name, field in model.model_fields.items()
        if (only is None or name in only) and name not in but
    ]


def takes(*groups: Iterable[inspect.Parameter]) -> Callable[[Command], Command]:
    """Gives a command these options besides its own; those that were given come as `**given`."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        extra = [option for group in groups for option in group]
        names = {option.name for option in extra}

        def run(**values: Any) -> None:
            absent = [name for name in names if values[name] is None or values[name] == []]
            command(**{name: value for name, value in values.items() if name not in absent})

        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__signature__ = signature.replace(parameters=own + extra)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in own + extra}
        return run

    return decorate


def read_settings(given: dict[str, Any]) -> Settings:
    """Settings from options, then `MINIVAULT_…` variables, then `.env`. Raises InvalidRequest."""
    try:
        return Settings(**given)
    except ValidationError as error:
        errors = []
        for each in field_errors(error):  # told by where the wrong value was written
            name = each.field.split(".")[0]
            source = _flag(name) if name in given else f"MINIVAULT_{name.upper()}"
            errors.append(FieldError(source, each.message[:1].lower() + each.message[1:]))
        raise InvalidRequest(errors) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest([FieldError(".env", f"cannot be read: {error}")]) from None


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    kind, metavar = _kind(field.annotation)
    default, text = field.default, field.description or ""
    if default is True:
        text = f"Do not {text[:1].lower()}{text[1:]}"
    elif field.default_factory is None and default is not None and default is not False:
        text = f"{text} Default: {default}."
    option = typer.Option(
        _flag("no-" + name if field.default is True else name),
        callback=_negated if field.default is True else None,
        help=text,
        metavar=metavar,
        show_default=False,
    )
    is_list = get_origin(kind) is list
    annotation: Any = kind if is_list else Union[kind, None]  # noqa: UP007 - not a literal type
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=[] if is_list else None,
        annotation=Annotated[annotation, option],
    )


def _kind(annotation: Any) -> tuple[Any, str | None]:
    """The type that Typer reads, and the word for it in the help where Typer has none."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(each for each in get_args(annotation) if each is not types.NoneType)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is list:
        return list[str], "TEXT"
    if get_origin(annotation) is Literal:
        return str, "|".join(get_args(annotation))
    if annotation in (bool, int, float):
        return annotation, None
    return str, _METAVARS[annotation]


def _negated(value: bool | None) -> bool | None:
    """What is on by default has an option that turns it off."""
    return None if value is None else not value


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
