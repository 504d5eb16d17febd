"""Audits of a forgetting. They never learn which method ran.

A new audit is one file and one line here; the order is that in which reasons are given.
"""

# ruff: noqa: I001 - the order of the lines is the order of the tables
import typing

from olvido import registry

from olvido.audits.integrity.change import WeightMovement as WeightMovement
from olvido.audits.integrity.obfuscation import Wrapping as Wrapping
from olvido.audits.integrity.obfuscation import AdapterMasking as AdapterMasking
from olvido.audits.knowledge.recall import Recall as Recall
from olvido.audits.knowledge.recall import Paraphrase as Paraphrase
from olvido.audits.knowledge.rephrased import RephrasedProbes as RephrasedProbes
from olvido.audits.knowledge.rephrased import FormatShift as FormatShift
from olvido.audits.knowledge.rephrased import ChainOfClues as ChainOfClues
from olvido.audits.knowledge.extraction import Extraction as Extraction
from olvido.audits.knowledge.truth import TruthRatio as TruthRatio
from olvido.audits.knowledge.exposure import Exposure as Exposure
from olvido.audits.knowledge.sampling import Sampling as Sampling
from olvido.audits.attacks.likelihood import Likelihood as Likelihood
from olvido.audits.attacks.membership import Membership as Membership
from olvido.audits.attacks.lira import Lira as Lira
from olvido.audits.attacks.difference import LossDifference as LossDifference
from olvido.audits.attacks.quantization import Quantization as Quantization
from olvido.audits.attacks.relearning import Relearning as Relearning
from olvido.audits.attacks.relearning import SameForm as SameForm
from olvido.audits.attacks.relearning import Unrelated as Unrelated
from olvido.audits.attacks.relearning import Retained as Retained
from olvido.audits.attacks.hidden_states import Lens as Lens
from olvido.audits.attacks.hidden_states import Patching as Patching
from olvido.audits.integrity.retention import Retention as Retention
from olvido.audits.integrity.classes import Classes as Classes
from olvido.audits.integrity.retention import Neighbours as Neighbours
from olvido.audits.integrity.retention import General as General
from olvido.audits.integrity.utility import ModelUtility as ModelUtility
from olvido.audits.integrity.fluency import Fluency as Fluency
from olvido.audits.integrity.obfuscation import Refusal as Refusal

from olvido.audits.base import audit as audit
from olvido.audits.base import rephrased as rephrased
from olvido.audits.compare import Metric as Metric
from olvido.audits.promise.one_run import audit_privacy as audit_privacy
from olvido.audits.scoring import ScoredModel as ScoredModel
from olvido.audits.types import AUDITS as AUDITS
from olvido.audits.types import Asks as Asks
from olvido.audits.types import Audit as Audit
from olvido.audits.types import Evidence as Evidence
from olvido.audits.types import Finding as Finding
from olvido.audits.types import Level as Level
from olvido.audits.types import EvidenceNeed as EvidenceNeed
from olvido.audits.types import Shadow as Shadow
from olvido.audits.types import Status as Status
from olvido.audits.verdict import Report as Report
from olvido.audits.verdict import Verdict as Verdict
from olvido.schemas.privacy import PrivacyAudit as PrivacyAudit
from olvido.registry import Options as Options

if not typing.TYPE_CHECKING:  # "as" tells type checkers the same
    __all__ = registry.public(vars())
