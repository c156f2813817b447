"""Operator models: networks that map functions on grids, meshes and points to functions."""
