"""Presets and options: the documented differences, and no others."""

from typing import get_args, get_type_hints

import pytest

import jcm
from jcm.options import DESCRIPTIONS, PRESET_PARAMETERS, PRESETS, Options, make_options

CHOICES = {name: get_args(hint) for name, hint in get_type_hints(Options).items()}

#: Option -> value in the default preset, and in that of the public code.
DIFFERENCES = {
    "stratospheric_diffusion": ("top", "all"),
    "top_zonal_coefficient": ("kept", "zeroed"),
    "sea_heat_flux": ("subtracted", "added"),
    "slab_damping": ("per_day", "per_step"),
    "anomaly_schedule": ("calendar", "start_year"),
    "ice_melting_cap": ("on", "off"),
    "year": ("true", "original"),
    "condensation_cap": ("heating_and_drying", "heating"),
}

#: Options on which both presets agree, and their value.
COMMON = {
    "land": "slab",
    "sea_ice": "slab",
    "sea": "prescribed",
    "skin_energy_balance": "on",
    "co2_trend": "off",
    "stochastic_perturbation": "off",
}


def test_there_are_two_presets():
    assert set(PRESETS) == {"speedy", "speedy_f90"}


def test_speedy_is_the_default():
    assert PRESETS["speedy"] == Options()
    assert jcm.build_model("T21L8").options == Options()


def test_presets_differ_in_the_documented_options_only():
    ours, public = PRESETS["speedy"]._asdict(), PRESETS["speedy_f90"]._asdict()
    found = {name: (ours[name], public[name]) for name in ours if ours[name] != public[name]}
    assert found == DIFFERENCES


def test_presets_agree_on_all_other_options():
    assert set(COMMON) | set(DIFFERENCES) == set(Options._fields)
    for options in PRESETS.values():
        assert {name: getattr(options, name) for name in COMMON} == COMMON


def test_presets_differ_in_one_parameter():
    assert set(PRESET_PARAMETERS) == set(PRESETS)
    assert PRESET_PARAMETERS["speedy"] == {}
    assert list(PRESET_PARAMETERS["speedy_f90"]) == [
        "parameters.surface_fluxes.orographic_drag_amplitude"]


def test_descriptions_cover_all_options():
    assert set(DESCRIPTIONS) == set(Options._fields)
    assert all(len(text) > 10 for text in DESCRIPTIONS.values())


def test_every_value_of_a_preset_is_one_of_the_choices():
    for options in PRESETS.values():
        for name, value in options._asdict().items():
            assert value in CHOICES[name]


def test_every_option_offers_a_choice():
    assert all(len(values) >= 2 for values in CHOICES.values())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", CHOICES)
def test_one_option_can_be_changed_alone(preset, name):
    for value in CHOICES[name]:
        changed = make_options(preset, **{name: value})
        assert changed == PRESETS[preset]._replace(**{name: value})


def test_options_reach_the_model():
    model = jcm.build_model("T21L8", preset="speedy_f90", sea="slab")
    assert model.preset == "speedy_f90"
    assert model.options == make_options("speedy_f90", sea="slab")


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown preset 'fortran'; available: speedy, speedy_f90"):
        make_options("fortran")
    with pytest.raises(ValueError, match="unknown preset 'fortran'"):
        jcm.build_model("T21L8", preset="fortran")


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown option 'ocean'; available: .*\bsea\b"):
        make_options("speedy", ocean="slab")


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_value_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"option '{name}' is one of ") as error:
        make_options("speedy", **{name: "maybe"})
    assert all(value in str(error.value) for value in (*CHOICES[name], "'maybe'"))


def test_values_are_told_apart_by_case():
    with pytest.raises(ValueError, match="option 'co2_trend' is one of off, on; got 'On'"):
        make_options("speedy", co2_trend="On")
