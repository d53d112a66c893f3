"""Signed bytes: what a process stores for another to load as code. Imports model errors only."""

from __future__ import annotations

import hmac

from wfnb.model.errors import ValueRefused
from wfnb.store.base import Frame

_DOMAIN = b"wfnb/code/1\0"
_SIGNATURE = 32


def seal(secret: bytes, data: bytes) -> list[Frame]:
    """Return the frames that hold the data and its signature."""
    return [hmac.digest(secret, _DOMAIN + data, "sha256"), data]


def unseal(secret: bytes, frames: list[Frame]) -> bytes:
    """Return the data that was sealed.

    Raises:
        ValueRefused: it was not sealed with this secret, or altered.
    """
    if len(frames) == 2 and len(frames[0]) == _SIGNATURE:
        data = bytes(frames[1])
        if hmac.compare_digest(bytes(frames[0]), hmac.digest(secret, _DOMAIN + data, "sha256")):
            return data
    raise ValueRefused(
        "the run's code was refused: its signature does not match, so it was stored with another secret or altered; "
        "set WFNB_SECRET_KEY to the secret of the machine that started the run (or copy its secret.key)"
    )
