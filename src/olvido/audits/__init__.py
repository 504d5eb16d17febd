"""Audits: what an honest look at a forgetting finds. They never learn which method ran."""

from olvido.audits.base import AUDITS, audit, rephrased
from olvido.audits.scoring import Witness
from olvido.audits.types import Audit, Evidence, Finding, Need, Status
from olvido.audits.verdict import Report, Verdict

__all__ = [
    "AUDITS",
    "Audit",
    "Evidence",
    "Finding",
    "Need",
    "Report",
    "Status",
    "Verdict",
    "Witness",
    "audit",
    "rephrased",
]
