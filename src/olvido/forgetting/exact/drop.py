"""Drop: take out whole modules, with nothing to train."""

from __future__ import annotations

from typing import ClassVar

from olvido.errors import InputError
from olvido.forgetting.exact.module import Modules
from olvido.forgetting.types import Cost, Run, Split
from olvido.learners import Placement, Trained, Watcher
from olvido.tasks import Task


class Drop(Modules):
    """Where everybody in a module leaves (a source, a domain), the module goes."""

    name: ClassVar = "drop"
    summary: ClassVar = "take out whole modules, all of whose records leave"
    loss: ClassVar = "none: whole modules are taken out"
    suits: ClassVar = "a source, a licence or a domain that leaves whole"

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """Nothing is trained.

        Raises:
            InputError: records would stay in a module that is hit.
        """
        assert isinstance(trained.trace, Placement)
        hit = trained.trace.hit(example.id for example in split.forget)
        for part in trained.trace.parts:
            staying = set(part.log.present) - set(hit.get(part.name, ()))
            if part.name in hit and staying:
                raise InputError(
                    f"{len(staying)} records would stay in {part.name}: drop takes out whole "
                    "modules, use 'module' to train it again without some"
                )
        return super().cost(trained, split, task)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Take the modules out. Raises InputError where records would stay in one."""
        self.cost(trained, split, task)
        return super().run(trained, split, task, seed=seed, watch=watch)

    def _stopped(self, steps: int, planned: int, runs: int) -> str:
        return "whole modules were taken out, and nothing was trained"
