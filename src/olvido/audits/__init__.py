"""Audits: what an honest look at a forgetting finds. They never learn which method ran.

One file and one line here make another; the order is that in which reasons are given.
"""

# ruff: noqa: I001 - the order of the lines is the order of the tables
import typing

from olvido import registry

from olvido.audits.honesty.change import Change as Change
from olvido.audits.honesty.pretence import Filter as Filter
from olvido.audits.honesty.pretence import Adapter as Adapter
from olvido.audits.memory.recall import Recall as Recall
from olvido.audits.memory.recall import Paraphrase as Paraphrase
from olvido.audits.memory.asked import Probes as Probes
from olvido.audits.memory.extraction import Extraction as Extraction
from olvido.audits.memory.truth import TruthRatio as TruthRatio
from olvido.audits.memory.exposure import Exposure as Exposure
from olvido.audits.memory.sampling import Sampling as Sampling
from olvido.audits.membership.likelihood import Likelihood as Likelihood
from olvido.audits.membership.attacks import Membership as Membership
from olvido.audits.membership.lira import Lira as Lira
from olvido.audits.membership.difference import Difference as Difference
from olvido.audits.recovery.rounded import Rounding as Rounding
from olvido.audits.recovery.relearned import Relearning as Relearning
from olvido.audits.recovery.relearned import SameForm as SameForm
from olvido.audits.recovery.relearned import Unrelated as Unrelated
from olvido.audits.hidden.inside import Lens as Lens
from olvido.audits.hidden.inside import Patching as Patching
from olvido.audits.kept.collateral import Collateral as Collateral
from olvido.audits.kept.classes import Classes as Classes
from olvido.audits.kept.collateral import Neighbours as Neighbours
from olvido.audits.kept.collateral import General as General
from olvido.audits.kept.utility import ModelUtility as ModelUtility
from olvido.audits.kept.fluency import Fluency as Fluency
from olvido.audits.honesty.pretence import Refusal as Refusal

from olvido.audits.base import audit as audit
from olvido.audits.base import rephrased as rephrased
from olvido.audits.metric import Metric as Metric
from olvido.audits.scoring import Witness as Witness
from olvido.audits.types import AUDITS as AUDITS
from olvido.audits.types import Asks as Asks
from olvido.audits.types import Audit as Audit
from olvido.audits.types import Evidence as Evidence
from olvido.audits.types import Finding as Finding
from olvido.audits.types import Level as Level
from olvido.audits.types import Need as Need
from olvido.audits.types import Shadow as Shadow
from olvido.audits.types import Status as Status
from olvido.audits.verdict import Report as Report
from olvido.audits.verdict import Verdict as Verdict
from olvido.registry import Options as Options

if not typing.TYPE_CHECKING:  # "as" tells type checkers the same
    __all__ = registry.public(vars())
