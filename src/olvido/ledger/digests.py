"""Digests: SHA-256, canonical JSON, Merkle roots of records, and the Merkle tree of the log.

The tree has heads, and proofs that an entry is in it and that it only grew (RFC 6962, sections
2.1.1 to 2.1.4; checked as in RFC 9162, sections 2.1.3.2 and 2.1.4.2).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from olvido.errors import InputError

_DIGITS = "0123456789abcdef"

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


@dataclass(frozen=True, order=True, slots=True)
class Digest:
    """A SHA-256 digest, 64 lower-case hexadecimal digits.

    >>> d = Digest.of(b"olvido")
    >>> Digest.from_str(str(d)) == d
    True
    """

    hex: str

    def __post_init__(self) -> None:
        # This runs for every imported record: stripping is several times faster than a pattern.
        if len(self.hex) != 64 or self.hex.strip(_DIGITS):
            raise InputError(
                f"expected a digest of 64 lower-case hexadecimal digits, got {self.hex!r}"
            )

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @property
    def raw(self) -> bytes:
        """Its 32 bytes."""
        return bytes.fromhex(self.hex)

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The digest of these bytes."""
        return cls(hashlib.sha256(content).hexdigest())

    @classmethod
    def from_str(cls, text: str) -> Digest:
        """Read `sha256:<hex>`. Raises InputError on anything else."""
        algorithm, _, digits = text.partition(":")
        if algorithm != "sha256":
            raise InputError(f"expected a digest 'sha256:<64 hexadecimal digits>', got {text!r}")
        return cls(digits)


def canonical_json(value: object) -> bytes:
    """The one UTF-8 form of a JSON value: keys sorted by code point, no spaces, no nan.

    Raises ValueError (such as UnicodeEncodeError) or TypeError on a value that JSON cannot hold.

    >>> canonical_json({"b": 1, "a": ["é", None]})
    b'{"a":["\\xc3\\xa9",null],"b":1}'
    """
    return _encode(value).encode()


_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def keyed(secret: bytes, purpose: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA-256 (RFC 2104) of messages that all begin with `purpose`, under one key.

    The key is hashed once and not for each message, which halves the time of `hmac.digest`.

    Args:
        secret: at most 64 bytes.
        purpose: the prefix of every message.

    >>> import hmac
    >>> keyed(b"secret", b"of ")(b"Ana") == hmac.digest(b"secret", b"of Ana", "sha256")
    True
    """
    if len(secret) > 64:
        raise ValueError(f"expected a secret of at most 64 bytes, got {len(secret)}")
    block = secret.ljust(64, b"\0")
    inner = hashlib.sha256(block.translate(_INNER) + purpose)
    outer = hashlib.sha256(block.translate(_OUTER))

    def mac(message: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(message)
        second.update(first.digest())
        return second.digest()

    return mac


def merkle_root(leaves: Sequence[bytes]) -> Digest:
    """The Merkle tree hash of RFC 6962, section 2.1, with separate prefixes for leaves and nodes.

    >>> merkle_root([]) == Digest.of(b"")
    True
    """
    if not leaves:
        return Digest.of(b"")
    sha256 = hashlib.sha256
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        # A last node without a partner rises unchanged: the tree of RFC 6962's recursive split.
        level = above + level[len(above) * 2 :]
    return Digest(level[0].hex())


def records_root(digests: Mapping[str, bytes]) -> Digest:
    """The Merkle root of records: their 32-byte digests in the order of their ids.

    >>> records_root({"a": b"1", "b": b"2"}) == records_root({"b": b"2", "a": b"1"})
    True
    """
    return merkle_root([digests[identifier] for identifier in sorted(digests)])


Hash = bytes


def leaf_hash(leaf: bytes) -> Hash:
    """The hash of a leaf; no node has the same, for nodes are hashed under another prefix."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: Hash, right: Hash) -> Hash:
    return hashlib.sha256(b"\x01" + left + right).digest()


def heads(leaves: Iterable[bytes]) -> Iterator[Digest]:
    """The head after each leaf, that is, all former heads of a log; constant work a leaf.

    >>> list(heads([b"a", b"b"])) == [merkle_root([b"a"]), merkle_root([b"a", b"b"])]
    True
    """
    # The roots of the perfect trees of the leaves so far, the largest first.
    peaks: list[Hash] = []
    for size, leaf in enumerate(leaves, 1):
        node, carry = leaf_hash(leaf), size
        while not carry & 1:
            node, carry = _node(peaks.pop(), node), carry >> 1
        peaks.append(node)
        head = peaks[-1]
        for peak in reversed(peaks[:-1]):
            head = _node(peak, head)
        yield Digest(head.hex())


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[Hash, ...]:
    """The sibling hashes on the path from leaf `index` up to the head, the lowest first.

    Raises InputError where there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise InputError(f"expected a leaf between 0 and {len(leaves) - 1}, got {index}")
    proof: list[Hash] = []
    low, high = 0, len(leaves)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(merkle_root(leaves[middle:high]).raw)
            high = middle
        else:
            proof.append(merkle_root(leaves[low:middle]).raw)
            low = middle
    return tuple(reversed(proof))


def included(leaf: bytes, index: int, size: int, proof: Sequence[Hash], head: Digest) -> bool:
    """Whether a proof shows that a tree of this size and head has this leaf at this place."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, leaf_hash(leaf)
    for beside in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = _node(beside, node)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            node = _node(node, beside)
        place, last = place >> 1, last >> 1
    return last == 0 and node == head.raw


def consistency_proof(leaves: Sequence[bytes], first: int) -> tuple[Hash, ...]:
    """The hashes that prove that the tree of the first leaves is the beginning of this one.

    Raises InputError where there are not that many leaves, or none.
    """
    if not 0 < first <= len(leaves):
        raise InputError(f"expected a size between 1 and {len(leaves)}, got {first}")
    return tuple(_subproof(leaves, first, whole=True))


def _subproof(leaves: Sequence[bytes], first: int, *, whole: bool) -> list[Hash]:
    if first == len(leaves):
        return [] if whole else [merkle_root(leaves).raw]
    middle = _split(len(leaves))
    left, right = leaves[:middle], leaves[middle:]
    if first <= middle:
        return [*_subproof(left, first, whole=whole), merkle_root(right).raw]
    return [*_subproof(right, first - middle, whole=False), merkle_root(left).raw]


def consistent(
    first: int, second: int, earlier: Digest, later: Digest, proof: Sequence[Hash]
) -> bool:
    """Whether a proof shows that the earlier tree of size `first` is the beginning of the later."""
    if first == second:
        return not proof and earlier == later
    if not 0 < first < second or not proof:
        return False
    path = list(proof)
    if not first & (first - 1):
        path.insert(0, earlier.raw)
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for beside in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = _node(beside, old), _node(beside, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = _node(new, beside)
        place, last = place >> 1, last >> 1
    return last == 0 and old == earlier.raw and new == later.raw


def _split(size: int) -> int:
    """The largest power of two below a size of two or more."""
    return 1 << ((size - 1).bit_length() - 1)
