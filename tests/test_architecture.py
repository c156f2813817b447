"""The shape of the package: floors import only from below, importing has no effects, public names are documented."""

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import sciml

ROOT = Path(sciml.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# from the ground up; names on one line are neighbours, which may import each other downwards only if listed in order
FLOORS = [
    ["errors", "memory", "flat", "kept"],
    ["points"],
    ["mesh"],
    ["geometry"],
    ["inputs"],
    ["elements"],
    ["calculus"],
    ["fields", "operators"],
    ["problem"],
    ["balance"],
    ["sampling", "precondition", "optim", "metrics", "references", "generators", "plot"],
    ["refine", "samples"],
    ["objective"],
    ["solution"],
    ["learning"],
    ["training"],
    ["bench"],
    ["cli"],
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
OUTSIDE = {"problems", "data", "examples", "tests", "conftest"}


def imports(path):
    """Absolute module names that a file imports anywhere, functions included, with line numbers."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    package = parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "sciml":  # from .. import problem: the names are modules or exports
                yield from ((f"sciml.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def floor(module):
    """Name of the floor of an absolute module name; None outside the package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sciml" and len(parts) > 1 else None


def test_every_module_of_the_package_stands_on_a_floor():
    found = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in FILES} - {"__init__", "__main__"}
    assert found == set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_floors_below_its_own(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    wrong = []
    for module, line in imports(path):
        other = floor(module)
        if other is not None and other != own and other in HEIGHT and HEIGHT[other] >= HEIGHT[own]:
            wrong.append(f"line {line}: {module}")
        if module == "sciml" or (other is not None and other not in HEIGHT and other != "__version__"):
            wrong.append(f"line {line}: {module} (name the module it comes from)")
    assert not wrong, wrong


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_package_never_imports_problems_data_examples_or_tests(path):
    assert not [(m, line) for m, line in imports(path) if m.split(".")[0] in OUTSIDE]


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.relative_to(ROOT).parts[0] != "cli"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_only_the_command_line_prints(path):
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not calls


def test_importing_has_no_effect_but_the_modules(tmp_path):
    code = """
import json, os, random, sys, warnings
import numpy, scipy.linalg, scipy.sparse.linalg, scipy.special, torch
before = dict(
    dtype=str(torch.get_default_dtype()), threads=torch.get_num_threads(), torch=torch.get_rng_state().tolist(),
    random=repr(random.getstate()), numpy=repr(numpy.random.get_state()), filters=repr(warnings.filters),
    grad=torch.is_grad_enabled(), deterministic=torch.are_deterministic_algorithms_enabled(),
    matmul=torch.get_float32_matmul_precision(), environment=dict(os.environ), files=sorted(os.listdir(".")))
import matplotlib
settings = lambda: repr(list(dict.items(matplotlib.rcParams)))          # reading one by one would choose a backend
rc = settings()
import sciml
after = dict(
    dtype=str(torch.get_default_dtype()), threads=torch.get_num_threads(), torch=torch.get_rng_state().tolist(),
    random=repr(random.getstate()), numpy=repr(numpy.random.get_state()), filters=repr(warnings.filters),
    grad=torch.is_grad_enabled(), deterministic=torch.are_deterministic_algorithms_enabled(),
    matmul=torch.get_float32_matmul_precision(), environment=dict(os.environ), files=sorted(os.listdir(".")))
changed = [key for key in before if before[key] != after[key]]
if settings() != rc:
    changed.append("rcParams")
changed += [m for m in ("matplotlib.pyplot", "rich", "deepxde", "torch._dynamo") if m in sys.modules]
sys.exit(repr(changed) if changed else 0)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


MODULES = ["sciml", *(m.name for m in pkgutil.walk_packages([str(ROOT)], "sciml.") if not m.name.endswith("__main__"))]


NEED_EXTRAS = {"sciml.bench.peers"}  # imports the packages that it compares with


def imported(name):
    """The module; skips the test where an optional dependency of it is not installed."""
    if name in NEED_EXTRAS:
        pytest.importorskip("deepxde")
    return importlib.import_module(name)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_and_class_has_a_docstring(name):
    module = imported(name)
    assert inspect.getdoc(module), f"{name} has no docstring"
    bare = []
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if not value.__doc__ or (inspect.isclass(value) and value.__doc__.startswith(f"{value.__name__}(")):
            bare.append(key)  # a dataclass without a docstring gets its signature as one
        if inspect.isclass(value):
            bare += [
                f"{key}.{n}"
                for n, method in vars(value).items()
                if inspect.isfunction(method) and not n.startswith("_") and not inspect.getdoc(getattr(value, n))
            ]
    assert not bare, bare


def test_the_exports_are_sorted_and_exist():
    for name in MODULES:
        if name in NEED_EXTRAS:
            continue
        module = importlib.import_module(name)
        exports = getattr(module, "__all__", None)
        if exports is not None:
            assert all(hasattr(module, n) for n in exports), name
            assert list(exports) == sorted(exports, key=lambda n: (not n.isupper(), n[0].islower(), n)), name
