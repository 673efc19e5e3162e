"""From a plain sequential network to one of stochastic filter groups with the same weights."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from sfgsearch.errors import BackboneError
from sfgsearch.nn._conv import SFGConv, SFGConv2d, SFGConv3d
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._streams import EachStream, Streams

_CONVOLUTIONS: dict[type[nn.Module], type[SFGConv]] = {nn.Conv2d: SFGConv2d, nn.Conv3d: SFGConv3d}
# Elementwise functions that leave zero at zero, so that they may also come after the gates.
_ZERO_TO_ZERO = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish),
    *(nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink),
)
_ACTIVATIONS = (*_ZERO_TO_ZERO, nn.PReLU, nn.Hardtanh, nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softplus)
# Every channel by itself, and a channel of zeros stays one.
_CHANNELWISE = (
    *(nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool2d, nn.LPPool3d),
    *(nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.ZeroPad2d, nn.ZeroPad3d, nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    *(nn.CircularPad2d, nn.CircularPad3d, nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.Upsample, nn.Identity),
)
_MIXING_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.CrossMapLRN2d)
_NORMS = (_BatchNorm, _InstanceNorm, *_MIXING_NORMS)


class ConvertedNetwork(nn.Module):
    """What :func:`convert` returns: a trunk over streams and one head per task.

    Args:
        trunk: Maps T+1 streams to T+1 streams.
        heads: One per task; replace those of tasks with other outputs.
        tasks: Names of the tasks, or None.
    """

    def __init__(self, trunk: nn.Module, heads: Sequence[nn.Module], tasks: Sequence[str] | None) -> None:
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleList(heads)
        self.tasks = None if tasks is None else tuple(tasks)

    def forward(self, images: Tensor) -> tuple[Tensor, ...] | dict[str, Tensor]:
        """Return one output per task for images (B, C, *space): by name as a dict, without names as a tuple."""
        streams: Streams = self.trunk((images,) * (len(self.heads) + 1))
        outputs = tuple(head(streams[task]) for task, head in enumerate(self.heads))
        return outputs if self.tasks is None else dict(zip(self.tasks, outputs, strict=True))


def convert(
    model: nn.Sequential,
    num_tasks: int,
    *,
    prior: Sequence[float] | Tensor | None = None,
    tasks: Sequence[str] | None = None,
    sampling: GateSampling | None = None,
) -> ConvertedNetwork:
    """Turn the convolutions of a sequential CNN into layers of stochastic filter groups, weights included.

    Each ``Conv2d`` or ``Conv3d`` becomes an SFG layer with the same weight and bias, named by its place in the model.
    A batch or instance norm right after it becomes the norm of every group, affine numbers and statistics included; an
    activation right after that is folded in too, so that the gates come last. Pools, padding and dropout apply to each
    stream. What comes after the last convolution becomes the head of every task, a copy each. With all filters shared
    the network computes what the model does. The model itself stays as it is.

    Args:
        model: Convolutions with optional norm, activation, pools and dropout, then any tail; may be nested.
        num_tasks: T >= 1.
        prior: Group prior of every layer, shape (T+1,); uniform if None. Probabilities start there.
        tasks: T names of the tasks; outputs are then a dict.
        sampling: How all layers draw gates in training; one object of its own if None.

    Returns:
        The network, in the model's mode and on its device.

    Raises:
        BackboneError: If a module of the model cannot be gated filter by filter, or names and tasks differ in number.
        ValueError: If the prior is off the simplex.
    """
    if tasks is not None and not len(tasks) == len(set(tasks)) == num_tasks:
        raise BackboneError(f"convert needs {num_tasks} different task names, one per task, got {list(tasks)}")
    parts = list(_flatten(model, ""))
    places = [index for index, (_, module) in enumerate(parts) if isinstance(module, nn.Conv2d | nn.Conv3d)]
    if not places:
        raise BackboneError("convert needs a model with a Conv2d or Conv3d in its nn.Sequential, and found none")
    sampling = sampling or GateSampling()
    trunk: list[nn.Module] = []
    for name, module in parts[: places[0]]:
        _check_around(name, module)
        trunk.append(EachStream(_detached(module)))
    bounds = [*places, len(parts)]
    tail: list[tuple[str, nn.Module]] = []
    for start, end in itertools.pairwise(bounds):
        norm, activation, rest = _split(parts[start + 1 : end])
        name, plain = parts[start]
        _check_convolution(name, plain)
        groups = FilterGroups(len(plain.weight), num_tasks, prior, sampling=sampling)  # type: ignore[arg-type]
        trunk.append(_make_layer(name, cast("nn.Conv2d", plain), norm, activation, groups))
        if end == len(parts):
            tail = rest
        else:
            trunk.extend(_make_each(name, module) for name, module in rest)
    _check_tail(tail)
    heads = [nn.Sequential(*(_detached(module) for _, module in tail)) for _ in range(num_tasks)]
    return ConvertedNetwork(nn.Sequential(*trunk), heads, tasks).train(model.training)


def _refuse(name: str, module: nn.Module, reason: str) -> BackboneError:
    return BackboneError(f"convert cannot take {name or 'the model'} ({type(module).__name__}): {reason}")


def _flatten(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that nested sequences run, in order, with their dotted names."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for key, child in module._modules.items():  # named_children would leave out a module's second use
            if child is not None:
                yield from _flatten(child, f"{name}.{key}" if name else key)
    elif not name:
        raise _refuse(name, module, "its forward is unknown; give an nn.Sequential, or write a Backbone")
    else:
        yield name, module


def _split(
    parts: list[tuple[str, nn.Module]],
) -> tuple[nn.Module | None, nn.Module | None, list[tuple[str, nn.Module]]]:
    """Return the norm and the activation that stand right after a convolution, if any, and the rest."""
    rest = list(parts)
    norm = rest.pop(0)[1] if rest and isinstance(rest[0][1], _BatchNorm | _InstanceNorm) else None
    activation = rest.pop(0)[1] if rest and type(rest[0][1]) in _ACTIVATIONS else None
    return norm, activation, rest


def _check_convolution(name: str, plain: nn.Module) -> None:
    if type(plain) not in _CONVOLUTIONS or not isinstance(plain, nn.Conv2d | nn.Conv3d):
        raise _refuse(name, plain, "its forward may differ from a plain convolution's; use Conv2d or Conv3d")
    if plain.groups != 1:
        raise _refuse(name, plain, "groups must be 1, since every filter must read a whole stream; set groups=1")
    if plain.padding_mode != "zeros":
        raise _refuse(name, plain, f"padding_mode is {plain.padding_mode!r}; put a padding module before it instead")


def _make_layer(
    name: str, plain: nn.Conv2d, norm: nn.Module | None, activation: nn.Module | None, groups: FilterGroups
) -> SFGConv:
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced at once
        layer = _CONVOLUTIONS[type(plain)](
            plain.in_channels,
            plain.out_channels,
            plain.kernel_size,
            groups.num_tasks,
            stride=plain.stride,
            padding=plain.padding,
            dilation=plain.dilation,
            bias=plain.bias is not None,
            norm="none",
            activation=(lambda: _detached(activation)) if activation else None,
            groups=groups,
            name=name,
        ).to(plain.weight)
    for parameter in ("weight", "bias"):
        setattr(layer, parameter, copy.deepcopy(getattr(plain, parameter)))
    layer.norms = nn.ModuleList(_detached(norm) if norm else nn.Identity() for _ in layer.norms)
    return layer


def _make_each(name: str, module: nn.Module) -> nn.Module:
    _check_norm(name, module)
    if type(module) not in (*_CHANNELWISE, *_ZERO_TO_ZERO):
        raise _refuse(
            name,
            module,
            "between convolutions only batch or instance norm, activations, pools, padding and dropout can be gated; "
            "write a Backbone, whose layer builder also makes residual connections",
        )
    return EachStream(_detached(module))


def _check_norm(name: str, module: nn.Module) -> None:
    if isinstance(module, _NORMS):
        raise _refuse(
            name,
            module,
            "after the gates a norm would let absent filters speak or change those that are there; use a batch or "
            "instance norm right after the convolution, before its activation",
        )


def _check_around(name: str, module: nn.Module) -> None:
    """Refuse convolutions that are hidden in what is taken as a whole."""
    if any(isinstance(part, _ConvNd) for part in module.modules()):
        raise _refuse(
            name,
            module,
            "it has convolutions that would stay as they are; use Conv2d or Conv3d in an nn.Sequential, or write a "
            "Backbone",
        )


def _check_tail(tail: list[tuple[str, nn.Module]]) -> None:
    read = False  # once a layer has read the channels, norms see a task's features and no filters
    for name, module in tail:
        _check_around(name, module)
        read = read or isinstance(module, nn.Linear)
        if not read and not isinstance(module, nn.BatchNorm1d):
            _check_norm(name, module)


def _detached(module: nn.Module) -> nn.Module:
    """Return a copy that computes out of place, since several groups may read the same response."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if isinstance(getattr(part, "inplace", None), bool):
            part.inplace = False  # type: ignore[assignment]
    return twin
