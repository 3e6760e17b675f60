"""The modules of a page as one script: one request instead of thirty, without what people need.

Comments and indentation are for those who read the files, and a third of their bytes. So no text in
backticks may begin a line with a space that matters.

Nothing is built beforehand. The files in static/js stay what is written, read and tested; a server
joins them when a page first asks, and again when one of them has changed.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from minivault.resources import resource

PAGES = ("chat", "logs")

_IMPORT = re.compile(r'^import \{ ([^}]+) \} from "([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
_INDENT = re.compile(r"^\s+", re.MULTILINE)
_COMMENT = re.compile(r"/\*\*(?:.|\n)*?\*/\s?|^ *//.*\n", re.MULTILINE)


def script_routes() -> list[Route]:
    """`GET /static/js/chat.js` and `/static/js/logs.js`."""
    return [Route(f"/static/js/{page}.js", _script, methods=["GET"]) for page in PAGES]


def joined(folder: Path, page: str) -> str:
    """The page's main module after everything that it imports, each in a scope of its own."""
    parts: dict[Path, str] = {}
    main = folder / page / "main.js"
    _add(main, parts, folder)
    return "".join(text for path, text in parts.items() if path != main) + parts[main]


def _add(path: Path, parts: dict[Path, str], folder: Path) -> None:
    """Puts a module behind those that it imports."""
    text = path.read_text(encoding="utf-8")
    for _, name in _IMPORT.findall(text):
        imported = (path.parent / name).resolve()
        if imported not in parts:
            _add(imported, parts, folder)
    text = _IMPORT.sub(
        lambda found: _taken(found, path, folder), _INDENT.sub("", _COMMENT.sub("", text))
    )
    exported = _EXPORT.findall(text)
    text = _EXPORT.sub("", text)
    if exported:
        body = f"{text}return {{ {', '.join(exported)} }};"
        text = f"const {_scope(path, folder)} = (() => {{\n{body}\n}})();\n"
    parts[path] = text


def _taken(found: re.Match[str], path: Path, folder: Path) -> str:
    names, source = found.groups()
    return f"const {{ {names} }} = {_scope((path.parent / source).resolve(), folder)};\n"


def _scope(path: Path, folder: Path) -> str:
    """The name that a module has in the script: `$chat_store`."""
    return "$" + "_".join(path.relative_to(folder).with_suffix("").parts)


def _changed(folder: Path) -> int:
    """When a module last changed, in nanoseconds."""
    return max(path.stat().st_mtime_ns for path in folder.rglob("*.js"))


@lru_cache(maxsize=len(PAGES))
def _made(folder: Path, page: str, changed: int) -> tuple[bytes, str]:
    """The script and its ETag."""
    content = joined(folder, page).encode()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


async def _script(request: Request) -> Response:
    folder = resource("static/js").resolve()
    page = Path(request.url.path).stem
    content, etag = _made(folder, page, _changed(folder))
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="text/javascript", headers=headers)
