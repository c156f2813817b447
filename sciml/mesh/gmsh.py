"""Gmsh's files, formats 2.2 and 4.1, as text and binary.

Why not by meshio: its reader fails on files that hold cells outside of physical groups (Mesh.SaveAll), loses groups of
an entity that was turned round (negative numbers), all but the first unnamed group of an entity, and one of two groups
with the same name in different dimensions; it takes nodes that do not exist for others, and needs a line of Python
for every cell of a text file.

Source: the section "File formats" of gmsh's manual.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from .kinds import KINDS
from .raw import Raw, Unreadable

# Numbers of gmsh's kinds, with meshio's names; the ones of `KINDS`, and those that are refused by name.
NUMBERS = {1: "line", 2: "triangle", 3: "quad", 4: "tetra", 5: "hexahedron", 6: "wedge", 7: "pyramid", 8: "line3",
           9: "triangle6", 10: "quad9", 11: "tetra10", 12: "hexahedron27", 13: "wedge18", 14: "pyramid14", 15: "vertex",
           16: "quad8", 17: "hexahedron20", 18: "wedge15", 19: "pyramid13", 21: "triangle10", 26: "line4",
           29: "tetra20", 36: "quad16", 92: "hexahedron64"}
SIZES = {"wedge": 6, "pyramid": 5, "wedge18": 18, "pyramid14": 14, "wedge15": 15, "pyramid13": 13, "triangle10": 10,
         "line4": 4, "tetra20": 20, "quad16": 16, "hexahedron64": 64, **{k.name: k.size for k in KINDS.values()}}
# Edges and faces in gmsh's order, as far as it is not that of VTK.
_TETRA = ((0, 1), (1, 2), (2, 0), (3, 0), (3, 2), (3, 1))
_CUBE = ((0, 1), (0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (2, 6), (3, 7), (4, 5), (4, 7), (5, 6), (6, 7))
_FACES = ((0, 3, 2, 1), (0, 1, 5, 4), (0, 4, 7, 3), (1, 2, 6, 5), (2, 3, 7, 6), (4, 5, 6, 7))
_EXTRA: dict[str, tuple[tuple[int, ...], ...]] = {
    "tetra10": _TETRA, "hexahedron20": _CUBE, "hexahedron27": (*_CUBE, *_FACES, tuple(range(8)))}


def order(kind: str) -> list[int] | None:
    """Positions in gmsh's order of the nodes in VTK's; None: they are the same."""
    if kind not in _EXTRA:
        return None
    corners = KINDS[kind].corners
    place = {frozenset(s): corners + i for i, s in enumerate(_EXTRA[kind])}
    return [*range(corners), *(place[frozenset(s)] for s in KINDS[kind].supports[corners:])]


def read_gmsh(path: Path) -> Raw | None:
    """A file of format 2.2 or 4.1; None if it has another one.

    Raises:
        Unreadable: The file is cut off or does not follow the format.
    """
    data = path.read_bytes()
    head = re.match(rb"\s*(?:\$Comments.*?\$EndComments\s*)?\$MeshFormat\s+(\S+)\s+([01])\s+(\d+)[ \t]*\r?\n", data,
                    re.DOTALL)
    if head is None:
        raise Unreadable("it does not begin with $MeshFormat, version, 0 or 1, and 8")
    version, text = head[1].decode(), head[2] == b"0"
    if version not in ("2", "2.2", "4.1"):
        return None
    if not text and data[head.end():head.end() + 4] != np.int32(1).tobytes():
        raise Unreadable("its binary numbers come from a machine with another order of bytes; save it as text")
    if int(head[3]) != 8:
        raise Unreadable(f"its numbers have {int(head[3])} bytes, expected 8")
    file = _File(data, head.end(), text)
    file.skip("MeshFormat")
    return (_version4 if version == "4.1" else _version2)(file)


class _File:
    """The bytes of a file with a position, read section by section."""

    def __init__(self, data: bytes, position: int, text: bool):
        self.data, self.at, self.text = data, position, text
        self.numbers, self.used = np.empty(0), 0

    def section(self) -> str:
        """Name of the next section, whose content comes next; "" at the end."""
        found = re.compile(rb"\s*\$(\w+)[ \t]*\r?\n").match(self.data, self.at)
        if found is None:
            if self.data[self.at:].strip():
                raise Unreadable(f"a section was expected, not {self.data[self.at:self.at + 20]!r}")
            return ""
        self.at = found.end()
        return found[1].decode()

    def skip(self, name: str) -> bytes:
        """What is left of a section; the next one comes next."""
        end = self.data.find(b"$End" + name.encode(), self.at)
        if end < 0:
            raise Unreadable(f"the section ${name} has no end")
        rest, self.at = self.data[self.at:end], end + 4 + len(name)
        return rest

    def begin(self, name: str) -> None:
        """Make the numbers of a section ready for `take`, if it is text."""
        if self.text:
            end = self.data.find(b"$End" + name.encode(), self.at)
            if end < 0:
                raise Unreadable(f"the section ${name} has no end")
            self.numbers, self.used = parsed(self.data[self.at:end], name), 0
            self.at = end

    def take(self, count: int, kind: str) -> np.ndarray:
        """The next numbers: "i" (4 bytes), "q" (8 bytes) or "d", shape (count,)."""
        count = int(count)
        if count < 0:
            raise Unreadable("it announces a negative number of values")
        if self.text:
            found = self.numbers[self.used:self.used + count]
            self.used += count
            if len(found) < count:
                raise Unreadable("a section has fewer numbers than it announces")
            return found if kind == "d" else found.astype(np.int64)
        width = 4 if kind == "i" else 8
        if self.at + count * width > len(self.data):
            raise Unreadable("a section has fewer numbers than it announces")
        found = np.frombuffer(self.data, {"i": "<i4", "q": "<i8", "d": "<f8"}[kind], count, self.at)
        self.at += count * width
        return found

    def line(self) -> int:
        """The whole number on the next line (formats 2)."""
        end = self.data.find(b"\n", self.at)
        word, self.at = self.data[self.at:end], end + 1
        if end < 0 or not word.strip().isdigit():
            raise Unreadable(f"a number was expected, not {word[:20]!r}")
        return int(word)

    def finish(self, name: str) -> None:
        """The end of a section whose numbers are all taken."""
        if self.data[self.at:self.at + 20 + len(name)].split()[:1] != [b"$End" + name.encode()]:
            raise Unreadable(f"the section ${name} does not end where its numbers end")
        self.skip(name)


def parsed(text: bytes, name: str) -> np.ndarray:
    """All numbers in a text, float64."""
    if not text.strip():
        return np.empty(0)                                   # numpy would return −1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")                   # older versions of numpy only warn about other text
            return np.fromstring(text, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise Unreadable(f"the section ${name} holds something else than numbers ({error})") from error


def _names(text: bytes) -> dict[tuple[int, int], str]:
    """Names of physical groups by dimension and number."""
    found = {}
    for line in text.decode(errors="replace").splitlines()[1:]:
        match = re.match(r'\s*(\d+)\s+(-?\d+)\s+"(.*)"\s*$', line)
        if match:
            found[int(match[1]), abs(int(match[2]))] = match[3]
    return found


def _version4(file: _File) -> Raw:
    names: dict[tuple[int, int], str] = {}
    physical: dict[tuple[int, int], np.ndarray] = {}
    nodes, blocks = None, None
    while name := file.section():
        if name == "PhysicalNames":
            names = _names(file.skip(name))
        elif name in ("Entities", "Nodes", "Elements"):
            file.begin(name)
            if name == "Entities":
                physical = _entities(file)
            elif name == "Nodes":
                nodes = _nodes4(file)
            else:
                blocks = _cells4(file)
            file.finish(name)
        else:
            file.skip(name)
    if nodes is None or blocks is None:
        raise Unreadable("it has no section " + ("$Nodes" if nodes is None else "$Elements"))
    tags, X, dims = nodes
    rows = _renumbered(tags, [b[3] for b in blocks])
    kinds = [b[2] for b in blocks]
    raw = Raw(X, list(zip(kinds, rows, strict=True)), {(dim, n): [] for (dim, _), n in names.items()},
              entities=[np.full(len(r), b[1]) for b, r in zip(blocks, rows, strict=True)],
              loose=(dims == 0).nonzero()[0])
    for i, (dim, entity, _, _) in enumerate(blocks):
        for number in np.unique(np.abs(physical.get((dim, entity), np.empty(0, int)))).tolist():
            raw.put(dim, names.get((dim, number), str(number)), i, np.arange(len(rows[i])))
    return _refuse_doubles(raw, names)


def _entities(file: _File) -> dict[tuple[int, int], np.ndarray]:
    """Numbers of physical groups by dimension and number of the entity."""
    found = {}
    for dim, count in enumerate(file.take(4, "q")):
        for _ in range(int(count)):
            entity = int(file.take(1, "i")[0])
            file.take(6 if dim else 3, "d")
            found[dim, entity] = file.take(file.take(1, "q")[0], "i")
            if dim:
                file.take(file.take(1, "q")[0], "i")
    return found


def _nodes4(file: _File) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, positions and dimension of the entity of all nodes."""
    tags, X, dims = [np.empty(0, np.int64)], [np.empty((0, 3))], [np.empty(0, np.int64)]
    count, total = file.take(4, "q")[:2]
    for _ in range(int(count)):
        dim, _, parametric = file.take(3, "i").tolist()
        size = int(file.take(1, "q")[0])
        tags.append(file.take(size, "q"))
        width = 3 + (dim if parametric else 0)
        X.append(file.take(size * width, "d").reshape(size, width)[:, :3])
        dims.append(np.full(size, dim))
    found = np.concatenate(tags), np.concatenate(X), np.concatenate(dims)
    if len(found[0]) != total:
        raise Unreadable(f"it announces {int(total)} nodes and has {len(found[0])}")
    return found


def _cells4(file: _File) -> list[tuple[int, int, str, np.ndarray]]:
    """Dimension, entity, kind and nodes of cells."""
    found = []
    count, total = file.take(4, "q")[:2]
    for _ in range(int(count)):
        dim, entity, number = file.take(3, "i").tolist()
        size, kind = int(file.take(1, "q")[0]), _kind(number)
        rows = file.take(size * (1 + SIZES[kind]), "q").reshape(size, 1 + SIZES[kind])
        found.append((dim, entity, kind, _in_order(kind, rows[:, 1:])))
    if sum(len(b[3]) for b in found) != total:
        raise Unreadable(f"it announces {int(total)} cells and has {sum(len(b[3]) for b in found)}")
    return found


def _version2(file: _File) -> Raw:
    names: dict[tuple[int, int], str] = {}
    nodes, cells = None, None
    while name := file.section():
        if name == "PhysicalNames":
            names = _names(file.skip(name))
        elif name == "Nodes":
            nodes = _nodes2(file)
        elif name == "Elements":
            cells = (_text2 if file.text else _binary2)(file)
        else:
            file.skip(name)
    if nodes is None or cells is None:
        raise Unreadable("it has no section " + ("$Nodes" if nodes is None else "$Elements"))
    rows = _renumbered(nodes[0], [_in_order(kind, c[2]) for kind, c in cells.items()])
    raw = Raw(nodes[1], [], {(dim, n): [] for (dim, _), n in names.items()}, entities=[])
    for i, (kind, (physical, entity, _), nodes_) in enumerate(zip(cells, cells.values(), rows, strict=True)):
        keep, which = _once(nodes_, physical)
        raw.blocks.append((kind, nodes_[keep]))
        raw.entities.append(entity[keep])                                # type: ignore[union-attr]
        dim = KINDS[kind].dim if kind in KINDS else 3
        for number in np.unique(physical).tolist():
            if number:
                raw.put(dim, names.get((dim, number), str(number)), i, np.unique(which[physical == number]))
    return _refuse_doubles(raw, names)


def _nodes2(file: _File) -> tuple[np.ndarray, np.ndarray]:
    count = file.line()
    if file.text:
        file.begin("Nodes")
        table = file.take(4 * count, "d").reshape(count, 4)
        found = table[:, 0].astype(np.int64), table[:, 1:]
    else:
        kind = np.dtype([("tag", "<i4"), ("x", "<f8", (3,))])
        if file.at + count * kind.itemsize > len(file.data):
            raise Unreadable("$Nodes has fewer numbers than it announces")
        rows = np.frombuffer(file.data, kind, count, file.at)
        file.at += count * kind.itemsize
        found = rows["tag"].astype(np.int64), rows["x"]
    file.finish("Nodes")
    return found


Table = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def _text2(file: _File) -> Table:
    """By kind: physical group, entity and nodes of each cell. Lines have different lengths."""
    count = file.line()
    text = file.skip("Elements")
    numbers = parsed(text, "Elements").astype(np.int64)
    letters = np.frombuffer(text, np.uint8)
    blank = letters <= 32
    begins = ~blank & np.concatenate([[True], blank[:-1]])               # where a number begins, and in which line
    lines = np.cumsum(letters == 10)[begins]
    starts = np.flatnonzero(np.concatenate([[True], lines[1:] != lines[:-1]])) if len(lines) else np.empty(0, int)
    if len(starts) != count or len(lines) != len(numbers):
        raise Unreadable(f"it announces {count} cells and has {len(starts)}")
    ends = np.append(starts[1:], len(numbers))
    if (ends - starts < 4).any():
        raise Unreadable("a line of $Elements is too short")
    kinds, tags = numbers[starts + 1], numbers[starts + 2]
    found: Table = {}
    for number in kinds[np.sort(np.unique(kinds, return_index=True)[1])].tolist():      # as they first appear
        kind, here = _kind(number), kinds == number
        first = starts[here] + 3 + tags[here]
        if (ends[here] - first != SIZES[kind]).any():
            raise Unreadable(f"a line of $Elements has another number of nodes than a {kind}")
        tag = lambda i, here=here: np.where(tags[here] > i, numbers[starts[here] + 3 + i], 0)
        found[kind] = np.abs(tag(0)), tag(1), numbers[first[:, None] + np.arange(SIZES[kind])]
    return found


def _binary2(file: _File) -> Table:
    count, done = file.line(), 0
    parts: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    while done < count:
        number, size, tags = file.take(3, "i").tolist()
        if size < 0 or tags < 0:
            raise Unreadable("$Elements announces a block with a negative number of cells")
        kind = _kind(number)
        rows = file.take(size * (1 + tags + SIZES[kind]), "i").reshape(size, 1 + tags + SIZES[kind]).astype(np.int64)
        tag = lambda i, rows=rows, tags=tags: rows[:, 1 + i] if tags > i else np.zeros(len(rows), np.int64)
        parts.setdefault(kind, []).append((np.abs(tag(0)), tag(1), rows[:, 1 + tags:]))
        done += size
    file.finish("Elements")
    return {k: tuple(np.concatenate(c) for c in zip(*p, strict=True)) for k, p in parts.items()}  # type: ignore[misc]


def _once(nodes: np.ndarray, physical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Format 2.2 writes a cell once for each of its groups: cells to keep, and by cell the position of the kept one."""
    everyone = np.arange(len(nodes))
    if len(np.unique(physical)) < 2:
        return everyone, everyone
    _, first, which = np.unique(nodes @ _odd(nodes.shape[1]), return_index=True, return_inverse=True)
    lead = first[which]
    same = (nodes == nodes[lead]).all(1) & ((physical != physical[lead]) | (lead == everyone))
    lead = np.where(same, lead, everyone)
    keep = lead == everyone
    return keep.nonzero()[0], (np.cumsum(keep) - 1)[lead]


def _odd(count: int) -> np.ndarray:
    """Factors that tell rows of numbers apart by a sum modulo 2⁶⁴ (rows are compared afterwards)."""
    return np.random.default_rng(0).integers(0, 2**62, count) * 2 + 1


def _kind(number: int) -> str:
    if number not in NUMBERS:
        raise Unreadable(f"it has cells of gmsh's kind {number}; known are {', '.join(KINDS)}")
    return NUMBERS[number]


def _in_order(kind: str, rows: np.ndarray) -> np.ndarray:
    places = order(kind)
    return rows if places is None else rows[:, places]


def _renumbered(tags: np.ndarray, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Rows of node numbers as positions, by the numbers that nodes have in the file; −1 where there is no such node."""
    if len(tags) == 0:
        return [np.full(r.shape, -1) for r in rows]
    if tags.min() < 0 or tags.max() > 2**31 - 1:
        raise Unreadable("its nodes have numbers below 0 or above 2³¹")
    place = np.full(int(tags.max()) + 2, -1)
    place[tags] = np.arange(len(tags))
    return [place[np.where((r < 0) | (r > tags.max()), len(place) - 1, r)] for r in rows]


def _refuse_doubles(raw: Raw, names: dict[tuple[int, int], str]) -> Raw:
    """Two groups of one dimension cannot have one name."""
    seen: dict[tuple[int, str], int] = {}
    for (dim, number), name in names.items():
        if (dim, name) in seen:
            raise Unreadable(f"its groups {seen[dim, name]} and {number} of dimension {dim} are both called {name!r}; "
                             "rename one")
        seen[dim, name] = number
    return raw
