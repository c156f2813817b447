"""Abaqus's and CalculiX's input files: nodes, elements, sets of both, and surfaces made of faces of elements.

Why not by meshio: its reader puts a set into the wrong block when some blocks have none, keeps the last of several
blocks with one set only, knows no surfaces, and not the plane-strain elements.

Only the mesh is read: one part, flat or in an assembly that has one instance of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .kinds import KINDS
from .raw import Raw, Unreadable

_FAMILIES: tuple[tuple[str, dict[int, str]], ...] = (
    (r"(?:A|D)?C3D(\d+)", {4: "tetra", 5: "pyramid", 6: "wedge", 8: "hexahedron", 10: "tetra10", 15: "wedge15",
                           20: "hexahedron20", 27: "hexahedron27"}),
    (r"STRI(3|65)", {3: "triangle", 65: "triangle6"}),
    (r"(?:CPEG|CPE|CPS|CGAX|CAX|DC2D|DCAX|AC2D|ACAX|M3D|SFM3D|R3D|DS|S)(\d)",
     {3: "triangle", 4: "quad", 6: "triangle6", 8: "quad8", 9: "quad9"}),
    (r"(?:T2D|T3D|DC1D|R2D|RAX|AC1D)(\d)", {2: "line", 3: "line3"}),
    (r"B[23](\d)", {1: "line", 2: "line3", 3: "line"}),
    (r"(MASS|ROTARYI)", {}))
# Corners of the faces S1, S2, … of elements; the manual counts from 1.
_SIDES: dict[str, tuple[tuple[int, ...], ...]] = {
    "triangle": ((0, 1), (1, 2), (2, 0)), "quad": ((0, 1), (1, 2), (2, 3), (3, 0)),
    "tetra": ((0, 1, 2), (0, 3, 1), (1, 3, 2), (2, 3, 0)),
    "hexahedron": ((0, 1, 2, 3), (4, 7, 6, 5), (0, 4, 5, 1), (1, 5, 6, 2), (2, 6, 7, 3), (3, 7, 4, 0))}
_SIMPLE = {2: "line", 3: "triangle", 4: "quad"}


@dataclass
class _Card:
    """A keyword with its parameters and lines of data."""

    word: str
    given: dict[str, str]
    lines: list[str]


@dataclass
class _Sets:
    """Sets of numbers by name in capitals; names as they were written; which ones the program made for itself."""

    members: dict[str, list[np.ndarray]] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)
    internal: set[str] = field(default_factory=set)

    def put(self, name: str, numbers: np.ndarray, internal: bool = False) -> None:
        self.members.setdefault(name.upper(), []).append(numbers)
        self.called.setdefault(name.upper(), name)
        if internal:
            self.internal.add(name.upper())

    def all(self, name: str) -> np.ndarray | None:
        """Members of a set without repetition; None if there is no such set."""
        parts = self.members.get(name.upper())
        return None if parts is None else np.unique(np.concatenate([*parts, np.empty(0, np.int64)]))

    def shown(self) -> list[str]:
        return [n for n in self.members if n not in self.internal]


def read_abaqus(path: Path) -> Raw:
    """The mesh of an input file.

    Raises:
        Unreadable: It has several parts or instances, unknown elements, or lines that are not numbers.
    """
    tags, X = [np.empty(0, np.int64)], []
    elements: list[tuple[str, np.ndarray]] = []
    nodes, cells = _Sets(), _Sets()
    surfaces: list[_Card] = []
    inside, parts, instances = "", 0, 0
    for card in _cards(path):
        if card.word in ("PART", "ASSEMBLY", "INSTANCE"):
            inside, parts, instances = card.word, parts + (card.word == "PART"), instances + (card.word == "INSTANCE")
            if max(parts, instances) > 1 or (card.word == "INSTANCE" and card.lines):
                raise Unreadable("it has several parts or instances, or moves one; export it as one flat mesh")
        elif card.word in ("END INSTANCE", "END ASSEMBLY", "END PART"):
            inside = "ASSEMBLY" if card.word == "END INSTANCE" else ""
        elif inside == "ASSEMBLY" and (card.word == "NODE" or "INSTANCE" not in card.given and card.word != "SURFACE"):
            continue                                       # reference points and sets of them
        elif card.word == "NODE":
            table = _table(card, len(_fields(card.lines[0])) if card.lines else 1)
            tags.append(table[:, 0].astype(np.int64))
            X.append(table[:, 1:])
            if "NSET" in card.given:
                nodes.put(card.given["NSET"], tags[-1])
        elif card.word == "ELEMENT":
            _element(card, elements, cells)
        elif card.word in ("NSET", "ELSET") and card.word in card.given:
            _set(card, nodes if card.word == "NSET" else cells)
        elif card.word == "SURFACE" and "NAME" in card.given:
            surfaces.append(card)
    if not X or len({x.shape[1] for x in X}) != 1 or X[0].shape[1] not in (2, 3):
        raise Unreadable("it has no *NODE with two or three coordinates")
    return _raw(np.concatenate(tags), np.concatenate(X), elements, nodes, cells, surfaces)


def _cards(path: Path) -> Iterator[_Card]:
    """Keywords in order, included files in their place."""
    card = None
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("**") or not line.strip():
            continue
        if not line.startswith("*"):
            if card is not None:
                card.lines.append(line)
            continue
        if card is not None:
            yield card
        words = [w.strip() for w in line[1:].split(",")]
        given = {k.strip().upper(): v.strip().strip('"') for k, _, v in (w.partition("=") for w in words[1:])}
        card = _Card(" ".join(words[0].upper().split()), given, [])
        if card.word == "INCLUDE":
            other = path.parent / given.get("INPUT", "")
            if not other.is_file() or other == path:
                raise Unreadable(f"it includes {str(other)!r}, which does not exist")
            yield from _cards(other)
            card = None
    if card is not None:
        yield card


def _fields(line: str) -> list[str]:
    return [w for w in (w.strip() for w in line.split(",")) if w]


def _table(card: _Card, width: int) -> np.ndarray:
    """Numbers under a keyword, which may run over several lines, in rows."""
    try:
        numbers = np.array(" ".join(card.lines).replace(",", " ").split(), dtype=np.float64)
    except ValueError as error:
        raise Unreadable(f"*{card.word} holds something else than numbers ({error})") from error
    if len(numbers) % width:
        raise Unreadable(f"*{card.word} has {len(numbers)} numbers, expected a multiple of {width}")
    return numbers.reshape(-1, width)


def _element(card: _Card, elements: list[tuple[str, np.ndarray]], cells: _Sets) -> None:
    """One *ELEMENT: a block of number and nodes by row."""
    name = card.given.get("TYPE", "").upper()
    for pattern, kinds in _FAMILIES:
        match = re.match(pattern, name)
        if match and match[1].isdigit() and int(match[1]) in kinds:
            kind = kinds[int(match[1])]
            break
        if match and not kinds:
            return                                         # a point mass is no cell
    else:
        raise Unreadable(f"elements of type {name or '(none)'} are not known here")
    if kind in ("line", "line3") and card.lines:           # meshio writes lines of order 2 as B33H, which has two nodes
        kind = {3: "line", 4: "line3"}.get(len(_fields(card.lines[0])), kind)
    sizes = {"wedge": 6, "pyramid": 5, "wedge15": 15}
    rows = _table(card, 1 + (sizes[kind] if kind in sizes else KINDS[kind].size)).astype(np.int64)
    elements.append((kind, rows))
    if "ELSET" in card.given:
        cells.put(card.given["ELSET"], rows[:, 0])


def _set(card: _Card, sets: _Sets) -> None:
    """One *NSET or *ELSET: numbers, ranges, or names of other sets."""
    name, internal = card.given[card.word], "INTERNAL" in card.given
    if "GENERATE" in card.given:
        for line in card.lines:
            first, last, step = (*(int(w) for w in _fields(line)), 1)[:3]
            sets.put(name, np.arange(first, last + 1, step), internal)
        return
    numbers = []
    for word in (w for line in card.lines for w in _fields(line)):
        if word.isdigit():
            numbers.append(int(word))
            continue
        other = sets.all(word.strip('"'))
        if other is None:
            raise Unreadable(f"the set {name!r} names {word!r}, which does not exist before it")
        sets.put(name, other, internal)
    sets.put(name, np.array(numbers, dtype=np.int64), internal)


def _raw(tags: np.ndarray, X: np.ndarray, elements, nodes: _Sets, cells: _Sets, surfaces: list[_Card]) -> Raw:
    node_at = _Places(tags, "node")
    raw = Raw(X, [(kind, node_at(rows[:, 1:])) for kind, rows in elements])
    raw.blocks = [(kind, _ends_first(rows, X) if kind == "line3" else rows) for kind, rows in raw.blocks]
    sizes = [len(rows) for _, rows in elements]
    block = np.repeat(np.arange(len(sizes)), sizes)
    position = np.concatenate([np.arange(n) for n in sizes] or [np.empty(0, int)])
    cell_at = _Places(np.concatenate([rows[:, 0] for _, rows in elements] or [np.empty(0, np.int64)]), "element")
    for name in cells.shown():
        at = cell_at(cells.all(name), sets=cells.called[name])
        for b in np.unique(block[at]).tolist():
            kind = elements[b][0]
            raw.put(KINDS[kind].dim if kind in KINDS else 3, cells.called[name], b, position[at[block[at] == b]])
    raw.node_sets = {nodes.called[n]: node_at(nodes.all(n), sets=nodes.called[n]) for n in nodes.shown()}
    for card in surfaces:
        if card.given.get("TYPE", "ELEMENT").upper() == "NODE":
            found = [nodes.all(_fields(line)[0]) for line in card.lines]
            raw.node_sets[card.given["NAME"]] = node_at(np.concatenate([f for f in found if f is not None]))
        else:
            _sides(card, raw, cells, (cell_at, block, position))
    return raw


class _Places:
    """Positions of numbers in a list of them."""

    def __init__(self, tags: np.ndarray, what: str):
        self.what = what
        self.order = np.argsort(tags, kind="stable")
        self.sorted = tags[self.order]
        if (self.sorted[1:] == self.sorted[:-1]).any():
            number = self.sorted[:-1][self.sorted[1:] == self.sorted[:-1]][0]
            raise Unreadable(f"it defines {what} {number} twice")

    def __call__(self, numbers, sets: str = "") -> np.ndarray:
        """Positions, the shape as given; −1 for unknown nodes of elements, an error for unknown members of sets."""
        at = np.searchsorted(self.sorted, numbers)
        hit = (at < len(self.sorted)) & (self.sorted[np.minimum(at, len(self.sorted) - 1)] == numbers) \
            if len(self.sorted) else np.zeros(np.shape(numbers), bool)
        if sets and not hit.all():
            raise Unreadable(f"the set {sets!r} has {self.what} {numbers[~hit][0]}, which does not exist")
        return np.where(hit, self.order[np.minimum(at, len(self.sorted) - 1)], -1) if len(self.order) else at * 0 - 1


def _ends_first(rows: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Lines of order 2 with the middle last; programs differ, positions decide."""
    if (rows < 0).any():
        return rows
    a, b, c = (X[rows[:, i]] for i in range(3))
    middle = np.linalg.norm(b - (a + c) / 2, axis=1) < np.linalg.norm(c - (a + b) / 2, axis=1)
    return np.where(middle[:, None], rows[:, [0, 2, 1]], rows)


def _sides(card: _Card, raw: Raw, cells: _Sets, where) -> None:
    """A surface made of faces of elements: cells of a lower dimension that name it."""
    cell_at, block, position = where
    name = card.given["NAME"]
    for line in card.lines:
        words = _fields(line)
        side = words[1].upper() if len(words) > 1 else ""
        if not re.fullmatch(r"S\d", side):
            raise Unreadable(f"the surface {name!r} has {line.strip()!r}; expected elements and one of S1, S2, …")
        numbers = np.array([int(words[0])]) if words[0].isdigit() else cells.all(words[0])
        if numbers is None:
            raise Unreadable(f"the surface {name!r} names {words[0]!r}, which does not exist")
        at = cell_at(numbers, sets=name)
        for b in np.unique(block[at]).tolist():
            kind, rows = raw.blocks[b]
            sides = _SIDES[KINDS[kind].shape.name]
            if int(side[1]) > len(sides):
                raise Unreadable(f"the surface {name!r} has side {side} of a {kind}, which has {len(sides)} sides")
            corners = rows[position[at[block[at] == b]]][:, list(sides[int(side[1]) - 1])]
            raw.blocks.append((_SIMPLE[corners.shape[1]], corners))
            raw.put(KINDS[raw.blocks[-1][0]].dim, name, len(raw.blocks) - 1, np.arange(len(corners)))
