"""Maps of one smooth problem are the same on every grid; derivatives to single cells are not.

A planet of water with the same profile of sea surface temperature, an atmosphere at rest, smooth
switches: nothing differs between the grids but the grid. The target is evaporation over a part of
the tropics two hours later.
"""

import functools

import numpy as np
import pytest
from synthetic import SST

import jcm
import jcm_sensitivity as js

BOX = js.box(-30, 30, 120, -120)
HOURS = 2
#: Parts of the globe over which maps are integrated.
PARTS = {"globe": js.GLOBE, "box": BOX, "quarter of it": js.box(0, 30, 120, 180),
         "Nino 3.4": js.region("nino34")}  # fmt: skip
#: What two grids may differ by, of the response.
AGREEMENT = 0.05


@functools.cache
def problem(grid):
    """Return grid, map per area and derivatives to single cells."""
    model = jcm.build_model(f"{grid}L8", smooth=True)
    sea = jcm.aquaplanet_forcing(model.grid, gravity=model.constants.gravity)
    inputs = jcm.default_inputs(model, forcing=sea, state="rest")
    target = js.mean("surface_upward_latent_heat_flux", region=BOX)
    result = js.sensitivity(
        js.model_experiment(model, days=HOURS / 24), target, inputs, wrt=[SST])
    density = js.to_map(model, result)["sensitivity_to_sea_surface_temperature"]
    # One change in all months.
    return model.grid, density, np.asarray(result.gradient[SST]).sum(axis=0)


def integrals(grid):
    return np.array([float(js.integral(problem(grid)[1], region=part)) for part in PARTS.values()])


OTHER_GRIDS = [pytest.param(grid, marks=pytest.mark.slow) for grid in ("T31", "T42")]


@pytest.mark.parametrize("grid", OTHER_GRIDS)
def test_maps_of_one_problem_have_the_same_integrals(grid):
    # The box is half of the width of the tropics: warming there by 1 K evaporates more.
    assert np.all(integrals("T21") > 1.0)
    np.testing.assert_allclose(integrals(grid), integrals("T21"), rtol=AGREEMENT)


@pytest.mark.parametrize("grid", OTHER_GRIDS)
def test_strongest_values_of_maps_agree(grid):
    strongest = [float(problem(name)[1].max()) for name in (grid, "T21")]
    np.testing.assert_allclose(*strongest, rtol=2 * AGREEMENT)


@pytest.mark.parametrize("grid", OTHER_GRIDS)
def test_derivatives_to_single_cells_shrink_with_the_cells(grid):
    (coarse, _, raw_coarse), (fine, _, raw_fine) = problem("T21"), problem(grid)
    cells = coarse.nlon * coarse.nlat / (fine.nlon * fine.nlat)
    np.testing.assert_allclose(raw_fine.max() / raw_coarse.max(), cells, rtol=2 * AGREEMENT)
    over_area = [(raw * of.cell_area).sum() for of, raw in ((coarse, raw_coarse), (fine, raw_fine))]
    assert over_area[1] < 0.5 * over_area[0]
