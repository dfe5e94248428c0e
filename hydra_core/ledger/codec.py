"""Dataclasses of the domain to canonical JSON and back, without losing a bit.

Floats are written by ``repr`` (the shortest text that reads back as the same bits), Decimals and enums as their text,
non-finite floats as ``{"$float": "nan"}``; keys are sorted. Equal values therefore give equal bytes, which is what a
replay compares. Decoding is driven by the type hints of the dataclass.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar

from hydra_core.domain.errors import DataCorrupt

T = TypeVar("T")
_FLOAT: Final = "$float"


def encode(value: Any) -> Any:
    """Plain JSON-able structure of a dataclass, mapping, sequence, enum, Decimal or number.

    Raises
    ------
    TypeError : the value holds something that has no exact JSON form
    """
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Decimal):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: encode(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, Mapping):
        return {_key(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(encode(item) for item in value)
    raise TypeError(f"no exact JSON form for {type(value).__name__}: {value!r}")


def dumps(value: Any) -> str:
    """Canonical JSON text of a value: sorted keys, no spaces, floats by repr."""
    return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def decode(kind: type[T], data: Any) -> T:
    """Value of a dataclass (or any hinted type) from what :func:`encode` made of it.

    Raises
    ------
    DataCorrupt : the data does not have that type's shape
    """
    try:
        return typing.cast("T", _decoder(typing.cast("typing.Hashable", kind))(data))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise DataCorrupt(f"stored {getattr(kind, '__name__', kind)} cannot be read: {error!r}") from error


def loads(kind: type[T], text: str) -> T:
    """Value of a type from the text that :func:`dumps` made of it."""
    return decode(kind, json.loads(text))


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"JSON keys are text, got {key!r}")
    return str(key.value) if isinstance(key, Enum) else key


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _plain(data: Any) -> Any:
    """Undo :func:`encode` where no type is declared: only non-finite floats need it."""
    if isinstance(data, dict):
        if set(data) == {_FLOAT}:
            return float(data[_FLOAT])
        return {key: _plain(item) for key, item in data.items()}
    return [_plain(item) for item in data] if isinstance(data, list) else data


def _float(data: Any) -> float:
    return float(data[_FLOAT]) if isinstance(data, dict) else float(data)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def check(data: Any) -> Any:
        if type(data) is not kind:
            raise TypeError(f"expected {kind.__name__}, found {data!r}")
        return data

    return check


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """A function that reads one hinted type; built once per type."""
    if kind is Any:
        return _plain
    if isinstance(kind, typing.NewType):
        return _decoder(kind.__supertype__)
    if kind is float:
        return _float
    if kind in (int, bool, str):
        return _exactly(kind)
    if kind is Decimal:
        return Decimal
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass_decoder(kind)
    return _generic_decoder(kind)


def _dataclass_decoder(kind: type) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    readers = {field.name: _decoder(hints[field.name]) for field in fields}
    # What was written before a field existed is read with that field's default.
    optional = {field.name for field in fields if field.default is not dataclasses.MISSING}

    def read(data: Any) -> Any:
        given = {name: reader for name, reader in readers.items() if name in data or name not in optional}
        return kind(**{name: reader(data[name]) for name, reader in given.items()})

    return read


def _generic_decoder(kind: Any) -> Callable[[Any], Any]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (some,) = (part for part in inner if part is not type(None))
        present = _decoder(some)
        return lambda data: None if data is None else present(data)
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        each = _decoder(inner[0])
        return lambda data: tuple(each(item) for item in data)
    if origin is tuple:
        parts = tuple(_decoder(part) for part in inner)
        return lambda data: tuple(part(item) for part, item in zip(parts, data, strict=True))
    if origin is frozenset:
        member = _decoder(inner[0])
        return lambda data: frozenset(member(item) for item in data)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, item = _decoder(inner[0]), _decoder(inner[1])
        return lambda data: {key(name): item(value) for name, value in data.items()}
    raise TypeError(f"cannot decode {kind!r}")
