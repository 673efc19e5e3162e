"""Learn which filters serve which of two tasks, with the layers in a training loop of one's own."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sfgsearch.data import batches, digit_pairs
from sfgsearch.nn import SFGConv2d

TASKS, PRIOR = ("first", "second"), (0.25, 0.25, 0.5)


class Net(nn.Module):
    """Two layers of filter groups, and a head that reads each task's stream."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = SFGConv2d(1, 16, 3, num_tasks=2, padding=1, prior=PRIOR)
        self.conv2 = SFGConv2d(16, 32, 3, num_tasks=2, stride=2, prior=PRIOR)
        self.heads = nn.ModuleList(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)) for _ in TASKS)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits (B, 10) of each task."""
        *streams, _ = self.conv2(self.conv1(images))  # of each task, and of the shared group
        return [head(stream) for head, stream in zip(self.heads, streams, strict=True)]


def main(epochs: int = 5) -> Net:
    """Train, and print the mean probabilities of every layer's groups: first, second, shared."""
    train, net, order = digit_pairs(seed=0).train, Net(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(epochs):
        for images, targets in batches(train, 64, torch.device("cpu"), order):
            losses = [cross_entropy(logits, targets[task]) for task, logits in zip(TASKS, net(images), strict=True)]
            kl = net.conv1.groups.kl() + net.conv2.groups.kl()
            optimizer.zero_grad()
            (sum(losses) + kl / len(train)).backward()
            optimizer.step()
    print(net.conv1.groups.probs.mean(0), net.conv2.groups.probs.mean(0))
    return net


if __name__ == "__main__":
    main()
