"""Olvido: make trained models forget, and prove it.

import olvido
outcome = olvido.forget(model, tokenizer=tok, forget=rows, retain=others, method="npo")
report = olvido.audit(outcome.model, tokenizer=tok, forget=rows, retain=others, reference=ref)

What is public stands in `__all__` here, and in that of the namespaces that are named here: methods,
audits, learners, tasks and errors. Everything else may change from one version to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from olvido import audits, errors, forgetting, learners, tasks
    from olvido.attribution import Traced, trace
    from olvido.audits import Finding, Report, Verdict, audit
    from olvido.audits.report import write_page
    from olvido.comparison import Comparison, compare
    from olvido.errors import OlvidoError
    from olvido.estimator import ShardedClassifier
    from olvido.forgetting import Guarantee, Outcome, forget
    from olvido.heads import CertifiedHead, KNNHead, RidgeClassifierHead, RidgeHead
    from olvido.learners import Lora, Recipe, Trained, train
    from olvido.models import load, save
    from olvido.settings import Settings
    from olvido.sources.benchmarks import Benchmark, benchmark
    from olvido.workspace import Workspace

__version__ = "0.1.0"

_HOMES = {
    "Benchmark": "olvido.sources.benchmarks",
    "CertifiedHead": "olvido.heads",
    "Comparison": "olvido.comparison",
    "Finding": "olvido.audits",
    "Guarantee": "olvido.forgetting",
    "KNNHead": "olvido.heads",
    "Lora": "olvido.learners",
    "OlvidoError": "olvido.errors",
    "Outcome": "olvido.forgetting",
    "Recipe": "olvido.learners",
    "Report": "olvido.audits",
    "RidgeClassifierHead": "olvido.heads",
    "RidgeHead": "olvido.heads",
    "Settings": "olvido.settings",
    "ShardedClassifier": "olvido.estimator",
    "Traced": "olvido.attribution",
    "Trained": "olvido.learners",
    "Verdict": "olvido.audits",
    "Workspace": "olvido.workspace",
    "audit": "olvido.audits",
    "benchmark": "olvido.sources.benchmarks",
    "compare": "olvido.comparison",
    "forget": "olvido.forgetting",
    "load": "olvido.models",
    "save": "olvido.models",
    "trace": "olvido.attribution",
    "train": "olvido.learners",
    "write_page": "olvido.audits.report",
}
_NAMESPACES = ("audits", "errors", "forgetting", "learners", "tasks")

__all__ = [
    "Benchmark",
    "CertifiedHead",
    "Comparison",
    "Finding",
    "Guarantee",
    "KNNHead",
    "Lora",
    "OlvidoError",
    "Outcome",
    "Recipe",
    "Report",
    "RidgeClassifierHead",
    "RidgeHead",
    "Settings",
    "ShardedClassifier",
    "Traced",
    "Trained",
    "Verdict",
    "Workspace",
    "audit",
    "audits",
    "benchmark",
    "compare",
    "errors",
    "forget",
    "forgetting",
    "learners",
    "load",
    "save",
    "tasks",
    "trace",
    "train",
    "write_page",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `olvido --help` need not wait for torch."""
    from importlib import import_module

    if name in _NAMESPACES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'olvido' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
