"""The recipes of CONTRIBUTING.md, walked on a copy of the tree: its blocks become files and lines,
its commands run there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import need

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
MOST_LINES = 130  # the recipes stay one page
DATA = ("targets", "models", "firmware_harness")
POLICIES = ("__init__.py", "weights.toml", "cartpole_ppo", "pendulum_sac")
BLOCK = re.compile(
    r'^(?P<indent> *)```(?P<kind>\w+)(?: title="(?P<path>[^"]+)")?\n(?P<text>.*?)^ *```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block of the page: a file, lines to add, or commands."""

    kind: str
    path: str
    text: str


def blocks(section: str) -> list[Block]:
    """Return the blocks of the section with that title."""
    text = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [
        Block(
            found["kind"],
            found["path"] or "",
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
        )
        for found in BLOCK.finditer(text)
    ]


@dataclass(frozen=True)
class Tree:
    """A copy of the parts of the repository that a recipe touches."""

    root: Path

    def follow(self, section: str) -> None:
        """Add the files and the lines of a section."""
        for block in blocks(section):
            path = self.root / block.path
            match block.kind:
                case "toml":
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(block.text)
                case "copy":
                    shutil.copy(ROOT / block.text.strip(), path)
                case "diff":
                    path.write_text(with_lines(path.read_text(), block.text))

    def commands(self, section: str) -> list[str]:
        """Return the commands of a section, one a line."""
        shell = [block.text for block in blocks(section) if block.kind == "sh"]
        return [line for text in shell for line in text.splitlines()]

    def run(self, *argv: str) -> str:
        """Return what a command prints that uses the package of this copy."""
        environment = {**os.environ, "PYTHONPATH": f"{self.root / 'toolchain'}:{ROOT}"}
        done = subprocess.run(
            argv, cwd=self.root, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def quarl(self, command: str) -> str:
        """Return what `quarl ...` prints."""
        words = command.split()
        assert words[0] == "quarl"
        return self.run(sys.executable, "-m", *words)

    def python(self, code: str) -> str:
        """Return what a piece of Python prints."""
        return self.run(sys.executable, "-c", code)


def with_lines(text: str, lines: str) -> str:
    """Return a file with the lines marked + behind those that stand before them."""
    before = [line[1:] for line in lines.splitlines() if line.startswith(" ")]
    added = [line[1:] for line in lines.splitlines() if line.startswith("+")]
    place = "\n".join(before) + "\n"
    assert text.count(place) == 1, f"{place!r} is not there, or more than once"
    return text.replace(place, place + "\n".join(added) + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    ignore = shutil.ignore_patterns("__pycache__")
    package = tmp_path / "toolchain" / "quarl"
    shutil.copytree(ROOT / "toolchain" / "quarl", package, ignore=ignore)
    for name in DATA:
        (package / name).symlink_to(Path("../..") / name)
    for name in ("targets", "firmware_harness"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in POLICIES:
        source, copy = ROOT / "models" / name, tmp_path / "models" / name
        copy.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy(source, copy)
    return Tree(tmp_path)


def test_the_copy_is_what_runs(tree: Tree) -> None:
    where = tree.python("import quarl, quarl.resources as r; print(quarl.__file__, r.models_dir())")
    assert where.split() == [
        str(tree.root / "toolchain" / "quarl" / "__init__.py"),
        str(tree.root / "toolchain" / "quarl" / "models"),
    ]


def test_the_recipes_are_one_page() -> None:
    assert len(PAGE.splitlines()) <= MOST_LINES


def test_every_path_of_the_page_exists() -> None:
    new = {"my_policy", "my_board", "layers_json", "<"}
    paths = re.findall(
        r"(?:`|\()((?:toolchain|tests|models|targets|firmware_harness)/[^`)# ]*)", PAGE
    )
    missing = [
        path
        for path in paths
        if not (ROOT / path).exists() and not any(word in path for word in new)
    ]
    assert len(paths) > 15
    assert missing == []


def test_a_board(tree: Tree) -> None:
    tree.follow("A board")
    boards, export = tree.commands("A board")
    assert "my_board" in tree.quarl(boards)
    tree.quarl(export)
    assert (tree.root / "bundle" / "firmware" / "policy" / "ql_policy.c").is_file()
    assert "0x20000000" in (tree.root / "bundle/firmware/harness/board.ld").read_text().lower()


def test_an_importer(tree: Tree) -> None:
    layers = [
        {
            "weights": [[0.5, -1.0, 0.25], [1.0, 2.0, -0.5]],
            "bias": [0.1, 0.2],
            "activation": "tanh",
        },
        {"weights": [[1.0, -1.0], [-2.0, 0.5]], "bias": [0.0, 0.3]},
    ]
    (tree.root / "policy.json").write_text(json.dumps({"layers": layers}, separators=(",", ":")))
    tree.follow("An importer")
    (command,) = tree.commands("An importer")
    document = json.loads(tree.quarl(f"{command} --json"))
    assert [layer["operation"] for layer in document["layers"]] == ["dense", "tanh", "dense"]
    assert document["contract"]["action"]["count"] == 2
    (tree.root / "policy.json").write_text('{"layers": [{"weights": [["a"]], "bias": [0]}]}')
    with pytest.raises(AssertionError, match=r"policy\.json: damaged"):
        tree.quarl(command)


FUNCTION_ON_EVERY_TARGET = """
import sys, numpy as np
from pathlib import Path
from quarl.graph.float_ops import activate
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import quantize_on_rung
from tests.graph.test_functions import policy_with
from tests.support.backends import differing_integers

x = np.linspace(-4, 4, 101)
np.testing.assert_allclose(activate("squareplus", x), (x + np.sqrt(x * x + 4)) / 2)
policy = policy_with("squareplus")
obs = np.random.default_rng(0).normal(size=(300, 5), scale=2).astype(np.float32)
quantized = quantize_on_rung(policy, calibrate(obs, policy.contract), 1)
folder = Path(sys.argv[1])
assert differing_integers(quantized, obs, folder, folder / "kernels") == {
    "litert": 0, "onnx": 0, "c": 0
}
"""


def test_an_elementwise_function(tree: Tree) -> None:
    need("gcc")
    tree.follow("An operator")
    tree.run(sys.executable, "-c", FUNCTION_ON_EVERY_TARGET, str(tree.root))


@pytest.mark.slow
def test_a_forgotten_operation_is_named_by_mypy(tree: Tree) -> None:
    ops = tree.root / "toolchain" / "quarl" / "graph" / "ops.py"
    text = ops.read_text()
    new = '@dataclass(frozen=True, slots=True)\nclass Negate:\n    """y = -x."""\n\n\n'
    text = text.replace("Op: TypeAlias = ", f"{new}Op: TypeAlias = Negate | ")
    ops.write_text(text)
    shutil.copy(ROOT / "pyproject.toml", tree.root)
    argv = [sys.executable, "-m", "mypy", "--no-incremental", "--no-error-summary"]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(argv, cwd=tree.root, env=environment, capture_output=True, text=True)
    emitters = {f"toolchain/quarl/emitters/float_{name}.py" for name in ("onnx", "tflite")}
    assert {
        "toolchain/quarl/graph/op_shapes.py",
        "toolchain/quarl/graph/float_ops.py",
        *emitters,
    } <= {line.split(":")[0] for line in done.stdout.splitlines()}


def test_a_policy(tree: Tree) -> None:
    shutil.copytree(tree.root / "models" / "cartpole_ppo", tree.root / "models" / "my_policy")
    recipe = tree.root / "models" / "my_policy" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('"cartpole_ppo"', '"my_policy"'))
    listing, export = tree.commands("A policy")
    assert "my_policy" in tree.quarl(listing)
    tree.quarl(export)
    assert (tree.root / "bundle" / "model.tflite").is_file()
