"""Lists of values: a comma-separated variable or an option that is given again and again."""

from __future__ import annotations

import re
from pathlib import Path

HOST = re.compile(r"[^\s/*,]+")
ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/*,]+/?")
SERVER = re.compile(r"https?://[^\s/,]+(/[^\s,]*)?")
WITNESS = re.compile(r"https?://[^\s/,#]+(/[^\s,#]*)?#[^\s,#]+")
_EXAMPLES = {
    HOST: "vault.example or vault.example:8443",
    ORIGIN: "https://example.org",
    SERVER: "http://127.0.0.1:9000",
    WITNESS: "https://witness.example#its-key-as-minivault-witness-prints-it",
}


def listed(
    value: object, kind: str, *, right: re.Pattern[str] | None = None, read_files: bool = False
) -> object:
    """A comma-separated variable or the command line's list, cleaned; @FILE is read by lines.

    Blank items vanish. Raises ValueError where nothing is left of what was given, since an option
    that protects must not be off by accident, and for an item that is not `right`.
    """
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list):
        return given
    found: list[object] = []
    for item in given:
        text = item.strip() if isinstance(item, str) else item
        if read_files and isinstance(text, str) and text.startswith("@"):
            found += _read_keys_of(Path(text[1:]))
        elif not isinstance(text, str) or text.strip(", "):
            if right and not right.fullmatch(str(text)):
                raise ValueError(f"{str(text)[:100]!r} is no {kind}; {_EXAMPLES[right]} is one")
            found.append(text)
    if given and not found:
        raise ValueError(f"holds no {kind}, only blanks; give one or leave it out")
    return found


def _read_keys_of(path: Path) -> list[str]:
    """The keys of a file, one a line; a `#` at its begin or behind a blank starts a comment."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    keys = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    for number, key in enumerate(keys, 1):
        if len(key.split()) > 1:
            raise ValueError(f"{path}, line {number}: a key has no blanks in it; one key a line")
    found = [key for key in keys if key.strip(",")]
    if not found:
        raise ValueError(f"{path} holds no key; write one a line, or leave the option out")
    return found
