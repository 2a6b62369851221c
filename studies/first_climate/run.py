"""One year of the default model beside the reference code and observations.

    python studies/first_climate/run.py [--reference NAME=FILE ...] [--smoke]

Writes `summary.json`, `figures/` and, not committed, `results/climate.nc`. A FILE holds a monthly
climatology of the public code of SPEEDY at T30L8; without it only observations are compared.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import jcm
from jcm.data import data_path

HERE = Path(__file__).parent
DAY = 86400.0
#: Name in the reference climatology -> variable, factor into its units.
SURFACE = {
    "prec": ("precipitation_flux", DAY), "precnv": ("convective_precipitation_flux", DAY),
    "evap": ("water_evapotranspiration_flux", DAY),
    "olr": ("toa_outgoing_longwave_flux", 1), "tsr": ("toa_net_downward_shortwave_flux", 1),
    "ssr": ("surface_net_downward_shortwave_flux", 1),
    "shf": ("surface_upward_sensible_heat_flux", 1), "cloudc": ("cloud_area_fraction", 1),
    "t0": ("near_surface_air_temperature", 1), "tskin": ("surface_temperature", 1),
    "ps": ("surface_air_pressure", 0.01),
}  # fmt: skip
LAYERED = {"u": ("eastward_wind", 1), "t": ("air_temperature", 1),
           "q": ("specific_humidity", 1e3)}  # fmt: skip
#: Latitude and ice cover where sea surface temperature is that of the ice surface.
ARCTIC, FULL_ICE = 65.0, 0.9


def simulate_year(days: int, grid: str) -> xr.Dataset:
    """Return monthly means of a run from the packaged January state."""
    model = jcm.build_model(grid)
    inputs = jcm.default_inputs(model)
    directory = HERE / "results"
    directory.mkdir(exist_ok=True)
    parts, state = [], inputs.state
    for _ in range(max(1, days // 30)):
        state, fields = jcm.simulate(
            model, inputs.with_state(state), days=min(days, 30))
        parts.append({name: np.asarray(x, float) for name, x in fields.items()})
    fields = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return jcm.to_dataset(model, fields, every=min(days, 30), inputs=inputs)


def weights(dataset: xr.Dataset) -> xr.DataArray:
    """Return area weights of Gaussian latitudes."""
    _, w = np.polynomial.legendre.leggauss(dataset.sizes["lat"])
    return xr.DataArray(w / w.sum(), dims="lat", coords={"lat": dataset["lat"]})


def global_mean(field: xr.DataArray, dataset: xr.Dataset) -> float:
    """Return the mean over the globe and the year."""
    return float((field.mean(["lon", "time"]) * weights(dataset)).sum("lat"))


def summarise(climate: xr.Dataset, references: dict[str, xr.Dataset]) -> dict:
    """Return global means and jets beside the references and observations."""
    rows: dict[str, dict] = {}
    for short, (name, factor) in SURFACE.items():
        rows[short] = {"model": global_mean(climate[name], climate) * factor}
        for label, ref in references.items():
            rows[short][label] = float((ref[short].mean(["month", "lon"])
                                        * ref["area_weight"]).sum() / ref["area_weight"].sum())
    rows["toa_net"] = {key: rows["tsr"][key] - rows["olr"][key] for key in rows["tsr"]}
    for short, (name, factor) in LAYERED.items():
        section = climate[name].mean(["time", "lon"]) * factor
        row = {"model maximum": float(section.max()), "model minimum": float(section.min())}
        for label, ref in references.items():
            zonal = ref[short].mean(["month", "lon"]).values
            row[f"{label} maximum"], row[f"{label} minimum"] = (
                float(zonal.max()), float(zonal.min()))
            row[f"{label} rmse"] = section_rmse(section.values, zonal, ref)
        rows[f"zonal mean {short}"] = row
    for key, value in observed().items():
        rows.setdefault(key, {})["observed"] = value
    ice = climate.isel(time=0)
    polar = (ice["lat"] > ARCTIC) & (ice["sea_ice_area_fraction"] > FULL_ICE)
    rows["warmest Arctic sea under full ice, January"] = {
        "model": float(ice["sea_surface_temperature"].where(polar).max())}
    return rows


def section_rmse(model: np.ndarray, reference: np.ndarray, ref: xr.Dataset) -> float:
    """Return the mass- and area-weighted difference of zonal means on the same nodes."""
    if model.shape != reference.shape:
        return float("nan")
    w = ref["dsigma"].values[:, None] * ref["area_weight"].values
    return float(np.sqrt(np.sum(w * (model - reference) ** 2) / w.sum()))


def observed() -> dict[str, float]:
    """Return observed global means: CERES at the top of the atmosphere, ERA5 otherwise."""
    regional = json.loads(data_path("regional_means.json").read_text())["variables"]
    found = {}
    for key, names in {"olr": ["rlut", "rlnt"], "tsr": ["rsnt"], "toa_net": ["net_toa"],
                       "cloudc": ["clt"]}.items():  # fmt: skip
        name = next((n for n in names if n in regional), None)
        if name:
            found[key] = abs(regional[name]["values"]["ALL"]["Global"]["mean"])
    with xr.open_dataset(data_path("observations_T31.nc")) as data:
        for key, name in {"prec": "pr", "t0": "tas"}.items():
            value = float((data[name].mean(["month", "lon"]) * data["gw"]).sum() / data["gw"].sum())
            units = data[name].attrs["units"]
            found[key] = value * DAY if units == "kg m-2 s-1" else value
    return found


def draw(climate: xr.Dataset, references: dict[str, xr.Dataset]) -> None:
    """Draw sections of wind and temperature, and maps of precipitation."""
    (HERE / "figures").mkdir(exist_ok=True)
    columns = ["model", *references]
    figure, axes = plt.subplots(3, len(columns), figsize=(5 * len(columns), 10), squeeze=False)
    for column, label in enumerate(columns):
        for row, (short, levels) in enumerate(
            {"u": np.arange(-30, 51, 5), "t": np.arange(190, 311, 10)}.items()
        ):
            name, factor = LAYERED[short]
            if label == "model":
                section = (climate[name].mean(["time", "lon"]) * factor).values
                sigma, lat = climate["level"].values, climate["lat"].values
            else:
                ref = references[label]
                section = ref[short].mean(["month", "lon"]).values
                sigma, lat = ref["sigma_full"].values, ref["lat"].values
            ax = axes[row, column]
            colours = ax.contourf(lat, sigma, section, levels, cmap="RdBu_r", extend="both")
            ax.invert_yaxis()
            ax.set(title=f"{label}: zonal mean {name.replace('_', ' ')}", ylabel="sigma",
                   xlabel="latitude")  # fmt: skip
            figure.colorbar(colours, ax=ax, label="m s-1" if short == "u" else "K")
        rain = (climate["precipitation_flux"].mean("time").transpose("lat", "lon") * DAY
                if label == "model" else references[label]["prec"].mean("month"))  # fmt: skip
        ax = axes[2, column]
        lat = climate["lat"] if label == "model" else references[label]["lat"]
        colours = ax.pcolormesh(climate["lon"] if label == "model" else references[label]["lon"],
                                lat, rain.values, vmin=0, vmax=12, cmap="YlGnBu")  # fmt: skip
        with np.load(data_path("coastline_110m.npz")) as coast:
            for shift, side in ((0, coast["lon"] >= 0), (360, coast["lon"] < 0)):
                ax.plot(np.where(side, coast["lon"] + shift, np.nan), coast["lat"], "k", lw=0.4)
        ax.set(title=f"{label}: precipitation", xlim=(0, 360), ylim=(-90, 90))
        figure.colorbar(colours, ax=ax, label="mm day-1")
    figure.tight_layout()
    figure.savefig(HERE / "figures" / "climate.png", dpi=80)
    plt.close(figure)


def main() -> None:
    """Run, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", nargs="*", default=[], help="NAME=FILE")
    parser.add_argument("--smoke", action="store_true", help="two days at T21, no files kept")
    arguments = parser.parse_args()
    references = {}
    for item in arguments.reference:
        name, path = item.split("=", 1)
        references[name] = xr.open_dataset(path)
    climate = simulate_year(2, "T21L8") if arguments.smoke else simulate_year(360, "T31L8")
    summary = summarise(climate, references)
    print(json.dumps(summary, indent=1))
    if not arguments.smoke:
        climate.to_netcdf(HERE / "results" / "climate.nc")
        (HERE / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        draw(climate, references)


if __name__ == "__main__":
    main()
