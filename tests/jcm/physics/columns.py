"""Columns shared by the tests of the physics: six written by hand, and those of the public code.

The hand columns A to F, last axis, are: A deep convection over open ocean; B stable, with
stratocumulus, at a coast; C convection on the ramp of surface pressure; D high terrain in polar
night with condensation in layer 2 only and negative humidity; E condensation in the lowest
layer only; F convection by way of relative humidity. Their results were computed with the public
code of SPEEDY, all numbers in double precision.
"""



import jax
import jax.numpy as jnp
import numpy as np
import scheme_checks
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jcm.constants import EARTH
from jcm.physics.humidity import humidity_floor, saturation_specific_humidity
from jcm.physics.smooth import exact_widths, suggested_widths
from jcm.vertical import along_levels, speedy_levels

LEVELS = speedy_levels(8)
GRAM = 1e-3


def table(text):
    """Rows of numbers, one per hand column, as an array with the column last."""
    return jnp.array([[float(number) for number in row.split()] for row in text.split("\n")]).T


#: Surface pressure over reference pressure [1].
PRESSURE = jnp.array([1.005, 1.015, 0.86, 0.66, 0.97, 0.98])
#: Fraction of land [1].
LAND_FRACTION = jnp.array([0.0, 0.4, 0.7, 1.0, 1.0, 0.2])

TEMPERATURE = table("""206 200.5 217 243 266 281.5 291 299
214 209 220 243.5 265 279.5 287 287.6
212 213 219 239 257.2 270.5 281 288.5
190.5 188 203 214 225 232 238 236
220 217 222 236 250 262 270 272.9
212 211 223 248 269 281 287 295.5""")

#: Before the floor at 0.
RAW_HUMIDITY = GRAM * table("""0 0.003 0.04 0.55 2.6 6.2 11.2 17.6
0 0.002 0.03 0.1 0.4 1.2 3.6 9
0 0.004 0.04 0.4 1.2 3.7 8.4 12.6
0.001 0.0018 0.006 0.02 0.06 0.12 0.2 -0.01
0 0.003 0.03 0.1 0.25 0.5 0.9 3.9
0 0.005 0.047 0.52 2.692 5.935 11.084 17.138""")

GEOPOTENTIAL = table("""241561 163685 119180 84149 54604 31505 15294 4399
245494 164463 118706 83410 53891 30914 14864 4232
250798 169427 123328 88454 59642 37371 21762 11245
242298 169806 128124 96378 70875 51568 38251 29472
245881 162184 115332 80463 52234 30622 15554 5515
247594 166592 120306 84438 54423 31203 15103 4348""")

HUMIDITY = jnp.maximum(RAW_HUMIDITY, 0)
STATIC_ENERGY = EARTH.heat_capacity * TEMPERATURE + GEOPOTENTIAL

SATURATION_HUMIDITY = GRAM * table(
    """0.09177897160439 0.0104769360008 0.05344102168343 0.6741012620826 \
4.052468747912 9.979156185415 15.28475602518 21.98042679033
0.2828434403955 0.0369940122181 0.07830879826142 0.7033236840384 \
3.676042492895 8.60913821914 11.69278675778 10.67837285108
0.2534324219312 0.07658524772935 0.08120314001129 0.5140857948169 \
2.140795523189 5.184687002108 9.242609179427 13.37717875519
0.01167545700541 0.001978107917481 0.01114159995576 0.03197886941917 \
0.08860686823625 0.1518729375348 0.2445552826237 0.172348811236
0.6557634800225 0.1165714319348 0.1057671796963 0.32769225355 \
0.9499085883742 2.192569620165 3.612014683589 4.045273747262
0.2223956863091 0.05088538062155 0.1187264096117 1.155477300042 \
5.383789739759 9.890835186319 12.1134604673 18.23170210326"""
)

#: Numbers of the top layers, 9 for none: convection, precipitation, cloud.
CONVECTION_TOP = jnp.array([3, 9, 4, 9, 9, 3])
PRECIPITATION_TOP = jnp.array([3, 9, 4, 2, 8, 3])
CLOUD_TOP = jnp.array([3, 7, 4, 2, 8, 3])

#: Precipitation [kg m-2 s-1].
CONVECTIVE_PRECIPITATION = GRAM * jnp.array(
    [1.071982142872, 0, 0.5537923351289, 0, 0, 0.2056497044553]
)
LARGE_SCALE_PRECIPITATION = GRAM * jnp.array(
    [0.000333108125831, 0, 0.02860964073107, 9.071149311241e-06, 0.00391325758144, 0.04948049180994]
)

#: Difference of dry static energy over that of geopotential, two lowest layers [1].
STATIC_STABILITY = jnp.array(
    [0.2627810922441, 0.9433408577878, 0.2840163544737, 1.228727645518, 0.7099711126606,
     0.2065086006509]
)  # fmt: skip

CLOUD_COVER = jnp.array([1, 0.0001267915274806, 1, 0.5527995682739, 0.1162936722331, 1])
STRATIFORM_COVER = jnp.array(
    [0, 0.5621354248551, 0.09889977731565, 0, 0.4439120134119, 0.02820032913482]
)


_EXACT = exact_widths()


def one_hot(top):
    """Weights of layers, and last of none, from numbers of layers counted from 1."""
    return jax.nn.one_hot(top - 1, LEVELS.count + 1, axis=0, dtype=float)


#: Variables of the public code whose unit counts grams.
PER_GRAM = {"q", "q_raw", "qsat", "precnv", "precls", "cnv_dfqa", "qt_lsc", "qcloud"}
LAYER_NUMBERS = {"cnv_itop", "lsc_itop", "icltop"}


def reference(name):
    """Variable of the public code in SI units, level first and sample last."""
    return scheme_checks.reference(name) * (GRAM if name in PER_GRAM else 1)


def assert_reproduces(result, name):
    """Agree with the public code to 1e-10 of the largest value; layer numbers exactly."""
    expected = reference(name)
    if name in LAYER_NUMBERS:
        np.testing.assert_array_equal(result, expected)
    else:
        scheme_checks.assert_close_to_maximum(result, expected)


def suggested(widths):
    """Widths at their suggested values."""
    return suggested_widths(widths)


def without(widths):
    """No widths at all: the exact forms alone."""
    return jax.tree.map(lambda _: None, widths)


def assert_finite(function, arguments):
    """Values and derivatives of both modes are finite."""
    ones = jax.tree.map(jnp.ones_like, arguments)
    value, forward = jax.jit(lambda a, d: jax.jvp(function, (a,), (d,)))(arguments, ones)
    weights = jax.tree.map(jnp.ones_like, value)
    backward = jax.jit(lambda a, w: jax.vjp(function, a)[1](w))(arguments, weights)
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves((value, forward, backward)))


def saturated(pressure, temperature):
    """Saturation humidity of a column."""
    sigma = along_levels(LEVELS.centre, temperature)
    return saturation_specific_humidity(temperature, sigma * pressure, widths=_EXACT.humidity)


def floored(humidity):
    """Humidity that is not negative."""
    return humidity_floor(humidity, _EXACT.humidity)


def _floats(low, high):
    # XLA rounds subnormal numbers to 0.
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def perturbed_columns(draw):
    """A hand column with other pressure, temperature and relative humidity.

    Gives surface pressure, dry static energy, humidity and saturation humidity.
    """
    column = draw(st.integers(0, 5))
    warming = draw(hnp.arrays(float, 8, elements=_floats(-4, 4)))
    moistening = draw(hnp.arrays(float, 8, elements=_floats(0, 1.5)))
    pressure = jnp.asarray(draw(_floats(0.5, 1.1)))
    temperature = TEMPERATURE[:, column] + warming
    energy = EARTH.heat_capacity * temperature + GEOPOTENTIAL[:, column]
    return (
        pressure,
        energy,
        HUMIDITY[:, column] * moistening,
        saturated(pressure, temperature),
    )


def hard_columns():
    """Columns at the edges: no vapour, thin and thick air, isothermal, all as saturated as can be.

    Gives the same four arrays as `perturbed_columns`, with the column last.
    """
    pressure = jnp.tile(jnp.array([0.5, 0.8, 1.0, 1.1]), 6)
    warm = jnp.repeat(TEMPERATURE[:, :1], 8, axis=1)
    isothermal = jnp.full((8, 8), 250.0)
    cold = jnp.repeat(TEMPERATURE[:, 3:4], 8, axis=1)
    temperature = jnp.concatenate([warm, isothermal, cold], axis=1)
    saturation = saturated(pressure, temperature)
    humidity = saturation * jnp.tile(jnp.repeat(jnp.array([0.0, 1.0]), 4), 3)
    geopotential = jnp.repeat(GEOPOTENTIAL[:, :1], 24, axis=1)
    return pressure, EARTH.heat_capacity * temperature + geopotential, humidity, saturation
