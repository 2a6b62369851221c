"""Replace one scheme of the physics by a small neural network, and differentiate through it."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp

import jcm
from jcm.physics.speedy import SpeedyPhysics
from jcm.physics.vertical_diffusion import VerticalDiffusion


def learned_diffusion(
    static_energy, relative_humidity, humidity, saturation, geopotential, active,
    *, levels, parameters, constants, widths,
):  # fmt: skip
    """Heat a column by what a network makes of its relative humidity."""
    network = jax.vmap(jax.vmap(parameters, in_axes=1, out_axes=1), in_axes=1, out_axes=1)
    return VerticalDiffusion(1e-5 * network(relative_humidity), jnp.zeros_like(humidity))


model = jcm.build_model(
    "T21L8", physics=functools.partial(SpeedyPhysics, vertical_diffusion=learned_diffusion))
network = eqx.nn.MLP(8, 8, width_size=16, depth=1, key=jax.random.key(0))
inputs = jcm.default_inputs(model)
inputs = eqx.tree_at(lambda i: i.parameters.vertical_diffusion, inputs, network)


@eqx.filter_value_and_grad
def loss(network, inputs):
    """Mean temperature of the lowest layer after two hours, in units of 300 K."""
    inputs = eqx.tree_at(lambda i: i.parameters.vertical_diffusion, inputs, network)
    _, fields = jcm.simulate(model, inputs, days=1 / 12, observe=["air_temperature"])
    return jnp.mean(fields["air_temperature"][0, -1]) / 300


value, gradient = eqx.filter_jit(loss)(network, inputs)
size = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient))
print(f"loss {value:.6f}, largest derivative by a weight {size:.2e}")
