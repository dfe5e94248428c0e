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
from operator import attrgetter
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
    kind = type(value)
    return (_ENCODERS.get(kind) or _learn(kind))(value)


def dumps(value: Any) -> str:
    """Canonical JSON text of a value: sorted keys, no spaces, floats by repr."""
    return text_of(encode(value))


def text_of(plain: Any) -> str:
    """The canonical text of what :func:`encode` has made plain already."""
    return _WRITER.encode(plain)


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


_WRITER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
_ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {}
"""How each type that was met is encoded."""


def _learn(kind: type) -> Callable[[Any], Any]:
    """Find out once how a type is encoded."""
    encoder = _ENCODERS[kind] = _encoder(kind)
    return encoder


def _encoder(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, Enum):
        return _enum_value
    if issubclass(kind, bool | str | types.NoneType):
        return _itself
    if issubclass(kind, float):
        return _number
    if issubclass(kind, int):
        return int
    if issubclass(kind, Decimal):
        return str
    if dataclasses.is_dataclass(kind):
        return _dataclass_encoder(kind)
    if issubclass(kind, Mapping):
        return _mapping
    if issubclass(kind, tuple | list):
        return _sequence
    if issubclass(kind, frozenset | set):
        return _members
    return _refuse


def _itself(value: Any) -> Any:
    return value


def _enum_value(value: Enum) -> Any:
    return value.value


def _number(value: float) -> Any:
    return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {_key(key): encode(item) for key, item in value.items()}


def _sequence(value: tuple[Any, ...] | list[Any]) -> list[Any]:
    return [encode(item) for item in value]


def _members(value: frozenset[Any] | set[Any]) -> list[Any]:
    return sorted(encode(item) for item in value)


def _refuse(value: Any) -> Any:
    raise TypeError(f"no exact JSON form for {type(value).__name__}: {value!r}")


def _dataclass_encoder(kind: type) -> Callable[[Any], Any]:
    names = tuple(field.name for field in dataclasses.fields(kind))
    if not names:
        return lambda _value: {}
    if len(names) == 1:
        return lambda value: {names[0]: encode(getattr(value, names[0]))}
    values = attrgetter(*names)
    return lambda value: dict(zip(names, map(encode, values(value)), strict=True))


def _key(key: Any) -> str:
    if isinstance(key, Enum) or not isinstance(key, str):
        if isinstance(key, Enum) and isinstance(key, str):
            return str(key.value)
        raise TypeError(f"JSON keys are text, got {key!r}")
    return key


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
