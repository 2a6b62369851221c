"""Replace a scheme by a neural network, and train it through the model.

The network takes the place of vertical diffusion and shallow convection. It learns from the model
with the original scheme: two hours later both must have the same temperature and humidity. The
gradient goes through the dynamics and all other schemes, so no tendency is ever shown to it.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import jcm
from jcm.physics.speedy import SpeedyPhysics
from jcm.physics.vertical_diffusion import VerticalDiffusion

#: Usual tendencies of the scheme: 0.3 K and 0.3 g kg-1 a day; and a usual jump of static energy.
HEATING, MOISTENING, JUMP = 0.3 / 86400, 3e-4 / 86400, 1e4
#: What is compared, and errors that count as 1: 0.05 K and 0.05 g kg-1.
SEEN = {"air_temperature": 0.05, "specific_humidity": 5e-5}


def learned(static_energy, relative_humidity, humidity, saturation, geopotential, active,
            *, levels, parameters, constants, widths):  # fmt: skip
    """Move heat and water within a column as the network says; `parameters` is the network."""
    stability = jnp.diff(static_energy, axis=0) / JUMP
    columns = jnp.concatenate([stability, relative_humidity])
    tendencies = jax.vmap(jax.vmap(parameters, 1, 1), 1, 1)(columns)
    heat, water = jnp.split(tendencies, 2)
    share = jnp.asarray(levels.thickness, heat.dtype)[:, None, None]
    kept = lambda x: x - jnp.sum(x * share, axis=0)  # noqa: E731  columns keep energy and water
    return VerticalDiffusion(HEATING * kept(heat), MOISTENING * kept(water))


truth = jcm.build_model("T21L8")
model = jcm.build_model(
    "T21L8", physics=functools.partial(SpeedyPhysics, vertical_diffusion=learned))


def after_two_hours(model, inputs):
    """Return temperature and humidity in units of `SEEN`."""
    _, fields = jcm.simulate(model, inputs, days=1 / 12, average=False, observe=list(SEEN))
    return jnp.stack([fields[name][0] / usual for name, usual in SEEN.items()])


@eqx.filter_jit
@eqx.filter_value_and_grad
def loss(network, inputs, target):
    """Return the mean squared distance from the original."""
    inputs = eqx.tree_at(lambda i: i.parameters.vertical_diffusion, inputs, network)
    return jnp.mean(jnp.square(after_two_hours(model, inputs) - target))


january, july = (jcm.default_inputs(truth, start=f"2000-{month}-01") for month in ("01", "07"))
targets = [after_two_hours(truth, inputs) for inputs in (january, july)]
network = eqx.nn.MLP(15, 16, width_size=32, depth=1, key=jax.random.key(0))
optimiser = optax.adam(1e-2)
memory = optimiser.init(eqx.filter(network, eqx.is_array))
before, _ = loss(network, july, targets[1])
for step in range(21):
    value, gradient = loss(network, january, targets[0])
    if step % 10 == 0:
        print(f"January, step {step}: loss {value:.4f}")
    change, memory = optimiser.update(gradient, memory)
    network = eqx.apply_updates(network, change)
after, _ = loss(network, july, targets[1])
print(f"July, which it has not seen: loss {before:.4f} -> {after:.4f}")
