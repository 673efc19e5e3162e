"""Dense tasks, against plain references in float64 and voxel counts written out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from sfgsearch.errors import DataError
from sfgsearch.tasks import FRACTION, DenseRegression, Segmentation, soft_dice_loss

ORGANS = Segmentation("organs", num_classes=4, classes=("background", "Left lung", "heart", "Aorta/vessels"))
CT = DenseRegression("ct", scale=1000.0, unit="HU", span=3000.0)


def random_case(shape=(2, 4, 5, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)


def dice_by_hand(answers, target, label):
    both = sum(a == t == label for a, t in zip(answers, target, strict=True))
    return 2 * both / (answers.count(label) + target.count(label))


def soft_dice_by_hand(logits, target):
    scores = []
    for label in range(1, logits.shape[1]):
        overlap = total = 0.0
        for image in range(len(logits)):
            for voxel in range(target[image].numel()):
                column = logits[image].flatten(1)[:, voxel].tolist()
                prob = math.exp(column[label]) / sum(map(math.exp, column))
                truth = float(target[image].flatten()[voxel] == label)
                overlap, total = overlap + prob * truth, total + prob**2 + truth**2
        scores.append((2 * overlap + 1e-5) / (total + 1e-5))
    return 1 - sum(scores) / len(scores)


def measure(task, *batches):
    metrics = task.metrics()
    for prediction, target in batches:
        metrics.update(prediction, target)
    return {name: float(value) for name, value in metrics.compute().items()}


def one_hot_logits(answers, classes=4):
    return torch.nn.functional.one_hot(torch.tensor(answers), classes).T.double()[None, :, None]


def test_segmentation_losses_are_cross_entropy_soft_dice_or_both():
    logits, target = random_case()
    entropy = 0.0
    for image in range(2):
        log_probs = logits[image].flatten(1).log_softmax(0)
        entropy -= log_probs.gather(0, target[image].reshape(1, -1)).sum().item() / target.numel()
    dice = soft_dice_by_hand(logits, target)
    for loss, expected in (("cross_entropy", entropy), ("dice", dice), ("both", entropy + dice)):
        ours = replace(ORGANS, loss=loss).negative_log_likelihood(logits, target).item()
        assert ours == pytest.approx(expected, rel=1e-9)


def test_the_soft_dice_loss_is_near_zero_for_the_truth_and_its_gradient_is_right():
    logits, target = random_case((1, 3, 2, 2), seed=2)
    certain = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double() * 50
    assert soft_dice_loss(certain, target).item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.gradcheck(lambda x: soft_dice_loss(x, target), (logits.requires_grad_(),))


@pytest.mark.parametrize("space", [(5, 6), (3, 2, 4)])
def test_dice_is_over_all_voxels_seen(space):
    cases = [random_case((2, 4, *space), seed) for seed in (0, 1, 2)]
    answers = torch.cat([logits.argmax(1).flatten() for logits, _ in cases]).tolist()
    target = torch.cat([target.flatten() for _, target in cases]).tolist()
    scores = [dice_by_hand(answers, target, label) for label in (1, 2, 3)]
    right = sum(a == t for a, t in zip(answers, target, strict=True)) / len(target)
    assert measure(ORGANS, *cases) == {
        "dice": pytest.approx(sum(scores) / 3),
        "dice_left_lung": pytest.approx(scores[0]),
        "dice_heart": pytest.approx(scores[1]),
        "dice_aorta_vessels": pytest.approx(scores[2]),
        "accuracy": pytest.approx(right),
    }


def test_a_class_that_neither_occurs_nor_is_predicted_is_left_out_of_the_mean():
    target = torch.tensor([[[0, 1, 1, 2]]])
    metrics = measure(ORGANS, (one_hot_logits([0, 1, 0, 0]), target))
    assert metrics["dice"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["dice_aorta_vessels"] == 1
    predicted = measure(ORGANS, (one_hot_logits([3, 1, 0, 0]), target))
    assert predicted["dice"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert predicted["dice_aorta_vessels"] == 0
    assert measure(ORGANS, (one_hot_logits([0, 0]), torch.tensor([[[0, 0]]])))["dice"] == 1


def test_metrics_of_a_segmentation_are_named_after_its_classes():
    assert ORGANS.units == dict.fromkeys(
        ("dice", "dice_left_lung", "dice_heart", "dice_aorta_vessels", "accuracy"), FRACTION
    )
    assert list(replace(ORGANS, classes=()).units) == ["dice", "dice_1", "dice_2", "dice_3", "accuracy"]
    assert ORGANS.error({"dice": 0.7, "accuracy": 1.0}) == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(5))
def test_the_trivial_segmentation_is_the_best_constant_answer(seed):
    generator = torch.Generator().manual_seed(seed)
    target = torch.multinomial(torch.tensor([0.6, 0.05, 0.2, 0.15]), 200, replacement=True, generator=generator)
    errors = [
        1 - measure(ORGANS, (one_hot_logits([label] * 200), target.view(1, 1, 200)))["dice"] for label in range(4)
    ]
    assert ORGANS.trivial_error(target.view(2, 100), target.to(torch.uint8)) == pytest.approx(min(errors))
    assert ORGANS.trivial_error(target, torch.zeros(9, dtype=torch.int64)) == 1


def test_dense_regression_errors_are_in_its_unit():
    prediction = torch.tensor([[[0.1, -0.5], [1.0, 2.0]]], dtype=torch.float64)
    target = torch.tensor([[[0.0, -1.0], [1.0, 1.5]]], dtype=torch.float64)
    errors = [100.0, 500.0, 0.0, 500.0]
    squared = sum(error**2 for error in errors) / 4
    expected = {"mae": 275.0, "psnr": 10 * math.log10(3000**2 / squared)}
    half = [(prediction[..., index], target[..., index]) for index in range(2)]
    assert measure(CT, *half) == {name: pytest.approx(value) for name, value in expected.items()}
    assert CT.units == {"mae": "HU", "psnr": "dB"}
    assert CT.error(expected) == 275
    assert CT.negative_log_likelihood(prediction, target).item() == pytest.approx(squared / 2e6)
    assert replace(CT, loss="l1").negative_log_likelihood(prediction, target).item() == pytest.approx(0.275)


def test_the_trivial_dense_regression_is_the_median_of_the_training_voxels():
    train, target = torch.tensor([[0.0, 0.1], [5.0, 0.1]]), torch.tensor([0.1, 0.3, 0.5])
    assert CT.trivial_error(train, target) == pytest.approx(200)


@pytest.mark.parametrize("space", [(3, 5), (2, 3, 4)])
def test_averages_are_of_predictive_distributions_per_voxel(space):
    logits = torch.randn(3, 2, 4, *space, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    averaged = ORGANS.average(logits)
    assert averaged.shape == logits.shape[1:]
    assert torch.allclose(averaged.exp(), logits.softmax(2).mean(0))
    assert torch.allclose(averaged.exp().sum(1), torch.ones(2, *space, dtype=torch.float64))
    assert torch.allclose(CT.average(logits[:, :, 0]), logits[:, :, 0].mean(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "at least 2 classes"),
        ({"num_classes": 2, "classes": ("a", "b", "c")}, "as many names"),
        ({"num_classes": 3, "classes": ("a", "b c", "B  c")}, "must differ"),
        ({"num_classes": 2, "classes": ("a", "?")}, "must differ"),
        ({"loss": "focal"}, "loss must be one of"),
    ],
)
def test_segmentations_that_cannot_be_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        Segmentation("organs", **options)


@pytest.mark.parametrize(("options", "message"), [({"span": 0.0}, "must be positive"), ({"loss": "l2"}, "'l2'")])
def test_dense_regressions_that_cannot_be_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        DenseRegression("ct", **options)


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize(("space", "image"), [((3, 4), (6, 8)), ((2, 3, 4), (4, 6, 9)), ((5, 5), (5, 5))])
def test_dense_heads_answer_for_every_voxel_of_the_image(space, image, hidden):
    stream = torch.randn(2, 6, *space)
    for task, shape in ((ORGANS, (2, 4)), (CT, (2,))):
        head = replace(task, hidden=hidden).head(6, len(space)).eval()
        assert head(stream, image).shape == (*shape, *image)
        assert torch.equal(head(stream), head(stream, space))


def test_interpolation_keeps_a_linear_ramp():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    head = CT.head(1, 2)
    torch.nn.init.ones_(head.reader.weight)
    torch.nn.init.zeros_(head.reader.bias)
    inner = head(ramp, (8, 8))[0, 0, 1:-1]
    assert torch.allclose(inner, torch.arange(6) / 2 + 0.25)
