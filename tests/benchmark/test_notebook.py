"""The researcher's notebook runs from its first cell to its last."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorials" / "compare.ipynb"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(book, timeout=1800, kernel_name="python3").execute()
nbformat.write(book, "executed.ipynb")
"""


@pytest.mark.slow
def test_it_holds_no_output_and_runs_as_written(tmp_path: Path) -> None:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = json.loads((tmp_path / "executed.ipynb").read_text("utf-8"))["cells"]
    told = "".join(
        "".join(output.get("text", ())) for cell in executed for output in cell.get("outputs", ())
    )
    assert "\\toprule" in told
    with (tmp_path / "comparison.csv").open(encoding="utf-8") as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    own = next(name for name in table if name.startswith("__main__:Fading"))
    assert table.keys() == {"original", "npo (lr=0.0005, epochs=15)", own}
    for row in table.values():
        assert row["failures"] == ""
        assert float(row["surprise"]) > 0
    # Both methods moved the model away from what it knew.
    for name in table.keys() - {"original"}:
        assert float(table[name]["surprise"]) > float(table["original"]["surprise"]) + 0.1
