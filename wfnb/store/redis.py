"""Keeps runs in Redis or Valkey, by redis-py, which only this module imports. Imports model and the contract only.

Any server from Redis 6 on will do, without modules; not a Redis Cluster. When the server is restarted, calls under way
wait for it and go on. With ``appendonly yes`` and ``appendfsync always`` it comes back with all that was acknowledged;
with ``appendfsync no`` too, unless the machine itself went down. With ``everysec``, Redis' own choice, a killed server
may have lost its last second or two: a reader that had read further is told so, and never skips what is written next.
"""

from __future__ import annotations

import json
import math
import struct
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wfnb.model.errors import StoreError
from wfnb.store import chunks, redis_scripts, rules
from wfnb.store.base import Answer, Entry, Frame, Frames, Lease, Memo, Recorded, Remembered, RunRecord
from wfnb.store.redis_link import Link, Script

_INLINE = 1024 * 1024  # packs up to this many bytes go into the run's hash
_INLINE_CALL = 16 * 1024 * 1024  # and so many bytes of packs into one call
_PART_TTL = 3600  # seconds; parts nobody committed by then vanish
_PAGE = 5_000  # entries a call
_LOOKED = 200  # runs whose sizes are asked for at once
_REMEMBERED = 1_000  # ends of readings, to notice a server that has lost entries
_RECORD = ("id", "workflow", "version", "status", "created", "updated", "tags", "shape", "parent")
_ONE, _SEVERAL, _PARTED = 0, 1, 2
_LENGTH = struct.Struct("<I")


_CREATE = Script(redis_scripts.CREATE)
_APPEND = Script(redis_scripts.APPEND)
_DELETE = Script(redis_scripts.DELETE)
_CLEAR = Script(redis_scripts.CLEAR)
_DISCARD = Script(redis_scripts.DISCARD)
_LOOKUP = Script(redis_scripts.LOOKUP)
_ACQUIRE = Script(redis_scripts.ACQUIRE)
_RENEW = Script(redis_scripts.RENEW)
_RELEASE = Script(redis_scripts.RELEASE)
_LEASE = Script(redis_scripts.LEASE)


class RedisStore:
    """A store in a Redis or Valkey server.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://...`` with TLS, or ``unix:///path/to.sock?db=0``. Options
            of this class and of redis-py may follow as a query.
        retry_for: seconds a call goes on trying when a server it had reached is gone.
        chunk_bytes: values longer than this are kept as several keys; Redis takes 512 MB a key at most.
    """

    def __init__(self, url: str, *, retry_for: float = 60.0, chunk_bytes: int = 4 * 1024 * 1024) -> None:
        self._link = Link(url, retry_for, chunk_bytes)
        self.url, self.place = url, self._link.place
        self._lock = threading.Lock()
        # The keys of entries that were the last ones read, by run and position: see `_check_read`.
        self._read: dict[tuple[str, int], str] = {}

    def __repr__(self) -> str:
        return f"RedisStore({self.place!r})"

    def __eq__(self, other: object) -> bool:
        return self._link.server == other._link.server if isinstance(other, RedisStore) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._link.server)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.url, self._link.retry_for, self._link.chunk_bytes)

    def identity(self) -> str:
        """Return the id the database was given when a store was first opened in it."""

        def work(client: Any, _again: bool) -> str:
            client.set("wfnb:identity", uuid.uuid4().hex, nx=True)
            return str(client.get("wfnb:identity").decode())

        return self._link.call(work)

    def create(
        self,
        record: RunRecord,
        entries: Sequence[Entry] = (),
        packs: Mapping[str, Frames] | None = None,
        *,
        owner: str = "",
        ttl: float = 0.0,
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
            record.parent,
            owner,
            _milliseconds(ttl),
            uuid.uuid4().hex,
        )
        self._write(_CREATE, record.id, fields, entries, packs)

    def get(self, run_id: str) -> RunRecord:
        """Return the record of a run."""
        row = self._link.command("HMGET", f"wfnb:{{{run_id}}}:run", *_RECORD)
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

        found = self._link.call(work)
        # A status may have changed between the two looks.
        return found if statuses is None else [record for record in found if record.status in statuses]

    def forks(self, run_id: str) -> list[str]:
        """Return the ids of the runs whose record names this one as their parent."""
        return sorted(name.decode() for name in self._link.command("SMEMBERS", f"wfnb:runs:p:{run_id}"))

    def sizes(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return about how many bytes journal and packs of runs take, by the server's own estimate."""

        def look(client: Any, _again: bool) -> dict[str, int]:
            found: dict[str, int] = {}
            for start in range(0, len(run_ids), _LOOKED):
                batch = run_ids[start : start + _LOOKED]
                pipeline = client.pipeline(transaction=False)
                for run_id in batch:
                    for name in ("run", "journal", "keys", "packs"):
                        pipeline.execute_command("MEMORY USAGE", f"wfnb:{{{run_id}}}:{name}", "SAMPLES", 0)
                    pipeline.hvals(f"wfnb:{{{run_id}}}:parts")
                answers = iter(pipeline.execute())
                for run_id, (there, *sizes, parts) in zip(batch, zip(*[answers] * 5, strict=True), strict=True):
                    if there is None:
                        continue
                    for part in parts:
                        token, count = part.decode().split(" ")
                        last = int(count) - 1  # all others are as large as the first
                        name = f"wfnb:{{{run_id}}}:part:{token}:"
                        first_size, last_size = (client.strlen(f"{name}{number}") for number in (0, last))
                        sizes.append(first_size * last + last_size)
                    found[run_id] = there + sum(size or 0 for size in sizes)
            return found

        return self._link.call(look)

    def delete(self, run_id: str, *, epoch: int | None = None) -> None:
        """Remove a run with all it has; does nothing when there is none."""
        answer = self._link.eval(_DELETE, run_id, "" if epoch is None else epoch, uuid.uuid4().hex)
        if answer[0] == b"stale":
            raise rules.stale_epoch(run_id, epoch or 0, answer[1])
        while self._link.eval(_CLEAR, run_id)[0] == b"more":
            pass

    def append(
        self,
        run_id: str,
        entries: Sequence[Entry],
        *,
        epoch: int | None,
        packs: Mapping[str, Frames] | None = None,
        status: str | None = None,
        memos: Mapping[str, Answer] | None = None,
        release: bool = False,
    ) -> int:
        """Append entries to the run's journal and keep the packs, all or none; return the last position."""
        now = repr(time.time()) if status else ""
        fields = ("" if epoch is None else str(epoch), status or "", now, "1" if release else "")
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
            place, rows = self._link.call(look)
            self._check_read(run_id, start, place)
            found += [Recorded(int(name[:-2]), pairs[1].decode(), pairs[3]) for name, pairs in rows]
            if len(rows) < count:
                break
        if not found:
            if not self._link.command("EXISTS", base + "run"):
                raise rules.not_found(run_id, self.place)
            return found
        with self._lock:
            self._read[run_id, found[-1].position] = found[-1].key
            if len(self._read) > _REMEMBERED:
                del self._read[next(iter(self._read))]
        return found

    def lookup(self, run_id: str, *keys: str) -> Recorded | None:
        """Return the entry with that key, or None; of several keys, the first that there is an entry with."""
        answer = self._about(_LOOKUP, run_id, *keys)
        return None if answer[0] == b"none" else Recorded(int(answer[1]), answer[3].decode(), answer[2])

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
            length, there, place = self._link.call(look)
            if not there:
                raise rules.not_found(run_id, self.place)
            self._check_read(run_id, after, place)
            if length > after:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            block = max(int(min(left, self._link.longest_block()) * 1000), 1)  # 0 would be for ever
            if self._link.command("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", base + "journal", f"{after}-0"):
                return True

    def load(self, run_id: str, keys: Sequence[str]) -> dict[str, list[Frame]]:
        """Return the packs that are there, by key; missing keys are left out."""
        name = f"wfnb:{{{run_id}}}:packs"
        found: dict[str, list[Frame]] = {}
        for start in range(0, len(keys), 256):
            batch = keys[start : start + 256]
            values = self._link.command("HMGET", name, *batch)
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
            for key, value in zip(batch, self._link.command("HMGET", "wfnb:memos", *batch), strict=True):
                if value is not None:
                    run_id, offset, pack = value.decode().partition("\n")[0].split(" ", 2)
                    found[key] = Memo(run_id, pack, int(offset))
        return found

    def memos(self) -> Iterator[Remembered]:
        """Go through all memos, in no order."""
        cursor = 0
        while True:
            cursor, rows = self._link.command("HSCAN", "wfnb:memos", cursor, "COUNT", 1_000)
            for key, value in rows.items():
                place, _, about = value.decode().partition("\n")
                nbytes, written, node = about.split(" ", 2) if about else ("0", "0", "")
                yield Remembered(key.decode(), place.partition(" ")[0], node, int(nbytes), float(written))
            if cursor == 0:
                return

    def forget(self, keys: Sequence[str]) -> int:
        """Forget memos, leaving the values they lead to; return how many of them were known."""
        batches = (keys[start : start + _PAGE] for start in range(0, len(keys), _PAGE))
        return sum(int(self._link.command("HDEL", "wfnb:memos", *batch)) for batch in batches)

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
        if answer[0] == b"none":
            return None
        return Lease(answer[1].decode(), answer[2], -math.inf if answer[0] == b"released" else answer[3] / 1000)

    def close(self) -> None:
        """Close the connections; the store opens them again when it is used."""
        self._link.close()

    def _write(
        self,
        script: Script,
        run_id: str,
        fields: Sequence[str | int],
        entries: Sequence[Entry],
        packs: Mapping[str, Frames] | None,
        epoch: int = 0,
        memos: Mapping[str, Answer] | None = None,
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
                token, parts = uuid.uuid4().hex, list(chunks.split(frames, self._link.chunk_bytes))
                sizes = ",".join(str(len(frame)) for frame in frames)
                args += (key, bytes([_PARTED]) + f"{token} {len(parts)} {sizes}".encode(), token, len(parts))
                parted.append((key, token, parts))
        now = repr(time.time())
        for key, (pack, offset, node, nbytes) in memos.items() if memos else ():
            args += (key, f"{run_id} {offset} {pack}\n{nbytes} {now} {node}")
        for _ in range(3):
            self._send(run_id, parted)
            answer = self._link.eval(script, run_id, *args, again=True)
            # Parts are lost only when the server forgot them: a restart without its last second, or eviction.
            if answer[0] != b"lost":
                break
        if answer[0] == b"ok":
            return int(answer[1])
        if parted:
            self._link.eval(_DISCARD, run_id, *(x for key, token, parts in parted for x in (key, token, len(parts))))
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
        self._link.send(
            ("SET", f"wfnb:{{{run_id}}}:part:{token}:{number}", part, "EX", _PART_TTL)
            for _, token, parts in parted
            for number, part in enumerate(parts)
        )

    def _frames(self, run_id: str, key: str, value: bytes) -> list[Frame] | None:
        """Return the frames a pack's value stands for, or None when the pack is gone meanwhile."""
        while value[0] == _PARTED:
            token, count, sizes = value[1:].decode().split(" ")
            lengths = [int(size) for size in sizes.split(",")]
            try:
                return self._parts(run_id, token, int(count), lengths)
            except EOFError as error:
                now = self._link.command("HGET", f"wfnb:{{{run_id}}}:packs", key)
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

    def _parts(self, run_id: str, token: str, count: int, lengths: Sequence[int]) -> list[Frame]:
        """Return the frames that are kept in parts; raises EOFError where these are not what they should be."""
        room = chunks.Room(lengths)

        def into(place: int, length: int) -> Iterator[memoryview]:
            nonlocal room
            if place == 0:
                room = chunks.Room(lengths)  # it may be the second try
            return room.views(length)

        self._link.fetch([f"wfnb:{{{run_id}}}:part:{token}:{number}" for number in range(count)], into)
        room.check()
        return room.frames

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

    def _about(self, script: Script, run_id: str, *args: Any) -> list[Any]:
        """Run a script about a run that must be there."""
        answer = self._link.eval(script, run_id, *args)
        if answer[0] == b"gone":
            raise rules.not_found(run_id, self.place)
        return answer


def _reopen(url: str, retry_for: float, chunk_bytes: int) -> RedisStore:
    return RedisStore(url, retry_for=retry_for, chunk_bytes=chunk_bytes)


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)


def _inline(frames: Frames) -> bytes:
    if len(frames) == 1:
        return b"".join((bytes([_ONE]), frames[0]))
    sizes = ",".join(str(len(frame)) for frame in frames).encode()
    return b"".join((bytes([_SEVERAL]), _LENGTH.pack(len(sizes)), sizes, *frames))


def _to_record(row: Sequence[bytes | None]) -> RunRecord:
    run_id, workflow, version, status, created, updated, tags, shape, parent = (
        "" if field is None else field.decode()  # an older wfnb knows no parents
        for field in row
    )
    labels = tuple(json.loads(tags))
    return RunRecord(run_id, workflow, version, status, float(created), float(updated), labels, shape, parent)
