"""No stored result is taken for that of another experiment, and none is made twice.

What is expensive is replaced; what a store compares is real. Each setting is changed alone.
"""

import functools
import importlib
import json
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jcm
import jcm_sensitivity as js
from jcm.fingerprint import fingerprint
from jcm.physics.speedy import SpeedyPhysics
from jcm.physics.vertical_diffusion import vertical_diffusion
from jcm.restart import check_identity, identity
from jcm_calibrate.ensembles.ensemble import run_ensemble
from jcm_calibrate.optimisers.minimise import minimise
from jcm_sensitivity import ensembles, patches
from jcm_sensitivity.certificate import horizon

GRID = "T21L8"
# The package gives the name of this module to its function.
certify_module = importlib.import_module("jcm_sensitivity.certify")


def scheme(source, **names):
    """A scheme as a user writes it."""
    space = {"jax": jax, "diffuse": vertical_diffusion, **names}
    exec(source, space)
    return space["scheme"]


USUAL = "def scheme(*a, **k): return jax.tree.map(lambda x: factor * x, diffuse(*a, **k))"
WITH_HELPER = "def scheme(*a, **k): return help.change(diffuse(*a, **k))"


def helped(factor):
    module = SimpleNamespace()
    module.change = eval(f"lambda x: x if {factor} == 1.0 else None")
    return module


class OwnPhysics(SpeedyPhysics):
    """Physics of a user's class."""

    def schemes(self):
        return ["own"]


def physics(**schemes):
    return functools.partial(SpeedyPhysics, **schemes)


#: Models that differ in one thing; the first is the usual one.
MODELS = {
    "usual": {}, "dynamics": {"dynamics": "dinosaur"}, "integrator": {"dynamics": "dinosaur_rk"},
    "switches": {"smooth": True}, "time step": {"time_step": 1800.0}, "preset": {
        "preset": "speedy_f90"}, "sea": {"sea": "slab"}, "land": {"land": "climatology"},
    "trend": {"co2_trend": "on"}, "noise": {"stochastic_perturbation": "on"},
    "physics": {"physics": "held_suarez"}, "class": {"physics": OwnPhysics},
    "scheme": {"physics": physics(vertical_diffusion=scheme(USUAL, factor=1.0))},
    "constant of a scheme": {"physics": physics(vertical_diffusion=scheme(USUAL, factor=2.0))},
    "partial": {"physics": physics(
        vertical_diffusion=functools.partial(vertical_diffusion, extra=1))},
    "other partial": {"physics": physics(
        vertical_diffusion=functools.partial(vertical_diffusion, extra=2))},
    "helper": {"physics": physics(vertical_diffusion=scheme(WITH_HELPER, help=helped(1.0)))},
    "other helper": {"physics": physics(vertical_diffusion=scheme(WITH_HELPER, help=helped(2.0)))},
    "constants": {"constants": jcm.constants.EARTH._replace(gravity=9.8)},
}  # fmt: skip


@functools.cache
def model(name):
    return jcm.build_model(GRID, **MODELS[name])


TARGETS = {
    "usual": js.mean("precipitation_flux", region="sahel"),
    "variable": js.mean("toa_outgoing_longwave_flux", region="sahel"),
    "region": js.mean("precipitation_flux", region="europe"),
    "period": js.mean("precipitation_flux", region="sahel", days=js.last(0.5)),
    "level": js.mean("air_temperature", region="sahel", level=7),
    "other level": js.mean("air_temperature", region="sahel", level=6),
}  # fmt: skip
INPUT_CHANGES = ("parameters.convection.relaxation_time", "forcing.sea_surface_temperature",
                 "forcing.land_fraction", "forcing.start_day")  # fmt: skip


def changed_inputs(inputs, name):
    value = jcm.extract(inputs, [name])[name]
    return jcm.insert(inputs, {name: value + 1 if name.endswith("day") else value * 1.001})


@pytest.fixture(scope="module")
def inputs(small_inputs):
    return small_inputs


def test_every_number_of_the_inputs_changes_their_fingerprint(inputs):
    leaves, structure = jax.tree.flatten(inputs)
    known = {fingerprint(inputs)}
    for k, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            other = jax.random.key(12345)
        elif leaf.dtype == bool:
            other = ~leaf
        else:
            other = jnp.nextafter(leaf, leaf + 1) if jnp.issubdtype(
                leaf.dtype, jnp.floating) else leaf + 1  # fmt: skip
        known.add(fingerprint(jax.tree.unflatten(structure, [*leaves[:k], other, *leaves[k + 1:]])))
    assert len(known) == len(leaves) + 1


def test_every_difference_of_models_changes_their_fingerprint():
    found = {name: fingerprint(model(name)) for name in MODELS}
    assert len(set(found.values())) == len(found)
    assert found == {name: fingerprint(jcm.build_model(GRID, **MODELS[name])) for name in MODELS}


@pytest.mark.parametrize("name", [x for x in MODELS if x != "usual"])
def test_a_restart_of_another_model_is_refused(name, inputs, tmp_path):
    usual, other = identity(model("usual"), inputs), identity(model(name), inputs)
    check_identity(usual, json.loads(json.dumps(usual)), tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        check_identity(usual, other, tmp_path)


# ---- one folder of each store, and what is asked of it ----------------------------------------


class Counted:
    """Counts what is computed."""

    def __init__(self, monkeypatch):
        self.count = 0
        monkeypatch.setattr(certify_module, "ModelPrograms", lambda *a: None)
        monkeypatch.setattr(certify_module, "prepare", lambda *a: None)
        monkeypatch.setattr(certify_module, "certify_input", self.cells)
        monkeypatch.setattr(ensembles, "_batch", self.batch)
        monkeypatch.setattr(patches._Programs, "gradients", self.gradients)
        monkeypatch.setattr(patches._Programs, "responses", self.responses)
        monkeypatch.setattr(patches, "comparison", lambda *a: xr.Dataset())

    def cells(self, programs, base, name, along, **options):
        self.count += 1
        return [{"verdict": "pass", "error": 0.0, "input": name}]

    def batch(self, experiment, target, members, names, chosen):
        self.count += 1
        return {"value": np.zeros(len(chosen)), names[0]: np.zeros(len(chosen))}

    def gradients(self, inputs):
        self.count += 1
        return {"gradient": np.zeros((1, 64, 32)), "seconds": [1.0]}

    def responses(self, inputs, field):
        self.count += 1
        return {"values": np.zeros((3, 1)), "seconds": 1.0}


@pytest.fixture(scope="module")
def counted():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Counted(monkeypatch)


def experiment(name="usual", days=1.0, every=1.0, average=True, observe=None):
    return js.model_experiment(
        model(name), days=days, every=every, average=average, observe=observe)


RUNS = {
    **{f"model: {x}": {"name": x} for x in MODELS if x != "usual"},
    "days": {"days": 2.0}, "every": {"every": 0.5}, "average": {"average": False},
    "observe": {"observe": ("precipitation_flux", "air_temperature", "toa_outgoing_longwave_flux")},
}  # fmt: skip


def ask_certificate(store, inputs, run=None, target="usual", names=("parameters.convection",),
                    **options):  # fmt: skip
    chosen = model((run or {}).get("name", "usual"))
    certify_module.certify(
        chosen, inputs, names=names, targets={"t": TARGETS[target]},
        **{"horizons": ("1step",), "identity": False, "random_directions": 1} | options,
        store=store)  # fmt: skip


def ask_gradients(store, inputs, run=None, target="usual", wrt=("forcing.start_day",), batch=1):
    ensembles.ensemble_sensitivity(
        experiment(**run or {}), TARGETS[target], [inputs, inputs], wrt=wrt, batch=batch,
        store=store)  # fmt: skip


def ask_patches(store, inputs, run=None, target="usual", amplitudes=(1.0,), region=(-21, 21)):
    layout = patches.patch_layout(
        model("usual"), inputs, region=js.regions.box(*region, 120, 230))
    patches.compare_with_patches(
        experiment(**run or {}), TARGETS[target], [inputs], layout, amplitudes=amplitudes,
        store=store)  # fmt: skip


NAME = "parameters.convection.relaxation_time"
OTHER = "parameters.longwave.co2_absorptivity"
CERTIFICATE = {
    **{f"model: {x}": {"run": {"name": x}} for x in MODELS if x not in ("usual", "physics")},
    **{f"target: {x}": {"target": x} for x in TARGETS if x != "usual"},
    "horizons": {"horizons": ("2step",)}, "tolerance": {"tolerance": 1e-4}, "seed": {"seed": 2},
    "names of random directions": {"names": (NAME, OTHER)},
}  # fmt: skip
GRADIENTS = {
    **{f"run: {x}": {"run": y} for x, y in RUNS.items() if x != "model: physics"},
    **{f"target: {x}": {"target": x} for x in TARGETS if x != "usual"},
    "wrt": {"wrt": (OTHER,)}, "batch": {"batch": 2},
}  # fmt: skip
PATCHES = {
    **{f"run: {x}": {"run": y} for x, y in RUNS.items() if x != "model: physics"},
    **{f"target: {x}": {"target": x} for x in TARGETS if x != "usual"},
    "amplitudes": {"amplitudes": (2.0,)}, "region": {"region": (-31, 31)},
}  # fmt: skip
STORES = {
    "certificate": (functools.partial(ask_certificate, names=(NAME,)), CERTIFICATE),
    "gradients": (functools.partial(ask_gradients, wrt=(NAME,)), GRADIENTS),
    "patches": (ask_patches, PATCHES),
}  # fmt: skip


@pytest.fixture(scope="module")
def filled(counted, inputs, tmp_path_factory):
    """Each store with the results of the usual experiment, asked for twice."""
    places = {}
    for store, (ask, _) in STORES.items():
        places[store], before = tmp_path_factory.mktemp(store), counted.count
        ask(places[store], inputs)
        first = counted.count
        assert first > before
        ask(places[store], inputs)
        assert counted.count == first, f"{store}: computed again although nothing has changed"
    return places


@pytest.mark.parametrize(("store", "change"), [
    # All stores compare models alike: for patches only what is their own is quick.
    pytest.param(store, change, marks=[pytest.mark.slow] if (
        store == "patches" and change.startswith("run: model")) else [])
    for store, (_, changes) in STORES.items() for change in (*changes, *INPUT_CHANGES)])
def test_a_store_is_not_reused_after_a_change(store, change, filled, inputs):
    ask, changes = STORES[store]
    other = inputs if change in changes else changed_inputs(inputs, change)
    with pytest.raises(ValueError, match="belongs to another experiment"):
        ask(filled[store], other, **changes.get(change, {}))


class Valley(eqx.Module):
    depth: jax.Array
    power: int = eqx.field(static=True)
    shape: object = eqx.field(static=True)

    def __call__(self, z):
        return self.depth + jnp.sum(self.shape(z) ** self.power)


VALLEY = {"depth": jnp.asarray(1.0), "power": 2, "shape": jnp.sin}
FITS = {
    "depth": {"depth": jnp.asarray(1.5)}, "static number": {"power": 4},
    "static function": {"shape": jnp.tanh}, "start": {"start": jnp.array([0.3, 0.1])},
    "rate": {"learning_rate": 0.1}, "method": {"method": "adamw"}, "prior": {"prior": True},
    "key": {"key": jax.random.key(1)}, "experiment": {"experiment": {"days": "2"}},
    "cost": {"gradient_cost": 5.0},
}  # fmt: skip


@pytest.mark.parametrize("change", FITS)
def test_a_log_is_not_resumed_after_a_change(change, tmp_path):
    def fit(**options):
        valley = Valley(**{name: options.pop(name, x) for name, x in VALLEY.items()})
        seen = []
        minimise(valley, **{
            "start": jnp.array([0.3, 0.2]), "method": "adam", "steps": 3, "key": jax.random.key(0),
            "log": tmp_path / "log.jsonl", "resume": True, "experiment": {"days": "1"},
            "progress": seen.append} | options)  # fmt: skip
        return seen

    assert fit()
    before = (tmp_path / "log.jsonl").read_bytes()
    fit()
    assert (tmp_path / "log.jsonl").read_bytes() == before, "evaluated again"
    with pytest.raises(ValueError, match="belongs to another experiment"):
        fit(**FITS[change])


ENSEMBLES = {
    "function": {"run": lambda x: jnp.cos(x)}, "members": {"members": np.ones((3, 2))},
    "number of members": {"members": np.zeros((4, 2))},
    "precision": {"members": np.zeros((3, 2), np.float32)},
    "static number": {"run": Valley(jnp.asarray(1.0), 4, jnp.sin)},
    "shared number": {"run": Valley(jnp.asarray(2.0), 2, jnp.sin)},
}  # fmt: skip


@pytest.mark.parametrize("change", ENSEMBLES)
def test_an_ensemble_is_not_reused_after_a_change(change, tmp_path):
    def ask(run=Valley(jnp.asarray(1.0), 2, jnp.sin), members=np.zeros((3, 2))):  # noqa: B008
        done = []
        run_ensemble(run, members, tmp_path / "e.zarr", progress=lambda *x: done.append(x))
        return done

    assert ask() and not ask()
    with pytest.raises(ValueError, match="belongs to another experiment"):
        ask(**ENSEMBLES[change])


def test_a_member_that_raised_an_error_is_computed_again(tmp_path):
    """A machine may fail once; values that are not finite would come again."""
    broken = [True]

    def told(x):
        if broken[0]:
            raise OSError("no more room")
        return np.asarray(x)

    def run(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        found = jax.pure_callback(told, shape, x, vmap_method="sequential")
        return jnp.where(x < 0, jnp.nan, found)

    members = np.array([[1.0], [2.0], [-1.0]])
    found = run_ensemble(run, members, tmp_path / "e.zarr", batch=1)
    assert found["failed"].values.tolist() == [True, True, True]
    broken[0] = False
    done = []
    found = run_ensemble(
        run, members, tmp_path / "e.zarr", batch=1, progress=lambda *x: done.append(x))
    assert found["failed"].values.tolist() == [False, False, True]
    assert found["reason"].values.tolist()[:2] == ["", ""]
    done.clear()
    run_ensemble(run, members, tmp_path / "e.zarr", batch=1, progress=lambda *x: done.append(x))
    assert done == []


def test_horizons_are_compared_by_their_steps():
    assert horizon(model("usual"), "6h").steps == horizon(model("usual"), "9step").steps
