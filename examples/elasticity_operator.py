"""Stress in plates with voids that were never seen: an operator on points, trained on finite elements.

A hundred plates, clamped below and pulled above, are solved on meshes of their own; Geo-FNO learns from eighty. It sees
where the nodes are and their quadrature weights. `python elasticity_operator.py figure.png` draws a void that is new.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch

from sciml import learn
from sciml.generators import Elasticity
from sciml.generators.plate import triangles
from sciml.inputs import GaussianRandomField
from sciml.plot.style import ERROR_MAP, FIELD_MAP, color_bar, color_limits, new_figure, save, styled, symmetric_limits

axes = {"theta": torch.arange(64, dtype=torch.float64) * math.pi / 32,
        "layer": torch.linspace(0, 1, 16, dtype=torch.float64)}
law = GaussianRandomField("periodic", sigma=5.013, tau=3.0, alpha=1.0, modes=8, over=("theta",))
law = law.bind({"theta": (0.0, 2 * math.pi)})


@styled
def draw(x, y, predicted, reference, path):
    """Prediction and finite elements on the plate, their difference at the nodes."""
    figure = new_figure(10, 3.3)
    norm, error = color_limits(predicted, reference), predicted - reference
    panels = figure.subplots(1, 3)
    for panel, values, title in zip(panels, (predicted, reference), ("prediction", "finite elements"), strict=False):
        color_bar(panel, panel.tripcolor(x, y, triangles(64, 16).numpy(), values, shading="gouraud", cmap=FIELD_MAP,
                                         norm=norm))
        panel.set_title(f"{title}, von Mises stress")
    color_bar(panels[2], panels[2].scatter(x, y, s=4, c=error, cmap=ERROR_MAP, norm=symmetric_limits(error)))
    panels[2].set_title(f"error, relative L2 {np.linalg.norm(error) / np.linalg.norm(reference):.3f}")
    for panel in panels:
        panel.set(aspect="equal", xlabel="x", ylabel="y")
    save(figure, Path(path))


def main(plates: int = 100, epochs: int = 40, figure: str = "") -> float:
    """Mean relative L2 error of the stress in the last fifth of the plates."""
    xi = law.on_grid(law.draw(plates, torch.Generator().manual_seed(0)), axes)
    data = {name: v.numpy() for name, v in Elasticity(order=1).solve({"xi": xi}, axes).items() if name != "radius"}
    found = learn(data, inputs=[], outputs=["mises"], points=("x", "y"), weights="weight", epochs=epochs, batch=10,
                  model=dict(name="geo-fno", deformation="none", modes=(6, 6), grid=(16, 16), width=24),
                  optimizer=dict(name="adamw", lr=3e-3))
    error = found.relative_l2()["mises"]
    print(f"{plates // 5} new voids: mean error {error:.3f} after {found.steps} steps in {found.seconds:.0f} s")
    if figure:
        x, y, reference = (data[name][-1].ravel() for name in ("x", "y", "mises"))
        draw(x, y, found([plates - 1])["mises"][0], reference, figure)
    return error


if __name__ == "__main__":
    main(figure=sys.argv[1] if len(sys.argv) > 1 else "")
