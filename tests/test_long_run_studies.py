"""The arithmetic of the studies of long runs, on data with a known answer."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import jcm

STUDIES = Path(__file__).parents[1] / "studies"


def load(study: str):
    """Import the program of a study under a name of its own, as if its folder were the first."""
    folder = STUDIES / study
    spec = importlib.util.spec_from_file_location(f"study_{study}", folder / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


@pytest.fixture(scope="module")
def held_suarez():
    return load("held_suarez")


@pytest.fixture(scope="module")
def long_runs():
    return load("long_runs")


# Held-Suarez.


def test_eddy_products_of_waves_are_those_of_their_amplitudes(held_suarez):
    longitude = np.deg2rad(np.arange(0, 360, 10))
    wave = np.broadcast_to(np.cos(3 * longitude)[None, :, None], (2, 36, 4))
    found = held_suarez.zonal_statistics(5 + 2 * wave, 4 * wave, 280 + 6 * wave, wave[0])
    for name, expected in {"u": 5, "t": 280, "tt": 18, "uv": 4, "vt": 12, "ke": 5}.items():
        assert found[name].shape == (2, 4)
        np.testing.assert_allclose(found[name], expected, rtol=1e-12)


def test_peaks_are_found_in_both_hemispheres(held_suarez):
    latitude, sigma = np.array([-60.0, -30.0, 30.0, 60.0]), np.array([0.2, 0.8])
    section = np.array([[1.0, 2.0, 3.0, 9.0], [7.0, 0.0, 4.0, 5.0]])
    found = held_suarez.peak(section, sigma, latitude)
    np.testing.assert_array_equal(found["value"], [7, 9])
    np.testing.assert_array_equal(found["latitude"], [60, 60])
    np.testing.assert_array_equal(found["sigma"], [0.8, 0.2])


def test_a_symmetric_flow_has_equal_jets_and_fluxes_to_the_pole(held_suarez):
    model = jcm.build_model("T21L8", physics="held_suarez")
    latitude = np.deg2rad(model.grid.latitude)
    even = np.ones((8, 1)) * np.sin(2 * latitude) ** 2
    odd = even * np.sign(latitude)
    fields = {"u": 30 * even, "t": 200 + even, "tt": even, "uv": 40 * odd, "vt": odd, "ke": even}
    found = held_suarez.measures(fields, model)
    assert found["jet maximum, north less south"] == pytest.approx(0, abs=1e-12)
    peak = (even[0].max() * 40, even[0].max() * 30)
    assert found["poleward eddy momentum flux, maximum"] == pytest.approx(peak[0])
    assert found["jet maximum"] == pytest.approx(peak[1])


def test_the_model_of_the_benchmark_is_dry_flat_and_without_sponge(held_suarez):
    _, inputs = held_suarez.build("T21", 8, "speedy")
    state, diffusion = inputs.state.current, inputs.parameters.diffusion
    assert not np.any(state.specific_humidity) and not np.any(state.log_surface_pressure)
    assert not np.any(inputs.forcing.surface_geopotential)
    assert min(diffusion.drag_time, diffusion.stratospheric_time) > 1e11
    assert np.any(state.temperature[1:])


def test_windows_of_the_spin_up_are_left_out(held_suarez, tmp_path):
    for start in (0, 50, 100):
        np.savez(tmp_path / f"window_{start:05d}.npz", u=np.full(2, 4.0 * start), snapshots=4)
    found = [part["u"][0] for part in held_suarez.windows(tmp_path, 50, 50)]
    assert found == [50.0]


# Long runs.


def test_months_are_those_of_the_calendar(long_runs):
    days = long_runs.months(30)
    assert len(days) == 360 and days[1] == 29 and days[13] == 28
    assert sum(days) == 10958  # 2000-01-01 to 2030-01-01, eight leap days


def monthly(long_runs, slope: float, noise: float, years: int = 22) -> list[dict[str, float]]:
    rng, days = np.random.default_rng(0), np.cumsum(long_runs.months(years))
    names = [name for name in long_runs.TRENDS if name != "toa_net_W_m-2"]
    names.append("absorbed_sunlight_W_m-2")
    rows = []
    for month, day in enumerate(days):
        season = np.cos(2 * np.pi * month / 12)
        row = {name: 1 + season + slope * (month // 12) + noise * rng.normal() for name in names}
        rows.append(row | {"day": float(day), "outgoing_longwave_W_m-2": 0.0})
    return rows


def test_the_trend_of_a_line_is_its_slope(long_runs):
    rows = monthly(long_runs, slope=0.1, noise=0.0)
    found = long_runs.trends(long_runs.annual_means(rows))
    for row in found.values():
        # Leap years weigh the season otherwise.
        assert row["per_decade"] == pytest.approx(1, abs=0.01)


def test_a_trend_beyond_its_error_fails_and_noise_passes(long_runs):
    def verdicts(slope):
        rows = monthly(long_runs, slope=slope, noise=0.3)
        found = long_runs.trends(long_runs.annual_means(rows))
        return {name: row["verdict"] for name, row in found.items()}

    assert verdicts(0.0) == dict.fromkeys(long_runs.TRENDS, "PASS")
    failed = verdicts(1.0)
    assert all(failed[name] == "FAIL" for name in long_runs.TRENDS if "pressure" not in name)


def test_the_trends_are_drawn(long_runs, tmp_path):
    long_runs.draw(monthly(long_runs, 0.01, 0.3), tmp_path / "figures" / "trends.png")
    assert (tmp_path / "figures" / "trends.png").stat().st_size > 10_000


def test_rows_survive_the_file(long_runs, tmp_path):
    rows = [{"day": 5.0, "x": 1 / 3}, {"day": 10.0, "x": -2e-30}]
    long_runs.write_rows(tmp_path / "means.csv", rows)
    assert long_runs.read_rows(tmp_path / "means.csv") == rows
    assert long_runs.read_rows(tmp_path / "none.csv") == []


def test_infinite_values_and_absurd_winds_end_a_run(long_runs):
    assert long_runs.survived({"x": 1.0, "strongest_wind_m_s-1": 90.0})
    assert not long_runs.survived({"x": np.nan, "strongest_wind_m_s-1": 90.0})
    assert not long_runs.survived({"x": 1.0, "strongest_wind_m_s-1": 1e3})


@pytest.mark.parametrize("variant", ["split", "means_kept"])
def test_halves_of_layers_keep_the_mean_of_the_layer(long_runs, variant):
    layers = long_runs.layer_columns
    columns, _, _ = layers.read_columns()
    finer = getattr(layers, variant)(columns)
    assert finer.temperature.shape == (16, 248)
    for name in ("temperature", "specific_humidity", "geopotential"):
        x, y = np.asarray(getattr(columns, name)), np.asarray(getattr(finer, name))
        np.testing.assert_allclose((y[::2] + y[1::2]) / 2, x, atol=1e-12 * np.abs(x).max())


def test_interpolation_keeps_what_is_linear_in_the_logarithm_of_sigma(long_runs):
    layers = long_runs.layer_columns
    columns, _, _ = layers.read_columns()
    line = np.log(layers.speedy_levels().centre)[:, None] * np.ones(248)
    columns = layers.eqx.tree_at(lambda c: c.temperature, columns, layers.jnp.asarray(line))
    found = layers.interpolated(columns).temperature
    expected = np.log(layers.split_levels().centre)[:, None] * np.ones(248)
    np.testing.assert_allclose(found, expected, atol=1e-12)
