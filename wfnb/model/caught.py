"""What a `catch` knows of an error, and errors made from the name of a type. Imports errors only."""

from __future__ import annotations

import builtins
import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from wfnb.model import errors
from wfnb.model.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class CaughtError:
    """What `error` is in a catch.

    Args:
        type: the name of the error's type, such as "ValueError".
        message: its text.
        address: the address of the task that failed, such as ``train[3]``.
        attempts: how often that task was called.
    """

    type: str
    message: str
    address: str = ""
    attempts: int = 1

    def __repr__(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


class NamedError(Exception):
    """The base of errors whose type is known by name only; each name has a class of its own, made when it is needed."""

    asked: ClassVar[str] = "NamedError"

    def __init__(self, message: str = "") -> None:
        Exception.__init__(self, message)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # also where the type would quote its text: KeyError

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.asked, str(self)), self.__dict__  # no process could import the class


def _again(name: str, message: str) -> NamedError:
    return _named(name)(message)


def error_type(name: str) -> Callable[[str], Exception]:
    """Return what makes errors of a type from their messages, so that the error's text is the message.

    Args:
        name: the type's name: one of Python's, one of wfnb's, or any, with or without a module. For a type that cannot
            be had by its name there is a class of that name, a `NamedError`.

    Raises:
        ConfigurationError: a type with that name would end the process, or it is no name.
    """
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, BaseException) and not issubclass(kind, Exception):
        raise ConfigurationError(f"a step cannot fail with '{name}': give a type of error, such as 'RuntimeError'")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(f"a step cannot fail with '{name}': give the name of a type, such as 'RuntimeError'")
    return functools.partial(_error, name)


def _error(name: str, message: str) -> Exception:
    kind = _known(name)
    if kind is not None:
        try:
            made = kind(message)
        except TypeError:
            return _named(name)(message)  # it is made of more than a message
        if str(made) == message:
            return made
    return _named(name)(message)


def _known(name: str) -> type[Exception] | None:
    """Return the type of Python or wfnb that has the name."""
    kind = getattr(builtins, name, None) or getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None


@functools.lru_cache(maxsize=256)
def _named(name: str) -> type[NamedError]:
    """Return the class of a name; it derives from the type of Python or wfnb that has the name, where it can."""
    module, _, short = name.rpartition(".")
    kind = _known(name)
    if kind is not None:
        made = _class(name, short, kind.__module__, (NamedError, kind))
        try:
            made("")
        except TypeError:  # its __new__ asks for more
            return _class(name, short, kind.__module__, (NamedError,))
        return made
    return _class(name, short, module or "wfnb", (NamedError,))


def _class(asked: str, name: str, module: str, bases: tuple[type, ...]) -> type[NamedError]:
    body = {"__module__": module, "__qualname__": name, "__doc__": "An error known by its name.", "asked": asked}
    return type(name, bases, body)
