"""How a backend is found by name: an entry point of minivault.backends, or module:Class."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from minivault.background import describe
from minivault.errors import CannotStart

GROUP = "minivault.backends"
# The same door as for everybody's, for a checkout that is not installed.
BUILT_IN = {
    "local": "minivault.backends.local:LocalBackend",
    "echo": "minivault.backends.echo:EchoBackend",
}


def backend_class(name: str) -> Any:
    """The class (or factory) of a backend. Raises CannotStart with the names that exist."""
    if ":" in name:
        return _imported(name)
    places = {point.name: point for point in entry_points(group=GROUP)}
    if name in places:
        return _imported(places[name].value)
    if name in BUILT_IN:
        return _imported(BUILT_IN[name])
    known = ", ".join(sorted({*places, *BUILT_IN}))
    raise CannotStart(f"no backend {name!r}; there are: {known}; or give package.module:Class")


def _imported(place: str) -> Any:
    module_name, _, attribute = place.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise CannotStart(f"no module {module_name!r} for the backend {place!r}") from error
        raise CannotStart(f"the backend {place!r} cannot be imported: {error}") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        why = describe(error)
        raise CannotStart(f"the backend {place!r} cannot be imported: {why}") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CannotStart(f"module {module_name!r} has no {attribute!r}") from None
    return found
