"""The imports between the modules of the package point one way."""

import ast
from pathlib import Path

import snakemake_executor_plugin_submitit as package

ROOT = Path(package.__file__).parent
# A module imports only from earlier lines, and not from its own line.
LAYERS = """
auto_pack
results processes mps lanes packing private_folder settings resources identity refusals descriptors shell_job
interrupts
manifest calls usage allocation listing kernel_kills
member efficiency
places
holdings direct free_places gpus
folder pack
submissions
clusters.nodes
clusters.partitions
clusters.base
clusters.slurm clusters.local queue_watch adoption leaving fitting
refill
submitting
executor
job
"""


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a module imports, apart from what only type checkers see."""
    prefix = f"{package.__name__}."
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(prefix):
            found.add(node.module.removeprefix(prefix))
        assert not (isinstance(node, ast.ImportFrom) and node.level), "imports are absolute"
    return found


def test_imports_point_one_way():
    level = {name: i for i, line in enumerate(LAYERS.split("\n")) for name in line.split()}
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in ROOT.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert paths.keys() == level.keys()
    for name, path in paths.items():
        for imported in imports_of(path):
            assert level[imported] < level[name], f"{name} imports {imported}"
