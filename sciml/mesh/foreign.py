"""All other formats, by meshio: reading without a word on the screen, and groups from what meshio found.

meshio prints warnings, exits the program on unknown content, and may raise anything on a damaged file. Groups are, in
this order: sets of cells by name (`cell_sets`), gmsh's physical groups (`gmsh:physical` with `field_data`), Salome's
families (`cell_tags`), or whole numbers on cells, whose values become the names.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .kinds import KINDS
from .raw import Raw, Unreadable

log = logging.getLogger(__name__)

# Whole numbers on cells that mean a group, in order of preference; compared in small letters.
TAGS = ("gmsh:physical", "medit:ref", "cellentityids", "materialids", "materialid", "material", "nastran:ref",
        "su2:tag", "netgen:index", "ugrid:ref", "avsucd:material", "tetgen:ref", "flac3d:group", "obj:group_ids",
        "facet_tags", "subdomains", "region", "regions", "regionid")
ZERO_IS_NONE = ("gmsh:physical", "medit:ref", "ugrid:ref")
NO_GROUPS = re.compile(r"gmsh:geometrical|.*(global|original|ghost|partition|rank|proc)|(cell_?)?ids?$", re.I)
MOST_GROUPS = 256                                            # more values than this are no groups


def read_foreign(path: Path, format_: str) -> Raw:
    """A file in one of meshio's formats.

    Raises:
        Unreadable: meshio cannot read it, or leaves out cells.
    """
    import meshio

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mesh = meshio.read(path, file_format=format_)
    except ModuleNotFoundError as error:
        raise Unreadable(f"its format needs the package {error.name}; pip install {error.name}") from error
    except SystemExit as error:
        text = _sentence(said).partition("Couldn't read file")[0].strip().rstrip(".!")
        what = "neither gmsh's nor Ansys' format" if format_ == "ansys" else f"no {format_}"
        raise Unreadable(text or f"meshio finds {what} in it") from error
    except Exception as error:                               # a damaged file makes meshio raise anything
        raise Unreadable(f"meshio stops with {type(error).__name__}: {error}".rstrip(": ")) from error
    text = _sentence(said)
    if "cannot handle" in text or "not closed" in text:
        raise Unreadable(text)
    if text:
        log.info("%s: %s", path.name, text)
    return raw_of(mesh)


def _sentence(said: io.StringIO) -> str:
    """What meshio printed, on one line."""
    return " ".join(re.sub(r"\b(Warning|Error): ", "", said.getvalue()).split()).rstrip(".")


def raw_of(mesh: Any) -> Raw:
    """A mesh of meshio, its groups understood.

    Raises:
        Unreadable: Cells are not a table of whole numbers.
    """
    blocks = []
    for block in mesh.cells:
        rows = np.asarray(block.data) if block.type in KINDS else np.empty((len(block.data), 0), np.int64)
        if rows.ndim != 2 or rows.dtype.kind not in "iu" or (block.type in KINDS and
                                                             rows.shape[1] != KINDS[block.type].size):
            raise Unreadable(f"its cells of kind {block.type} have nodes of shape {rows.shape} and type {rows.dtype}")
        blocks.append((block.type, rows.astype(np.int64)))
    X = np.asarray(mesh.points, dtype=np.float64)
    raw = Raw(X.reshape(len(X), -1) if X.size else np.empty((0, 3)), blocks)
    dims = [KINDS[block.type].dim if block.type in KINDS else block.dim for block in mesh.cells]
    named = _from_sets(raw, mesh, dims) | _from_tags(raw, mesh, dims)
    if not named:
        _from_numbers(raw, mesh, dims)
    raw.node_sets = {str(name): np.unique(np.asarray(nodes, dtype=np.int64).reshape(-1))
                     for name, nodes in mesh.point_sets.items()}
    tags = getattr(mesh, "point_tags", None)
    if tags and "point_tags" in mesh.point_data:
        for name in sorted({n for names in tags.values() for n in names}):
            families = [f for f, names in tags.items() if name in names]
            raw.node_sets[name] = np.isin(mesh.point_data["point_tags"], families).nonzero()[0]
    return raw


def _from_sets(raw: Raw, mesh, dims: list[int]) -> bool:
    """Groups from named sets of cells."""
    for name, sets in mesh.cell_sets.items():
        if name.startswith("gmsh:"):
            continue
        if len(sets) != len(raw.blocks):
            raise Unreadable(f"its set {name!r} has members in {len(sets)} blocks of cells, but there are "
                             f"{len(raw.blocks)}")
        for i, members in enumerate(sets):
            if members is not None and len(members):
                raw.put(dims[i], str(name), i, np.asarray(members, dtype=np.int64).reshape(-1))
    return any(not n.startswith("gmsh:") for n in mesh.cell_sets)


def _from_tags(raw: Raw, mesh, dims: list[int]) -> bool:
    """Groups from gmsh's physical numbers with names, and from Salome's families."""
    physical = mesh.cell_data.get("gmsh:physical")
    names = {(int(v[1]), int(v[0])): str(n) for n, v in mesh.field_data.items() if np.size(v) == 2}
    if physical is not None and names:
        for i, numbers in enumerate(physical):
            for number in np.unique(numbers[numbers != 0]).tolist():
                name = names.get((dims[i], abs(number)), str(abs(number)))
                if name not in mesh.cell_sets:
                    raw.put(dims[i], name, i, (numbers == number).nonzero()[0])
    families = getattr(mesh, "cell_tags", None)
    if families and "cell_tags" in mesh.cell_data:
        for i, numbers in enumerate(mesh.cell_data["cell_tags"]):
            for family in np.unique(numbers).tolist():
                for name in families.get(family, []):
                    raw.put(dims[i], name, i, (numbers == family).nonzero()[0])
    return bool((physical is not None and names) or families)


def _from_numbers(raw: Raw, mesh, dims: list[int]) -> None:
    """Groups from whole numbers on cells; negative ones, and zero in some formats, mean none."""
    whole = {k: v for k, v in mesh.cell_data.items()
             if all(np.ndim(a) == 1 and np.asarray(a).dtype.kind in "iu" for a in v)}
    known = {k.lower(): k for k in whole}
    key = next((known[t] for t in TAGS if t in known), None)
    if key is None:
        rest = [k for k, v in whole.items() if not NO_GROUPS.match(k)
                and len(np.unique(np.concatenate([*v, np.empty(0, int)]))) <= MOST_GROUPS]
        if len(rest) != 1:
            return
        key = rest[0]
        log.info("the values of %r on cells are taken as groups", key)
    for i, numbers in enumerate(whole[key]):
        numbers = np.asarray(numbers).astype(np.int64)
        for number in np.unique(numbers).tolist():
            if number > 0 or (number == 0 and key.lower() not in ZERO_IS_NONE):
                raw.put(dims[i], str(number), i, (numbers == number).nonzero()[0])
