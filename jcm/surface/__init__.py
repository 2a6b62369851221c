"""Boundary conditions and the slab models of land, sea and sea ice."""
