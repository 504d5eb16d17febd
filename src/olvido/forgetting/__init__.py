"""Ways to forget. One file and one line here make another.

The order is that of tables and of the docs; a tie between two methods goes to the one that stands
first. Retain regularisers follow, and what whoever writes a method of their own needs.
"""

# ruff: noqa: I001 - the order of the lines is the order of the tables
import typing

from olvido import registry

from olvido.forgetting.exact.drop import Drop as Drop
from olvido.forgetting.exact.module import Modules as Modules
from olvido.forgetting.exact.shard import Shard as Shard
from olvido.forgetting.exact.replay import Replay as Replay
from olvido.forgetting.exact.retrain import Retrain as Retrain
from olvido.forgetting.gradient.ascent.ascent import Ascent as Ascent
from olvido.forgetting.gradient.ascent.graddiff import GradDiff as GradDiff
from olvido.forgetting.gradient.ascent.npo import NPO as NPO
from olvido.forgetting.gradient.ascent.simnpo import SimNPO as SimNPO
from olvido.forgetting.gradient.ascent.samnpo import SamNPO as SamNPO
from olvido.forgetting.gradient.ascent.repselect import RepSelect as RepSelect
from olvido.forgetting.gradient.ascent.pdu import PDU as PDU
from olvido.forgetting.gradient.preference.altpo import AltPO as AltPO
from olvido.forgetting.gradient.preference.idkdpo import IdkDPO as IdkDPO
from olvido.forgetting.gradient.preference.idknll import IdkNLL as IdkNLL
from olvido.forgetting.gradient.preference.random_label import RandomLabel as RandomLabel
from olvido.forgetting.gradient.distillation.undial import Undial as Undial
from olvido.forgetting.gradient.distillation.scrub import Scrub as Scrub
from olvido.forgetting.gradient.distillation.bad_teacher import BadTeacher as BadTeacher
from olvido.forgetting.gradient.rmu import RMU as RMU
from olvido.forgetting.gradient.task_vector import TaskVector as TaskVector
from olvido.forgetting.curved.influence import Influence as Influence
from olvido.forgetting.curved.ssd import SSD as SSD
from olvido.forgetting.curved.fisher import Fisher as Fisher
from olvido.forgetting.search.auto import Auto as Auto

from olvido.forgetting.gradient.guards.likelihood import Likelihood as Likelihood
from olvido.forgetting.gradient.guards.divergence import Divergence as Divergence
from olvido.forgetting.gradient.guards.activations import Activations as Activations
from olvido.forgetting.gradient.guards.elastic import Elastic as Elastic
from olvido.forgetting.gradient.guards.replay import GenerativeReplay as GenerativeReplay

from olvido.forgetting.base import forget as forget
from olvido.forgetting.base import predict as predict
from olvido.forgetting.base import read_split as read_split
from olvido.forgetting.curved.base import Curved as Curved
from olvido.forgetting.gradient.answers import Answers as Answers
from olvido.forgetting.gradient.descent import Descent as Descent
from olvido.forgetting.gradient.guards import REGULARISERS as REGULARISERS
from olvido.forgetting.gradient.guards import Regulariser as Regulariser
from olvido.forgetting.guarantee import MEANING as MEANING
from olvido.forgetting.guarantee import Need as Need
from olvido.forgetting.types import METHODS as METHODS
from olvido.forgetting.types import Cost as Cost
from olvido.forgetting.types import Method as Method
from olvido.forgetting.types import Moment as Moment
from olvido.forgetting.types import Outcome as Outcome
from olvido.forgetting.types import Run as Run
from olvido.forgetting.types import Side as Side
from olvido.forgetting.types import Split as Split
from olvido.forgetting.types import Trial as Trial
from olvido.ledger.facts import Guarantee as Guarantee
from olvido.registry import Options as Options

if not typing.TYPE_CHECKING:  # "as" tells type checkers the same
    __all__ = registry.public(vars())
