"""What a privately trained model bounds of a request's records, while its weights stay as they are.

Where the bound is within the workspace's limit, it answers a request: the guarantee is `certified`.
Else the plan says it beside the ways to forget.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from olvido.ledger.facts import PRIVATE
from olvido.schemas.plan import Promise
from olvido.training.private.accounting import FALSE_POSITIVES, RELATION
from olvido.training.traces.chain import Continued
from olvido.training.traces.private import PrivateRun
from olvido.workspace import LedgerModel, Workspace


def promise_of(workspace: Workspace, loaded: LedgerModel, ids: Collection[str]) -> Promise | None:
    """What the last training of a model promises of these records together.

    Args:
        workspace: whose ledger knows what every training learned, and about whom.
        loaded: the model.
        ids: records that it holds.

    Returns:
        None where that training was not private; a refusal where its promise is not about all that
        the weights learned of the records.
    """
    *earlier, last = workspace.chain(loaded.fact)
    if last.learner != PRIVATE:
        return None
    trace = loaded.trained.trace
    run = trace.last if isinstance(trace, Continued) else trace
    if loaded.fact.method is not None or not isinstance(run, PrivateRun):
        return _refused(
            f"{loaded.fact.method} changed model {loaded.fact.id} after its training, and what "
            "that learned from is not in the training's promise"
        )
    if not run.spent.secret:
        return _refused("the seed of its noise was chosen, and whoever knows it can undo the noise")
    store = workspace.store
    for training in earlier:
        for use in store.uses(training.id):
            held = {record.id for record in store.records(use.dataset)} - use.excluded
            if taught := held.intersection(ids):
                return _refused(
                    f"it was trained from model {training.id}, whose training learned "
                    f"{len(taught)} of the records before"
                )
    people = {
        record.id: record.subjects
        for use in store.uses(last.id)
        for record in store.records(use.dataset)
    }
    units = run.units_with(ids, people)
    if not units:
        return _refused("its training left the records out, so that there is no unit of them")
    bound, accountant = run.spent.of_group(units), run.spent.accountant
    found, limit = bound.true_positives(), workspace.settings.certified_limit
    suffices = bound.epsilon <= limit
    within = (
        f"within certified_limit, epsilon {limit:g}"
        if suffices
        else f"above certified_limit, epsilon {limit:g}, so that it answers no request"
    )
    return Promise(
        refusal=None,
        units=units,
        epsilon=bound.epsilon,
        delta=bound.delta,
        accountant=accountant,
        false_positives=FALSE_POSITIVES,
        true_positives=found,
        limit=limit,
        suffices=suffices,
        says=(
            f"As it is, the model was trained with epsilon {bound.epsilon:.3g} at delta "
            f"{bound.delta:.2g} for these records ({RELATION}, {units} of them here; accountant "
            f"{accountant}): a test of its weights that names {FALSE_POSITIVES:.0%} of those who "
            f"took no part recognises at most {math.ceil(1000 * found) / 10:g}% of those who did. "
            f"This training alone is counted. It is {within}"
        ),
    )


def _refused(why: str) -> Promise:
    return Promise(
        refusal=why,
        units=None,
        epsilon=None,
        delta=None,
        accountant=None,
        false_positives=None,
        true_positives=None,
        says=f"The privacy of its training bounds nothing here: {why}",
    )
