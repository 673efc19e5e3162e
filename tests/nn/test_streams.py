import torch

from sfgsearch.nn import AllocatedConv, EachStream, StreamLayout, map_streams


def test_the_full_layout_carries_every_channel():
    layout = StreamLayout.full(3, 2)
    assert layout.members == ((0, 1, 2), (0, 1, 2))
    assert layout.num_channels(1) == 3


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


def test_a_task_without_filters_reads_the_shared_stream_itself():
    layer = AllocatedConv(StreamLayout.full(2, 3), [(0,), (), (1, 2)], 1, 2)
    streams = layer(torch.randn(2, 2, 3, 3))
    assert [stream.shape[1] for stream in streams] == [3, 2, 2]
    assert streams[1] is streams[2]


def test_a_layer_that_shares_nothing_has_an_empty_shared_stream():
    layer = AllocatedConv(StreamLayout.full(2, 3), [(0,), (1, 2), ()], 1, 2)
    assert layer(torch.randn(2, 2, 3, 3))[2] is None
    assert layer.layout.members == ((0,), (1, 2), ())
