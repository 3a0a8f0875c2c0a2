"""Linear, radial, fully connected and convolutional networks, held to torch's modules, to autograd and to one row."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from devices import CPU_AND_GPUS
from gymnasium import spaces
from torch import nn

from rlkit.adversarial import FGSM, Budget, perturb
from rlkit.agents import A2C, DQN, PPO, REINFORCE, load
from rlkit.envs import CartPole
from rlkit.evaluation import evaluate_policy
from rlkit.nn import MLP, Architecture, encode
from rlkit.nn.convolution import add_patches, convolutions, patches
from rlkit.nn.rbf import RadialBasis, radial_basis

PLANES = spaces.Box(0, 255, (4, 5, 6), np.uint8)
PHOTO = spaces.Box(0, 255, (9, 10, 3), np.uint8)  # channels last
VECTOR = spaces.Box(np.array([-1.0, 0.0, -np.inf], np.float32), np.array([1.0, 5.0, np.inf], np.float32))
TWO_LAYERS = {"layers": ((16, 3, 1), (32, 2, 2))}
CASES = {
    "mlp of odd widths": (VECTOR, {"net_arch": (7, 50)}),
    "mlp on pixels": (PLANES, {"network": "mlp", "net_arch": (24,)}),
    "linear": (VECTOR, {"network": "linear"}),
    "linear of a Discrete": (spaces.Discrete(11), {"network": "linear"}),
    "rbf": (VECTOR, {"network": "rbf", "options": {"centers": 48}}),
    "cnn": (PLANES, {}),
    "cnn of two layers": (PHOTO, {"net_arch": (50,), "options": TWO_LAYERS}),
    "cnn without hidden layers": (PHOTO, {"net_arch": (), "options": {"layers": ((16, 3, 2),)}}),
}
EACH = pytest.mark.parametrize("case", CASES)


def networks(case, seeds, activation="relu", gain=None, device="cpu"):
    space, settings = CASES[case]
    return Architecture(space, seeds, activation=activation, device=device, **settings).network(3, gain)


def features(case, rows, minibatch):
    space = CASES[case][0]
    rng = np.random.default_rng(0)
    shape = (rows, minibatch, *(space.shape or ()))
    if space.dtype == np.float32:
        obs = rng.normal(size=shape).astype(np.float32)
    else:
        obs = rng.integers(0, 11, shape, dtype=np.uint8)
    return encode(torch.from_numpy(obs), space)


@pytest.mark.slow
@EACH
@pytest.mark.parametrize(("activation", "gain"), [("relu", None), ("tanh", 0.01)])
@pytest.mark.parametrize("minibatch", [1, 33])
def test_rows_are_bitwise_those_of_a_stack_of_one(case, activation, gain, minibatch):
    many, x = networks(case, range(8), activation, gain), features(case, 8, minibatch)
    grad_output = torch.from_numpy(np.random.default_rng(1).normal(size=(8, minibatch, 3))).float()
    output, pullback = many.vjp(x)
    gradient, graph = pullback(grad_output), many(x)
    graph_gradient = many.gradient((graph * grad_output).sum())
    for row in (0, 5):
        one = networks(case, [row], activation, gain)
        assert torch.equal(one.flat[0], many.flat[row])
        alone, pull = one.vjp(x[row : row + 1])
        assert torch.equal(alone[0], output[row])
        assert torch.equal(pull(grad_output[row : row + 1])[0], gradient[row])
        again = one(x[row : row + 1])
        assert torch.equal(again[0], graph[row])
        assert torch.equal(one.gradient((again * grad_output[row : row + 1]).sum())[0], graph_gradient[row])


@EACH
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("device", CPU_AND_GPUS)
def test_the_pullback_is_autograds_gradient_in_float64(case, activation, device):
    host = networks(case, range(2), activation)
    host.place(host.flat.double())
    stack = networks(case, range(2), activation, device=device)
    stack.place(stack.flat.double())
    x = features(case, 2, 20).double()
    grad_output = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 20, 3))).to(device)
    output, pullback = stack.vjp(x.to(device))
    torch.testing.assert_close(output.cpu(), host(x).detach(), rtol=1e-12, atol=1e-12)
    graph = stack(x.to(device))
    torch.testing.assert_close(output, graph.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        pullback(grad_output), stack.gradient((graph * grad_output).sum()), rtol=1e-11, atol=1e-12
    )


@EACH
def test_a_row_is_a_plain_torch_module_and_so_is_its_gradient_by_the_input(case):
    stack, x = networks(case, range(3), gain=0.5), features(case, 3, 20)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(stack(x).square().sum(), x)
    for row in range(3):
        plain = stack.as_module(row)
        own = x[row].detach().requires_grad_()
        torch.testing.assert_close(plain(own), stack(x)[row], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(torch.autograd.grad(plain(own).square().sum(), own)[0], gradient[row])
    parameters = sum(p.numel() for p in plain.parameters())
    assert parameters == len(stack.columns)  # widened layers count with their own widths


def test_torchs_convolution_of_the_same_weights_sees_the_same_image():
    stack = Architecture(PHOTO, [0], options=TWO_LAYERS).network(3)
    modules = [module for module in stack.as_module(0) if isinstance(module, nn.Conv2d)]
    assert [m.weight.shape for m in modules] == [(16, 3, 3, 3), (32, 16, 2, 2)]
    assert modules[1].stride == (2, 2)
    assert float(modules[0].weight.detach().abs().max()) <= 1 / math.sqrt(27)  # torch's bound
    image = torch.rand(2, 9, 10, 3)
    by_torch = modules[0](image.permute(0, 3, 1, 2)).relu()
    ours = stack._layers[0].output(image.flatten(1)[None], 2)[0].view(2, 7, 8, 16)
    torch.testing.assert_close(ours.permute(0, 3, 1, 2), by_torch.detach())


@pytest.mark.parametrize("shape", [(3, 7, 9), (9, 7, 3)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_adding_patches_is_the_adjoint_of_cutting_them(shape, stride):
    first, second = convolutions(shape, ((16, 2, 1), (32, 3, stride)))
    x = torch.rand(2, 6, second.height * second.width * second.channels, dtype=torch.float64)
    rows = patches(x, second)
    weights = torch.rand_like(rows)
    torch.testing.assert_close((rows * weights).sum(), (x * add_patches(weights, second)).sum())
    assert first.num_outputs == x.shape[2]
    assert first.channels_first == (shape[0] == 3)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("width", [7, 24, 50])
def test_any_width_gives_equal_rows_and_its_extra_units_stay_zero(width, activation):
    agent = DQN("CartPole-v1", seeds=range(3), device="cpu", net_arch=(width, width), activation=activation,
                learning_starts=16, batch_size=16, learning_rate=1e-2)  # fmt: skip
    agent.learn(120)
    alone = DQN("CartPole-v1", seeds=[2], device="cpu", net_arch=(width, width), activation=activation,
                learning_starts=16, batch_size=16, learning_rate=1e-2).learn(120)  # fmt: skip
    assert torch.equal(alone.network.flat[0], agent.network.flat[2])
    extra = torch.ones(agent.network.flat.shape[1], dtype=torch.bool)
    extra[agent.network.columns] = False
    assert int((~extra).sum()) == 5 * width + (width + 1) * width + (width + 1) * 2
    for kept in (agent.network.flat, agent.optimizer.first, agent.optimizer.second):
        assert (kept[:, extra] == 0.0).all()
        assert (kept[:, ~extra] != 0.0).any()


def test_a_widened_network_starts_as_the_narrow_one():
    narrow = MLP((4, 7, 2), [3])
    numbers = narrow.flat[0, narrow.columns]
    weight = narrow.as_module(0)[0].weight.detach()
    assert numbers[:28].tolist() == weight.T.flatten().tolist() or numbers[:28].tolist() == weight.flatten().tolist()
    assert narrow.rows(slice(0, 1)).columns is narrow.columns


# Radial basis functions


def test_gaussians_are_sutton_and_bartos():
    z, centers = torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    expected = [[1.0, math.exp(-1 / 8)], [math.exp(-5 / 8), math.exp(-4 / 8)]]
    np.testing.assert_allclose(radial_basis(z, centers, 2.0), expected, rtol=1e-6)


def test_centers_fill_the_bounds_and_are_normal_where_there_are_none():
    basis = RadialBasis(VECTOR.low, VECTOR.high, range(50), centers=64, width=0.5)
    assert basis.width == pytest.approx(0.5 * 2 * 64 ** (-1 / 3))
    low, high = basis.centers.amin(dim=(0, 1)), basis.centers.amax(dim=(0, 1))
    np.testing.assert_allclose(low[:2], -1.0, atol=0.01)
    np.testing.assert_allclose(high[:2], 1.0, atol=0.01)
    assert float(basis.centers[..., 2].std()) == pytest.approx(1.0, abs=0.05)
    corner = torch.tensor([[[1.0, 5.0, 0.0]]]).expand(50, 1, 3)
    expected = radial_basis(torch.tensor([1.0, 1.0, 0.0]).expand(50, 1, 3), basis.centers, basis.width)
    torch.testing.assert_close(basis(corner), expected)
    assert len(torch.unique(basis.centers[:, 0, 0])) == 50  # each seed's own


# Agents


IMAGE_GRID = {"map": "frozenlake-4x4", "observation": "planes", "slip": 0.0}
SMALL = {
    DQN: {"learning_starts": 32, "batch_size": 16},
    A2C: {"n_steps": 8},
    PPO: {"n_steps": 16, "batch_size": 16, "n_epochs": 2},
    REINFORCE: {"n_steps": 16, "value_steps": 2},
}
AGENTS = pytest.mark.parametrize("algorithm", SMALL, ids=lambda algorithm: algorithm.__name__)
READERS = {
    "cnn": ("rlkit/GridWorld-v0", IMAGE_GRID, {}),
    "rbf": ("CartPole-v1", {}, {"network": "rbf", "network_kwargs": {"centers": 32, "width": 2.0}}),
    "linear": ("CartPole-v1", {}, {"network": "linear"}),
    "one-hot": ("rlkit/GridWorld-v0", {"map": "frozenlake-4x4"}, {"net_arch": (20,)}),
}


def made(algorithm, reader, seeds, **settings):
    env, env_kwargs, chosen = READERS[reader]
    settings = {**SMALL[algorithm], **chosen, **settings}
    return algorithm(env, seeds=seeds, device="cpu", env_kwargs=env_kwargs, **settings)


@pytest.mark.slow
@AGENTS
@pytest.mark.parametrize("network", READERS)
def test_every_agent_trains_every_network_with_equal_rows_and_reads_it_back(algorithm, network, tmp_path):
    agent, alone = made(algorithm, network, range(3)).learn(64), made(algorithm, network, [2]).learn(64)
    for name, stack in agent.networks.items():
        assert torch.equal(stack.flat[2], alone.networks[name].flat[0])
        assert not torch.equal(stack.flat, made(algorithm, network, range(3)).networks[name].flat)
    agent.save(tmp_path / "agent.safetensors")
    loaded = load(tmp_path / "agent.safetensors", device="cpu")
    assert loaded.config == agent.config
    obs = agent.env.obs
    assert torch.equal(loaded.scores(obs), agent.scores(obs))
    torch.testing.assert_close(agent[1].scores(obs[1:2]), agent.scores(obs)[1:2])
    assert agent.values(obs).shape == (3, 1)
    torch.testing.assert_close(agent.action_probabilities(obs).sum(dim=-1), torch.ones(3, 1))
    assert agent.ensemble().scores(obs[:1]).shape == (1, 1, agent.env.action_space.n)


class Observed(gymnasium.Env):
    """A line of three places, seen as coordinates of some dtype; going right pays."""

    action_space = spaces.Discrete(2)

    def __init__(self, dtype):
        self.observation_space = spaces.Box(-4, 4, (3,), dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return self._seen(), {}

    def step(self, action):
        self.place = max(self.place + 2 * int(action) - 1, 0)
        return self._seen(), float(action), self.place == 4, False, {}

    def _seen(self):
        return np.eye(5)[self.place, :3].astype(self.observation_space.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [DQN, A2C, PPO, REINFORCE])
@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_observations_of_any_dtype_are_read(algorithm, dtype):
    settings = {DQN: {"learning_starts": 16}, PPO: {"n_steps": 32, "batch_size": 32}}.get(algorithm, {"n_steps": 32})

    def make():
        return gymnasium.wrappers.TimeLimit(Observed(dtype), 20)

    for extra in ({}, {"normalize_observations": True}):
        agent = algorithm(make, device="cpu", **settings, **extra).learn(64)
        for flat in (network.flat for network in agent.networks.values() if network is not agent.normalizer):
            assert flat.dtype == torch.float32
        seen = make().reset()[0]
        assert agent.predict(seen, deterministic=True)[0] == agent.predict(seen.tolist(), deterministic=True)[0]
        returns = evaluate_policy(agent, make(), 3, return_episode_rewards=True)[0]
        assert returns == agent.evaluate(3)[0].tolist()


def test_a_dueling_network_of_convolutions():
    agent = made(DQN, "cnn", range(2), dueling=True).learn(64)
    assert torch.equal(agent.network.flat[1], made(DQN, "cnn", [1], dueling=True).learn(64).network.flat[0])


def test_the_scores_of_a_discrete_observation_can_be_differentiated_after_the_one_hot():
    agent = made(PPO, "one-hot", [0])
    state = torch.tensor([[3, 5]])
    code = nn.functional.one_hot(state, 16).float().requires_grad_()
    torch.testing.assert_close(agent.scores(code), agent.scores(state))
    (gradient,) = torch.autograd.grad(agent.scores(code)[0, 0, 1], code)
    assert float(gradient[0, 0].abs().sum(dim=0)) > 0.0
    assert (gradient[0, 1] == 0.0).all()


def test_an_attack_on_a_linear_network_has_its_closed_form():
    agent = DQN("CartPole-v1", seeds=range(3), device="cpu", network="linear")
    obs = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 50, 4))).float()
    scores, shown = agent.q_values(obs), perturb(FGSM(), agent, obs, Budget(0.1))
    chosen = scores.argmax(dim=-1, keepdim=True)
    lead = (scores.gather(-1, chosen) - scores.gather(-1, 1 - chosen))[..., 0]
    weight = agent.network.parameters[0].detach()  # [S, 4, 2]
    gain = 0.1 * (weight[..., 0] - weight[..., 1]).abs().sum(dim=1)  # [S], epsilon |w|_1
    attacked = agent.q_values(shown)
    left = (attacked.gather(-1, chosen) - attacked.gather(-1, 1 - chosen))[..., 0]
    torch.testing.assert_close(left, lead - gain[:, None], rtol=1e-4, atol=1e-5)


def test_images_take_convolutions_by_default_and_vectors_a_perceptron():
    assert made(DQN, "cnn", [0]).network.convolutions[0].filters == 16
    assert made(DQN, "cnn", [0], network="mlp").network.convolutions == ()
    assert DQN("CartPole-v1", device="cpu").network.sizes == (4, 64, 64, 2)
    assert made(DQN, "linear", [0]).network.sizes == (4, 2)
    assert made(DQN, "rbf", [0]).network.sizes == (32, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "transformer"}, "network must be one of auto, mlp, linear, rbf, cnn"),
        ({"network": "cnn"}, "three axes"),
        ({"network": "rbf", "network_kwargs": {"centres": 16}}, "unknown option 'centres'.*centers, width"),
        ({"network": "rbf", "network_kwargs": {"centers": 100}}, "multiple of 16"),
        ({"network": "rbf", "network_kwargs": {"width": 0.0}}, "width must be above 0"),
        ({"network_kwargs": {"layers": ((16, 3, 1),)}}, "known are none"),
        ({"network_kwargs": 3}, "network_kwargs must be a dictionary"),
    ],
)
def test_bad_networks_are_refused_when_the_agent_is_made(settings, message):
    with pytest.raises(ValueError, match=message):
        PPO("CartPole-v1", device="cpu", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "rbf"}, "one axis"),
        ({"network_kwargs": {"layers": ((16, 5, 1),)}}, "kernel of 5 does not fit into 4 x 4"),
        ({"network_kwargs": {"layers": ((16, 3, 1), (16, 3, 1))}}, "does not fit into 2 x 2"),
        ({"network_kwargs": {"layers": ((16, 3),)}}, "all positive"),
        ({"network_kwargs": {"layers": ((16, 3, 0),)}}, "all positive"),
        ({"network_kwargs": {"layers": ((20, 3, 1),)}}, "multiple of 16"),
    ],
)
def test_bad_convolutions_are_refused_when_the_agent_is_made(settings, message):
    with pytest.raises(ValueError, match=message):
        made(DQN, "cnn", [0], **settings)


class Shaped(gymnasium.Env):
    """Of given spaces."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


class ShapedDynamics(Shaped):
    """The same as ``Dynamics``."""

    initial_noise, transition_noise, max_steps = 4, 0, 500
    initial, transition = CartPole.initial, CartPole.transition

    def observe(self, state):
        return state


BOX, TWO = spaces.Box(-1.0, 1.0, (4,)), spaces.Discrete(2)


@pytest.mark.parametrize("kind", [Shaped, ShapedDynamics])
@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (spaces.Tuple((BOX, BOX)), TWO, "Tuple.*FlattenObservation"),
        (BOX, BOX, "Box.*bins"),
        (BOX, spaces.MultiDiscrete([2, 2]), "MultiDiscrete"),
    ],
)
def test_spaces_that_no_network_reads_are_refused_when_the_agent_is_made(kind, observation, action, message):
    env = kind(observation, action)
    with pytest.raises(ValueError, match=message):
        PPO(env if kind is ShapedDynamics else lambda: env, device="cpu")


# Learning


def grid(observation, **settings):
    """Deep Q-learning on a small map with a hole and two walls, four seeds; greedy returns afterwards."""
    world = {"map": ["S...", "..H.", ".#..", "...G"], "observation": observation, "max_steps": 30}
    common = {
        "learning_rate": 1e-3,
        "learning_starts": 400,
        "train_freq": 1,
        "target_update_interval": 200,
        "exploration_fraction": 0.6,
        "gamma": 0.95,
    }
    agent = DQN("rlkit/GridWorld-v0", seeds=range(4), num_envs=4, device="cpu", env_kwargs=world, **common | settings)
    return agent.learn(6000).evaluate(1)[:, 0].tolist()


@pytest.mark.slow
def test_convolutions_learn_to_walk_from_the_picture_of_the_map():
    assert grid("planes") == [1.0] * 4


@pytest.mark.slow
def test_gaussians_of_two_coordinates_learn_to_walk():
    assert grid("coordinates", network="rbf", network_kwargs={"centers": 64}, learning_rate=1e-2) == [1.0] * 4


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (3, 8, 1), (1, 5, 2)])
def test_a_row_is_the_plain_torch_network_of_that_row(sizes, activation):
    stack = MLP(sizes, range(3), activation)
    x = torch.randn(3, 10, sizes[0])
    for row in range(3):
        torch.testing.assert_close(stack(x)[row], stack.as_module(row)(x[row]))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (4, 256, 256, 2), (16, 64, 64, 4), (4, 32, 1), (1, 16, 3)])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_rows_and_their_gradients_are_bitwise_those_of_a_stack_of_one(sizes, batch):
    many = MLP(sizes, range(8))
    x = torch.randn(8, batch, sizes[0])
    outputs = many(x)
    gradient = many.gradient(outputs.square().sum())
    for row in (0, 5, 7):
        one = MLP(sizes, [row])
        assert torch.equal(one.flat[0], many.flat[row])
        output = one(x[row : row + 1])
        assert torch.equal(output[0], outputs[row])
        assert torch.equal(one.gradient(output.square().sum())[0], gradient[row])


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [(4, 64, 64, 2), (4, 256, 256, 2), (16, 64, 64, 4), (4, 32, 1), (1, 16, 3), (84, 512, 7), (37, 16, 17)]
)
@pytest.mark.parametrize("batch", [1, 5, 64, 512])
def test_rows_without_autograd_are_bitwise_those_of_a_stack_of_one(sizes, batch):
    many = MLP(sizes, range(8))
    x, grad = torch.randn(8, batch, sizes[0]), torch.randn(8, batch, sizes[-1])
    outputs, pullback = many.vjp(x)
    gradient = pullback(grad)
    with torch.no_grad():
        torch.testing.assert_close(many(x), outputs)
    for row in (0, 5, 7):
        one = MLP(sizes, [row])
        output, pullback = one.vjp(x[row : row + 1])
        assert torch.equal(output[0], outputs[row])
        assert torch.equal(pullback(grad[row : row + 1])[0], gradient[row])
        with torch.no_grad():
            assert torch.equal(one(x[row : row + 1])[0], many(x)[row])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (4, 256, 256, 2), (3, 8, 1), (1, 5, 2), (4, 1, 3)])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_pullback_is_autograds_gradient(sizes, activation, batch):
    stack = MLP(sizes, range(3), activation)
    x, grad = torch.randn(3, batch, sizes[0]), torch.randn(3, batch, sizes[-1])
    output, pullback = stack.vjp(x)
    expected = stack(x)
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(pullback(grad), stack.gradient((expected * grad).sum()), rtol=1e-4, atol=1e-5)


def test_initial_weights_are_uniform_within_torchs_bound():
    stack = MLP((100, 400, 3), [0])
    weight = stack.parameters[0]
    assert weight.abs().max() <= 0.1
    assert weight.abs().max() > 0.0999
    assert abs(float(weight.detach().std()) - 0.1 / math.sqrt(3)) < 1e-3
    assert not torch.equal(MLP((4, 8, 2), [0]).flat, MLP((4, 8, 2), [1]).flat)


def test_the_gradient_is_in_the_order_of_flat():
    stack = MLP((2, 3, 2), range(2))
    x = torch.randn(2, 4, 2)
    gradient = stack.gradient(stack(x).square().sum())
    step = 1e-3
    for index in range(stack.flat.shape[1]):
        values = []
        for sign in (1, -1):
            stack.flat[1, index] += sign * step
            values.append(float(stack(x).square().sum().detach()))
            stack.flat[1, index] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient[1, index]), abs=2e-2)


def test_a_copy_is_separate():
    stack = MLP((2, 3, 2), range(2))
    twin = stack.copy()
    stack.flat += 1.0
    assert not torch.equal(twin.flat, stack.flat)
    assert torch.equal(twin.rows(slice(1, 2)).flat, twin.flat[1:])


@pytest.mark.parametrize(("sizes", "activation"), [((4,), "relu"), ((4, 0, 2), "relu"), ((4, 2), "gelu")])
def test_bad_networks_are_refused(sizes, activation):
    with pytest.raises(ValueError, match="must be"):
        MLP(sizes, [0], activation)


@EACH
def test_no_observations_have_no_outputs(case):
    space, _ = CASES[case]
    network, none = networks(case, range(2)), encode(torch.zeros(2, 0, *(space.shape or (space.n,))), space)
    assert network(none).shape == (2, 0, 3)
    with torch.no_grad():
        assert network(none).shape == (2, 0, 3)
    assert network.vjp(none)[0].shape == (2, 0, 3)
