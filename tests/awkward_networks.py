"""Small modules that are awkward to put into groups, each with the size of its images."""

import torch
from torch import nn
from torch.nn import functional


class Heads(nn.Module):
    """A body and T linear heads on its pooled features."""

    def __init__(self, body, channels, num_tasks):
        super().__init__()
        self.body = body
        self.heads = nn.ModuleList(nn.Linear(channels, task + 1) for task in range(num_tasks))

    def forward(self, images):
        features = self.body(images).flatten(2).mean(2)
        return tuple(head(features) for head in self.heads)


def conv(inputs, outputs, size=3, dimensions=2, **options):
    """Return a convolution with norm and activation."""
    make, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)
    options = {"padding": size // 2, **options}
    return nn.Sequential(make(inputs, outputs, size, **options), norm(outputs), nn.ReLU(inplace=True))


class OptionA(nn.Module):
    """A residual block that halves space and widens, whose shortcut is padded with zeros."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.inner = nn.Sequential(conv(inputs, outputs, stride=2), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.extra = (outputs - inputs) // 2

    def forward(self, x):
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return functional.relu(self.inner(x) + shortcut)


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Concatenated(nn.Module):
    """[x, f(x)], as in a dense network."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.cat([x, self.inner(x)], 1)


class SqueezeExcitation(nn.Module):
    """Channels scaled by a small network of their means."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        scale = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class UNet(nn.Module):
    """One level down, a transposed convolution up, and a skip connection that is concatenated."""

    def __init__(self):
        super().__init__()
        self.down, self.middle = conv(3, 6), conv(6, 8)
        self.up, self.out = nn.ConvTranspose2d(8, 6, 2, stride=2), conv(12, 5)

    def forward(self, x):
        top = self.down(x)
        bottom = self.middle(functional.max_pool2d(top, 2))
        return self.out(torch.cat([top, self.up(bottom)], 1))


class Twice(nn.Module):
    """A layer that is used twice, the second time on its own output."""

    def __init__(self):
        super().__init__()
        self.first, self.same = conv(3, 6), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        x = self.first(x)
        return functional.relu(self.same(functional.relu(self.same(x))))


class Intermediate(nn.Module):
    """Heads on features of several depths, the last one dense."""

    def __init__(self, num_tasks):
        super().__init__()
        self.stages = nn.ModuleList([conv(3, 6), conv(6, 8, stride=2), conv(8, 8)])
        self.heads = nn.ModuleList(nn.Conv2d((6, 8, 8)[task % 3], task + 1, 1) for task in range(num_tasks))

    def forward(self, images):
        features, x = [], images
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return [head(features[task % 3]) for task, head in enumerate(self.heads)]


class DeepHeads(nn.Module):
    """Heads with hidden layers and norms of their own, and predictions as a dictionary."""

    def __init__(self, num_tasks):
        super().__init__()
        self.body = conv(3, 8)
        self.heads = nn.ModuleDict(
            {
                f"task{task}": nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
                for task in range(num_tasks)
            }
        )

    def forward(self, images):
        features = self.body(images).amax((2, 3))
        return {name: head(features) for name, head in self.heads.items()}


class LayerNorm2d(nn.LayerNorm):
    """A layer norm over the channels of a map."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Patches with a position embedding, and attention with two heads."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.position = nn.Parameter(torch.randn(1, 4, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2) + self.position
        y = self.norm(x)
        return (x + self.attention(y, y, y, need_weights=False)[0]).transpose(1, 2).unflatten(2, (2, 2))


def build(name, num_tasks):
    """Return the awkward module of a name, which maps (B, 3, 8, 8) or (B, 2, 6, 6, 6) to T predictions."""
    bodies = {
        "plain": lambda: (nn.Sequential(conv(3, 6), nn.MaxPool2d(2), conv(6, 8)), 8),
        "option_a": lambda: (nn.Sequential(conv(3, 6), OptionA(6, 10), OptionA(10, 12)), 12),
        "residual": lambda: (nn.Sequential(conv(3, 6), Residual(conv(6, 6)), Residual(conv(6, 6)), conv(6, 8)), 8),
        "concatenation": lambda: (nn.Sequential(conv(3, 6), Concatenated(conv(6, 4)), Concatenated(conv(10, 4))), 14),
        "depthwise": lambda: (nn.Sequential(conv(3, 6, groups=3), conv(6, 6, groups=6), conv(6, 8, 1)), 8),
        "grouped": lambda: (nn.Sequential(conv(3, 8), conv(8, 12, groups=4), conv(12, 6)), 6),
        "transposed": lambda: (UNet(), 5),
        "squeeze_excitation": lambda: (nn.Sequential(conv(3, 8), SqueezeExcitation(8, 4), conv(8, 6)), 6),
        "shuffle": lambda: (nn.Sequential(conv(3, 8), nn.ChannelShuffle(2), conv(8, 6, groups=2), conv(6, 6)), 6),
        "twice": lambda: (Twice(), 6),
        "layer_norm": lambda: (nn.Sequential(nn.Conv2d(3, 8, 3), LayerNorm2d(8), nn.GELU(), nn.Conv2d(8, 6, 1)), 6),
        "group_norm": lambda: (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 6, 1)), 6),
        "attention": lambda: (Attention(), 8),
        "volume": lambda: (nn.Sequential(conv(2, 6, dimensions=3), nn.MaxPool3d(2), conv(6, 5, dimensions=3)), 5),
    }
    whole = {"intermediate": Intermediate, "deep_heads": DeepHeads}
    if name in whole:
        return whole[name](num_tasks)
    return Heads(*bodies[name](), num_tasks)


NAMES = (
    *("plain", "option_a", "residual", "concatenation", "depthwise", "grouped", "transposed", "squeeze_excitation"),
    *("shuffle", "twice", "layer_norm", "group_norm", "attention", "volume", "intermediate", "deep_heads"),
)


def image_shape(name):
    """Return (C, *space) of the images that a module is for."""
    return (2, 6, 6, 6) if name == "volume" else (3, 8, 8)


def randomise(network, generator):
    """Draw all weights, norms and statistics anew, so that nothing is symmetric."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return network.double()
