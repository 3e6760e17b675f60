"""Sizes in bytes, read as people write them: 64 MiB, 1GiB, 500kB, 4096."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}


class Bytes(int):
    """A number of bytes. Raises ValueError for what is no size."""

    def __new__(cls, value: int | str) -> Bytes:
        if isinstance(value, str):
            match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
            unit = match and _UNITS.get(match[2].lower())
            if not match or unit is None:
                raise ValueError("a size is a number and a unit, such as 512 MiB or 1 GiB")
            value = int(Decimal(match[1]) * unit)
        if value < 0:
            raise ValueError("a size cannot be negative")
        if value >= 2**63:
            raise ValueError("no machine has so many bytes")
        return super().__new__(cls, value)

    def __str__(self) -> str:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if self >= size and self % size == 0:
                return f"{self // size} {unit}"
        return f"{int(self)} B"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(int)
        )
