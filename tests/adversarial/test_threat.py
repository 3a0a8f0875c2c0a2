"""Threats as data: files, committed scales, digests, and the selection of the strongest attack."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.adversarial import (
    FGSM,
    STRONGEST,
    Budget,
    Noise,
    RobustnessCurve,
    Threat,
    committed_threat,
    committed_threats,
    robustness_curve,
    strongest,
)
from rlkit.agents import A2C


def test_the_scale_of_each_task_is_committed_once():
    by_task = {(threat.env, json.dumps(threat.env_kwargs)): threat for threat in committed_threats()}
    assert len(by_task) == len(committed_threats())
    assert committed_threat("CartPole-v1").scale == (0.44, 0.33, 0.037, 0.23)
    assert committed_threat("Acrobot-v1").scale == (0.366, 0.651, 0.684, 0.677, 2.017, 3.020)
    assert committed_threat("CartPole-v1", {"sutton_barto_reward": True}) is None
    assert committed_threat("MountainCar-v0") is None


def test_a_threat_gives_the_budget_of_its_fields():
    threat = Threat(norm="2", scale=(1.0, 0.5), mask=(True, False), low=(-1.0,), high=(1.0, 2.0))
    budget = threat.budget(0.3)
    assert (budget.epsilon, budget.norm) == (0.3, "2")
    obs = torch.zeros(1, 1, 2, dtype=torch.float64)
    assert budget.extent(obs).tolist() == [1.0, 0.0]
    assert budget.cut(torch.full((1, 1, 2), 9.0, dtype=torch.float64)).tolist() == [[[1.0, 2.0]]]


def test_the_scale_of_planes_has_their_shape():
    threat = Threat(scale=tuple(range(1, 13)), shape=(3, 2, 2))
    obs = torch.zeros(1, 1, 3, 2, 2)
    assert threat.budget(1.0).extent(obs).shape == (3, 2, 2)
    assert threat.budget(1.0).extent(obs).flatten().tolist() == list(range(1, 13))
    with pytest.raises(ValueError, match=r"scale holds 5 entries, which do not fit the shape \[3, 2, 2\]"):
        Threat(scale=(1.0,) * 5, shape=(3, 2, 2))


def test_epsilons_are_sorted_and_kept_once():
    assert Threat(epsilons=(0.5, 0.1, 0.5)).epsilons == (0.1, 0.5)
    assert Threat(epsilons=0.25).epsilons == (0.25,)


FLOATS = st.floats(0, 100, allow_nan=False).map(lambda x: round(x, 6))
THREATS = st.builds(
    Threat,
    env=st.none() | st.just("CartPole-v1"),
    env_kwargs=st.dictionaries(st.sampled_from("ab"), st.integers(0, 3)),
    epsilons=st.lists(FLOATS, min_size=1, max_size=3).map(tuple),
    norm=st.sampled_from(["inf", "2", "1"]),
    scale=st.lists(FLOATS, min_size=1, max_size=3).map(tuple),
    attacks_per_episode=st.none() | st.integers(0, 5),
    knows=st.sampled_from([("state",), ("state", "step"), ("state", "weights"), ("state", "step", "weights")]),
    victim=st.sampled_from(["greedy", "sampled"]),
    horizon=st.none() | st.integers(1, 9),
)


@pytest.mark.slow
@given(THREATS)
def test_a_threat_is_read_as_it_was_written(threat):
    content = json.loads(json.dumps(threat.as_dict()))
    assert Threat.from_dict(content) == threat
    assert Threat.from_dict(content).digest == threat.digest


@pytest.mark.slow
@given(THREATS, THREATS)
def test_digests_are_equal_exactly_if_the_fields_are(one, other):
    assert (one.digest == other.digest) == (one.as_dict() == other.as_dict())


def test_the_digest_is_the_same_on_every_machine():
    assert committed_threat("CartPole-v1").digest == "64909d693ff2"


def test_a_file_holds_the_fields(tmp_path):
    path = tmp_path / "threat.toml"
    path.write_text(
        'env = "CartPole-v1"\nepsilons = [0.1, 1]\nscale = [0.44, 0.33, 0.037, 0.23]\nattacks_per_episode = 3\n'
        'knows = ["state", "step"]\nvictim = "sampled"\n',
        encoding="utf-8",
    )
    read = Threat.read(path)
    assert read == Threat(
        env="CartPole-v1",
        epsilons=(0.1, 1.0),
        scale=(0.44, 0.33, 0.037, 0.23),
        attacks_per_episode=3,
        knows=("state", "step"),
        victim="sampled",
    )
    assert read.access == "actions"
    assert Threat().access == "gradients"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epsilon = [0.1]", r"unknown field 'epsilon': did you mean 'epsilons'\?"),
        ("norm = 'l2'", "norm must be one of 'inf', '2', '1', got 'l2'"),
        ("epsilons = [-0.1]", r"epsilon must be finite and not negative, got -0\.1"),
        ("epsilons = [nan]", "epsilon must be finite and not negative, got nan"),
        ("epsilons = []", "epsilons must hold at least one number, got none"),
        ("epsilons = ['a']", "epsilons"),
        ("scale = [-1.0]", r"scale must be finite and not negative, got -1\.0"),
        ("knows = ['step']", r"knows must hold 'state' .* got \['step'\]"),
        ("knows = ['state', 'future']", "knows must hold 'state'"),
        ("knows = ['state', 'draw']", "a greedy policy draws no numbers"),
        ("victim = 'random'", "victim must be 'greedy' or 'sampled', got 'random'"),
        ("attacks_per_episode = -1", "attacks_per_episode must be a whole number of at least 0, got -1"),
        ("attacks_per_episode = 1.5", r"attacks_per_episode must be a whole number of at least 0, got 1\.5"),
        ("horizon = 0", "horizon must be a whole number of at least 1, got 0"),
        ("first_seed = true", "first_seed must be a whole number of at least 0, got True"),
        ("mask = [1, 0]", "mask must hold true or false"),
        ("low = [1.0]\nhigh = [0.0]", "low must not be above high"),
        ("epsilons = [", "is not a TOML file"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_file_and_field(tmp_path, text, message):
    path = tmp_path / "threat.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        Threat.read(path)
    assert str(path) in str(error.value)


def curve(natural, returns, epsilons=(0.1, 0.2)):
    """A curve with returns ``[K, L, S, E]``; its other counts follow from the returns, so a test can tell them."""
    natural, returns = np.asarray(natural, dtype=float), np.asarray(returns, dtype=float)
    return RobustnessCurve(
        attacks=tuple("abcdef"[: len(returns)]),
        epsilons=epsilons,
        budget=Budget(epsilons[-1]),
        natural=natural,
        returns=returns,
        lengths=returns.astype(np.int64) + 100,
        flips=returns.astype(np.int64) + 200,
        attacked=returns.astype(np.int64) + 300,
        capped=returns > 5,
        natural_lengths=natural.astype(np.int64) + 100,
        natural_capped=natural > 5,
        timing="always",
        queries=np.zeros(returns.shape[:2]),
        seconds=np.zeros(returns.shape[:2]),
    )


def test_the_strongest_attack_is_selected_by_seed_and_epsilon_and_reported_on_other_episodes():
    # two attacks, two epsilons, three seeds, one episode each
    selection = curve([[9], [9], [1]], [[[[3], [8], [2]], [[5], [7], [3]]], [[[4], [2], [4]], [[1], [6], [5]]]])
    reported = curve(
        [[90], [91], [92]], [[[[10], [11], [12]], [[13], [14], [15]]], [[[20], [21], [22]], [[23], [24], [25]]]]
    )
    found = strongest(selection, reported)
    assert found.attacks == (STRONGEST,)
    # seed 0: a, then b at .2; seed 1: b at .1 twice, since a smaller attack is allowed; seed 2: no attack
    assert found.returns[..., 0].tolist() == [[[10, 21, 92], [23, 21, 92]]]
    assert found.lengths[..., 0].tolist() == [[[110, 121, 192], [123, 121, 192]]]
    assert found.flips[..., 0].tolist() == [[[210, 221, 0], [223, 221, 0]]]
    assert found.attacked[..., 0].tolist() == [[[310, 321, 0], [323, 321, 0]]]
    assert found.capped[..., 0].tolist() == [[[True, True, True], [True, True, True]]]


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_selected_on_the_reported_episodes_nothing_is_stronger(seed):
    rng = np.random.default_rng(seed)
    one = curve(rng.normal(size=(3, 4)), rng.normal(size=(2, 3, 3, 4)), (0.1, 0.2, 0.3))
    found = strongest(one, one).returns[0].mean(axis=-1)  # [L, S]
    everything = np.minimum(one.returns.mean(axis=-1).min(axis=0), one.natural.mean(axis=-1))
    assert (found <= everything + 1e-12).all()
    assert (np.diff(found, axis=0) <= 1e-12).all()  # a larger ball contains the smaller


def test_curves_of_different_attacks_are_not_compared():
    one = curve([[1]], [[[[1]], [[1]]]])
    with pytest.raises(ValueError, match="same attacks, epsilons and number of seeds"):
        strongest(one, one._replace(epsilons=(0.1, 0.3)))


@pytest.mark.slow
def test_a_curve_has_the_lengths_of_natural_episodes():
    agent = A2C("CartPole-v1", seeds=2, net_arch=(4,))
    found = robustness_curve(agent, agent.evaluation_env, [Noise(), FGSM()], [0.1], episodes=3)
    assert found.natural_lengths.shape == (2, 3)
    assert (found.natural_lengths == found.natural).all()  # a reward of 1 a step
