"""Models that others trained: how they are entered, and what is stated of them."""

from olvido.entering.entry import Entry as Entry
from olvido.entering.recipes import read_recipe as read_recipe
from olvido.entering.statements import CALL as CALL
from olvido.entering.statements import Entered as Entered
from olvido.entering.statements import Observation as Observation
from olvido.entering.statements import doubt as doubt
