"""Matches that count or draw: `limit`, `hashlimit`, `statistic`.

A bucket's credit is a time in nanoseconds: a packet costs the time that one has at the rate, and what passes is given
back. Linux counts in ticks of its clock, here nothing is rounded. Chance is the host's generator.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from lunar.netfilter.headers import WITH_PORTS, ports_of
from lunar.netfilter.rule import Context, Match
from lunar.packet import AF_INET, Packet

# `HashLimit.mode`, with Linux' bits: what of a packet tells the buckets apart, and how they count.
BY_DESTINATION: Final = 1
BY_DESTINATION_PORT: Final = 2
BY_SOURCE: Final = 4
BY_SOURCE_PORT: Final = 8
ABOVE: Final = 16
IN_BYTES: Final = 32
BY_RATE: Final = 64

_SECOND_NS: Final = 1_000_000_000
# Bytes are paid for in units of 16.
_CHUNK_SHIFT: Final = 4


@final
class LimitMatch(Match):
    """`-m limit`: `burst` packets at once, then one each `period_ns`."""

    def __init__(self, period_ns: i64, burst: i64, now_ns: i64) -> None:
        self.period_ns: i64 = period_ns
        self.full_ns: i64 = period_ns * burst
        self.credit_ns: i64 = period_ns * burst
        self.stamp_ns: i64 = now_ns

    def matches(self, packet: Packet, context: Context) -> bool:
        now: i64 = context.now_ns
        credit: i64 = self.credit_ns + now - self.stamp_ns
        self.stamp_ns = now
        if credit > self.full_ns:
            credit = self.full_ns
        passes = credit >= self.period_ns
        self.credit_ns = credit - self.period_ns if passes else credit
        return passes


@final
class StatisticMatch(Match):
    """`-m statistic`: each with `probability` of 2**31; if `every` is not 0, one of `every`, after `packet` others."""

    def __init__(self, probability: i64, every: i64, packet: i64, inverted: bool, rng: Any) -> None:
        self.probability: i64 = probability
        self.every: i64 = every
        # How many have come since the last that matched.
        self.count: i64 = every - packet - 1 if every else 0
        self.inverted: bool = inverted
        self.rng: Any = rng

    def matches(self, packet: Packet, context: Context) -> bool:
        if self.every == 0:
            drawn: int = self.rng.getrandbits(31)
            return (drawn < self.probability) != self.inverted
        if self.count == self.every - 1:
            self.count = 0
            return not self.inverted
        self.count += 1
        return self.inverted


@final
class Bucket:
    """The credit of one kind of packet; `until_ns` is when it is forgotten if none comes."""

    def __init__(self) -> None:
        self.credit: i64 = 0
        self.bursts: i64 = 0  # of bytes: how often the credit may be filled at once
        self.stamp_ns: i64 = 0
        self.until_ns: i64 = 0
        # Of --hashlimit-rate-match: what has come since `stamp_ns`, and whether it was too much before that.
        self.counted: i64 = 0
        self.was_above: bool = False


@final
class HashTable:
    """What rules with the same `--hashlimit-name` share: a bucket for each address and port that `mode` tells apart.

    `period_ns` is the time of one packet, or of 16 bytes. For --hashlimit-rate-match `rate` of packets or bytes in an
    interval are too many for the next one, and more than `most` at once. Buckets without packets are collected each
    `collect_ns`, counted from the table's making, as Linux does: until then one that is too old is used on.
    """

    def __init__(self, mode: i64, period_ns: i64, burst: i64, expire_ms: i64, room: i64, now_ns: i64) -> None:
        self.mode: i64 = mode
        self.period_ns: i64 = period_ns
        self.burst: i64 = burst
        self.expire_ns: i64 = expire_ms * 1_000_000
        self.room: i64 = room
        self.src_mask: int = 0
        self.dst_mask: int = 0
        self.interval_ns: i64 = _SECOND_NS
        self.rate: i64 = 0
        self.most: i64 = 0
        self.made_ns: i64 = now_ns
        self.looked_ns: i64 = -1  # which collection was done because there was no room
        self.collect_ns: i64 = _SECOND_NS
        self.buckets: dict[tuple[int, int, int, int], Bucket] = {}

    def bucket(self, packet: Packet, now_ns: i64) -> Bucket | None:
        """The packet's bucket; None when there is no room for another."""
        mode: i64 = self.mode
        src = packet.src & self.src_mask if mode & BY_SOURCE else 0
        dst = packet.dst & self.dst_mask if mode & BY_DESTINATION else 0
        sport = 0
        dport = 0
        if mode & (BY_SOURCE_PORT | BY_DESTINATION_PORT) and int(packet.protocol) in WITH_PORTS:
            both = ports_of(packet)
            if both < 0:
                return None
            if mode & BY_SOURCE_PORT:
                sport = int(both >> 16)
            if mode & BY_DESTINATION_PORT:
                dport = int(both & 0xFFFF)
        key = (src, dst, sport, dport)
        found = self.buckets.get(key)
        if found is not None and found.until_ns >= self._collected_ns(now_ns):
            self._refill(found, now_ns)
        else:
            if found is None and len(self.buckets) >= self.room and not self._makes_room(now_ns):
                return None
            found = self._new(now_ns)
            self.buckets[key] = found
        found.until_ns = now_ns + self.expire_ns
        return found

    def _new(self, now_ns: i64) -> Bucket:
        bucket = Bucket()
        bucket.stamp_ns = now_ns
        if self.mode & IN_BYTES:
            bucket.credit = _SECOND_NS
            bucket.bursts = self.burst
        else:
            bucket.credit = self.period_ns * self.burst
        return bucket

    def _collected_ns(self, now_ns: i64) -> i64:
        """When buckets were collected last."""
        return now_ns - (now_ns - self.made_ns) % self.collect_ns

    def _refill(self, bucket: Bucket, now_ns: i64) -> None:
        if self.mode & BY_RATE:
            gone_ms: i64 = (now_ns - bucket.stamp_ns) // 1_000_000
            interval_ms: i64 = self.interval_ns // 1_000_000
            if gone_ms >= interval_ms:
                # Python's integers: an interval may be as long as 136 years.
                bucket.was_above = int(bucket.counted) * int(interval_ms) > int(gone_ms) * int(self.rate)
                bucket.counted = 0
                bucket.stamp_ns = now_ns
            return
        full: i64 = _SECOND_NS if self.mode & IN_BYTES else self.period_ns * self.burst
        credit: i64 = bucket.credit + now_ns - bucket.stamp_ns
        bucket.credit = credit if credit < full else full
        bucket.stamp_ns = now_ns

    def _makes_room(self, now_ns: i64) -> bool:
        """Collect, once in an interval of collection, and say whether there is room then."""
        last: i64 = self._collected_ns(now_ns)
        if last <= self.looked_ns:
            return False
        self.looked_ns = last
        kept: dict[tuple[int, int, int, int], Bucket] = {}
        for key, bucket in self.buckets.items():
            if bucket.until_ns >= last:
                kept[key] = bucket
        self.buckets = kept
        return len(kept) < self.room


@final
class HashLimitMatch(Match):
    """`-m hashlimit`: `mode` is the rule's own, the buckets those of the table with its name."""

    def __init__(self, mode: i64, table: HashTable) -> None:
        self.mode: i64 = mode
        self.table: HashTable = table

    def matches(self, packet: Packet, context: Context) -> bool:
        table = self.table
        bucket = table.bucket(packet, context.now_ns)
        if bucket is None:
            context.hotdrop = True
            return False
        above: bool = self.mode & ABOVE != 0
        amount: i64 = 1
        if self.mode & IN_BYTES:
            amount = (packet.size_bytes >> _CHUNK_SHIFT) + 1
        if self.mode & BY_RATE:
            bucket.counted += packet.size_bytes if self.mode & IN_BYTES else 1
            return (not bucket.was_above and bucket.counted <= table.most) != above
        cost: i64 = amount * table.period_ns
        if self.mode & IN_BYTES and cost > _SECOND_NS:
            cost = _SECOND_NS  # what is larger than a second's worth passes when that is there
        if bucket.credit < cost and bucket.bursts > 0:
            bucket.bursts -= 1
            bucket.credit = _SECOND_NS
        if bucket.credit >= cost:
            bucket.credit -= cost
            return not above
        return above


def all_ones(family: i64, prefix: i64) -> int:
    """The mask of `prefix` bits of a family's addresses."""
    bits = 32 if family == AF_INET else 128
    length = int(prefix)
    return ((1 << length) - 1) << (bits - length) if length else 0
