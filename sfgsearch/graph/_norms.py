"""Norms over channels in networks of groups: each group is normalised over what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def normalise_by_group(channels: Tensor, gates: Tensor, carried: Tensor, blocks: int, eps: float) -> Tensor:
    r"""Normalise every channel over the channels that its group's stream carries.

    .. math::
        \mu_g = \frac{\sum_c r_{cg}\, \bar{x}_c}{\sum_c r_{cg}}, \qquad
        y_c = \frac{x_c - \sum_g z_{cg} \mu_g}{\sum_g z_{cg} \sigma_g}

    Args:
        channels: Shape (B, C, S), with statistics over C and S.
        gates: z of shape (C, T+1).
        carried: r of shape (C, T+1).
        blocks: Blocks of neighbouring channels that are normalised apart, as group norm has them.
        eps: Added to variances.

    Returns:
        Shape (B, C, S).
    """
    kind = channels.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):  # torch's own norms are as precise as float32 there
            return normalise_by_group(channels.float(), gates, carried, blocks, eps)
    x = torch.unflatten(channels, 1, (blocks, -1))  # (B, blocks, channels, S)
    x = x if x.dtype == torch.float64 else x.float()
    gates, carried = gates.to(x.dtype), carried.to(x.dtype)
    x = x - x.mean((2, 3), keepdim=True).detach()  # a shift changes nothing but the rounding of variances
    weights = carried.view(blocks, -1, carried.shape[1])
    weights = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    mean, square = (torch.einsum("bjc,jcg->bjg", moment, weights) for moment in (x.mean(3), x.square().mean(3)))
    scale = ((square - mean.square()).clamp_min(0) + eps).rsqrt()
    own = gates.view(blocks, -1, gates.shape[1])
    shift, factor = (torch.einsum("bjg,jcg->bjc", moment, own)[..., None] for moment in (mean, scale))
    normalised: Tensor = (x - shift) * factor
    return normalised.flatten(1, 2).to(channels.dtype)


_LAYER_NORMS = (functional.layer_norm, torch.layer_norm)
_GROUP_NORMS = (functional.group_norm, torch.group_norm)
_ARGUMENTS = ("input", "parts", "weight", "bias", "eps")
"""Of both norms, in order; parts are the normalised shape, or the number of groups of channels."""


class NormsByGroup(TorchFunctionMode):
    """Makes layer norms over the last dimension, and group norms, with known scales normalise by group inside.

    Args:
        tables: Gates and what streams carry, both (C, T+1), by the identity of a norm's scale.
    """

    def __init__(self, tables: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._tables = tables

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {**dict(zip(_ARGUMENTS, args, strict=False)), **(kwargs or {})}
        weight, is_layer = given.get("weight"), func in _LAYER_NORMS
        if weight is None or id(weight) not in self._tables or not (is_layer or func in _GROUP_NORMS):
            return func(*args, **(kwargs or {}))
        gates, carried = self._tables[id(weight)]
        x, eps = given["input"], given.get("eps", 1e-5)
        flat = x.flatten(0, -2)[..., None] if is_layer else x.flatten(2)
        blocks = 1 if is_layer else given["parts" if "parts" in given else "num_groups"]
        shape = (-1,) if is_layer else (1, -1, *[1] * (x.ndim - 2))
        y = normalise_by_group(flat, gates, carried, blocks, eps).reshape(x.shape) * weight.view(shape)
        return y if given.get("bias") is None else y + given["bias"].view(shape)


class GroupedNorm(nn.Module):
    """A norm over channels whose channels have fixed groups.

    Args:
        norm: The norm, as the network has it.
        gates: One-hot, shape (C, T+1).
        carried: What streams carry of each channel, shape (C, T+1).
    """

    gates: Tensor
    carried: Tensor

    def __init__(self, norm: nn.Module, gates: Tensor, carried: Tensor) -> None:
        super().__init__()
        self.norm = norm
        self.register_buffer("gates", gates, persistent=False)
        self.register_buffer("carried", carried, persistent=False)
        # Torch's own encoder layers look for hooks before they take a fused kernel, which would normalise all channels.
        self.register_forward_pre_hook(_do_nothing)

    def __getattr__(self, name: str) -> Any:
        """Return what modules around a norm may read of it, such as its scale or ``eps``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("norm"), name)

    def forward(self, *args: Any) -> Any:
        """Return what the norm returns, by group."""
        with NormsByGroup({id(self.norm.weight): (self.gates, self.carried)}):
            return self.norm(*args)


def _do_nothing(module: nn.Module, args: Any) -> None:
    del module, args
