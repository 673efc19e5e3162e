import random

import pytest

from sfgsearch._apportion import apportion


def random_cases(number=300):
    source = random.Random(0)
    for _ in range(number):
        weights = [source.choice([0.0, source.random(), source.random() ** 8]) for _ in range(source.randint(1, 6))]
        if sum(weights) > 0:
            yield source.choice([0, 1, 2, 3, 7, 16, 64, 511, 4096]), weights


def test_counts_sum_to_the_total_and_lie_within_one_of_the_exact_share():
    for total, weights in random_cases():
        counts = apportion(total, weights)
        assert sum(counts) == total
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - total * weight / sum(weights)) < 1
            assert count >= 0


def test_a_group_of_no_weight_gets_nothing():
    for total, weights in random_cases():
        counts = apportion(total, weights)
        assert all(count == 0 for count, weight in zip(counts, weights, strict=True) if weight == 0)


def test_largest_remainders_round_up():
    assert apportion(10, [0.62, 0.23, 0.15]) == [6, 2, 2]
    assert apportion(10, [0.68, 0.23, 0.09]) == [7, 2, 1]


@pytest.mark.parametrize("total", [3, 6, 48, 513, 3 * 2**20])
def test_rounding_of_thirds_does_not_leak(total):
    assert apportion(total, [1 / 3, 1 / 3, 1 / 3]) == [total // 3] * 3


@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0, 1e6])
def test_the_scale_of_the_weights_does_not_matter(scale):
    assert apportion(17, [scale * weight for weight in (0.5, 0.3, 0.2)]) == apportion(17, [0.5, 0.3, 0.2])
