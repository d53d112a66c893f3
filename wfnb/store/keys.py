"""Owns the user's data folder and the secret that signs stored pickles. Imports model and platformdirs only."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

import platformdirs

from wfnb.model.errors import ConfigurationError

_FILE = "secret.key"
_LENGTH = 64  # characters of hex in the file: 256 bits
_known: dict[Path, bytes] = {}
_lock = threading.Lock()


def data_dir() -> Path:
    """Return the folder for what wfnb keeps on this machine: ``WFNB_DATA_DIR``, else the user's data folder."""
    named = os.environ.get("WFNB_DATA_DIR")
    if named:
        return Path(named).expanduser().absolute()
    return _users_dir(os.environ.get("HOME"), os.environ.get("XDG_DATA_HOME"))


@cache
def _users_dir(*_: str | None) -> Path:
    """Return the user's data folder, looked up again when what it goes by has changed."""
    return Path(platformdirs.user_data_dir("wfnb", appauthor=False))


def secret_key() -> bytes:
    """Return the secret that signs and verifies stored pickles.

    It is ``WFNB_SECRET_KEY`` when that is set, else what the file ``secret.key`` in the data folder holds; the file is
    made on first use and readable by its owner only. Every machine that loads a value needs the secret of the one that
    stored it.
    """
    named = os.environ.get("WFNB_SECRET_KEY")
    if named:
        return named.encode()
    path = data_dir() / _FILE
    with _lock:
        if path not in _known:
            _known[path] = _read(path) or _make(path)
        return _known[path]


def _read(path: Path) -> bytes | None:
    """Return the secret in the file, or None when there is no file."""
    deadline = time.monotonic() + 2.0
    while True:
        try:
            text = path.read_bytes().strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigurationError(
                f"the secret key '{path}' cannot be read: {error.strerror}; mend its permissions or set WFNB_SECRET_KEY"
            ) from error
        if len(text) == _LENGTH:
            return text
        # Another process may be writing it, on a file system without hard links.
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"the secret key '{path}' holds {len(text)} characters where {_LENGTH} are expected; "
                "put the right file back or set WFNB_SECRET_KEY (what was signed with the lost key cannot be loaded)"
            )
        time.sleep(0.01)


def _make(path: Path) -> bytes:
    """Write a new secret, unless another process is first; return the one that is kept."""
    text = secrets.token_hex(_LENGTH // 2).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{_FILE}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _publish(temporary, path, text)
        finally:
            os.unlink(temporary)
    except OSError as error:
        raise ConfigurationError(
            f"the secret key '{path}' cannot be made: {error.strerror}; set WFNB_DATA_DIR to a folder that can be "
            "written, or set WFNB_SECRET_KEY"
        ) from error
    kept = _read(path)
    if kept is None:
        raise ConfigurationError(f"the secret key '{path}' was removed while it was made; try again")
    return kept


def _publish(temporary: str, path: Path, text: bytes) -> None:
    """Give the finished file its name, unless that is taken."""
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # never replaces: the first process wins, the file is whole
    except OSError:  # no hard links here
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(text)
