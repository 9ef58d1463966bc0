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


@pytest.mark.parametrize("shape", [(1, 24), (2, 2, 24), (FEW_ROWS, 24), (FEW_ROWS + 1, 24)])
def test_products_are_those_of_numpy(shape):
    x, weight = draw(*shape), draw(40, 24)
    np.testing.assert_allclose(jax.jit(product)(x, weight), x @ weight.T, rtol=1e-5, atol=1e-5)
    integers = [jnp.round(a * 30).astype(jnp.int8) for a in (x, weight)]
    found = jax.jit(product)(*integers)
    assert found.dtype == jnp.int32
    exact = np.asarray(integers[0], int) @ np.asarray(integers[1], int).T
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("num_rows", [4, FEW_ROWS, FEW_ROWS + 8])
def test_no_bit_of_a_row_depends_on_its_place_or_on_the_others(num_rows):
    weight = draw(300, 96)
    x = draw(num_rows, 96)
    others = (draw(num_rows, 96) * 100).at[1].set(x[-1])
    multiply = jax.jit(product)
    np.testing.assert_array_equal(multiply(x, weight)[-1], multiply(others, weight)[1])


@pytest.mark.parametrize("num_rows", [3, FEW_ROWS + 1])
def test_gradients_are_those_of_the_product(num_rows):
    check_grads(jax.jit(project), (draw(num_rows, 5), draw(4, 5)), 1, modes=["rev"], rtol=1e-2)


def test_in_bfloat16_gradients_are_bfloat16_and_sums_are_not():
    x, weight = (jnp.asarray(draw(*s), jnp.bfloat16) for s in ((80, 512), (8, 512)))
    exact = np.asarray(x, np.float64) @ np.asarray(weight, np.float64).T
    np.testing.assert_allclose(project(x, weight), exact, rtol=0.01, atol=0.01)
    gradients = jax.grad(lambda x, w: project(x, w).sum().astype(jnp.float32), (0, 1))(x, weight)
    assert {g.dtype for g in gradients} == {jnp.dtype(jnp.bfloat16)}


def test_logits_pass_gradients_on_whatever_the_rows():
    weight = draw(7, 5)
    for num_rows in (2, FEW_ROWS + 1):
        x = draw(num_rows, 5)
        found = jax.grad(lambda x: (product(x, weight) ** 2).sum())(x)
        np.testing.assert_allclose(found, 2 * (x @ weight.T) @ weight, rtol=1e-4, atol=1e-4)
