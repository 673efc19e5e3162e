import torch

from sfgsearch.nn import EachStream, map_streams


def test_streams_that_are_one_tensor_are_computed_once():
    seen = []

    def double(tensor):
        seen.append(tensor)
        return 2 * tensor

    image, other = torch.ones(1), torch.ones(1)
    results = map_streams(double, (image, other, image))
    assert len(seen) == 2
    assert results[0] is results[2]
    assert results[1] is not results[0]


def test_empty_streams_stay_empty():
    image = torch.ones(1, 1, 2, 2)
    pooled = EachStream(torch.nn.MaxPool2d(2))((image, None))
    assert pooled[0].shape == (1, 1, 1, 1)
    assert pooled[1] is None
