"""References by elements: against multipoles, corner expansions, published forces; and meshes of blocks."""

from math import pi
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml.errors import ProblemError
from sciml.geometry.mesh import find_mesh
from sciml.mesh import facet_quadrature, volumes
from sciml.mesh.blocks import around, glued
from sciml.mesh.read import read_mesh
from sciml.mesh.structured import box, quadratic, refined
from sciml.references import load
from sciml.references.elements import (
    channel,
    cylinder_flow,
    four_holes,
    l_shape,
    poisson_holes_elements,
    poisson_l_shape,
)
from sciml.references.multipoles import Harmonic
from sciml.references.solvers import SOLVERS

DATA = Path(__file__).resolve().parent.parent / "data"


def test_blocks_round_a_disk_fill_the_rectangle_without_it():
    made = around((0.2, 0.25, 0.1), [(0, 1), (0, 0.5)], 8, 6, grading=3.0)
    sizes = volumes(made)
    assert bool((sizes > 0).all())
    assert float(sizes.sum()) == pytest.approx(0.5 - pi * 0.01, rel=1e-5)          # arcs as parabolas
    assert sum(len(f) for f in made.surfaces.values()) == len(made.boundary) == 8 * 8
    rule = facet_quadrature(made, 5, made.surfaces["hole"])
    inward = torch.tensor([0.2, 0.25], dtype=torch.float64) - rule.X
    assert float((rule.normals * inward).sum(1).min()) > 0.0999
    assert float(rule.weights.sum()) == pytest.approx(2 * pi * 0.1, rel=1e-5)
    with pytest.raises(ProblemError, match="not inside of the rectangle"):
        around((0.2, 0.25, 0.3), [(0, 1), (0, 0.5)], 8, 6)


def test_a_refined_curved_mesh_fills_the_same_domain_with_the_same_nodes_and_groups():
    coarse = read_mesh(find_mesh("plate_hole.msh"))
    fine = refined(coarse)
    assert len(fine) == 4 * len(coarse) and fine.order == 2
    # The same parabolas, cut in two: the same volume and lengths but for rounding.
    assert float(volumes(fine).sum()) == pytest.approx(float(volumes(coarse).sum()), rel=1e-14)
    gaps = torch.cdist(coarse.X, fine.X, compute_mode="donot_use_mm_for_euclid_dist").min(1).values
    assert float(gaps.max()) < 1e-14
    for name, group in coarse.surfaces.items():
        lengths = [float(facet_quadrature(c, 8, c.surfaces[name]).weights.sum()) for c in (coarse, fine)]
        assert len(fine.surfaces[name]) == 2 * len(group) and lengths[0] == pytest.approx(lengths[1], rel=1e-9)
    solid = refined(quadratic(refined(box([(0, 1)] * 3, [1] * 3, "tetra"))))
    assert bool((volumes(solid) > 0).all()) and float(volumes(solid).sum()) == pytest.approx(1.0, rel=1e-13)


def test_glued_parts_share_nodes_and_lose_the_facets_between_them():
    left, right = box([(0, 1), (0, 1)], (2, 3), "quad"), box([(1, 3), (0, 1)], (2, 3), "quad")
    made = glued([left, right])
    assert len(made.X) == 5 * 4
    assert {name: len(f) for name, f in made.surfaces.items()} == {"x-": 3, "x+": 3, "y-": 4, "y+": 4}
    for made in (four_holes(2), l_shape(3), channel(2)):
        assert bool((volumes(made) > 0).all())
        named = sum(len(f) for f in made.surfaces.values())
        assert named in (0, len(made.boundary))


def test_elements_and_multipoles_agree_on_the_square_with_four_holes():
    found = poisson_holes_elements(8)
    exact = Harmonic(0.5, [(0.3 * a, 0.3 * b, 0.1) for a in (-1, 1) for b in (-1, 1)], 1.0, 0.0)
    truth = exact(found.coordinates["x"], found.coordinates["y"])
    error = np.linalg.norm(found.unknowns["u"] - truth) / np.linalg.norm(truth)
    assert error < found.accuracy / 8 < 1e-5                  # the finer mesh is better by the order of the elements


def l_shape_exactly(x, y):
    """−Δu = 1 on the L-shape by least squares on its boundary: −r²/4, r^(2k/3) sin(2kθ/3), and analytic functions.

    In the other corners u is like r² log r, which (z − c)² log(z − c) carries. Fox, Henrici and Moler (1967).
    """
    corners = [1 + 1j, -1 + 1j, -1 - 1j, 1 + 0j, 0 - 1j]

    def parts(x, y):
        z = x + 1j * y
        r, t = np.abs(z), (np.angle(z) + 0.1) % (2 * pi) - 0.1      # rounding may put z below the positive axis
        k = 2 / 3 * np.arange(1, 51)
        log = np.log(r + 1e-300) + 1j * t                     # r² resonates with k = 3
        columns = [(r[:, None] / 1.4) ** k * np.sin(t[:, None] * k),
                   np.stack([(z**2 * log).real, (z**2 * log).imag], 1)]
        for c in corners:
            w = z - c
            log = np.log(np.abs(w) + 1e-300) + 1j * np.angle(-w / c)           # the cut points away
            columns.append(np.stack([(w**2 * log).real, (w**2 * log).imag], 1))
        powers = (z[:, None] / 1.4) ** np.arange(24)
        return -r**2 / 4, np.concatenate([*columns, powers.real, powers.imag], 1)
    s = np.cos(np.linspace(0, pi, 300))
    one, zero, high, low = np.ones_like(s), 0 * s, (s + 1) / 2, (s - 1) / 2
    edges = [(one, high), (s, one), (-one, s), (low, -one), (zero, low), (high, zero)]
    own, basis = parts(*(np.concatenate(c) for c in zip(*edges, strict=True)))
    c = np.linalg.lstsq(basis, -own, rcond=1e-14)[0]
    assert np.abs(own + basis @ c).max() < 1e-10              # and by the maximum principle everywhere
    own, basis = parts(x, y)
    return own + basis @ c


def test_elements_and_the_corner_expansion_agree_on_the_l_shape():
    for found, tolerance in ((poisson_l_shape(12), 1e-3), (load(DATA / "poisson_l_shape.h5"), 4e-5)):
        x, y = found.coordinates["x"], found.coordinates["y"]
        truth = l_shape_exactly(x, y)
        assert np.linalg.norm(found.unknowns["u"] - truth) / np.linalg.norm(truth) < found.accuracy < tolerance


def test_drag_lift_and_pressure_of_the_cylinder_are_the_published_ones():
    for found, tolerance in ((cylinder_flow(2), 1.0), (load(DATA / "cylinder_re20.h5"), 0.1)):
        numbers = found.parameters
        assert numbers["drag"] == pytest.approx(5.57953523384, rel=2e-3 * tolerance)
        assert numbers["lift"] == pytest.approx(0.010618948146, rel=0.1 * tolerance)
        assert numbers["pressure_difference"] == pytest.approx(0.11752016697, rel=1e-2 * tolerance)
    assert set(found.unknowns) == {"u", "v", "p"} and "cylinder_flow" in SOLVERS
