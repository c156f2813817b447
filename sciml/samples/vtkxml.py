"""A small reader of VTK's XML files of points with cells or lines, one piece each (.vtu, .vtp).

Numbers as text, base64 or raw appended bytes, uncompressed or by zlib or LZMA.

Source: the file formats chapter of the VTK User's Guide.
"""

from __future__ import annotations

import base64
import lzma
import math
import re
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ProblemError

TYPES = {"Float32": "f4", "Float64": "f8", "Int8": "i1", "UInt8": "u1", "Int16": "i2", "UInt16": "u2", "Int32": "i4",
         "UInt32": "u4", "Int64": "i8", "UInt64": "u8"}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "vtkZLibDataCompressor": zlib.decompress, "vtkLZMADataCompressor": lzma.decompress}
APPENDED = re.compile(rb"<AppendedData([^>]*)>\s*_")


@dataclass(frozen=True)
class Piece:
    """Points with cells.

    Args:
        X: Shape (N, 3).
        cells: Numbers of the points of each cell (or line), all in one row.
        ends: Where each cell ends in it, shape (E,).
        points: Data of the points by name, shape (N,) or (N, C).
        data: Data of the cells by name.
    """

    X: np.ndarray
    cells: np.ndarray
    ends: np.ndarray
    points: dict[str, np.ndarray]
    data: dict[str, np.ndarray]


def read_vtk(path: str | Path) -> Piece:
    """The one piece of a file.

    Raises:
        ProblemError: No such file, or not one of these.
    """
    path = Path(path)
    if not path.is_file():
        raise ProblemError(f"there is no file {path}")
    raw = path.read_bytes()
    found = APPENDED.search(raw)
    rest, encoding = b"", "raw"
    if found:
        rest, encoding = raw[found.end():], "base64" if b"base64" in found[1] else "raw"
        raw = raw[:found.start()] + b"</VTKFile>"
    try:
        root = ET.fromstring(raw)
    except ET.ParseError as error:
        raise ProblemError(f"{path} is no XML file of VTK ({error}); save it as .vtu or .vtp") from error
    pieces = root.findall("*/Piece")
    if len(pieces) != 1:
        raise ProblemError(f"{path} has {len(pieces)} pieces; expected one .vtu or .vtp piece")
    decode = _Decoder(root, rest, encoding, path)
    (piece,) = pieces
    arrays = lambda tag: {a.get("Name", ""): decode(a) for a in piece.findall(f"{tag}/DataArray")}
    points = list(arrays("Points").values())
    filled = (t for t in map(arrays, ("Cells", "Lines", "Polys")) if len(t.get("connectivity", ())))
    topology = next(filled, {})
    none = np.zeros(0, np.int64)
    return Piece(points[0].reshape(-1, 3), topology.get("connectivity", none).astype(np.int64),
                 topology.get("offsets", none).astype(np.int64), arrays("PointData"), arrays("CellData"))


class _Decoder:
    """Numbers of a DataArray element."""

    def __init__(self, root: ET.Element, rest: bytes, encoding: str, path: Path):
        self.rest, self.encoding, self.path = rest, encoding, path
        self.order = ">" if root.get("byte_order") == "BigEndian" else "<"
        self.header = np.dtype(self.order + TYPES[root.get("header_type", "UInt32")])
        name = root.get("compressor")
        if name is not None and name not in COMPRESSORS:
            raise ProblemError(f"{path} is compressed by {name}; expected zlib, LZMA or none: save it again")
        self.expand = COMPRESSORS[name] if name else None

    def __call__(self, element: ET.Element) -> np.ndarray:
        if element.get("type") not in TYPES:
            raise ProblemError(f"{self.path} has an array of type {element.get('type')}; expected numbers")
        kind = np.dtype(self.order + TYPES[element.get("type", "")])
        form = element.get("format", "ascii")
        if form == "ascii":
            values = np.array((element.text or "").split(), dtype=kind)
        elif form == "binary":
            values = np.frombuffer(self._bytes((element.text or "").strip().encode(), True), kind)
        else:
            start = int(element.get("offset", 0))
            values = np.frombuffer(self._bytes(self.rest[start:], self.encoding == "base64"), kind)
        columns = int(element.get("NumberOfComponents", 1) or 1)
        return values.astype(kind.newbyteorder("=")).reshape((-1, columns) if columns > 1 else (-1,))

    def _bytes(self, data: bytes, text: bool) -> bytes:
        """A block: its header, then its bytes; in base64 the header of compressed ones is encoded apart."""
        size = self.header.itemsize

        def take(start: int, count: int) -> bytes:
            if not text:
                return data[start:start + count]
            return base64.b64decode(data[start:start + 4 * math.ceil(count / 3)])[:count]

        if self.expand is None:
            count = int(np.frombuffer(take(0, size), self.header)[0])
            return take(0, size + count)[size:]
        blocks = int(np.frombuffer(take(0, size), self.header)[0])
        length = size * (3 + blocks)
        sizes = np.frombuffer(take(0, length), self.header)[3:]
        start = 4 * math.ceil(length / 3) if text else length
        whole, parts, at = take(start, int(sizes.sum())), [], 0
        for count in sizes.tolist():
            parts.append(self.expand(whole[at:at + count]))
            at += count
        return b"".join(parts)
