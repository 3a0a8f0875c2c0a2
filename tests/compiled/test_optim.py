"""The compiled optimizers held to those of ``rlkit.nn``."""

import numpy as np
import pytest
import torch
from finite_problems import needs_numba

from rlkit.compiled.layout import OptimizerArrays
from rlkit.compiled.optim import descend
from rlkit.nn import Adam, RMSprop, clip_rows_, row_norm

pytestmark = [needs_numba, pytest.mark.slow]


def gradients(step, dtype):
    return ((torch.arange(3 * 48, dtype=torch.float64) + 1.0 + 7.3 * step).sin() * 3.0**-step).view(3, 48).to(dtype)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", [Adam, RMSprop])
def test_a_clipped_step_is_that_of_the_stacked_optimizer(kind, dtype, bound):
    start = gradients(11, torch.float64).to(dtype) * 1e4
    reference, optimizer = kind(start.clone(), eps=1e-5), kind(start.clone(), eps=1e-5)
    rates, limits = torch.tensor([1e-3, 1e-2, 0.1], dtype=dtype), torch.tensor([0.5, 100.0, 1e-3], dtype=dtype)
    arrays, flat, active = OptimizerArrays.of(optimizer), optimizer.parameters.numpy(), np.ones(3, np.bool_)
    for step in range(20):
        gradient = gradients(step % 5, dtype)
        norms = row_norm(gradient)
        going_on = torch.tensor([True, step % 3 > 0, True])
        sizes = [
            descend(arrays, s, flat[s], gradient[s].clone().numpy(), rates.numpy()[s], limits.numpy()[s], active, go)
            for s, go in enumerate(going_on.tolist())
        ]
        np.testing.assert_allclose(sizes, norms.numpy(), rtol=bound)
        before = reference.parameters.clone()
        state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
        reference.step(clip_rows_(gradient, norms, limits), rates, going_on)
        if not going_on[1]:  # a row that sits out keeps its moments in the compiled form, in the other too for Adam
            assert torch.equal(reference.parameters[1], before[1])
            for name, tensor in reference.state_dict().items():
                tensor[1] = state[name][1]
    torch.testing.assert_close(torch.from_numpy(flat), reference.parameters, rtol=bound, atol=bound)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(optimizer.state_dict()[name], tensor, rtol=10 * bound, atol=bound)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_stops_its_row_and_leaves_its_parameters(bad):
    optimizer = Adam(torch.ones(2, 16))
    arrays, flat, active = OptimizerArrays.of(optimizer), optimizer.parameters.numpy(), np.ones(2, np.bool_)
    g, one = np.ones(16, np.float32), np.float32(1.0)
    g[5] = bad
    assert not np.isfinite(descend(arrays, 0, flat[0], g, one, one, active, True))
    assert active.tolist() == [False, True]
    assert (flat[0] == 1.0).all()
    descend(arrays, 0, flat[0], np.ones(16, np.float32), one, one, active, True)  # for good
    assert (flat[0] == 1.0).all()
    assert optimizer.steps.tolist() == [0.0, 0.0]
