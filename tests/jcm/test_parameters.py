"""Parameters: what is declared, and how it is found and changed by name.

`tests/reference/parameters.csv` lists every tunable number with units and bounds. It was typed
from published tables, not printed by the model.
"""

import csv
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcm
from jcm.parameters import get, leaf_names
from jcm.physics.convection import ConvectionParameters

with open(Path(__file__).parents[1] / "reference" / "parameters.csv", newline="") as file:
    LIST = {row["name"]: row for row in csv.DictReader(file)}

#: One parameter of each group, a field, and an integer of the inputs.
SOME = [
    "parameters.convection.relaxation_time",
    "parameters.surface_fluxes.gustiness",
    "forcing.sea_surface_temperature",
    "forcing.start_day",
    "state.current.vorticity",
]


@pytest.fixture(scope="module")
def described(small_model):
    tree = jcm.reference_parameters(small_model)
    return {n: d for n, d in jcm.descriptions(tree).items() if not n.startswith("smooth.")}


@pytest.fixture(scope="module")
def parameters(small_model):
    return jcm.reference_parameters(small_model)


def test_there_are_more_than_a_hundred_parameters():
    assert len(LIST) > 100


def test_the_model_has_the_parameters_of_the_list(described):
    assert set(described) == set(LIST)


@pytest.mark.parametrize("name", LIST)
def test_parameter_is_as_listed(name, described, parameters):
    found, row = described[name], LIST[name]
    assert found.units == row["units"]
    assert found.bounds == (float(row["low"]), float(row["high"]))
    assert found.default == pytest.approx(float(row["value"]), rel=1e-15)
    assert float(get(parameters, name)) == found.default


@pytest.mark.parametrize("name", LIST)
def test_reference_value_lies_within_its_bounds(name, described):
    low, high = described[name].bounds
    assert low < high
    assert low <= described[name].default <= high


@pytest.mark.parametrize("name", LIST)
def test_parameter_says_what_it_means_and_where_it_comes_from(name, described):
    assert len(described[name].description) > 10
    assert "bounds: " in described[name].source
    assert LIST[name]["source"]


def test_names_with_a_prefix_are_those_of_the_inputs(small_inputs):
    names = jcm.descriptions(small_inputs.parameters, "parameters.")
    assert set(names) <= set(leaf_names(small_inputs))


def test_every_leaf_of_the_parameters_is_described(parameters):
    assert set(leaf_names(parameters)) == set(jcm.descriptions(parameters))


def test_inserting_what_was_extracted_changes_nothing(small_inputs):
    again = jcm.insert(small_inputs, jcm.extract(small_inputs, SOME))
    assert jax.tree.structure(again) == jax.tree.structure(small_inputs)
    assert bool(eqx.tree_equal(again, small_inputs))


def test_extracting_what_was_inserted_returns_it(small_inputs):
    values = {name: x + 1 for name, x in jcm.extract(small_inputs, SOME).items()}
    found = jcm.extract(jcm.insert(small_inputs, values), SOME)
    for name, x in values.items():
        np.testing.assert_array_equal(found[name], x)


def test_inserting_leaves_all_other_numbers_alone(small_inputs):
    name = "parameters.convection.relaxation_time"
    changed = jcm.insert(small_inputs, {name: 1.0})
    names = leaf_names(small_inputs)
    leaves = zip(jax.tree.leaves(small_inputs), jax.tree.leaves(changed), strict=True)
    differing = [n for n, (a, b) in zip(names, leaves, strict=True)
                 if not np.array_equal(np.asarray(a), np.asarray(b))]  # fmt: skip
    assert differing == [name]


@pytest.mark.parametrize(("wrong", "right"), [
    ("parameters.convection.relaxation_tme", "parameters.convection.relaxation_time"),
    ("parameters.relaxation_time", "parameters.convection.relaxation_time"),
    ("forcing.sea_surface_temprature", "forcing.sea_surface_temperature"),
    ("forcing.cloud_albedo", "parameters.shortwave.cloud_albedo"),
])  # fmt: skip
def test_an_unknown_name_suggests_the_nearest(wrong, right, small_inputs):
    for change in (lambda: jcm.extract(small_inputs, [wrong]),
                   lambda: jcm.insert(small_inputs, {wrong: 1.0})):  # fmt: skip
        with pytest.raises(KeyError, match="no input is called") as error:
            change()
        assert right in str(error.value)


def test_a_name_like_no_other_points_to_the_list(small_inputs):
    with pytest.raises(KeyError, match="jcm describe"):
        jcm.extract(small_inputs, ["xyzzy"])


@pytest.mark.parametrize("name", ["parameters", "parameters.convection", "forcing", "state"])
def test_a_group_cannot_be_replaced_by_a_number(name, small_inputs):
    with pytest.raises(ValueError, match=f"'{name}' is a group, not a single array"):
        jcm.insert(small_inputs, {name: 1.0})


@pytest.mark.parametrize(("name", "value"), [
    ("parameters.convection.relaxation_time", [1.0, 2.0]),
    ("forcing.sea_surface_temperature", 300.0),
    ("forcing.land_fraction", np.zeros((32, 64))),
])  # fmt: skip
def test_a_value_of_another_shape_is_refused_with_both_shapes(name, value, small_inputs):
    old = jcm.extract(small_inputs, [name])[name]
    with pytest.raises(ValueError, match="has shape") as error:
        jcm.insert(small_inputs, {name: value})
    assert str(old.shape) in str(error.value)
    assert str(np.shape(value)) in str(error.value)


@pytest.mark.parametrize("value", [7200, 7200.0, np.float32(7200), np.int64(7200)])
def test_python_numbers_become_arrays(value):
    leaf = ConvectionParameters(relaxation_time=value).relaxation_time
    assert isinstance(leaf, jax.Array)
    assert jnp.issubdtype(leaf.dtype, jnp.floating)
    assert float(leaf) == 7200.0


def test_python_numbers_do_not_compile_again(parameters):
    traces = []

    @eqx.filter_jit
    def seconds(p):
        traces.append(1)
        return 2 * p.relaxation_time

    values = [7200, 10800.0, np.float64(14400), np.float32(18000)]
    for value in values:
        assert float(seconds(ConvectionParameters(relaxation_time=value))) == 2 * value
    for value in values:
        changed = jcm.insert(parameters, {"convection.relaxation_time": value}).convection
        assert float(seconds(changed)) == 2 * value
    assert len(traces) == 1


def test_inserted_values_take_the_precision_of_the_leaf(parameters):
    half = jax.tree.map(lambda x: x.astype(jnp.float32), parameters)
    changed = jcm.insert(half, {"filter.robert": np.float64(0.1)})
    assert changed.filter.robert.dtype == jnp.float32


def test_derivatives_pass_through_insert(parameters):
    name = "convection.relaxation_time"
    slope = jax.grad(lambda x: jcm.insert(parameters, {name: x}).convection.relaxation_time ** 2)
    assert float(slope(3.0)) == 6.0


def test_the_preset_of_the_public_code_differs_in_the_drag_amplitude_only(parameters):
    public = jcm.reference_parameters(jcm.build_model("T21L8", preset="speedy_f90"))
    names = leaf_names(parameters)
    assert names == leaf_names(public)
    pairs = zip(names, jax.tree.leaves(parameters), jax.tree.leaves(public), strict=True)
    changed = {name: (float(a), float(b)) for name, a, b in pairs if float(a) != float(b)}
    assert list(changed) == ["surface_fluxes.orographic_drag_amplitude"]
    assert changed["surface_fluxes.orographic_drag_amplitude"] == (
        1.0, pytest.approx(1 / (9.81 * 2000), rel=1e-15))
