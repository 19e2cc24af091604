import jax.numpy as jnp
import numpy as np

from research.models.ops.dropout import dropout
from tests.models.derivatives import KEY


def test_dropout_keeps_the_mean_and_drops_its_rate():
    y = dropout(jnp.ones((400, 400)), 0.1, KEY)
    assert abs(float((y == 0).mean()) - 0.1) < 0.003
    assert abs(float(y.mean()) - 1) < 0.003
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.9], rtol=1e-6)
    assert dropout(y, 0.1, None) is y and dropout(y, 0.0, KEY) is y
