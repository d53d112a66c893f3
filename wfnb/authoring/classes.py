"""Owns the hashing of the user's classes: plain ones, enums, dataclasses and pydantic models. Imports model only.

What follows from the rest of a class, such as the methods that a dataclass is given, is left out: it may differ from
process to process.
"""

from __future__ import annotations

import abc
import inspect
import types
from collections.abc import Mapping
from dataclasses import fields
from enum import EnumMeta
from typing import Any, Protocol

from pydantic import BaseModel

from wfnb.authoring.bytecode import hash_chunks
from wfnb.authoring.usercode import is_user_object
from wfnb.model.node import Node

_CLASS_NOISE = frozenset(
    """
    __module__ __dict__ __weakref__ __doc__ __qualname__ __firstlineno__ __static_attributes__ __abstractmethods__
    _abc_impl __annotations__ __dataclass_fields__ __dataclass_params__ __signature__ __class_vars__ __hash__
    __private_attributes__ __orig_bases__ __parameters__ model_fields __annotations_cache__ __slotnames__
    """.split()  # noqa: SIM905 - twenty-two lines otherwise
)
_FIELD_FACTS = (
    "default",
    "default_factory",
    "alias",
    "validation_alias",
    "serialization_alias",
    "validate_default",
    "frozen",
    "discriminator",
    "exclude",
    "init",
    "init_var",
)
_NODE_NOISE = frozenset(("policy", "tags", "capabilities", "version", "hooks"))


class Walk(Protocol):
    """What goes through everything a node reaches."""

    def token(self, value: Any) -> bytes:
        """Return the token of a value."""

    def annotation(self, annotation: Any) -> bytes:
        """Return the token of an annotation."""

    def member(self, key: str, value: Any, owner: str, cls: type) -> bytes:
        """Return the token of what a class holds under a name."""


def class_token(cls: type, walk: Walk) -> bytes:
    """Return the token of one of the user's classes: its bases, body, fields and members."""
    name = cls.__qualname__.rpartition("<locals>.")[2]
    rows: list[bytes] = [b"class", walk.token(type(cls)), *(walk.token(base) for base in cls.__bases__)]
    body = dict(vars(cls))
    rows += [cls.__name__.encode(), *map(walk.annotation, body.get("__orig_bases__", ()))]
    skipped = set(_CLASS_NOISE)
    if body.get("__hash__") is None and "__hash__" in body:
        rows.append(b"unhashable")
    elif isinstance(body.get("__hash__"), types.FunctionType):
        skipped.remove("__hash__")  # one that was generated is left out with its like
    if isinstance(cls, abc.ABCMeta):
        # Those registered; the rest of what is dumped are caches.
        dump: Any = abc._get_dump  # type: ignore[attr-defined]
        known = (one() for one in dump(cls)[0])
        rows += sorted(walk.token(one) for one in known if one is not None)
    if isinstance(cls, EnumMeta):
        rows += _members(cls, walk)
        skipped.update(cls.__members__)
        skipped.update(key for key, value in body.items() if _is_sunder(key) and not _is_own(value))
    if issubclass(cls, Node):
        skipped |= _NODE_NOISE
    if "__dataclass_fields__" in body:
        rows.append(repr(body.get("__dataclass_params__")).encode())
        for one in body["__dataclass_fields__"].values():
            flags = (one.init, one.repr, one.hash, one.compare, one.kw_only)
            rows += (one.name.encode(), repr(flags).encode())
            rows += (walk.token(one.default), walk.token(one.default_factory), walk.token(one.metadata))
        # Its generated methods follow from the fields.
        skipped.update(key for key, value in body.items() if _filename(value) == "<string>")
    if issubclass(cls, BaseModel) and "__pydantic_fields__" in body:
        rows += _model_fields(cls, walk)
        skipped.update(key for key in body if key.startswith("__pydantic_"))
        skipped.add("model_post_init")
    for attribute, annotation in body.get("__annotations__", {}).items():
        rows += (attribute.encode(), walk.annotation(annotation))
    for key, value in sorted(body.items()):
        if key not in skipped and not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            rows += (key.encode(), walk.member(key, value, name, cls))
    return hash_chunks(rows)


def _members(cls: EnumMeta, walk: Walk) -> list[bytes]:
    rows = [repr(getattr(cls, "_boundary_", None)).encode()]
    members: Mapping[str, Any] = cls.__members__
    for name, member in members.items():
        more = {key: value for key, value in vars(member).items() if not _is_sunder(key)}
        rows += (name.encode(), member.name.encode(), walk.token(member.value), walk.token(more))
    return rows


def _model_fields(cls: type[BaseModel], walk: Walk) -> list[bytes]:
    rows: list[bytes] = [walk.token(cls.__private_attributes__)]
    for name, info in cls.model_fields.items():
        rows.append(name.encode())
        rows += [walk.token(getattr(info, attribute, None)) for attribute in _FIELD_FACTS]
        rows.append(walk.token(list(info.metadata)))
    decorators = cls.__pydantic_decorators__
    for kind in sorted(f.name for f in fields(decorators)):
        found = getattr(decorators, kind)
        if isinstance(found, dict):
            for name, decorator in sorted(found.items()):
                function = inspect.unwrap(getattr(decorator.func, "__func__", decorator.func))
                rows += (kind.encode(), name.encode(), walk.token(function), repr(decorator.info).encode())
    return rows


def _is_sunder(name: str) -> bool:
    return name.startswith("_") and name.endswith("_")


def _is_own(value: Any) -> bool:
    """Return whether what an enum's class holds under a name with underscores is the user's."""
    function = getattr(value, "__func__", value)
    return isinstance(function, types.FunctionType) and is_user_object(function)


def _filename(value: Any) -> str:
    code = getattr(inspect.unwrap(value) if isinstance(value, types.FunctionType) else value, "__code__", None)
    return str(getattr(code, "co_filename", ""))
