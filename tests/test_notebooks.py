"""The notebooks run from a clean kernel, and are kept with what they print and draw."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NEEDED = ("nbclient", "ipykernel", "matplotlib")

# In a process of its own: the client's threads, sockets and warnings are not this project's.
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
resources = {"metadata": {"path": sys.argv[2]}}
NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
nbformat.write(notebook, sys.argv[1])
"""

each_notebook = pytest.mark.parametrize(
    "notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name
)


def code_cells(notebook: Path) -> list[dict]:
    """Return the cells with code in them."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"])]


def troubles(notebook: Path) -> list[str]:
    """Return what a reader of the outputs would stumble on: errors, and text on stderr."""
    return [
        "".join(output.get("traceback") or output["text"])
        for cell in code_cells(notebook)
        for output in cell["outputs"]
        if output["output_type"] == "error" or output.get("name") == "stderr"
    ]


@each_notebook
@pytest.mark.timeout(400)
def test_runs_from_a_clean_kernel(notebook: Path, tmp_path: Path):
    """Executed from top to bottom in an empty folder, no cell raises or complains."""
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; the extra `test` has it")
    copy = tmp_path / notebook.name
    shutil.copy(notebook, copy)
    folder = tmp_path / "empty"
    folder.mkdir()
    command = [sys.executable, "-c", EXECUTE, str(copy), str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=360, check=False)
    assert ran.returncode == 0, ran.stderr
    assert troubles(copy) == []


@each_notebook
def test_is_kept_with_its_outputs(notebook: Path):
    """The file in the repository was executed in order, without errors, and shows a figure."""
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert troubles(notebook) == []
    shown = {
        kind for cell in cells for output in cell["outputs"] for kind in output.get("data", ())
    }
    assert "image/png" in shown


@pytest.mark.parametrize(
    "name", ["quickstart", "rotation_without_loss", "a_server_that_comes_back"]
)
def test_there_is_a_notebook(name: str):
    """The notebook that README or another one points to exists."""
    assert (NOTEBOOKS / f"{name}.ipynb").is_file()
