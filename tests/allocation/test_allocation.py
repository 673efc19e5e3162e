import dataclasses
import json
import math

import pytest

from sfgsearch.allocation import SHARED, Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError, SFGSearchError

FILTERS = {"conv1": 9, "conv2": 16, "conv3": 4}
TASKS = ("digit", "angle")
GROUPS = (*TASKS, SHARED)


def make(*layers, groups=GROUPS):
    return Allocation(groups, tuple(LayerAllocation(*layer) for layer in layers))


@pytest.fixture
def learned():
    return make(("conv1", (3, 2, 4), (0.2, 0.3, 0.5), 0.9), ("conv2", (0, 0, 16)))


def counts_of(allocation):
    return {layer.name: layer.counts for layer in allocation.layers}


def test_it_describes_itself(learned):
    assert learned.tasks == TASKS
    assert learned.layer("conv1").counts == (3, 2, 4)
    assert learned.layer("conv1").num_filters == 9
    assert learned.layer("conv1").shared == 4
    assert learned.layer("conv2").mean_probs is None


def test_a_layer_that_is_not_there_is_explained(learned):
    with pytest.raises(AllocationError, match="no layer 'conv9'; this allocation has conv1, conv2"):
        learned.layer("conv9")


def test_group_names():
    assert group_names(["a"]) == ("a", "shared")
    for tasks in ([], ["a", "a"], ["a", "shared"]):
        with pytest.raises(AllocationError, match="tasks must be distinct names, at least one"):
            group_names(tasks)


def test_its_error_has_the_common_root():
    assert issubclass(AllocationError, SFGSearchError)
    assert issubclass(AllocationError, ValueError)


@pytest.mark.parametrize("field", ["groups", "layers"])
def test_fields_cannot_be_set(learned, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(learned, field, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        learned.layer("conv1").counts = (9, 0, 0)


def test_lists_are_taken_by_value():
    counts, groups, probs = [3, 2, 4], list(GROUPS), [0.2, 0.3, 0.5]
    layers = [LayerAllocation("conv1", counts, probs)]
    allocation = Allocation(groups, layers)
    counts[0], groups[0], probs[0] = 99, "other", 0.9
    layers.clear()
    assert allocation == make(("conv1", (3, 2, 4)))
    assert allocation.layer("conv1").mean_probs == (0.2, 0.3, 0.5)
    assert hash(allocation) == hash(make(("conv1", (3, 2, 4))))


def test_learned_means_do_not_count_for_equality(learned):
    assert learned == make(("conv1", (3, 2, 4)), ("conv2", (0, 0, 16)))
    assert learned != make(("conv1", (2, 3, 4)), ("conv2", (0, 0, 16)))


def test_json_round_trip_keeps_everything(learned):
    again = Allocation.from_json(learned.to_json())
    assert again == learned
    assert again.to_dict() == learned.to_dict()
    assert again.layer("conv1").mean_probs == (0.2, 0.3, 0.5)
    assert again.layer("conv1").mean_entropy == 0.9


def test_json_has_the_form_of_show(learned):
    assert json.loads(learned.to_json()) == {
        "groups": ["digit", "angle", "shared"],
        "layers": [
            {"name": "conv1", "counts": [3, 2, 4], "mean_probs": [0.2, 0.3, 0.5], "mean_entropy": 0.9},
            {"name": "conv2", "counts": [0, 0, 16], "mean_probs": None, "mean_entropy": None},
        ],
    }


def test_means_may_be_left_out_of_json():
    text = json.dumps({"groups": GROUPS, "layers": [{"name": "conv1", "counts": [1, 1, 2]}]})
    assert Allocation.from_json(text) == make(("conv1", (1, 1, 2)))
    assert Allocation.from_json(text.encode()) == make(("conv1", (1, 1, 2)))
    assert Allocation.from_json(json.loads(text)) == make(("conv1", (1, 1, 2)))


@pytest.mark.parametrize("counts", [(1, -1, 3), (1.0, 1, 1), (1, True, 1), ("1", 1, 1)])
def test_counts_must_be_whole_numbers(counts):
    with pytest.raises(AllocationError, match="layer 'conv1': counts must be whole numbers >= 0"):
        LayerAllocation("conv1", counts)


@pytest.mark.parametrize("probs", [(0.5, 0.5), (0.5, 0.5, 0.5), (-0.2, 0.7, 0.5), (math.nan, 0.5, 0.5)])
def test_mean_probs_must_be_probabilities(probs):
    with pytest.raises(AllocationError, match="layer 'conv1': mean_probs must be 3 probabilities"):
        LayerAllocation("conv1", (1, 1, 1), probs)


@pytest.mark.parametrize("name", ["", None, 3])
def test_layers_need_a_name(name):
    with pytest.raises(AllocationError, match="a layer needs a name"):
        LayerAllocation(name, (1, 1))


@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1, 1), ()])
def test_a_wrong_number_of_counts_names_the_layer(counts):
    with pytest.raises(AllocationError, match="layer 'conv2' needs 3 counts, one for each of digit, angle, shared"):
        make(("conv1", (1, 1, 1)), ("conv2", counts))


def test_a_task_with_nothing_to_read_names_layer_and_task():
    with pytest.raises(AllocationError, match="layer 'conv2' gives task 'angle' nothing to read"):
        make(("conv1", (1, 1, 1)), ("conv2", (3, 0, 0)))


@pytest.mark.parametrize("groups", [(), ("digit", "angle"), (SHARED, "digit"), (SHARED,), ("digit", "digit", SHARED)])
def test_malformed_groups_are_refused(groups):
    with pytest.raises(
        AllocationError, match=r"groups must end with .shared.|tasks must be distinct names, at least one"
    ):
        make(("conv1", (1, 1, 1)), groups=groups)


@pytest.mark.parametrize("layers", [(), (("conv1", (1, 1, 1)), ("conv1", (1, 1, 1)))])
def test_layers_must_be_distinct(layers):
    with pytest.raises(AllocationError, match="layers must be at least one, with distinct names"):
        make(*layers)


LAYER = {"name": "conv1", "counts": [1, 1, 1]}


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "{",
        "3",
        "null",
        json.dumps({"groups": GROUPS}),
        json.dumps({"groups": GROUPS, "layers": [LAYER], "colour": 1}),
        json.dumps({"groups": GROUPS, "layers": [LAYER | {"colour": 1}]}),
        json.dumps({"groups": GROUPS, "layers": [{"name": "conv1"}]}),
        json.dumps({"groups": GROUPS, "layers": ["conv1"]}),
        json.dumps({"groups": GROUPS, "layers": 3}),
        json.dumps({"groups": 3, "layers": [LAYER]}),
        json.dumps({"groups": [["digit"], "angle", "shared"], "layers": [LAYER]}),
        json.dumps({"groups": [1, 2, "shared"], "layers": [LAYER]}),
        json.dumps({"groups": GROUPS, "layers": [LAYER | {"counts": 3}]}),
        json.dumps({"groups": GROUPS, "layers": [LAYER | {"counts": "111"}]}),
        json.dumps({"groups": GROUPS, "layers": [LAYER | {"mean_probs": 0.5}]}),
        json.dumps({"groups": GROUPS, "layers": [LAYER | {"mean_probs": ["a", "b", "c"]}]}),
        json.dumps({"groups": GROUPS, "layers": [LAYER | {"mean_entropy": "much"}]}),
        b"\xff",
    ],
)
def test_broken_json_is_refused(broken):
    with pytest.raises(AllocationError):
        Allocation.from_json(broken)


def test_proportions_are_rounded_by_the_largest_remainder():
    allocation = Allocation.from_proportions(
        {"conv1": 10, "conv2": 7}, TASKS, {"conv2": (0.5, 0.25, 0.25), "conv1": (0.62, 0.23, 0.15)}
    )
    assert counts_of(allocation) == {"conv1": (6, 2, 2), "conv2": (3, 2, 2)}
    assert [layer.name for layer in allocation.layers] == ["conv1", "conv2"]


@pytest.mark.parametrize(
    "shares", [(), (0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (math.nan, 0.5, 0.5)]
)
def test_bad_proportions_name_the_layer(shares):
    proportions = dict.fromkeys(FILTERS, (0.2, 0.3, 0.5)) | {"conv2": shares}
    with pytest.raises(AllocationError, match="layer 'conv2' needs 3 proportions"):
        Allocation.from_proportions(FILTERS, TASKS, proportions)


def test_missing_proportions_name_the_layer():
    with pytest.raises(AllocationError, match="layer 'conv3'"):
        Allocation.from_proportions(FILTERS, TASKS, dict.fromkeys(["conv1", "conv2"], (0.2, 0.3, 0.5)))


@pytest.mark.parametrize("tasks", [("a",), ("a", "b"), ("a", "b", "c")])
def test_hard_sharing_shares_everything(tasks):
    allocation = Allocation.hard_sharing(FILTERS, tasks)
    assert counts_of(allocation) == {name: (*[0] * len(tasks), count) for name, count in FILTERS.items()}


@pytest.mark.parametrize("tasks", [("a",), ("a", "b"), ("a", "b", "c")])
def test_equal_parts_differ_by_at_most_one(tasks):
    for layer in Allocation.equal(FILTERS, tasks).layers:
        assert sum(layer.counts) == FILTERS[layer.name]
        assert max(layer.counts) - min(layer.counts) <= 1


def test_equal_parts_of_divisible_widths_are_equal():
    assert Allocation.equal({"conv1": 9}, TASKS).layer("conv1").counts == (3, 3, 3)


@pytest.mark.parametrize("tasks", [("a",), ("a", "b"), ("a", "b", "c")])
def test_single_tasks_have_the_full_width_each(tasks):
    allocation = Allocation.single_task(FILTERS, tasks)
    assert counts_of(allocation) == {name: (*[count] * len(tasks), 0) for name, count in FILTERS.items()}


@pytest.mark.parametrize("make_one", [Allocation.hard_sharing, Allocation.equal, Allocation.single_task])
@pytest.mark.parametrize("tasks", [("a",), ("a", "b"), ("a", "b", "c")])
def test_what_is_made_for_a_backbone_fits_it(make_one, tasks):
    make_one(FILTERS, tasks).check_fits(FILTERS, tasks)


@pytest.mark.parametrize(
    ("filters", "tasks", "message"),
    [
        (FILTERS, ("angle", "digit"), "is for tasks .'digit', 'angle'., the data has .'angle', 'digit'."),
        (FILTERS, ("digit",), "the data has"),
        (FILTERS | {"conv4": 3}, TASKS, "the backbone's are .*conv4"),
        ({"conv2": 16, "conv1": 9, "conv3": 4}, TASKS, "the backbone's are"),
        (FILTERS | {"conv2": 17}, TASKS, "layer 'conv2': counts .* sum to 16, the backbone has 17 filters"),
    ],
)
def test_what_does_not_fit_is_explained(filters, tasks, message):
    with pytest.raises(AllocationError, match=message):
        Allocation.equal(FILTERS, TASKS).check_fits(filters, tasks)


def test_full_width_in_one_layer_only_does_not_fit():
    allocation = make(("conv1", (9, 9, 0)), ("conv2", (8, 8, 0)), ("conv3", (2, 2, 0)))
    with pytest.raises(AllocationError, match="layer 'conv1'"):
        allocation.check_fits(FILTERS, TASKS)
