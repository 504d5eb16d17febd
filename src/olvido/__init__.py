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
    from olvido import audits, errors, learners, methods, tasks
    from olvido.attribution import Traced, trace
    from olvido.audits import Finding, Report, Verdict, audit
    from olvido.audits.page import write_page
    from olvido.benchmark import Comparison, compare
    from olvido.data.benchmarks import Benchmark, load_benchmark
    from olvido.errors import OlvidoError
    from olvido.learners import Lora, Recipe, Trained, train
    from olvido.methods import Guarantee, Outcome, forget
    from olvido.models import load, save
    from olvido.settings import Settings
    from olvido.sklearn import CertifiedHead, KNNHead, RidgeClassifierHead, RidgeHead
    from olvido.sklearn.sharded import ShardedClassifier
    from olvido.watching import OlvidoCallback
    from olvido.workspace import Workspace

__version__ = "0.1.0"

_HOMES = {
    "Benchmark": "olvido.data.benchmarks",
    "CertifiedHead": "olvido.sklearn",
    "Comparison": "olvido.benchmark",
    "Finding": "olvido.audits",
    "Guarantee": "olvido.methods",
    "KNNHead": "olvido.sklearn",
    "Lora": "olvido.learners",
    "OlvidoCallback": "olvido.watching",
    "OlvidoError": "olvido.errors",
    "Outcome": "olvido.methods",
    "Recipe": "olvido.learners",
    "Report": "olvido.audits",
    "RidgeClassifierHead": "olvido.sklearn",
    "RidgeHead": "olvido.sklearn",
    "Settings": "olvido.settings",
    "ShardedClassifier": "olvido.sklearn.sharded",
    "Traced": "olvido.attribution",
    "Trained": "olvido.learners",
    "Verdict": "olvido.audits",
    "Workspace": "olvido.workspace",
    "audit": "olvido.audits",
    "compare": "olvido.benchmark",
    "forget": "olvido.methods",
    "load": "olvido.models",
    "load_benchmark": "olvido.data.benchmarks",
    "save": "olvido.models",
    "trace": "olvido.attribution",
    "train": "olvido.learners",
    "write_page": "olvido.audits.page",
}
_NAMESPACES = ("audits", "errors", "learners", "methods", "tasks")

__all__ = [
    "Benchmark",
    "CertifiedHead",
    "Comparison",
    "Finding",
    "Guarantee",
    "KNNHead",
    "Lora",
    "OlvidoCallback",
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
    "compare",
    "errors",
    "forget",
    "learners",
    "load",
    "load_benchmark",
    "methods",
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
