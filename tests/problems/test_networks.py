"""What a network declares about itself, measured: its rows, its starts, its outputs beside torch's module,
its gradients by finite differences; and what a linear classifier knows of its loss.

Keys are fixed. A statistical assertion fails by chance, over all keys, with probability at most 1e-6; about
ninety are made.
"""

import math
import pickle

import numpy as np
import pytest
import torch
from cases import A9A, CLASSIFIERS, CONVEX, NETWORKS, with_data
from hypothesis import given, settings, strategies as st
from scipy import stats
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ratelab.problems import networks
from ratelab.problems.data.datasets import load_labelled, validation_split
from ratelab.problems.networks import MLP, LeNet, LinearClassifier, Network, Split
from ratelab.problems.philox import stream_key
from ratelab.problems.problem import Objective, Problem
from ratelab.problems.regression import Rows
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import catalogue, parse

KEY = stream_key(0, "networks")
P_VALUE = 1e-6
DIGITS = Split("digits")


def points(network: Network, scale: float, runs: int = 2, pairs: int = 3) -> torch.Tensor:
    """Models (runs, pairs, N) around the starts."""
    start = network.start(KEY, range(runs))[:, None]
    noise = np.random.default_rng(0).standard_normal((runs, pairs, networks.size(network)))
    return torch.from_numpy(start + scale * noise)


def module_at(network: Network, x: torch.Tensor) -> torch.nn.Module:
    module = network.module().double()
    vector_to_parameters(x, module.parameters())
    return module


# rows


def test_the_parts_of_a_split() -> None:
    data = load_labelled("digits")
    whole = networks.parts(DIGITS)
    assert list(whole) == ["train", "test"]
    for part, features, labels in (
        (whole["train"], data.features, data.labels),
        (whole["test"], data.test_features, data.test_labels),
    ):
        np.testing.assert_array_equal(part.features, features)
        np.testing.assert_array_equal(part.labels, labels)
    some = networks.parts(Split("digits", rows=300, validation=80, seed=4, test=50))
    train, kept = validation_split(300, 80, 4)
    for name, features, labels in (
        ("train", data.features[train], data.labels[train]),
        ("validation", data.features[kept], data.labels[kept]),
        ("test", data.test_features[:50], data.test_labels[:50]),
    ):
        np.testing.assert_array_equal(some[name].features, features)
        np.testing.assert_array_equal(some[name].labels, labels)
    other = networks.parts(Split("digits", rows=300, validation=80, seed=5))["validation"]
    assert (other.features != some["validation"].features).any()


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (Split("digits", rows=1416), "rows is 1416, and there are 1415; give at most 1415"),
        (Split("digits", test=383), "test is 383, and there are 382; give at most 382"),
        (Split("digits", rows=50, validation=50), "50 validation points of 50 labelled rows; give 0 to 49"),
    ],
)
def test_rows_that_are_not_there_are_refused(split: Split, said: str) -> None:
    with pytest.raises(InputError, match=said):
        networks.parts(split)


def test_updates_per_epoch() -> None:
    assert networks.epoch(MLP(DIGITS, batch=1415)) == 1
    assert networks.epoch(MLP(DIGITS, batch=1414)) == 2
    assert networks.epoch(MLP(Split("digits", rows=300, validation=100), batch=50)) == 4
    with pytest.raises(InputError, match="batch is 101, and 100 rows are trained on; give at most 100"):
        networks.epoch(MLP(Split("digits", rows=300, validation=200), batch=101))


# values


def test_the_catalogue_is_covered() -> None:
    found = {name for name, cls in catalogue("problem").items() if cls.__module__ == networks.__name__}
    assert {type(network).__name__ for network in CLASSIFIERS} == found
    assert set(catalogue("data").values()) == {Split, Rows}


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_a_network_is_its_notation_and_no_stepped_problem(network: Network) -> None:
    assert isinstance(network, Network)
    assert isinstance(network, Objective)
    assert not isinstance(network, Problem)
    assert parse(repr(network), "problem") == network
    assert parse(repr(network.data), "data") == network.data
    assert pickle.loads(pickle.dumps(network)) == network
    assert hash(parse(repr(network), "problem")) == hash(network)
    assert network.law is None
    assert network.constants.G is None


@pytest.mark.parametrize("network", [MLP(DIGITS), LeNet()], ids=repr)
def test_what_is_not_known_of_a_network_is_none(network: Network) -> None:
    known = network.constants.L, network.constants.mu, network.constants.D, network.constants.start_risk
    assert (*known, network.minimum) == (None,) * 5


def test_data_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="digits has no 28 × 28 pixels; give mnist or fashion_mnist"):
        LeNet(DIGITS)
    for loss in ("logistic", "hinge"):
        refused = LinearClassifier(DIGITS, loss=loss, weight_decay=0.1)
        with pytest.raises(InputError, match='digits has 10 classes; give loss = "cross_entropy"'):
            _ = refused.shapes


# parameters, starts, outputs


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_parameters_are_those_of_the_module(network: Network) -> None:
    parameters = list(network.module().parameters())
    assert network.shapes == tuple(tuple(p.shape) for p in parameters)
    assert networks.size(network) == sum(p.numel() for p in parameters)
    x = points(network, 1.0)
    pieces = networks.split(network, x)
    assert [tuple(p.shape[2:]) for p in pieces] == list(network.shapes)
    assert torch.equal(torch.cat([p.flatten(2) for p in pieces], dim=2), x)
    assert torch.equal(parameters_to_vector(module_at(network, x[1, 2]).parameters()), x[1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_outputs_of_many_models_are_those_of_each_module(network: Network) -> None:
    """Sums of at most 784 terms of order one, in another order."""
    train = network.parts()["train"]
    features = torch.tensor(np.stack([train.features[:7], train.features[7:14]])).double()
    x = points(network, 0.1)
    found = network.outputs(x, features)
    assert found.shape == (2, 3, 7, network.shapes[-1][0])
    for r, p in np.ndindex(2, 3):
        torch.testing.assert_close(
            found[r, p], module_at(network, x[r, p])(features[r]), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_a_start_depends_on_key_and_run_only(network: Network) -> None:
    whole = network.start(KEY, range(6))
    assert whole.shape == (6, networks.size(network))
    np.testing.assert_array_equal(network.start(KEY, range(2, 5)), whole[2:5])
    if whole.any():
        assert len({row.tobytes() for row in (*whole, network.start(KEY + 1, range(1))[0])}) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        MLP(DIGITS, widths=(20, 30)),
        MLP(DIGITS, widths=(40,), initial_scale=0.5),
        MLP(DIGITS, widths=(40,), initial="glorot"),
        MLP(DIGITS, widths=(), initial="glorot", initial_scale=3.0),
        LinearClassifier(DIGITS, initial_scale=1.0),
        LinearClassifier(DIGITS, random_features=20, initial_scale=2.0),
        LeNet(initial_scale=1.0),
    ],
    ids=repr,
)
def test_starts_are_uniform_within_their_bounds(network: Network) -> None:
    """Kolmogorov and Smirnov's test of each array of parameters, and against torch's own start."""
    runs, scale = 40, network.initial_scale  # type: ignore[attr-defined] # each of these has one
    starts = np.split(network.start(KEY, range(runs)), np.cumsum([math.prod(s) for s in network.shapes]), 1)
    torch.manual_seed(0)
    modules = [network.module() for _ in range(5)]
    for k, shape in enumerate(network.shapes):
        values = starts[k].ravel()
        weight = network.shapes[k - k % 2]
        if isinstance(network, MLP) and network.initial == "glorot":
            bound = scale * math.sqrt(6 / (weight[0] + weight[1]))
            if len(shape) == 1:
                assert not values.any()
                continue
        else:
            bound = scale / math.sqrt(math.prod(weight[1:]))
            own = [list(module.parameters())[k].detach().numpy().ravel() for module in modules]
            assert stats.ks_2samp(values, scale * np.concatenate(own)).pvalue > P_VALUE
        assert np.abs(values).max() <= bound
        assert stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf).pvalue > P_VALUE


def test_linear_classifiers_start_at_zero() -> None:
    assert not LinearClassifier(DIGITS).start(KEY, range(3)).any()


# losses


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 3.0, 300.0]))
@settings(max_examples=20)
def test_losses_and_errors_are_those_of_torch(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    outputs = torch.from_numpy(scale * rng.standard_normal((2, 3, 8, 5)))
    labels = torch.from_numpy(rng.integers(0, 5, (2, 8)))
    found = networks.losses("cross_entropy", outputs, labels[:, None])
    wrong = networks.wrong("cross_entropy", outputs, labels[:, None])
    for r, p in np.ndindex(2, 3):
        plain = functional.cross_entropy(outputs[r, p], labels[r], reduction="none")
        torch.testing.assert_close(found[r, p], plain, rtol=1e-12, atol=1e-12 * scale)
        assert torch.equal(wrong[r, p], outputs[r, p].topk(1).indices[:, 0] != labels[r])
    one, signs = outputs[..., :1], labels % 2
    logistic = functional.binary_cross_entropy_with_logits(
        one[..., 0], signs[:, None].expand(2, 3, 8).double(), reduction="none"
    )
    # torch's softplus is the identity above 20, where it lacks 2e-9; the other rounds small losses to 1e-16
    torch.testing.assert_close(
        networks.losses("logistic", one, signs[:, None]), logistic, rtol=1e-9, atol=1e-14
    )
    hinge = np.maximum(0, 1 - np.where(signs == 1, 1, -1)[:, None] * one[..., 0].numpy())
    np.testing.assert_array_equal(networks.losses("hinge", one, signs[:, None]), hinge)
    for loss in ("logistic", "hinge"):
        misses = networks.wrong(loss, one, signs[:, None])
        np.testing.assert_array_equal(misses, (one[..., 0] > 0) != (signs[:, None] == 1))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_classifies_nothing(bad: float) -> None:
    outputs = torch.tensor([[2.0, 1.0], [2.0, bad], [bad, 1.0], [bad, bad]])
    labels = torch.tensor([0, 0, 0, 0])
    assert networks.wrong("cross_entropy", outputs, labels).tolist() == [False, True, True, True]
    for label in (0, 1):
        found = networks.wrong("logistic", torch.tensor([[bad]]), torch.tensor([label]))
        assert found.tolist() == [True]


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_gradients_are_slopes(network: Network) -> None:
    """Central differences along a direction in each array of parameters; rounding of 1e-16 in a loss of order
    one is 1e-10 in a slope. At random points no kink lies within 1e-6 but by chance.
    """
    train = network.parts()["train"]
    features, labels = torch.tensor(train.features[None, :20]).double(), torch.tensor(train.labels[:20])

    def f(x: torch.Tensor) -> torch.Tensor:
        return networks.losses(network.loss, network.outputs(x, features), labels).mean()

    leaf = points(network, 0.05, 1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(f(leaf), leaf)
    rng, h = np.random.default_rng(1), 1e-6
    for piece in networks.split(network, torch.arange(leaf.shape[2])):
        direction = torch.zeros_like(leaf)
        values = rng.standard_normal(piece.numel()) / math.sqrt(piece.numel())
        direction[..., piece.flatten()] = torch.from_numpy(values)
        slope = (f(leaf + h * direction) - f(leaf - h * direction)).item() / (2 * h)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-8)


# random features


@pytest.mark.parametrize(("bandwidth", "seed"), [(2.0, 0), (5.0, 3)])
def test_random_features_approximate_the_gaussian_kernel(bandwidth: float, seed: int) -> None:
    """The mean of m independent products of mean k(x, y): |z| < 6, 2e-9 for each of 55 pairs."""
    m = 20_000
    network = LinearClassifier(Split("digits", rows=10), random_features=m, bandwidth=bandwidth, seed=seed)
    plain, seen = networks.parts(network.data), network.parts()
    assert seen["train"].features.dtype == np.float32
    x, z = plain["train"].features.astype(np.float64), seen["train"].features.astype(np.float64)
    for i in range(10):
        for j in range(i + 1):
            kernel = math.exp(-((x[i] - x[j]) ** 2).sum() / (2 * bandwidth**2))
            products = m * z[i] * z[j]
            assert abs(products.mean() - kernel) < 6 * products.std() / math.sqrt(m)


def test_random_features_are_those_of_the_row_and_the_seed_alone() -> None:
    few = LinearClassifier(Split("digits", rows=30, validation=10), random_features=16, seed=1)
    same = LinearClassifier(Split("digits", rows=30), random_features=16, seed=1, batch=3)
    other = LinearClassifier(Split("digits", rows=30), random_features=16, seed=2)
    train, kept = validation_split(30, 10, 0)
    whole = same.parts()["train"].features
    # a product of another shape may sum in another order: some units of the 24th bit
    for name, rows in (("train", train), ("validation", kept)):
        np.testing.assert_allclose(few.parts()[name].features, whole[rows], rtol=0, atol=1e-6)
    np.testing.assert_allclose(few.parts()["test"].features, same.parts()["test"].features, rtol=0, atol=1e-6)
    assert np.abs(other.parts()["train"].features - whole).max() > 0.1


# what linear classifiers know


def objective(network: LinearClassifier, x: Array) -> torch.Tensor:
    """f, written out, of one model x (N,)."""
    train = network.parts()["train"]
    C, D = network.shapes[0]
    w, b = torch.as_tensor(x)[: C * D].reshape(C, D), torch.as_tensor(x)[C * D :]
    z, y = torch.tensor(train.features).double() @ w.T + b, torch.tensor(train.labels)
    if network.loss == "cross_entropy":
        fit = functional.cross_entropy(z, y)
    elif network.loss == "logistic":
        fit = functional.binary_cross_entropy_with_logits(z[:, 0], y.double())
    else:
        fit = torch.relu(1 - (2 * y - 1) * z[:, 0]).mean()
    return fit + network.weight_decay / 2 * torch.as_tensor(x).square().sum()


def in_network_order(minimiser: Array) -> Array:
    """A minimiser (C, D + 1), or (D + 1,), as one vector of weights, then biases."""
    rows = np.atleast_2d(minimiser)
    return np.concatenate([rows[:, :-1].ravel(), rows[:, -1]])


@pytest.mark.parametrize("network", CONVEX, ids=repr)
def test_the_minimum_is_one(network: LinearClassifier) -> None:
    """No point around lies below f*, which f(x*) exceeds by the accuracy at most; f* is certified."""
    found = network.minimum
    assert found is not None
    assert found.accuracy <= (1.01e-8 * found.value if network.loss == "hinge" else 1.01e-10)
    best = in_network_order(found.minimiser)
    # the features are float32 in both, the sums of a few hundred rows float64
    assert float(objective(network, best)) == pytest.approx(found.value, rel=1e-13)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-2, 1.0):
        step = rng.standard_normal(len(best)) * size / math.sqrt(len(best))
        above = float(objective(network, best + step)) - found.value
        assert above >= network.weight_decay / 2 * size**2 * 0.5 - 2 * found.accuracy
    zero = np.zeros(len(best))
    assert network.constants.start_risk == pytest.approx(
        float(objective(network, zero)) - found.value, rel=1e-12
    )
    assert pytest.approx(float(np.linalg.norm(best)), rel=1e-12) == network.constants.D
    assert network.constants.mu == network.weight_decay


def curvature(network: LinearClassifier, x: torch.Tensor) -> Array:
    """The eigenvalues of f's Hessian at x, ascending."""
    hessian = torch.autograd.functional.hessian(lambda x: objective(network, x), x)
    return np.linalg.eigvalsh(hessian.numpy())


SMOOTH = [
    LinearClassifier(Split("digits", rows=200), weight_decay=0.01, random_features=12),
    LinearClassifier(A9A, loss="logistic", weight_decay=0.001),
]


@pytest.mark.parametrize("network", [with_data(network) for network in SMOOTH], ids=repr)
def test_the_curvature_lies_between_its_bounds_and_attains_them(network: LinearClassifier) -> None:
    assert network.constants.L is not None
    rng, n = np.random.default_rng(2), networks.size(network)
    for scale in (0.1, 3.0):
        eigenvalues = curvature(network, torch.from_numpy(scale * rng.standard_normal(n)))
        assert eigenvalues[0] >= network.constants.mu * (1 - 1e-9)
        assert eigenvalues[-1] < network.constants.L
    # L is reached where all rows' σ' is ¼; or where biases leave two classes, equally likely
    x = torch.zeros(n, dtype=torch.float64)
    if network.loss == "cross_entropy":
        x[-8:] = -100.0
    assert curvature(network, x)[-1] == pytest.approx(network.constants.L, rel=1e-9)


def test_the_hinge_loss_is_not_smooth() -> None:
    assert LinearClassifier(A9A, loss="hinge", weight_decay=0.1).constants.L is None


def test_without_weight_decay_no_minimum_is_known() -> None:
    plain, decayed = LinearClassifier(DIGITS), LinearClassifier(DIGITS, weight_decay=0.25)
    known = plain.minimum, plain.constants.D, plain.constants.start_risk
    assert known == (None,) * 3
    assert plain.constants.mu == 0
    assert plain.constants.L is not None
    assert decayed.constants.L == plain.constants.L + 0.25
