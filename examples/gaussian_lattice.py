"""A wave of frequency 100 on a square, by Gaussians and by two classical solvers of the same problem.

    Δu + u = q   on (−1, 1)²;   u = 0 on the boundary;   u = sin 100πx sin 100πy

A lattice of Gaussians with Kronecker structure is classical numerics, not a trained field. So the same equation is
solved by Chebyshev collocation, a spectral rival, and by differences of second order, diagonalised by sine transforms.
"""
import time

import numpy as np
from scipy.fft import dstn, idstn

import sciml
from sciml.references.chebyshev import differentiation, nodes

A = 100.0


def source(x):
    return (1 - 2 * (A * np.pi) ** 2) * exact(x)


def exact(x):
    return np.outer(np.sin(A * np.pi * x), np.sin(A * np.pi * x))


def spectral(n):
    """Values inside at n + 1 Chebyshev points per axis; the matrix of the second derivative is diagonalised."""
    x, D = nodes(n), differentiation(n)
    lam, E = np.linalg.eig((D @ D)[1:-1, 1:-1])
    F = np.linalg.solve(E, np.linalg.solve(E, source(x)[1:-1, 1:-1]).T).T
    return x[1:-1], (E @ (F / (lam[:, None] + lam + 1)) @ E.T).real


def differences(n):
    """Values at n inner nodes per axis by the five-point formula."""
    x = np.linspace(-1, 1, n + 2)[1:-1]
    lam = -(2 - 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))) / (x[1] - x[0]) ** 2
    return x, idstn(dstn(source(x), 1) / (lam[:, None] + lam + 1), 1)


def main():
    start = time.process_time()
    error = sciml.solve("helmholtz100").relative_l2()["u"]
    print(f"Gaussians, 400 per axis          {error:.1e}   {time.process_time() - start:.1f} CPU s, reports included")
    rivals = ("Chebyshev, 400 per axis", spectral, 400), ("differences, 4000 per axis", differences, 4000)
    for name, solver, n in rivals:
        start = time.process_time()
        x, u = solver(n)
        wrong = np.linalg.norm(u - exact(x)) / np.linalg.norm(exact(x))
        print(f"{name:<32} {wrong:.1e}   {time.process_time() - start:.1f} CPU s")
    return error


if __name__ == "__main__":
    main()
