"""Keeps runs in Redis or Valkey, by redis-py, which only this module imports. Imports model and the contract only.

Any server from Redis 6 on will do, without modules; not a Redis Cluster. When the server is restarted, calls under way
wait for it and go on. With ``appendonly yes`` and ``appendfsync always`` it comes back with all that was acknowledged;
with ``appendfsync no`` too, unless the machine itself went down. With ``everysec``, Redis' own choice, a killed server
may have lost its last second or two: a reader that had read further is told so, and never skips what is written next.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from wfnb.model.errors import ConfigurationError, MissingDependency, StoreError, StoreUnavailable
from wfnb.store import chunks, redis_scripts, rules
from wfnb.store.base import Entry, Frame, Frames, Lease, Memo, Recorded, RunRecord

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise MissingDependency("redis", "redis", "a redis:// store") from error

T = TypeVar("T")

_INLINE = 1024 * 1024  # packs up to this many bytes go into the run's hash
_INLINE_CALL = 16 * 1024 * 1024  # and so many bytes of packs into one call
_PART_TTL = 3600  # seconds; parts nobody committed by then vanish
_FIRST_PATIENCE = 2.0  # seconds; a server never reached before is most likely a wrong URL
_BLOCK = 5.0  # seconds; stays below the socket's timeout
_PAGE = 5_000  # entries a call
_REMEMBERED = 1_000  # ends of readings, to notice a server that has lost entries
_RECORD = ("id", "workflow", "version", "status", "created", "updated", "tags", "shape")
_OPTIONS: dict[str, Callable[[str], Any]] = {"retry_for": float, "chunk_bytes": int}
_ONE, _SEVERAL, _PARTED = 0, 1, 2
_LENGTH = struct.Struct("<I")


class _Script:
    """A Lua script and the hash by which the server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


_CREATE = _Script(redis_scripts.CREATE)
_APPEND = _Script(redis_scripts.APPEND)
_DELETE = _Script(redis_scripts.DELETE)
_DISCARD = _Script(redis_scripts.DISCARD)
_LOOKUP = _Script(redis_scripts.LOOKUP)
_ACQUIRE = _Script(redis_scripts.ACQUIRE)
_RENEW = _Script(redis_scripts.RENEW)
_RELEASE = _Script(redis_scripts.RELEASE)
_LEASE = _Script(redis_scripts.LEASE)


class RedisStore:
    """A store in a Redis or Valkey server.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://...`` with TLS, or ``unix:///path/to.sock?db=0``. Options
            of this class and of redis-py may follow as a query.
        retry_for: seconds a call goes on trying when a server it had reached is gone.
        chunk_bytes: values longer than this are kept as several keys; Redis takes 512 MB a key at most.
    """

    def __init__(self, url: str, *, retry_for: float = 60.0, chunk_bytes: int = 4 * 1024 * 1024) -> None:
        self.url = url
        self.place = rules.redact(url)
        self._server = _server(url)
        bare, options = _options(url)
        self.retry_for: float = options.get("retry_for", retry_for)
        self.chunk_bytes: int = options.get("chunk_bytes", chunk_bytes)
        self._bare = bare
        self._lock = threading.Lock()
        self._made: Any = None
        self._reached = False
        # The keys of entries that were the last ones read, by run and position: see `_check_read`.
        self._read: dict[tuple[str, int], str] = {}

    def __repr__(self) -> str:
        return f"RedisStore({self.place!r})"

    def __eq__(self, other: object) -> bool:
        return self._server == other._server if isinstance(other, RedisStore) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._server)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.url, self.retry_for, self.chunk_bytes)

    def identity(self) -> str:
        """Return the id the database was given when a store was first opened in it."""

        def work(client: Any, _again: bool) -> str:
            client.set("wfnb:identity", uuid.uuid4().hex, nx=True)
            return str(client.get("wfnb:identity").decode())

        return self._call(work)

    def create(
        self, record: RunRecord, entries: Sequence[Entry] = (), packs: Mapping[str, Frames] | None = None
    ) -> None:
        """Add a run with its first entries and packs, all or none."""
        rules.check_run_id(record.id)
        fields = (
            record.workflow,
            record.version,
            record.status,
            repr(record.created),
            repr(record.updated),
            json.dumps(record.tags),
            record.shape,
        )
        self._write(_CREATE, record.id, fields, entries, packs)

    def get(self, run_id: str) -> RunRecord:
        """Return the record of a run."""
        row = self._command("HMGET", f"wfnb:{{{run_id}}}:run", *_RECORD)
        if row[0] is None:
            raise rules.not_found(run_id, self.place)
        return _to_record(row)

    def find(
        self, *, workflow: str | None = None, statuses: Sequence[str] | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Return runs, newest created first."""
        if limit <= 0:
            return []
        if statuses is None:
            names = ["wfnb:runs" if workflow is None else f"wfnb:runs:w:{workflow}"]
        elif workflow is None:
            names = [f"wfnb:runs:s:{status}" for status in dict.fromkeys(statuses)]
        else:
            names = [f"wfnb:runs:b:{status}:{workflow}" for status in dict.fromkeys(statuses)]

        def work(client: Any, _again: bool) -> list[RunRecord]:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.zrevrange(name, 0, limit - 1, withscores=True)
            rows = [row for rows in pipeline.execute() for row in rows]
            rows.sort(key=lambda row: (row[1], row[0]), reverse=True)
            ids = [row[0].decode() for row in rows[:limit]]
            records: list[RunRecord] = []
            for start in range(0, len(ids), 500):
                for run_id in ids[start : start + 500]:
                    pipeline.hmget(f"wfnb:{{{run_id}}}:run", _RECORD)
                records += [_to_record(row) for row in pipeline.execute() if row[0] is not None]
            return records

        found = self._call(work)
        # A status may have changed between the two looks.
        return found if statuses is None else [record for record in found if record.status in statuses]

    def delete(self, run_id: str) -> None:
        """Remove a run with all it has; does nothing when there is none."""
        self._eval(_DELETE, run_id)

    def append(
        self,
        run_id: str,
        entries: Sequence[Entry],
        *,
        epoch: int | None,
        packs: Mapping[str, Frames] | None = None,
        status: str | None = None,
        memos: Mapping[str, tuple[str, int]] | None = None,
    ) -> int:
        """Append entries to the run's journal and keep the packs, all or none; return the last position."""
        fields = ("" if epoch is None else str(epoch), status or "", repr(time.time()) if status else "")
        return self._write(_APPEND, run_id, fields, entries, packs, epoch or 0, memos)

    def read(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """Return the entries after a position, in order, at most `limit`."""
        found: list[Recorded] = []
        base = f"wfnb:{{{run_id}}}:"

        def look(client: Any, _again: bool) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.hget(base + "keys", self._read.get((run_id, start), ""))
            pipeline.xrange(base + "journal", f"{start + 1}-0", "+", count)
            return list(pipeline.execute())

        while limit is None or len(found) < limit:
            start = after + len(found)
            count = _PAGE if limit is None else min(_PAGE, limit - len(found))
            place, rows = self._call(look)
            self._check_read(run_id, start, place)
            found += [Recorded(int(name[:-2]), pairs[1].decode(), pairs[3]) for name, pairs in rows]
            if len(rows) < count:
                break
        if not found:
            if not self._command("EXISTS", base + "run"):
                raise rules.not_found(run_id, self.place)
            return found
        with self._lock:
            self._read[run_id, found[-1].position] = found[-1].key
            if len(self._read) > _REMEMBERED:
                del self._read[next(iter(self._read))]
        return found

    def lookup(self, run_id: str, key: str) -> Recorded | None:
        """Return the entry with that key, or None."""
        answer = self._about(_LOOKUP, run_id, key)
        return None if answer[0] == b"none" else Recorded(int(answer[1]), key, answer[2])

    def wait(self, run_id: str, after: int, timeout: float) -> bool:
        """Wait until the journal holds more than `after` entries; return whether it does."""
        base = f"wfnb:{{{run_id}}}:"

        def look(client: Any, _again: bool) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.xlen(base + "journal")
            pipeline.exists(base + "run")
            pipeline.hget(base + "keys", self._read.get((run_id, after), ""))
            return list(pipeline.execute())

        deadline = time.monotonic() + timeout
        while True:
            length, there, place = self._call(look)
            if not there:
                raise rules.not_found(run_id, self.place)
            self._check_read(run_id, after, place)
            if length > after:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            block = max(int(min(left, self._longest_block()) * 1000), 1)  # 0 would be for ever
            if self._command("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", base + "journal", f"{after}-0"):
                return True

    def load(self, run_id: str, keys: Sequence[str]) -> dict[str, list[Frame]]:
        """Return the packs that are there, by key; missing keys are left out."""
        name = f"wfnb:{{{run_id}}}:packs"
        found: dict[str, list[Frame]] = {}
        for start in range(0, len(keys), 256):
            batch = keys[start : start + 256]
            values = self._command("HMGET", name, *batch)
            for key, value in zip(batch, values, strict=True):
                if value is not None:
                    frames = self._frames(run_id, key, value)
                    if frames is not None:
                        found[key] = frames
        return found

    def recall(self, keys: Sequence[str]) -> dict[str, Memo]:
        """Return the memos that are known, of whatever run, by key; missing keys are left out."""
        found: dict[str, Memo] = {}
        for start in range(0, len(keys), _PAGE):
            batch = keys[start : start + _PAGE]
            for key, value in zip(batch, self._command("HMGET", "wfnb:memos", *batch), strict=True):
                if value is not None:
                    run_id, offset, pack = value.decode().split(" ", 2)
                    found[key] = Memo(run_id, pack, int(offset))
        return found

    def acquire(self, run_id: str, owner: str, ttl: float) -> Lease:
        """Become the driver of a run: take the lease if it is free, lapsed or released, with a new epoch."""
        answer = self._about(_ACQUIRE, run_id, owner, _milliseconds(ttl), uuid.uuid4().hex)
        if answer[0] == b"held":
            raise rules.has_driver(run_id, answer[1].decode(), answer[2] / 1000)
        return Lease(owner, answer[1], ttl)

    def renew(self, run_id: str, epoch: int, ttl: float) -> None:
        """Keep the lease for another `ttl` seconds, also when it has lapsed and nobody took it."""
        answer = self._about(_RENEW, run_id, epoch, _milliseconds(ttl))
        if answer[0] == b"stale":
            raise rules.stale_epoch(run_id, epoch, answer[1])

    def release(self, run_id: str, epoch: int) -> None:
        """Give the lease back; does nothing for an older epoch."""
        self._about(_RELEASE, run_id, epoch)

    def lease(self, run_id: str) -> Lease | None:
        """Return the lease as it stands, or None when the run never had a driver."""
        answer = self._about(_LEASE, run_id)
        return None if answer[0] == b"none" else Lease(answer[1].decode(), answer[2], max(answer[3], 0) / 1000)

    def close(self) -> None:
        """Close the connections; the store opens them again when it is used."""
        if self._made is not None:
            # Calls of other threads keep theirs.
            self._made.connection_pool.disconnect(inuse_connections=False)

    def _write(
        self,
        script: _Script,
        run_id: str,
        fields: Sequence[str],
        entries: Sequence[Entry],
        packs: Mapping[str, Frames] | None,
        epoch: int = 0,
        memos: Mapping[str, tuple[str, int]] | None = None,
    ) -> int:
        """Run the script that creates or appends, with the parts of big packs sent before it."""
        args: list[Any] = [*fields, len(entries)]
        for entry in entries:
            args += (entry.key, entry.data)
        args.append(len(packs) if packs else 0)
        parted: list[tuple[str, str, list[Frame]]] = []  # key, token and parts of each big pack
        room = _INLINE_CALL
        for key, frames in packs.items() if packs else ():
            size = rules.size_of(frames)
            if size <= _INLINE and size <= room:
                room -= size
                args += (key, _inline(frames), "", 0)
            else:
                token, parts = uuid.uuid4().hex, list(chunks.split(frames, self.chunk_bytes))
                sizes = ",".join(str(len(frame)) for frame in frames)
                args += (key, bytes([_PARTED]) + f"{token} {len(parts)} {sizes}".encode(), token, len(parts))
                parted.append((key, token, parts))
        for key, (pack, offset) in memos.items() if memos else ():
            args += (key, f"{run_id} {offset} {pack}")
        for _ in range(3):
            self._send(run_id, parted)
            answer = self._eval(script, run_id, *args, again=True)
            # Parts are lost only when the server forgot them: a restart without its last second, or eviction.
            if answer[0] != b"lost":
                break
        if answer[0] == b"ok":
            return int(answer[1])
        if parted:
            self._eval(_DISCARD, run_id, *(x for key, token, parts in parted for x in (key, token, len(parts))))
        if answer[0] == b"exists":
            raise rules.run_exists(run_id, self.place)
        if answer[0] == b"stale":
            raise rules.stale_epoch(run_id, epoch, answer[1])
        if answer[0] == b"taken":
            raise rules.entry_exists(run_id, answer[1].decode())
        if answer[0] == b"lost":
            raise StoreError(
                f"the Redis server {self.place} forgets what it was just given: the value '{answer[1].decode()}' "
                f"of run '{run_id}' was not kept; give it more memory and 'maxmemory-policy noeviction'"
            )
        raise rules.not_found(run_id, self.place)

    def _send(self, run_id: str, parted: Sequence[tuple[str, str, list[Frame]]]) -> None:
        for _, token, parts in parted:
            for number, part in enumerate(parts):
                self._command("SET", f"wfnb:{{{run_id}}}:part:{token}:{number}", part, "EX", _PART_TTL)

    def _frames(self, run_id: str, key: str, value: bytes) -> list[Frame] | None:
        """Return the frames a pack's value stands for, or None when the pack is gone meanwhile."""
        while value[0] == _PARTED:
            token, count, sizes = value[1:].decode().split(" ")
            lengths = [int(size) for size in sizes.split(",")]
            try:
                return chunks.join(lengths, self._parts(run_id, token, int(count)))
            except EOFError as error:
                now = self._command("HGET", f"wfnb:{{{run_id}}}:packs", key)
                if now == value:
                    raise StoreError(
                        f"the value '{key}' of run '{run_id}' in {self.place} is damaged: {error}; run its step "
                        "again, and give the server 'maxmemory-policy noeviction'"
                    ) from error
                if now is None:
                    return None
                value = now  # replaced while we read it
        if value[0] == _ONE:
            return [value[1:]]
        if value[0] != _SEVERAL:
            raise StoreError(f"the value '{key}' of run '{run_id}' has a form this wfnb does not know; upgrade wfnb")
        (end,) = _LENGTH.unpack_from(value, 1)
        start = 1 + _LENGTH.size + end
        frames: list[Frame] = []
        for size in value[1 + _LENGTH.size : start].split(b",") if end else ():
            frames.append(value[start : start + int(size)])
            start += int(size)
        return frames

    def _parts(self, run_id: str, token: str, count: int) -> Iterator[bytes]:
        for number in range(count):
            part = self._command("GET", f"wfnb:{{{run_id}}}:part:{token}:{number}")
            if part is None:
                return
            yield part

    def _check_read(self, run_id: str, position: int, place: bytes | None) -> None:
        """Raise when the entry that was read at a position is not there any more."""
        key = self._read.get((run_id, position))
        if key is not None and (place is None or int(place) != position):
            with self._lock:
                self._read.pop((run_id, position), None)
            raise StoreError(
                f"the Redis server {self.place} has lost entries of run '{run_id}' that it had acknowledged, from "
                f"'{key}' or before (it was restarted without 'appendfsync always'); wf.resume('{run_id}') goes on "
                "from what is left"
            )

    def _eval(self, script: _Script, run_id: str, *args: Any, again: bool = False) -> list[Any]:
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

        return self._call(work)

    def _about(self, script: _Script, run_id: str, *args: Any) -> list[Any]:
        """Run a script about a run that must be there."""
        answer = self._eval(script, run_id, *args)
        if answer[0] == b"gone":
            raise rules.not_found(run_id, self.place)
        return answer

    def _command(self, *command: Any) -> Any:
        return self._call(lambda client, _: client.execute_command(*command))

    def _longest_block(self) -> float:
        """Return how many seconds a call may block: well below the time after which the socket gives up."""
        limit = self._client().connection_pool.connection_kwargs.get("socket_timeout")
        return min(_BLOCK, limit / 2) if limit else _BLOCK

    def _client(self) -> Any:
        client = self._made
        if client is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
                client = self._made
        return client

    def _make(self) -> Any:
        try:
            client = redis.Redis.from_url(
                self._bare,
                protocol=2,
                retry=Retry(NoBackoff(), 0),  # `_call` tries again, and tells the scripts that it does
                socket_timeout=20.0,
                socket_connect_timeout=_FIRST_PATIENCE,
                max_connections=1 << 16,
            )
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # complains of options it does not know
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the Redis URL '{self.place}' is wrong: {error}") from error
        client.set_response_callback("XRANGE", lambda rows, **_: rows)  # as the server gave them
        return client

    def _call(self, work: Callable[[Any, bool], T]) -> T:
        """Return what `work` returns, tried again while the server is away.

        Args:
            work: takes the client, and whether an earlier try may have reached the server.
        """
        started: float | None = None
        pause = 0.02
        while True:
            try:
                result = work(self._client(), started is not None)
            except (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError) as error:
                raise StoreError(
                    f"the Redis server {self.place} refused the user name or password: {error}; mend the URL"
                ) from error
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
                # A server that loads its data answers, so it is the right one.
                self._reached = self._reached or isinstance(error, redis.exceptions.BusyLoadingError)
                started = time.monotonic() if started is None else started
                patience = self.retry_for if self._reached else min(self.retry_for, _FIRST_PATIENCE)
                waited = time.monotonic() - started
                if waited + pause > patience:
                    raise StoreUnavailable(
                        f"the Redis server {self.place} cannot be reached (tried for {waited:.0f} s): {error}; "
                        "check that it runs and that this machine may connect to it"
                    ) from error
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)
            except redis.exceptions.RedisError as error:
                raise self._error(error) from error
            else:
                self._reached = True
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


def _reopen(url: str, retry_for: float, chunk_bytes: int) -> RedisStore:
    return RedisStore(url, retry_for=retry_for, chunk_bytes=chunk_bytes)


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


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)


def _inline(frames: Frames) -> bytes:
    if len(frames) == 1:
        return b"".join((bytes([_ONE]), frames[0]))
    sizes = ",".join(str(len(frame)) for frame in frames).encode()
    return b"".join((bytes([_SEVERAL]), _LENGTH.pack(len(sizes)), sizes, *frames))


def _to_record(row: Sequence[bytes]) -> RunRecord:
    texts = [field.decode() for field in row]
    return RunRecord(
        texts[0],
        texts[1],
        texts[2],
        texts[3],
        float(texts[4]),
        float(texts[5]),
        tuple(json.loads(texts[6])),
        texts[7],
    )
