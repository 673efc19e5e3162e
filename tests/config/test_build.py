"""From a study file to data, network and manual candidates."""

import pytest
import torch

from sfgsearch.config import build_experiment, manual_candidates
from sfgsearch.errors import ConfigError
from sfgsearch.methods import FixedAllocation


def test_experiment_follows_the_file(study):
    experiment = build_experiment(study(backbone={"width": 0.5, "norm": "instance"}, tasks={"first": {"weight": 2.0}}))
    assert experiment.spec.filters == {"conv1": 2, "conv2": 3}
    assert any(isinstance(module, torch.nn.InstanceNorm2d) for module in experiment.spec.build().modules())
    assert [task.weight for task in experiment.data.tasks] == [2.0, 1.0]


def test_manual_allocations_are_counts_or_proportions(study):
    config = study(manual={"allocations": {"mine": {"conv1": [1, 1, 2], "*": [0.5, 0.0, 0.5]}}})
    candidates = manual_candidates(config, build_experiment(config).spec)
    assert isinstance(candidates["mine"], FixedAllocation)
    assert [layer.counts for layer in candidates["mine"].allocation.layers] == [(1, 1, 2), (3, 0, 3)]


@pytest.mark.parametrize(
    ("sections", "key", "remedy"),
    [
        ({"data": {"name": "digits"}}, "data.name", "digit_pairs"),
        ({"data": {"shif": 1}}, "data.shif", "did you mean 'shift'"),
        ({"data": {"shift": "two"}}, "data.shift", "integer"),
        ({"data": {"shift": 99}}, "data", "1 to 8"),
        ({"backbone": {"name": "vgg16"}}, "backbone.name", "vgg11"),
        ({"backbone": {"plan": None, "name": "vgg11"}}, "backbone.name = 'vgg11'", "at least 16 pixels"),
        ({"backbone": {"plan": ["pool"]}}, "backbone.name = 'vgg_small'", "plan must list"),
        ({"backbone": {"width": float("inf")}}, "backbone.width", "finite"),
        (
            {"backbone": {"norm": "instance", "plan": [4, "pool", 4, "pool", 4, "pool", 4]}},
            "backbone.name = 'vgg_small'",
            "more than 1 spatial element",
        ),
        ({"backbone": {"depth": 3}}, "backbone.depth", "allowed: norm, width, plan"),
        ({"backbone": {"norm": "layer"}}, "backbone.norm", "'batch', 'instance' or 'none'"),
        ({"tasks": {"third": {"weight": 1.0}}}, "tasks.third", "allowed: first, second"),
        ({"tasks": {"first": {"loss": "l1"}}}, "tasks.first.loss", "has a single loss"),
        ({"manual": {"allocations": {"a": {"*": [0.5, 0.4, 0.3]}}}}, "manual.allocations.a", "sum to one"),
        ({"manual": {"allocations": {"a": {"conv1": [1, 1, 2]}}}}, "manual.allocations.a", "'conv2' is missing"),
        ({"manual": {"allocations": {"a": {"conv9": [1, 1, 2]}}}}, "manual.allocations.a", "no layer 'conv9'"),
        ({"manual": {"allocations": {"a": {"*": [1, 1, 1]}}}}, "manual.allocations.a", "sum to 3"),
        (
            {"manual": {"allocations": {"a": {"conv1": [2, 2, 0], "conv2": [2, 2, 2]}}}},
            "manual.allocations.a",
            "layer 'conv2' has 2 shared filters, but no layer below it shares any",
        ),
        ({"manual": {"options": {"constant_probabilities": {"samples": 0}}}}, "manual.options", "1 to 1000"),
        ({"manual": {"options": {"equal": {"samples": 3}}}}, "manual.options.equal.samples", "unknown key"),
        ({"manual": {"options": {"mean": {}}}}, "manual.options", "no manual method is called 'mean'"),
        ({"learned": {"prior": {"family": "fixed", "probs": [0.5, 0.5]}}}, "learned.prior.probs", "3 numbers"),
        ({"learned": {"prior": {"family": "fixed"}}}, "learned.prior.probs", "needs 3 probabilities"),
        ({"learned": {"initial": {"family": "fixed"}}}, "learned.initial.probs", "needs 3 probabilities"),
        ({"learned": {"prior": {"probs": [[0.2, 0.2, 0.6], [0.5, 0.4, 0.4]]}}}, "learned.prior.probs", "sum to one"),
        ({"learned": {"prior": {"task_ratio": [1.0, 1.0, 1.0]}}}, "learned.prior.task_ratio", "2 positive numbers"),
        ({"searched": {"concentration": [1.0, 2.0, 1.0]}}, "searched.concentration", "or 2 (one per task)"),
    ],
)
def test_what_does_not_fit_names_file_key_and_remedy(study, sections, key, remedy):
    config = study(**sections)
    with pytest.raises(ConfigError) as error:
        manual_candidates(config, build_experiment(config).spec)
    message = str(error.value)
    assert message.startswith(f"{config.path}: {key}")
    assert remedy in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_named(study):
    with pytest.raises(ConfigError, match=r"training\.device: device 'cuda:7' is not there"):
        build_experiment(study(training={"device": "cuda:7"}))
