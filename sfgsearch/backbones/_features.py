"""Features: where they are in a network, and the network without what follows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph import CONVOLUTIONS, evaluating
from sfgsearch.nn._paths import is_within


class FeatureSource(NamedTuple):
    """A source of features in a network: what a module returns, or what it reads.

    Args:
        path: The module.
        is_input: Whether it is what the module reads.
    """

    path: str
    is_input: bool = False


@contextmanager
def captured(network: nn.Module, sources: Iterable[FeatureSource]) -> Iterator[dict[FeatureSource, Any]]:
    """Collect features, in copies, while a network runs in the block: what follows may write into them."""
    found: dict[FeatureSource, Any] = {}

    def keep_output(source: FeatureSource, _module: nn.Module, _inputs: Any, output: Any) -> None:
        found[source] = output.clone() if isinstance(output, Tensor) else output

    def keep_input(source: FeatureSource, _module: nn.Module, inputs: Any) -> None:
        found[source] = inputs[0].clone()

    handles = []
    for source in sources:
        module = network.get_submodule(source.path)
        handles.append(
            module.register_forward_pre_hook(partial(keep_input, source))
            if source.is_input
            else module.register_forward_hook(partial(keep_output, source))
        )
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def last_map(network: nn.Module, example: Tensor) -> tuple[FeatureSource, ...]:
    """Return the last features with space in a network.

    That is what the network returns if that is a map; of a network for dense predictions that returns a mapping, what
    its last convolution reads; otherwise the last map of features whose size follows that of the images.

    Returns:
        No source for what the network returns; one otherwise.

    Raises:
        BackboneError: If it has no such features.
    """
    shapes, returned = _shapes(network, example)
    if isinstance(returned, Tensor) and returned.ndim == example.ndim and max(returned.shape[2:]) > 1:
        return ()
    if isinstance(returned, Mapping):
        convolutions = [path for path in shapes if isinstance(network.get_submodule(path), CONVOLUTIONS)]
        return (FeatureSource(convolutions[-1], is_input=True),)
    if isinstance(returned, Tensor) and returned.ndim == 2 and not any(len(shape) > 2 for shape in shapes.values()):
        return ()
    try:
        larger, _ = _shapes(network, torch.cat([example, example], -1))
    except Exception as error:  # whatever networks raise that take one size only
        raise BackboneError(
            "the network takes images of one size only, so that its last map cannot be told from others; name the "
            "module that returns the features by cut"
        ) from error
    maps = [path for path, shape in shapes.items() if len(shape) == example.ndim and shape[2:] != larger[path][2:]]
    if not maps:
        raise BackboneError(
            "the network has no features with space, as far as its modules show; name the module that returns them by "
            "cut"
        )
    return (FeatureSource(maps[-1]),)


@torch.no_grad()
def _shapes(network: nn.Module, example: Tensor) -> tuple[dict[str, tuple[int, ...]], Any]:
    """Return the shapes of what all modules return that return a tensor, and what the network returns."""
    found: dict[str, tuple[int, ...]] = {}

    def note(path: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        found.pop(path, None)
        if isinstance(output, Tensor):
            found[path] = tuple(output.shape)

    handles = [module.register_forward_hook(partial(note, path)) for path, module in network.named_modules() if path]
    try:
        with evaluating(network):
            returned = network(example)
    finally:
        for handle in handles:
            handle.remove()
    return found, returned


class _Pruned(nn.Module):
    """Stands for a part of a network that no feature depends on."""

    def forward(self, x: Any, *_args: Any, **_options: Any) -> Any:
        """Return what it reads."""
        return x


def prune(network: nn.Module, paths: Iterable[str]) -> None:
    """Take modules out of a network."""
    for path in paths:
        network.set_submodule(path, _Pruned())


def prune_unread(network: nn.Module, sources: Sequence[FeatureSource], example: Tensor) -> tuple[str, ...]:
    """Take out of a network the modules whose weights none of the features depends on, and return their paths.

    Raises:
        BackboneError: If the network does not run without them, or some source is not reached.
    """
    unread, pruned = _unread(network, sources, example), list[str]()
    for path, module in network.named_modules():
        names = {f"{path}.{name}" for name, _ in module.named_parameters()}
        has_source = any(source.path.startswith(f"{path}.") for source in sources)
        if path and names and names <= unread and not has_source and not is_within(path, pruned):
            pruned.append(path)
    prune(network, pruned)
    try:
        with torch.no_grad(), evaluating(network):
            network(example)
    except Exception as error:
        raise BackboneError(
            f"the network does not run without what follows {', '.join(source.path for source in sources)}: "
            f"{' '.join(str(error).split())[:200]}; read later features"
        ) from error
    return tuple(pruned)


def _unread(network: nn.Module, sources: Sequence[FeatureSource], example: Tensor) -> set[str]:
    """Return the parameters that none of the features depends on."""
    parameters = dict(network.named_parameters())
    frozen = [parameter for parameter in parameters.values() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    with evaluating(network), torch.enable_grad():
        with captured(network, sources) as found:
            network(example)
        missed = [source.path for source in sources if not isinstance(found.get(source), Tensor)]
        if missed:
            raise BackboneError(f"the network does not run {missed[0]}, or that returns no tensor; read other features")
        wanted = sum(found[source].float().sum() for source in sources)
        gradients = torch.autograd.grad(wanted, list(parameters.values()), allow_unused=True)
    for parameter in frozen:
        parameter.requires_grad_(False)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}
