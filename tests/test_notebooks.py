"""notebooks/ run from top to bottom, with a small budget, in a kernel of this very Python."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent.parent / "notebooks"
CELL_SECONDS = 600
PLACES = ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TMPDIR")
"""Environment variables that name folders: the kernel leaves nothing in the home folder."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    return executed("walk", 100, tmp_path_factory.mktemp("jupyter"))


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    return executed("attention", 60, tmp_path_factory.mktemp("jupyter"))


def executed(name: str, steps: int, place: Path) -> NotebookNode:
    """The notebook after all its cells have run; a cell that raises is an error here, with its traceback."""
    notebook = committed(name)
    set_parameter(notebook, f"steps = {steps}")
    with pytest.MonkeyPatch.context() as environment:
        for variable in PLACES:
            (place / variable).mkdir()
            environment.setenv(variable, str(place / variable))
        run(notebook, place)
    assert list((place / "TMPDIR").glob("segkit-*")) == []
    return notebook


def committed(name: str) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def set_parameter(notebook: NotebookNode, line: str) -> None:
    """Replace the one cell that is tagged as the parameters."""
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source = line


def run(notebook: NotebookNode, place: Path) -> None:
    """Execute in place, in the notebook's own folder, with the Python that runs this test and not with whichever is registered as python3."""
    write_kernel_spec(str(place / "JUPYTER_PATH" / "kernels" / "this"))
    NotebookClient(notebook, kernel_name="this", timeout=CELL_SECONDS, resources={"metadata": {"path": str(FOLDER)}}).execute()


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_walk_learns_to_find_each_class_in_pictures_that_it_has_not_seen(walk: NotebookNode) -> None:
    dice = ast.literal_eval(walk.cells[-1].outputs[-1].data["text/plain"])
    assert dice["vessel"] > 0.5
    assert dice["ventricle"] > 0.5
    assert dice["nucleus"] > 0.3


def test_the_walk_shows_pictures_and_nothing_that_looks_like_a_failure(walk: NotebookNode) -> None:
    shown = [output for output in outputs(walk) if "image/png" in output.get("data", {})]
    assert len(shown) == 7  # a phantom and its mask, the curves, two test pictures, the volume twice, a real eye
    assert "segkit: " not in "".join(output.get("text", "") for output in outputs(walk))


def test_the_attention_of_every_gate_is_shown_and_measured_inside_and_outside_of_the_nerve(attention: NotebookNode) -> None:
    means = ast.literal_eval(attention.cells[-1].outputs[-1].data["text/plain"])
    assert list(means) == ["skip1_stride02", "skip2_stride04", "skip3_stride08", "skip4_stride16"]
    assert all(0 <= mean <= 1 for pair in means.values() for mean in pair)
    shown = [output for output in outputs(attention) if "image/png" in output.get("data", {})]
    assert len(shown) == 2  # the test pictures
    assert "./images/arm_07_attention/skip4_stride16.png" in "".join(output.get("text", "") for output in outputs(attention))


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.ipynb"))])
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    notebook = committed(name)
    nbformat.validate(notebook)
    assert outputs(notebook) == []
    assert {cell.execution_count for cell in notebook.cells if cell.cell_type == "code"} == {None}
