"""Choices of the model where the public code of SPEEDY and the published model differ.

Two presets name all of them: `speedy`, the default, is the published model with its slips
corrected; `speedy_f90` reproduces the public code to rounding. Each line is an option of its own,
so that the effect of one can be measured.
"""

from typing import Any, Literal, NamedTuple, get_args, get_type_hints


class Options(NamedTuple):
    """Structure of the model besides grid and time step; the defaults are the preset `speedy`."""

    stratospheric_diffusion: Literal["top", "all"] = "top"
    top_zonal_coefficient: Literal["kept", "zeroed"] = "kept"
    sea_heat_flux: Literal["subtracted", "added"] = "subtracted"
    slab_damping: Literal["per_day", "per_step"] = "per_day"
    anomaly_schedule: Literal["calendar", "start_year"] = "calendar"
    ice_melting_cap: Literal["on", "off"] = "on"
    year: Literal["true", "original"] = "true"
    condensation_cap: Literal["heating_and_drying", "heating"] = "heating_and_drying"
    land: Literal["slab", "climatology"] = "slab"
    sea_ice: Literal["slab", "climatology"] = "slab"
    sea: Literal["prescribed", "slab"] = "prescribed"
    skin_energy_balance: Literal["on", "off"] = "on"
    co2_trend: Literal["off", "on"] = "off"
    stochastic_perturbation: Literal["off", "on"] = "off"


DESCRIPTIONS = {
    "stratospheric_diffusion": "layers on which the additional del^2 diffusion acts",
    "top_zonal_coefficient": "coefficient (m = 0, l = T + 1) after analysis",
    "sea_heat_flux": "turbulent fluxes in the net heat flux into sea and sea ice",
    "slab_damping": "damping times of slab anomalies: in days, or as many calls of the slab model",
    "anomaly_schedule": "sea surface temperature anomalies by date, or of the start year for ever",
    "ice_melting_cap": "sea ice temperature limited to the melting point",
    "year": "true lengths of February and of leap years, or always 28 and 365 days",
    "condensation_cap": "what the cap on large-scale condensation limits",
    "land": "soil temperature from a slab model, or prescribed",
    "sea_ice": "sea ice temperature from a slab model, or prescribed",
    "sea": "sea surface temperature prescribed, or from a mixed-layer model",
    "skin_energy_balance": "skin temperature of land corrected towards energy balance",
    "co2_trend": "CO2 absorptivity growing with the year",
    "stochastic_perturbation": "stochastically perturbed physics tendencies",
}

#: What the preset `speedy_f90` does otherwise; and its value of one parameter.
SPEEDY_F90 = Options(
    stratospheric_diffusion="all",
    top_zonal_coefficient="zeroed",
    sea_heat_flux="added",
    slab_damping="per_step",
    anomaly_schedule="start_year",
    ice_melting_cap="off",
    year="original",
    condensation_cap="heating",
)

PRESETS = {"speedy": Options(), "speedy_f90": SPEEDY_F90}

#: Parameters whose reference value differs in a preset. The public code of SPEEDY divides the
#: amplitude of orographic drag by g times its height scale of 2000 m.
PRESET_PARAMETERS: dict[str, dict[str, float]] = {
    "speedy": {},
    "speedy_f90": {"parameters.surface_fluxes.orographic_drag_amplitude": 1 / (9.81 * 2000)},
}


def make_options(preset: str, **changes: Any) -> Options:
    """Return the options of a preset with single ones changed.

    Raises
    ------
    ValueError
        If the preset, an option or a value is unknown; the message lists what exists.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; available: {', '.join(PRESETS)}")
    choices = {name: get_args(hint) for name, hint in get_type_hints(Options).items()}
    for name, value in changes.items():
        if name not in choices:
            raise ValueError(f"unknown option {name!r}; available: {', '.join(choices)}")
        if value not in choices[name]:
            raise ValueError(
                f"option {name!r} is one of {', '.join(choices[name])}; got {value!r}"
            )
    return PRESETS[preset]._replace(**changes)
