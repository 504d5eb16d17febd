"""The Merkle tree of the log: heads, and proofs that an entry is in it and that it only grew.

RFC 6962, sections 2.1.1 to 2.1.4, checked as RFC 9162, sections 2.1.3.2 and 2.1.4.2 say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from olvido.errors import InputError
from olvido.ledger.digests import Digest, merkle_root

Hash = bytes


def leaf_hash(leaf: bytes) -> Hash:
    """The hash of a leaf; no node has the same, for nodes are hashed under another prefix."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: Hash, right: Hash) -> Hash:
    return hashlib.sha256(b"\x01" + left + right).digest()


def heads(leaves: Iterable[bytes]) -> Iterator[Digest]:
    """The head after each leaf, in constant work a leaf: the heads of all logs that this one was.

    >>> list(heads([b"a", b"b"])) == [merkle_root([b"a"]), merkle_root([b"a", b"b"])]
    True
    """
    # Roots of the perfect trees that the leaves so far fall into, the largest first.
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
    """The hashes beside the way from leaf `index` up to the head, the lowest first.

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
    """The hashes that show that the tree of the first leaves is the beginning of this one.

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
