"""Does a response hang together dynamically? Balance, hydrostatics, energy and water.

The wind that goes with a change of temperature and pressure where the Earth rotates is the
geostrophic one, f k x u_g = -(grad Phi + R T grad ln p_s) on surfaces of sigma; its first-order
change has a term of the changed temperature as well. Holton, J. R. and Hakim, G. J. (2013): An
introduction to dynamic meteorology, 5th ed., Academic Press, sections 2.4 and 3.2, and Simmons, A.
J. and Burridge, D. M. (1981): An energy and angular-momentum conserving vertical finite-difference
scheme. Mon. Wea. Rev., 109, 758-766, for the two terms. The model is dry in its hydrostatics:
humidity does not act on density, so the hypsometric equation is that of temperature.

Fields and changes are those of `response`, on the layers of the model. Products of means stand
for means of products, where outputs are means.
"""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from jcm.constants import DAY
from jcm.dynamics.vertical_operators import geopotential_matrix
from jcm.model import Model
from jcm.parameters import insert
from jcm.provenance import provenance
from jcm.simulate import PRECISION, Inputs
from jcm_sensitivity.energy import EnergyNorm, grid_energy
from jcm_sensitivity.maps import horizontal_coordinates
from jcm_sensitivity.tangent import Response

WIND = ("eastward_wind", "northward_wind")
#: Fields that are needed, and those with which the budget of water is looked at as well.
NEEDED = (*WIND, "air_temperature", "geopotential_height", "surface_air_pressure")
WATER = ("specific_humidity", "precipitation_flux", "water_evapotranspiration_flux")
#: Latitude from which on the wind is compared with the geostrophic one [degrees].
TROPICS = 15.0
#: R_v / R_d - 1, by which vapour makes air lighter; not in the model.
VAPOUR = 0.608
OROGRAPHY = "forcing.surface_geopotential"

#: A field on the layers of the model at several outputs.
Layers = Float[np.ndarray, "time level lon lat"]


def consistency(
    model: Model, inputs: Inputs, response: Response, *, tropics: float | int = TROPICS
) -> xr.Dataset:
    """Return how far a response is balanced, hydrostatic, and closed in energy and water.

    Parameters
    ----------
    model, inputs
        Those of the run.
    response
        Of a run that observes at least `NEEDED`, and `WATER` for the budget of water.
    tropics
        Latitude below which the geostrophic wind is left out [degrees].

    Returns
    -------
    xr.Dataset
        By day, layer and latitude: `geostrophic_adjustment`, the projection of the wind change on
        the geostrophic wind change over the square of the latter (0: the wind has not answered
        the change of mass yet, 1: it has); `geostrophic_fraction`, the same over the square of
        the wind change (0: nothing of the wind is balanced, 1: all); `geostrophic_correlation`;
        and both for all latitudes outside the tropics together, `extratropical_...`. Fields
        `geostrophic_eastward_wind_change`, `geostrophic_northward_wind_change`,
        `height_change_at_pressure`, the change of height of a surface of pressure,
        `hypsometric_residual`, the change of height less what the change of temperature makes,
        and `virtual_temperature_effect`, what vapour would add to the height and does not in this
        model. `kinetic_energy`, `thermal_energy` and `surface_energy` of the change, see `energy`.
        With two outputs or more and the fields of `WATER`: the change of evaporation less
        precipitation between outputs, of storage, and the residual, mean over the globe.

    Raises
    ------
    ValueError
        If fields are missing, or the latitude is not between 0 and 90 degrees.
    """
    missing = [name for name in NEEDED if name not in response.change]
    if missing:
        raise ValueError(
            f"the response has no {', '.join(missing)}; make the experiment with observe=None, or "
            f"with {', '.join(NEEDED)}")
    if not 0 <= tropics < 90:
        raise ValueError(f"tropics is a latitude from 0 to below 90 degrees; got {tropics}")
    fields, change = (
        {name: np.asarray(x, float) for name, x in part.items()}
        for part in (response.fields, response.change))
    every = response.every or 1.0
    days = every * (np.arange(len(change[NEEDED[0]])) + (0.5 if response.average else 1.0))
    parts = (
        _balance(model, fields, change, float(tropics))
        | _hydrostatics(model, inputs, response, fields, change)
        | _energy(model, fields, change))
    dataset = xr.Dataset(
        parts, coords=_coordinates(model, days),
        attrs=provenance(model, inputs) | {"title": "Dynamical consistency of a response"})
    if len(days) > 1 and all(name in change for name in WATER):
        dataset = dataset.assign_coords(
            between=("between", days[1:] - every / 2, {
                "long_name": "days since the start, between two outputs", "units": "day"}))
        dataset = dataset.assign(_water(model, fields, change, every))
    return dataset


# ---- balance ------------------------------------------------------------------------------------


def geostrophic_wind(
    model: Model, fields: dict[str, np.ndarray], change: dict[str, np.ndarray]
) -> tuple[Layers, Layers]:
    """Return the change of the geostrophic wind that goes with a change of mass [m s-1].

    f u_g = -F_y and f v_g = F_x, where F = grad dPhi + R (T grad d(ln p_s) + dT grad ln p_s) is
    the change of the pressure force, Phi the geopotential.

    Parameters
    ----------
    fields, change
        Temperature, height and surface pressure by name, (time, level, lon, lat) and
        (time, lon, lat).
    """
    c, grid = model.constants, model.grid
    pressure, temperature = fields["surface_air_pressure"], fields["air_temperature"]
    x_height, y_height = _gradient(model, c.gravity * change["geopotential_height"])
    x_change, y_change = _gradient(model, change["surface_air_pressure"] / pressure)
    x_log, y_log = _gradient(model, np.log(pressure))
    warm = change["air_temperature"]
    forces = [
        height + c.gas_constant * (temperature * moved[:, None] + warm * slope[:, None])
        for height, moved, slope in ((x_height, x_change, x_log), (y_height, y_change, y_log))]
    coriolis = 2 * c.rotation_rate * grid.sin_latitude
    return -forces[1] / coriolis, forces[0] / coriolis


def _gradient(model: Model, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eastward and northward derivative of fields (..., lon, lat)."""
    transform = model.transform
    flat = jnp.asarray(field).reshape(-1, *field.shape[-2:])
    with jax.default_matmul_precision(PRECISION):
        spectra = transform.analysis(jnp.moveaxis(flat, 0, 1))
        parts = [transform.synthesis(x) for x in transform.scaled_gradient(spectra)]
    east, north = (np.moveaxis(np.asarray(x, float), 1, 0).reshape(field.shape) for x in parts)
    return east / model.grid.cos_latitude, north / model.grid.cos_latitude


def _balance(
    model: Model, fields: dict[str, np.ndarray], change: dict[str, np.ndarray], tropics: float
) -> dict:
    wind, balanced = [change[name] for name in WIND], geostrophic_wind(model, fields, change)
    outside = np.abs(model.grid.latitude) >= tropics
    cross, square, own = (
        sum(np.sum(a * b, axis=-2) for a, b in zip(first, second, strict=True))
        for first, second in ((wind, balanced), (balanced, balanced), (wind, wind)))
    weight = model.levels.thickness[:, None] * model.grid.quadrature_weight * outside
    total = lambda x: np.sum(x * weight, axis=(-2, -1))  # noqa: E731
    ratios = {
        "adjustment": ("part of the geostrophic wind change that the wind change makes",
                       lambda of: _over(of(cross), of(square))),
        "fraction": ("part of the wind change that is geostrophic",
                     lambda of: _over(of(cross), of(own))),
        "correlation": ("correlation of wind change and geostrophic wind change",
                        lambda of: _over(of(cross), np.sqrt(of(square) * of(own)))),
    }  # fmt: skip
    parts = {}
    for name, (words, ratio) in ratios.items():
        by_latitude = np.where(outside, ratio(lambda x: x), np.nan)
        parts[f"geostrophic_{name}"] = (("day", "level", "lat"), by_latitude, {
            "long_name": words, "units": "1"})
        parts[f"extratropical_geostrophic_{name}"] = ("day", ratio(total), {
            "long_name": f"{words}, all layers poleward of {tropics:g} degrees", "units": "1"})
    for name, part in zip(WIND, balanced, strict=True):
        parts[f"geostrophic_{name}_change"] = _map(
            np.where(outside, part, np.nan), f"change of the geostrophic {name.replace('_', ' ')}",
            "m s-1")  # fmt: skip
    return parts


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


# ---- hydrostatics -------------------------------------------------------------------------------


def _hydrostatics(
    model: Model,
    inputs: Inputs,
    response: Response,
    fields: dict[str, np.ndarray],
    change: dict[str, np.ndarray],
) -> dict:
    c, warm = model.constants, change["air_temperature"]
    below = _orography_change(model, inputs, response)
    made = np.stack([
        np.asarray(model.geopotential(jnp.asarray(x), below), float)
        for x in warm]) / c.gravity  # fmt: skip
    height = change["geopotential_height"]
    moved = change["surface_air_pressure"] / fields["surface_air_pressure"]
    at_pressure = height + c.gas_constant / c.gravity * fields["air_temperature"] * moved[:, None]
    parts = {
        "hypsometric_residual": _map(
            height - made, "change of height less that of the change of temperature", "m"),
        "height_change_at_pressure": _map(
            at_pressure, "change of the height of a surface of pressure", "m"),
    }
    if "specific_humidity" in change:
        lighter = VAPOUR * (fields["air_temperature"] * change["specific_humidity"]
                            + fields["specific_humidity"] * warm)
        added = np.einsum("kh,thij->tkij", geopotential_matrix(model.levels, c), lighter)
        parts["virtual_temperature_effect"] = _map(
            added / c.gravity, "change of height that vapour would add, not in the model", "m")
    return parts


def _orography_change(
    model: Model, inputs: Inputs, response: Response
) -> Float[Array, "lon lat"]:
    """Return the change of the surface geopotential that the model sees [m2 s-2]."""
    if OROGRAPHY not in response.input_change:
        return jnp.zeros(model.grid.shape)
    widths = model.physics.widths(inputs.parameters)

    def seen(surface):
        forcing = insert(inputs, {OROGRAPHY: surface}).forcing
        ground = model.coupler.ground(forcing, model.transform, inputs.parameters, widths)
        return model.transform.synthesis(ground.geopotential_spectrum)[:, 0]

    return jax.jvp(
        seen, (inputs.forcing.surface_geopotential,), (response.input_change[OROGRAPHY],))[1]


# ---- budgets ------------------------------------------------------------------------------------


def _energy(
    model: Model, fields: dict[str, np.ndarray], change: dict[str, np.ndarray]
) -> dict:
    energy = grid_energy(model, EnergyNorm(), change, fields["surface_air_pressure"])
    return {
        f"{term}_energy": (("day", "level")[: x.ndim], x, {
            "long_name": f"{term} energy of the change, mean over the globe", "units": "J kg-1"})
        for term, x in energy.items()}  # fmt: skip


def _water(
    model: Model, fields: dict[str, np.ndarray], change: dict[str, np.ndarray], every: float
) -> dict:
    """Return the budget of water between outputs [mm day-1].

    The mean of a rate over two neighbouring outputs stands for that between their middles.
    """
    area = model.grid.quadrature_weight / (2 * model.grid.nlon)
    over_globe = lambda x: np.sum(x * area, axis=(-2, -1))  # noqa: E731
    humidity, pressure = fields["specific_humidity"], fields["surface_air_pressure"]
    layer = model.levels.thickness[:, None, None] / model.constants.gravity
    content = over_globe(np.sum(layer * (
        change["specific_humidity"] * pressure[:, None]
        + humidity * change["surface_air_pressure"][:, None]), axis=1))  # fmt: skip
    gain = DAY * over_globe(change[WATER[2]] - change[WATER[1]])
    storage, gain = np.diff(content) / every, (gain[1:] + gain[:-1]) / 2
    words = {
        "water_gain": (gain, "change of evaporation less precipitation"),
        "water_storage": (storage, "change of the tendency of precipitable water"),
        "water_residual": (storage - gain, "storage less gain of water"),
    }
    return {name: ("between", x, {"long_name": f"{text}, mean over the globe",
                                  "units": "mm day-1"})
            for name, (x, text) in words.items()}  # fmt: skip


def _map(values: Layers, words: str, units: str) -> tuple:
    return ("day", "level", "lat", "lon"), np.swapaxes(values, -1, -2), {
        "long_name": words, "units": units}


def _coordinates(model: Model, days: np.ndarray) -> dict:
    return {
        "day": ("day", days, {"long_name": "days since the start of the run", "units": "day"}),
        "level": ("level", model.levels.centre, {
            "standard_name": "atmosphere_sigma_coordinate", "units": "1", "positive": "down",
            "long_name": "pressure over surface pressure at the centre of the layer"}),
    } | horizontal_coordinates(model.grid)  # fmt: skip
