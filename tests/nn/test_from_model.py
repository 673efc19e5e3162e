"""Any model in groups: with heads of its own or of tasks, pretrained, trained and derived."""

import copy

import pytest
import torch
from awkward_networks import conv
from torch import nn

from sfgsearch.errors import AllocationError, BackboneError
from sfgsearch.nn import GateSampling, from_model, reestimate_statistics
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation

TASKS = Classification("shape", num_classes=3), Regression("size")


class Body(nn.Module):
    """Features of two depths, of which a function makes what the model returns."""

    def __init__(self, result=lambda _, high: high, heads=()):
        super().__init__()
        self.low, self.high = conv(2, 6), nn.Sequential(nn.MaxPool2d(2), conv(6, 8))
        self.heads, self.result = nn.ModuleList(heads), result

    def forward(self, images):
        low = self.low(images)
        features = self.result(low, self.high(low))
        return [head(features) for head in self.heads] if len(self.heads) else features


def vector(_, high):
    return high.mean((2, 3))


def images(batch=4, seed=0):
    return torch.randn(batch, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def pretrain(model):
    """Make weights and statistics other than new ones."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    reestimate_statistics(model, [images(8, seed) for seed in range(2)])
    return model.eval()


def share_everything(network):
    network.groups.fix(torch.full((network.analysis.num_filters,), len(network.tasks)))
    return network


@pytest.mark.parametrize("execution", ["dense", "streams"])
def test_a_pretrained_model_is_kept(execution):
    model = pretrain(Body(vector, [nn.Linear(8, 3), nn.Linear(8, 1)]))
    state, expected = copy.deepcopy(model.state_dict()), model(images())
    network = share_everything(from_model(model, images(2), ["shape", "size"], execution=execution))
    found = network(images())
    assert list(found) == ["shape", "size"]
    for one, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(one, other)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert set(network.network.parameters()) == set(model.parameters())


def test_a_pretrained_body_is_kept_below_heads_of_tasks():
    model = pretrain(Body())
    features = model(images())
    network = share_everything(from_model(model, images(2), TASKS))
    for name, head in network.network.heads.items():
        torch.testing.assert_close(network(images())[name], head(features))
    assert network.analysis.filters == {"low.0": 6, "high.1.0": 8}


@pytest.mark.parametrize(
    ("result", "tasks", "shapes"),
    [
        (lambda _, high: high, TASKS, [(4, 3), (4,)]),
        (vector, TASKS, [(4, 3), (4,)]),
        (lambda low, high: [low, high], TASKS, [(4, 3), (4,)]),
        (lambda _, high: high, (Segmentation("organs"), DenseRegression("ct")), [(4, 2, 8, 8), (4, 8, 8)]),
    ],
    ids=["map", "vector", "list", "dense"],
)
def test_heads_of_tasks_read_what_the_model_returns(result, tasks, shapes):
    network = from_model(Body(result), images(2), tasks)
    predictions = network(images())
    assert list(predictions) == [task.name for task in tasks]
    assert [tuple(prediction.shape) for prediction in predictions.values()] == shapes


def test_predictions_by_name_are_those_of_the_tasks_in_any_order():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.first, self.second = Body(vector), nn.Linear(8, 1), nn.Linear(8, 2)

        def forward(self, x):
            features = self.body(x)
            return {"size": self.first(features), "shape": self.second(features)}

    network = from_model(Named(), images(2), ["shape", "size"])
    assert [tuple(prediction.shape) for prediction in network(images()).values()] == [(4, 2), (4, 1)]
    written = {layer.weight: layer for layer in network.analysis.layers}
    rows = written["backbone.second.weight"].writes.flatten() - 1 - network.analysis.num_filters
    assert [network.analysis.heads[row] for row in rows] == [0, 0]


@pytest.mark.parametrize("number", [1, 3])
def test_the_number_of_predictions_must_fit(number):
    model = Body(vector, [nn.Linear(8, 1) for _ in range(number)])
    with pytest.raises(BackboneError, match=f"the model returns {number} predictions for 2 tasks"):
        from_model(model, images(2), ["shape", "size"])


@pytest.mark.parametrize("tasks", [["shape", "shape"], ["shared", "size"], []])
def test_names_must_differ(tasks):
    with pytest.raises(AllocationError, match="tasks must be distinct names, at least one, none 'shared'"):
        from_model(Body(vector, [nn.Linear(8, 1) for _ in tasks]), images(2), tasks)


def test_names_of_predictions_must_fit():
    class Named(Body):
        def forward(self, x):
            return dict(zip(["shape", "age"], super().forward(x), strict=True))

    with pytest.raises(BackboneError, match="the model predicts shape, age; tasks are shape, size"):
        from_model(Named(vector, [nn.Linear(8, 1), nn.Linear(8, 1)]), images(2), ["shape", "size"])


def test_names_and_tasks_are_not_mixed():
    with pytest.raises(ValueError, match="either names of tasks or tasks"):
        from_model(Body(), images(2), [TASKS[0], "size"])


@pytest.mark.parametrize("training", [True, False])
def test_mode_precision_and_random_state_are_kept(training):
    model = Body(vector, [nn.Linear(8, 3), nn.Linear(8, 1)]).double().train(training)
    before = torch.random.get_rng_state()
    network = from_model(model, images(2).double(), ["shape", "size"])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {module.training for module in network.modules()} == {training}
    assert {parameter.dtype for parameter in network.network.parameters()} == {torch.float64}
    assert network(images().double())["size"].dtype == torch.float64


def test_priors_and_draws_are_those_that_are_given():
    sampling = GateSampling(0.3, hard=True)
    network = from_model(Body(), images(2), TASKS, prior=[0.2, 0.3, 0.5], sampling=sampling)
    assert network.groups.sampling is sampling
    torch.testing.assert_close(network.groups.probs, torch.tensor([0.2, 0.3, 0.5]).expand(14, 3))
    assert from_model(Body(), images(2), TASKS).groups.sampling.hard
    assert not from_model(Body(), images(2), TASKS, execution="streams").groups.sampling.hard


def make_data(number=64, seed=0):
    """Images with a square of one of three brightnesses, at one of many heights."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randint(3, (number,), generator=generator)
    row = torch.randint(7, (number,), generator=generator)
    pictures = torch.randn(number, 2, 8, 8, generator=generator) * 0.1
    for picture, brightness, top in zip(pictures, shape.tolist(), row.tolist(), strict=True):
        picture[0, top : top + 2] += brightness
    return pictures, {"shape": shape, "size": row / 3 - 1.0}


def losses(network, pictures, targets):
    predictions = network(pictures)
    return [task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in TASKS]


@pytest.mark.parametrize("execution", ["dense", "streams"])
def test_thirty_steps_learn_something_and_leave_a_compact_network(execution):
    torch.manual_seed(0)
    sampling = GateSampling(0.5, hard=execution == "dense", generator=torch.Generator().manual_seed(1))
    network = from_model(Body(), images(2), TASKS, sampling=sampling, execution=execution).train()
    start = network.groups.probs.detach().clone()
    pictures, targets = make_data()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    with torch.no_grad():
        before = float(sum(losses(network, pictures, targets)))
    for step in range(30):
        if step == 20:
            network.settle()
            settled = network.groups.probs.detach().clone()
        loss = sum(losses(network, pictures, targets)) + network.groups.kl() / len(pictures)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        after = float(sum(losses(network, pictures, targets)))
        assert after < 0.6 * before
        assert (network.groups.probs - start).abs().max() > 0.05
        assert torch.equal(network.groups.probs, settled)  # or it would not be its own network that is derived
        compact = network.eval().compact().eval()
        for name, prediction in network(pictures).items():
            torch.testing.assert_close(compact(pictures)[name], prediction, rtol=1e-4, atol=1e-4)
