"""Products with weights against NumPy, with few rows and many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nmt.models.products import FEW_ROWS, product, project

RNG = np.random.default_rng(0)


def draw(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


SHAPES = [(1, 24), (2, 2, 24), (FEW_ROWS, 24), (FEW_ROWS + 1, 24), (2, 0, 24), (3, 0)]


@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_numpy(shape):
    x, weight = draw(*shape), draw(40, shape[-1])
    np.testing.assert_allclose(jax.jit(product)(x, weight), x @ weight.T, rtol=1e-5, atol=1e-5)
    integers = [jnp.round(a * 30).astype(jnp.int8) for a in (x, weight)]
    found = jax.jit(product)(*integers)
    assert found.dtype == jnp.int32
    exact = np.asarray(integers[0], int) @ np.asarray(integers[1], int).T
    np.testing.assert_array_equal(found, exact)


def test_types_that_differ_are_refused():
    with pytest.raises(ValueError, match="rows of float32; expected int8, as the weight is"):
        product(draw(2, 3), jnp.ones((4, 3), jnp.int8))


@pytest.mark.parametrize("num_rows", [2, 3, 7, 21, FEW_ROWS, FEW_ROWS + 1, FEW_ROWS + 8])
def test_no_bit_of_a_row_depends_on_its_place_or_on_the_others(num_rows):
    weight = draw(300, 96)
    x = draw(num_rows, 96)
    multiply = jax.jit(product)
    expected = multiply(x, weight)[-1]
    for place in range(num_rows):
        others = (draw(num_rows, 96) * 100).at[place].set(x[-1])
        np.testing.assert_array_equal(multiply(others, weight)[place], expected)


@pytest.mark.parametrize("num_rows", [3, FEW_ROWS + 1])
def test_gradients_are_those_of_the_product(num_rows):
    check_grads(jax.jit(project), (draw(num_rows, 5), draw(4, 5)), 1, modes=["rev"], rtol=1e-2)


@pytest.mark.parametrize("num_rows", [FEW_ROWS, 512])
def test_in_bfloat16_gradients_are_bfloat16_and_sums_are_not(num_rows):
    shapes = (num_rows, 512), (512, 512), (num_rows, 512)
    x, weight, cotangent = (jnp.asarray(draw(*s), jnp.bfloat16) for s in shapes)
    y, back = jax.vjp(project, x, weight)
    found = y, *back(cotangent)
    rows, matrix, seed = (np.asarray(a, np.float64) for a in (x, weight, cotangent))
    for own, exact in zip(found, (rows @ matrix.T, seed @ matrix, seed.T @ rows), strict=True):
        assert own.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(own, np.float64), exact, rtol=2**-8, atol=1e-3)
    np.testing.assert_allclose(product(x, weight), rows @ matrix.T, rtol=1e-4, atol=1e-4)


def test_logits_pass_gradients_on_whatever_the_rows():
    weight = draw(7, 5)
    for num_rows in (2, FEW_ROWS + 1):
        x = draw(num_rows, 5)
        found = jax.grad(lambda x: (product(x, weight) ** 2).sum())(x)
        np.testing.assert_allclose(found, 2 * (x @ weight.T) @ weight, rtol=1e-4, atol=1e-4)
