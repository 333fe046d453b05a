"""notebooks/ run from top to bottom, with a small budget, in a kernel of this very Python."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "walk.ipynb"
STEPS = 100
CELL_SECONDS = 600
PLACES = ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TMPDIR")
"""Environment variables that name folders: the kernel leaves nothing in the home folder."""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookNode]:
    """The notebook after all its cells have run; a cell that raises is an error here, with its traceback."""
    notebook = committed()
    set_parameter(notebook, f"steps = {STEPS}")
    place = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as environment:
        for name in PLACES:
            (place / name).mkdir()
            environment.setenv(name, str(place / name))
        run(notebook, place)
    assert list((place / "TMPDIR").glob("segkit-walk-*")) == []
    yield notebook


def committed() -> NotebookNode:
    notebook: NotebookNode = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def set_parameter(notebook: NotebookNode, line: str) -> None:
    """Replace the one cell that is tagged as the parameters."""
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source = line


def run(notebook: NotebookNode, place: Path) -> None:
    """Execute in place, in the notebook's own folder, with the Python that runs this test and not with whichever is registered as python3."""
    write_kernel_spec(str(place / "JUPYTER_PATH" / "kernels" / "this"))
    NotebookClient(notebook, kernel_name="this", timeout=CELL_SECONDS, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_walk_learns_to_find_each_class_in_pictures_that_it_has_not_seen(executed: NotebookNode) -> None:
    dice = ast.literal_eval(executed.cells[-1].outputs[-1].data["text/plain"])
    assert dice["vessel"] > 0.5
    assert dice["ventricle"] > 0.5
    assert dice["nucleus"] > 0.3


def test_the_walk_shows_pictures_and_nothing_that_looks_like_a_failure(executed: NotebookNode) -> None:
    shown = [output for output in outputs(executed) if "image/png" in output.get("data", {})]
    assert len(shown) == 7  # a phantom and its mask, the curves, two test pictures, the volume twice, a real eye
    assert "segkit: " not in "".join(output.get("text", "") for output in outputs(executed))


def test_the_walk_is_kept_without_outputs() -> None:
    notebook = committed()
    nbformat.validate(notebook)
    assert outputs(notebook) == []
    assert {cell.execution_count for cell in notebook.cells if cell.cell_type == "code"} == {None}
