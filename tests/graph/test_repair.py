"""Assignments that leave a filter or a task without anything to read: refused, repaired, or left out."""

import functools

import pytest
import torch
from awkward_networks import NAMES, build, image_shape

from sfgsearch.backbones import resnet
from sfgsearch.errors import AllocationError
from sfgsearch.graph import GroupedLayer, analyse, check_assignment, compact, repair_assignment, unread_filters
from sfgsearch.nn import NetworkSpec, assignment_rows, rows_by_space

GROUPS = {"a": 0, "b": 1, "s": 2}


def rows(spec, *letters):
    assignment = dict(zip(spec.filters, ([GROUPS[letter] for letter in text] for text in letters), strict=True))
    return assignment_rows(spec.analysis, {name: torch.tensor(groups) for name, groups in assignment.items()})


def letters(spec, found):
    return ["".join("abs"[group] for group in groups) for groups in rows_by_space(spec.analysis, found).values()]


def repaired(spec, *given, preferences=None):
    found, repairs = repair_assignment(spec.analysis, rows(spec, *given), preferences)
    check_assignment(spec.analysis, found)
    return letters(spec, found), repairs


def test_what_fits_is_left_alone(tiny):
    spec = tiny.spec(2)
    given = ["aaabbss", "aabsss", "abbss"]
    check_assignment(spec.analysis, rows(spec, *given))
    assert repaired(spec, *given) == (given, [])


def test_shared_filters_that_read_nothing_are_refused(tiny):
    spec = tiny.spec(2)
    with pytest.raises(AllocationError, match=r"'conv2' has 3 shared filters.*read nothing; share filters below"):
        check_assignment(spec.analysis, rows(spec, "aaaabbb", "aabsss", "abbss"))


def test_shared_filters_that_read_nothing_go_to_the_tasks_in_turn(tiny):
    found, repairs = repaired(tiny.spec(2), "aaaabbb", "ssssss", "abbss")
    assert found == ["aaaabbb", "ababab", "abbab"]
    assert repairs == [
        "layer conv2: 6 shared filters would read nothing and went to the tasks",
        "layer conv3: 2 shared filters would read nothing and went to the tasks",
    ]


def test_shared_filters_that_read_nothing_go_where_they_would_rather_be(tiny):
    spec = tiny.spec(2)
    preferences = torch.randn(spec.analysis.num_filters, 3, generator=tiny.seeded(0))
    found, _ = repaired(spec, "aaaabbb", "assbss", "aabbb", preferences=preferences)
    own = rows_by_space(spec.analysis, preferences)["conv2"][:, :2].argmax(1)
    assert found[1] == "".join("ab"[own[index]] if letter == "s" else letter for index, letter in enumerate("assbss"))


def test_a_task_with_nothing_to_read_is_refused(tiny):
    spec = tiny.spec(2)
    with pytest.raises(AllocationError, match=r"'conv2' gives task 1 .* nothing to read; give it a filter"):
        check_assignment(spec.analysis, rows(spec, "aaabbss", "aaaaaa", "abbss"))


def test_a_task_with_nothing_to_read_gets_the_filter_that_fits_it_best(tiny):
    spec = tiny.spec(2)
    preferences = torch.zeros(spec.analysis.num_filters, 3)
    preferences[7 + 4, 1] = 1
    found, repairs = repaired(spec, "aaabbss", "aaaaaa", "abbbb", preferences=preferences)
    assert found[1] == "aaaaba"
    assert repairs == ["layer conv2: task 1 would read nothing and got one filter"]


NARROW = "one filter is shared, since layer {} has fewer filters than tasks"


@pytest.mark.parametrize(
    ("given", "expected", "layers"),
    [
        (("a",), ["s"], {"conv1": "conv1"}),
        (("ab", "a"), ["sb", "s"], {"conv2": "conv2", "conv1": "conv2"}),
        (("as", "a"), ["as", "s"], {"conv2": "conv2"}),
        (("b", "abb", "a"), ["s", "abs", "s"], {"conv1": "conv1", "conv3": "conv3", "conv2": "conv3"}),
        (("abb", "s", "aab"), ["abs", "s", "aab"], {"conv1": "conv2"}),
    ],
)
def test_a_layer_with_fewer_filters_than_tasks_is_shared_and_so_is_what_it_reads(tiny, given, expected, layers):
    found, repairs = repaired(tiny.spec(2, plan=tuple(map(len, given))), *given)
    assert found == expected
    assert repairs == [f"layer {name}: {NARROW.format(narrow)}" for name, narrow in layers.items()]


@pytest.mark.parametrize(("name", "num_tasks"), [*((name, 5) for name in NAMES), ("residual", 2), ("option_a", 40)])
def test_any_assignment_can_be_repaired(name, num_tasks, tiny):
    analysis = analyse(build(name, num_tasks), torch.zeros(2, *image_shape(name)))
    for seed in range(5):
        drawn = torch.randint(num_tasks + 1, (analysis.num_filters,), generator=tiny.seeded(seed))
        check_assignment(analysis, repair_assignment(analysis, drawn)[0])
        check_assignment(analysis, repair_assignment(analysis, drawn % num_tasks)[0])  # nothing is shared


def test_repair_leaves_what_was_given_alone(tiny):
    spec = tiny.spec(2)
    given = rows(spec, "aaabbss", "aaaaaa", "abbss")
    before = given.clone()
    repair_assignment(spec.analysis, given)
    assert torch.equal(given, before)


def sizes(spec, found):
    """Return how many filters each convolution computes, in the compact network."""
    plain = compact(spec.build(), spec.analysis, found)
    return {
        name: sum(part.out_channels for part in module.parts)
        if isinstance(module, GroupedLayer)
        else module.out_channels
        for name, module in plain.backbone.named_modules()
        if isinstance(module, GroupedLayer | torch.nn.Conv2d) and "parts" not in name
    }


@pytest.mark.parametrize(
    ("given", "expected", "number"),
    [
        (("aabss", "bsss", "abss"), [3, 4, 4], 2),
        (("abs", "abs", "abs"), [3, 3, 3], 0),
        (("sss", "abs", "aab"), [3, 3, 3], 0),  # shared filters of the second layer feed the tasks above
        (("abs", "abs", "sss"), [1, 1, 3], 4),
    ],
)
def test_filters_that_nothing_reads_are_left_out(tiny, given, expected, number):
    spec = tiny.spec(2, plan=tuple(map(len, given)))
    found = rows(spec, *given)
    assert list(sizes(spec, found).values()) == expected
    sentences = unread_filters(spec.analysis, found)
    assert sum(int(sentence.split()[2]) for sentence in sentences) == number


def test_a_sentence_says_what_was_left_out(tiny):
    spec = tiny.spec(2, plan=(5, 4, 4))
    assert unread_filters(spec.analysis, rows(spec, "aabss", "bsss", "abss")) == [
        "layer conv1: 2 filters of task 0 would be read by nothing and were left out"
    ]


def test_shortcuts_carry_filters_past_a_layer_without_any(tiny):
    spec = NetworkSpec(functools.partial(resnet, depth=8, width=0.25), tiny.tasks(2), (2, 6, 6))
    assignment = tiny.assignments(spec)
    found = assignment_rows(spec.analysis, assignment | {"stage1_block1.conv1": torch.tensor([0, 1, 2, 2])})
    assert unread_filters(spec.analysis, found) == [], "the stem's filters pass by"
