"""One thing that holds the data of a request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from olvido.artifacts import KINDS, Kind, Who
from olvido.requests.closure.copies import Look

UNDECIDED = ("weights", "unread", "foreign")
"""Kinds of files of which the team may know that none of the data are in them."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """One thing that holds the data.

    Attributes:
        item: its name: a kind and a place, as `model:0123456789ab`.
        says: what was found there.
        path: where it lies; None where that is not known here.
        inside: whether it lies in the workspace's folder, and in no other workspace's within it,
            or is the ledger's own.
        others: whether it holds what belongs to others, as far as was seen.
        seen: a keyed digest of the content that was looked at, where it is erased by its name.
        look: what was found in a file with records.
        known: of tensors, whether they are those of a model that learned the data.
    """

    item: str
    says: str
    path: Path | None = None
    inside: bool = True
    others: bool = True
    seen: str | None = None
    look: Look | None = None
    known: bool = False

    @property
    def undecided(self) -> bool:
        """Whether nothing in it was found to be of the records: the team may say that none is."""
        look = self.look
        if look is not None and (look.records or look.mentions or look.doubtful):
            return False
        return self.kind.name in UNDECIDED and not self.known

    @property
    def kind(self) -> Kind:
        """What it is: what stands before the colon."""
        return KINDS[self.item.partition(":")[0]]

    @property
    def who(self) -> Who:
        """Who can erase it. Nobody does with `all` what lies elsewhere or is somebody else's."""
        if self.path is None:
            return Who.TEAM
        if not self.inside:
            return Who.NAMED
        if self.kind is KINDS["file"] and not self.others:
            return Who.ALL
        if self.kind in (KINDS["orphan"], KINDS["export"]) and self.known:
            return Who.ALL
        return self.kind.who
