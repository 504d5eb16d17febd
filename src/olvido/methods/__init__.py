"""Unlearning methods. A new one is one file and one line here.

The order is that of tables and of the docs; a tie between two methods goes to the first. Retain
regularisers follow, and the base classes for custom methods.
"""

# ruff: noqa: I001 - the order of the lines is the order of the tables
import typing

from olvido import registry

from olvido.methods.exact import DropModule as DropModule
from olvido.methods.exact import Modules as Modules
from olvido.methods.exact import RetrainShard as RetrainShard
from olvido.methods.exact import ReplayRun as ReplayRun
from olvido.methods.exact import Retrain as Retrain
from olvido.methods.losses.ascent import Ascent as Ascent
from olvido.methods.losses.graddiff import GradDiff as GradDiff
from olvido.methods.losses.npo import NPO as NPO
from olvido.methods.losses.simnpo import SimNPO as SimNPO
from olvido.methods.losses.samnpo import SamNPO as SamNPO
from olvido.methods.losses.repselect import RepSelect as RepSelect
from olvido.methods.losses.pdu import PDU as PDU
from olvido.methods.losses.altpo import AltPO as AltPO
from olvido.methods.losses.idkdpo import IdkDPO as IdkDPO
from olvido.methods.losses.idknll import IdkNLL as IdkNLL
from olvido.methods.losses.random_label import RandomLabel as RandomLabel
from olvido.methods.gradient.undial import Undial as Undial
from olvido.methods.gradient.scrub import Scrub as Scrub
from olvido.methods.gradient.bad_teacher import BadTeacher as BadTeacher
from olvido.methods.gradient.rmu import RMU as RMU
from olvido.methods.origin.distillation import Distillation as Distillation
from olvido.methods.origin.arithmetic import Arithmetic as Arithmetic
from olvido.methods.origin.redistil import Redistil as Redistil
from olvido.methods.origin.rewind import Rewind as Rewind
from olvido.methods.task_vector import TaskVector as TaskVector
from olvido.methods.influence import Influence as Influence
from olvido.methods.ssd import SSD as SSD
from olvido.methods.fisher import Fisher as Fisher
from olvido.methods.auto import Auto as Auto

from olvido.methods.gradient.regularisers import RetainLikelihood as RetainLikelihood
from olvido.methods.gradient.regularisers import Divergence as Divergence
from olvido.methods.gradient.regularisers import HiddenStatePenalty as HiddenStatePenalty
from olvido.methods.gradient.regularisers import Elastic as Elastic
from olvido.methods.gradient.regularisers import GenerativeReplay as GenerativeReplay

from olvido.methods.base import forget as forget
from olvido.methods.base import predict as predict
from olvido.methods.base import read_split as read_split
from olvido.methods.curved import Curved as Curved
from olvido.methods.gradient.answers import Answers as Answers
from olvido.methods.gradient.descent import Descent as Descent
from olvido.methods.gradient.regularisers import REGULARISERS as REGULARISERS
from olvido.methods.gradient.regularisers import Regulariser as Regulariser
from olvido.methods.guarantee import MEANING as MEANING
from olvido.methods.guarantee import Need as Need
from olvido.methods.types import METHODS as METHODS
from olvido.methods.types import Cost as Cost
from olvido.methods.types import Method as Method
from olvido.methods.types import StepMetrics as StepMetrics
from olvido.methods.types import Outcome as Outcome
from olvido.methods.types import Run as Run
from olvido.methods.types import Side as Side
from olvido.methods.types import Split as Split
from olvido.methods.types import Trial as Trial
from olvido.ledger.facts import Guarantee as Guarantee
from olvido.registry import Options as Options

if not typing.TYPE_CHECKING:  # "as" tells type checkers the same
    __all__ = registry.public(vars())
