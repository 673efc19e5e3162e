"""The immutable allocation that every method emits and every backbone accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sfgsearch._apportion import apportion
from sfgsearch.errors import AllocationError

SHARED = "shared"


def group_names(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the groups: the tasks in order, then ``shared``.

    Raises:
        AllocationError: If there is no task, or two have one name, or one is called ``shared``.
    """
    names = (*tasks, SHARED)
    if not tasks or not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise AllocationError(f"tasks must be distinct names, at least one, none {SHARED!r}, got {list(tasks)}")
    return names


@dataclass(frozen=True)
class LayerAllocation:
    """The filters of one layer.

    Args:
        name: The layer's name in its backbone.
        counts: Filters per group: tasks in order, then shared.
        mean_probs: For learned layers, the mean over filters of the group probabilities; what is missing to one is the
            probability of being off.
        mean_entropy: For learned layers, the mean over filters of the entropy, in nats.

    Two layers are equal when name and counts are; the learned means only describe where the counts came from.
    """

    name: str
    counts: tuple[int, ...]
    mean_probs: tuple[float, ...] | None = field(default=None, compare=False)
    mean_entropy: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise AllocationError(f"a layer needs a name, got {self.name!r}")
        counts = tuple(self.counts)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise AllocationError(f"layer {self.name!r}: counts must be whole numbers >= 0, got {list(counts)}")
        object.__setattr__(self, "counts", counts)
        if self.mean_probs is not None:
            object.__setattr__(self, "mean_probs", self._checked_probs(self.mean_probs))
        if self.mean_entropy is not None and not (_is_number(self.mean_entropy) and self.mean_entropy >= -1e-6):
            raise AllocationError(
                f"layer {self.name!r}: mean_entropy must be a number of nats >= 0, got {self.mean_entropy!r}"
            )

    def _checked_probs(self, probs: Any) -> tuple[float, ...]:
        are_numbers = isinstance(probs, Sequence) and all(_is_number(prob) for prob in probs)
        fits = are_numbers and len(probs) == len(self.counts) and math.fsum(probs) - 1 <= 1e-3
        if not fits or min(probs) < 0:
            raise AllocationError(
                f"layer {self.name!r}: mean_probs must be {len(self.counts)} probabilities that sum to at most one, "
                f"got {probs!r}"
            )
        return tuple(float(prob) for prob in probs)

    @property
    def num_filters(self) -> int:
        """All filters of the layer."""
        return sum(self.counts)

    @property
    def shared(self) -> int:
        """Filters of the shared group."""
        return self.counts[-1]


@dataclass(frozen=True)
class Allocation:
    """How many filters of every layer serve each group, in depth order.

    Args:
        groups: Group names: the tasks in order, then ``"shared"``.
        layers: One entry per layer that filters are allocated in.

    Raises:
        AllocationError: If groups or layers are malformed, or a task would read nothing in some layer.
    """

    groups: tuple[str, ...]
    layers: tuple[LayerAllocation, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.groups or self.groups[-1] != SHARED:
            raise AllocationError(f"groups must end with {SHARED!r}, got {list(self.groups)}")
        group_names(self.groups[:-1])
        names = [layer.name for layer in self.layers]
        if not names or len(set(names)) != len(names):
            raise AllocationError(f"layers must be at least one, with distinct names, got {names}")
        for layer in self.layers:
            if len(layer.counts) != len(self.groups):
                raise AllocationError(
                    f"layer {layer.name!r} needs {len(self.groups)} counts, one for each of "
                    f"{', '.join(self.groups)}, got {list(layer.counts)}"
                )
            for task, count in zip(self.tasks, layer.counts, strict=False):
                if count + layer.shared == 0:
                    raise AllocationError(
                        f"layer {layer.name!r} gives task {task!r} nothing to read, counts {list(layer.counts)}; "
                        "give it a filter of its own or a shared one"
                    )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task names, in order."""
        return self.groups[:-1]

    def layer(self, name: str) -> LayerAllocation:
        """Return the layer of that name.

        Raises:
            AllocationError: If there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise AllocationError(
            f"no layer {name!r}; this allocation has {', '.join(layer.name for layer in self.layers)}"
        )

    @classmethod
    def from_proportions(
        cls,
        filters: Mapping[str, int],
        tasks: Sequence[str],
        proportions: Mapping[str, Sequence[float]],
        *,
        feed_tasks: bool = False,
    ) -> Allocation:
        """Round per-layer proportions to counts by the largest remainder.

        Args:
            filters: Filters of every layer, in depth order.
            tasks: Task names.
            proportions: For every layer, one non-negative number per group; they sum to one.
            feed_tasks: Give a task that rounding leaves with nothing to read a filter of the largest group.

        Raises:
            AllocationError: If proportions are missing, negative or do not sum to one within 1e-3, or a task would
                read nothing.
        """
        groups = group_names(tasks)
        layers = []
        for name, num_filters in filters.items():
            shares = list(proportions.get(name, ()))
            if len(shares) != len(groups) or not abs(math.fsum(shares) - 1) <= 1e-3 or min(shares) < 0:
                raise AllocationError(
                    f"layer {name!r} needs {len(groups)} proportions ({', '.join(groups)}), none negative, "
                    f"that sum to one, got {shares} with sum {math.fsum(shares):g}"
                )
            shared, *own = apportion(num_filters, [shares[-1], *shares[:-1]])  # ties go to shared, which all can read
            counts = (*own, shared)
            layers.append(LayerAllocation(name, _fed(counts) if feed_tasks else counts))
        return cls(groups, tuple(layers))

    @classmethod
    def hard_sharing(cls, filters: Mapping[str, int], tasks: Sequence[str]) -> Allocation:
        """Share every filter among all tasks (Caruana, 1997)."""
        everything = [0.0] * len(tasks) + [1.0]
        return cls.from_proportions(filters, tasks, dict.fromkeys(filters, everything))

    @classmethod
    def equal(cls, filters: Mapping[str, int], tasks: Sequence[str]) -> Allocation:
        """Give every group, shared included, an equal part of each layer: thirds for two tasks."""
        parts = [1 / (len(tasks) + 1)] * (len(tasks) + 1)
        return cls.from_proportions(filters, tasks, dict.fromkeys(filters, parts))

    @classmethod
    def single_task(cls, filters: Mapping[str, int], tasks: Sequence[str]) -> Allocation:
        """Give every task a whole network of its own, of full width, and share nothing."""
        layers = (LayerAllocation(name, (*[count] * len(tasks), 0)) for name, count in filters.items())
        return cls(group_names(tasks), tuple(layers))

    def check_fits(self, filters: Mapping[str, int], tasks: Sequence[str], *, some_off: bool = False) -> None:
        """Check that the allocation is one for the given backbone and tasks.

        A layer's counts sum to its filters; or every task has a full-width network of its own.

        Args:
            filters: Filters of every layer, in depth order.
            tasks: Task names.
            some_off: Whether counts may sum to less, since filters may be off.

        Raises:
            AllocationError: If tasks, layers or totals differ.
        """
        if self.tasks != tuple(tasks):
            raise AllocationError(f"the allocation is for tasks {list(self.tasks)}, the data has {list(tasks)}")
        names = [layer.name for layer in self.layers]
        if names != list(filters):
            raise AllocationError(f"the allocation's layers are {names}, the backbone's are {list(filters)}")
        if self == Allocation.single_task(filters, tasks):
            return
        for layer in self.layers:
            if layer.num_filters != filters[layer.name] and not (some_off and layer.num_filters < filters[layer.name]):
                raise AllocationError(
                    f"layer {layer.name!r}: counts {list(layer.counts)} sum to {layer.num_filters}, "
                    f"the backbone has {filters[layer.name]} filters there"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the form of ``sfgsearch show --json``."""
        return {
            "groups": list(self.groups),
            "layers": [
                {
                    "name": layer.name,
                    "counts": list(layer.counts),
                    "mean_probs": None if layer.mean_probs is None else list(layer.mean_probs),
                    "mean_entropy": layer.mean_entropy,
                }
                for layer in self.layers
            ],
        }

    def to_json(self) -> str:
        """Return the allocation as a JSON object in a string."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> Allocation:
        """Read what :meth:`to_json` wrote, or the same as a mapping.

        Raises:
            AllocationError: If the text is no JSON, a key is missing or unknown, or the values are not an allocation.
        """
        try:
            data = text if isinstance(text, Mapping) else json.loads(text)
        except ValueError as error:
            raise AllocationError(f"an allocation must be a JSON object: {error}") from error
        _check_keys(data, "an allocation", required={"groups", "layers"})
        if not isinstance(data["groups"], Sequence) or not isinstance(data["layers"], Sequence):
            raise AllocationError("'groups' and 'layers' of an allocation must be lists")
        for entry in data["layers"]:
            _check_keys(entry, "a layer", required={"name", "counts"}, optional={"mean_probs", "mean_entropy"})
            if not isinstance(entry["counts"], Sequence):
                raise AllocationError(f"layer {entry['name']!r}: counts must be a list, got {entry['counts']!r}")
        return cls(tuple(data["groups"]), tuple(LayerAllocation(**entry) for entry in data["layers"]))


def _fed(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Give tasks that would read nothing one filter of the largest group, or share it where it is the only one."""
    *own, shared = counts
    for task, count in enumerate(own):
        if count or shared:
            continue
        donor = own.index(max(own))
        own[donor] -= 1
        if own[donor]:
            own[task] += 1
        else:
            shared += 1
    return (*own, shared)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_keys(data: Any, what: str, required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not isinstance(data, Mapping):
        raise AllocationError(f"{what} must be a JSON object, got {type(data).__name__}")
    missing, unknown = required - set(data), set(data) - required - optional
    if missing or unknown:
        raise AllocationError(
            f"{what} has keys {sorted(required | optional)}; missing: {sorted(missing)}, unknown: {sorted(unknown)}"
        )
