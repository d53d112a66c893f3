"""The connection of a Redis store to its server: URLs, scripts, trying again. Imports model and redis-py.

With `wfnb.store.redis`, the only module that imports redis-py.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from wfnb.model.errors import ConfigurationError, MissingDependency, StoreError, StoreUnavailable
from wfnb.store import rules
from wfnb.store.patience import LOOK, shortest

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise MissingDependency("redis", "redis", "a redis:// store") from error

T = TypeVar("T")

_FIRST_PATIENCE = 2.0  # seconds; a server never reached before is most likely a wrong URL
_BLOCK = 5.0  # seconds; stays below the socket's timeout
_SOCKET = 20.0  # seconds after which a server that says nothing counts as away
_BLIND = 1.0  # seconds in which who only looks at a server found away is not made to wait again
_AHEAD = 2  # commands sent before the answer to one is read
_MOST_CHUNK = 512 * 1024 * 1024  # bytes
_OPTIONS: dict[str, Callable[[str], Any]] = {"retry_for": float, "chunk_bytes": int}


class Script:
    """A Lua script and the hash by which the server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


class Link:
    """What reaches a server and goes on trying when it is gone for a while.

    Args:
        url: the server's, with options of this package and of redis-py.
        retry_for: seconds a call goes on trying when a server it had reached is gone; the URL's option comes first.
        chunk_bytes: the same for the size of parts of large values.
    """

    def __init__(self, url: str, retry_for: float, chunk_bytes: int) -> None:
        self.url = url
        self.place = rules.redact(url)
        self.server = _server(url)
        self._bare, options = _options(url)
        self.retry_for: float = options.get("retry_for", retry_for)
        self.chunk_bytes: int = options.get("chunk_bytes", chunk_bytes)
        if not 0 < self.chunk_bytes <= _MOST_CHUNK:
            raise ConfigurationError(
                f"the option 'chunk_bytes' of the Redis URL '{self.place}' is {self.chunk_bytes}; write a number from "
                f"1 to {_MOST_CHUNK}, which is the most Redis takes in one key"
            )
        self._lock = threading.Lock()
        # By the time after which their sockets give up.
        self._made: dict[float, Any] = {}
        self._reached = False
        self._away = ""
        self._away_until = 0.0

    def close(self) -> None:
        """Close the connections; the store opens them again when it is used."""
        for client in list(self._made.values()):
            # Calls of other threads keep theirs.
            client.connection_pool.disconnect(inuse_connections=False)

    def eval(self, script: Script, run_id: str, *args: Any, again: bool = False) -> list[Any]:
        """Run a script for a run; with `again`, tell it whether an earlier try may have arrived."""
        base = f"wfnb:{{{run_id}}}:"
        keys = [base + name for name in ("run", "journal", "keys", "packs", "parts", "lease")]

        def work(client: Any, retried: bool) -> list[Any]:
            rest = (6, *keys, run_id, *(("1" if retried else "0",) if again else ()), *args)
            try:
                answer = client.execute_command("EVALSHA", script.sha, *rest)
            except redis.exceptions.NoScriptError:
                answer = client.execute_command("EVAL", script.text, *rest)
            return list(answer)

        return self.call(work)

    def command(self, *command: Any) -> Any:
        """Return what a command answers."""
        return self.call(lambda client, _: client.execute_command(*command))

    def send(self, commands: Iterable[Sequence[Any]]) -> None:
        """Send commands that may be sent again, such as those that set large values, before earlier answers are read.

        Args:
            commands: each its name and arguments; all answers are "OK".
        """

        def work(client: Any, _again: bool) -> None:
            pool = client.connection_pool
            connection = pool.get_connection()
            ahead = 0
            try:
                # While the server takes one in, the next is on its way.
                for command in todo:
                    connection.send_command(*command)
                    ahead += 1
                    if ahead > _AHEAD:
                        connection.read_response()
                        ahead -= 1
                while ahead:
                    connection.read_response()
                    ahead -= 1
            finally:
                if ahead:  # answers may be under way that nobody takes
                    connection.disconnect()
                pool.release(connection)

        if todo := list(commands):
            self.call(work)

    def fetch(self, keys: Sequence[str], into: Callable[[int, int], Iterable[memoryview]]) -> None:
        """Receive the values of keys where they are wanted, without a copy, up to the first that is not there.

        Redis-py reads a large value four times as slowly: in small pieces, and copies it twice.

        Args:
            keys: the keys, in order.
            into: takes a key's place and its value's length, and returns the memory to fill, in order; may be asked
                anew, from the first key on.
        """

        def work(client: Any, _again: bool) -> None:
            pool = client.connection_pool
            connection = pool.get_connection()
            whole = False
            try:
                # One value is asked for while the one before it arrives, so that the server need not hold them all.
                connection.send_command("GET", keys[0])
                incoming = _Incoming(connection._sock)
                for place in range(len(keys)):
                    if place + 1 < len(keys):
                        connection.send_command("GET", keys[place + 1])
                    if not incoming.value(place, into):
                        return
                whole = True
            finally:
                if not whole:  # answers may be under way that nobody takes
                    connection.disconnect()
                pool.release(connection)

        self.call(work)

    def longest_block(self) -> float:
        """Return how many seconds a call may block: well below the time after which the socket gives up."""
        limit = self._client().connection_pool.connection_kwargs.get("socket_timeout")
        return min(_BLOCK, limit / 2) if limit else _BLOCK

    def _client(self) -> Any:
        wait = _SOCKET if shortest(_SOCKET) == _SOCKET else LOOK
        client = self._made.get(wait)
        if client is None:
            with self._lock:
                if wait not in self._made:
                    self._made[wait] = self._make(wait)
                client = self._made[wait]
        return client

    def _make(self, wait: float) -> Any:
        try:
            client = redis.Redis.from_url(
                self._bare,
                protocol=2,
                retry=Retry(NoBackoff(), 0),  # `call` tries again, and tells the scripts that it does
                socket_timeout=wait,
                socket_connect_timeout=_FIRST_PATIENCE,
                max_connections=1 << 16,
            )
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # complains of options it does not know
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the Redis URL '{self.place}' is wrong: {error}") from error
        client.set_response_callback("XRANGE", lambda rows, **_: rows)  # as the server gave them
        return client

    def call(self, work: Callable[[Any, bool], T]) -> T:
        """Return what `work` returns, tried again while the server is away.

        Args:
            work: takes the client, and whether an earlier try may have reached the server.
        """
        started: float | None = None
        pause = 0.02
        limit = shortest(self.retry_for)
        if limit <= LOOK and time.monotonic() < self._away_until:
            raise StoreUnavailable(self._away)
        while True:
            try:
                result = work(self._client(), started is not None)
            except (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError) as error:
                raise StoreError(
                    f"the Redis server {self.place} refused the user name or password: {error}; mend the URL"
                ) from None
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
                # A server that loads its data answers, so it is the right one.
                self._reached = self._reached or isinstance(error, redis.exceptions.BusyLoadingError)
                started = time.monotonic() if started is None else started
                patience = limit if self._reached else min(limit, _FIRST_PATIENCE)
                waited = time.monotonic() - started
                if waited + pause > patience:
                    self._away = (
                        f"the store '{self.place}' cannot be reached (tried for {waited:.0f} s): {error}; "
                        "check that it runs and that this machine may connect to it"
                    )
                    self._away_until = time.monotonic() + _BLIND
                    raise StoreUnavailable(self._away) from None  # what redis-py was at when it failed helps nobody
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)
            except redis.exceptions.RedisError as error:
                raise self._error(error) from None
            else:
                self._reached = True
                self._away_until = 0.0
                return result

    def _error(self, error: Exception) -> StoreError:
        text, where = str(error), f"the Redis server {self.place}"
        if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM " in text or "maxmemory" in text:
            return StoreError(
                f"{where} is out of memory ('maxmemory') and took nothing: {text}; raise its limit or delete old runs"
            )
        if isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in text:
            return StoreError(f"{where} is a read-only replica: {text}; use the URL of its primary")
        if "MISCONF" in text:
            return StoreError(f"{where} cannot write to its disk and takes nothing: {text}; free some room there")
        if isinstance(error, (redis.exceptions.MovedError, redis.exceptions.ClusterCrossSlotError)):
            return StoreError(f"{where} is part of a Redis Cluster, which is not supported; use a single server")
        return StoreError(f"{where} refused a command: {text}")


class _Incoming:
    """What a server answers, read from the connection's socket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._ahead = b""  # what was received beyond what was asked for

    def value(self, place: int, into: Callable[[int, int], Iterable[memoryview]]) -> bool:
        """Receive one value; return whether there is one."""
        kind, rest = (line := self._line())[:1], line[1:]
        if kind == b"-":
            text = rest.decode("utf-8", "replace")
            loading = text.startswith("LOADING")
            raise redis.exceptions.BusyLoadingError(text) if loading else redis.exceptions.ResponseError(text)
        if kind != b"$":
            raise redis.exceptions.InvalidResponse(f"a value begins with {line!r}")
        if rest == b"-1":
            return False
        for view in into(place, int(rest)):
            self._fill(view)
        if self._line():
            raise redis.exceptions.InvalidResponse("a value is longer than it says")
        return True

    def _line(self) -> bytes:
        while b"\r\n" not in self._ahead:
            more = self._socket.recv(64)
            if not more:
                raise redis.exceptions.ConnectionError("the server closed the connection")
            self._ahead += more
        line, _, self._ahead = self._ahead.partition(b"\r\n")
        return line

    def _fill(self, view: memoryview) -> None:
        count = min(len(self._ahead), len(view))
        view[:count] = self._ahead[:count]
        self._ahead, view = self._ahead[count:], view[count:]
        while len(view):
            count = self._socket.recv_into(view)
            if not count:
                raise redis.exceptions.ConnectionError("the server closed the connection")
            view = view[count:]


def _options(url: str) -> tuple[str, dict[str, Any]]:
    """Return the URL without this adapter's own options, and those."""
    bare, _, query = url.partition("?")
    own: dict[str, Any] = {}
    rest: list[tuple[str, str]] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            rest.append((name, value))
            continue
        try:
            own[name] = _OPTIONS[name](value)
        except ValueError:
            raise ConfigurationError(
                f"the option '{name}' of the Redis URL '{rules.redact(url)}' is no number: '{value}'"
            ) from None
    return bare + ("?" + urlencode(rest) if rest else ""), own


def _server(url: str) -> tuple[Any, ...]:
    """Return what tells one place from another: where the server is and the number of the database."""
    try:
        split = urlsplit(url)
        query = dict(parse_qsl(split.query))
        if split.scheme == "unix":
            return ("unix", unquote(split.path), int(query.get("db", 0)))
        if split.scheme not in ("redis", "rediss"):
            raise ValueError("it starts with 'redis://', 'rediss://' or 'unix://'")
        number = query.get("db") or split.path.strip("/") or 0
        return ("tcp", split.hostname or "localhost", split.port or 6379, int(number))
    except ValueError as error:
        raise ConfigurationError(f"'{rules.redact(url)}' is no URL of a Redis store: {error}") from error
