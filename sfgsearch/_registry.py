"""The tables of named, pluggable parts that study files choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from sfgsearch.errors import RegistryError

if TYPE_CHECKING:
    from torch import nn

    from sfgsearch.data import MultiTaskData
    from sfgsearch.methods import Method
    from sfgsearch.tasks import Task

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Maps names to parts of one sort and explains itself when a name is missing.

    The package's own parts are named here and imported when one is asked for, since most of them need torch.

    Args:
        sort: What the parts are, in the singular, for error messages (``"backbone"``).
        how_to_register: The decorator that a user would write to add one.
        built_in: The package's own parts: names, and the modules that register them.
    """

    def __init__(self, sort: str, how_to_register: str, built_in: Mapping[str, str] | None = None) -> None:
        self._sort, self._how_to_register = sort, how_to_register
        self._built_in = dict(built_in or {})
        self._parts: dict[str, T] = {}

    def register(self, name: str, *, again: bool = False) -> Callable[[T], T]:
        """Return a decorator that adds a part under ``name``.

        Args:
            name: What study files call it.
            again: Whether it may take the place of another one.

        Raises:
            RegistryError: If the name is taken.
        """
        self._load(name)
        if name in self._parts and not again:
            raise RegistryError(f"{self._sort} {name!r} is registered already; choose another name")

        def add(part: T) -> T:
            self._parts[name] = part
            return part

        return add

    def __getitem__(self, name: str) -> T:
        self._load(name)
        if name not in self._parts:
            raise RegistryError(
                f"no {self._sort} is called {name!r}; allowed: {', '.join(sorted(self))} "
                f"(add one with {self._how_to_register})"
            )
        return self._parts[name]

    @property
    def built_in(self) -> tuple[str, ...]:
        """The names of the package's own parts."""
        return tuple(self._built_in)

    def _load(self, name: str) -> None:
        """Import the module of a part of the package's own, unless that is just being imported."""
        if name in self._built_in and name not in self._parts:
            import_module(self._built_in[name])

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._built_in

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._built_in, *self._parts)))

    def __len__(self) -> int:
        return len({*self._built_in, *self._parts})


backbones: Registry[Callable[..., nn.Module]] = Registry(
    "backbone",
    "@sfgsearch.backbones.backbones.register('my_backbone')",
    {
        "highresnet": "sfgsearch.backbones._highresnet",
        "monai": "sfgsearch.backbones._libraries",
        "resnet": "sfgsearch.backbones._resnet",
        "timm": "sfgsearch.backbones._libraries",
        "torchvision": "sfgsearch.backbones._libraries",
        "vgg11": "sfgsearch.backbones._vgg",
        "vgg_small": "sfgsearch.backbones._vgg",
    },
)
"""Functions of ``(image_shape, *, options...)`` that return any module of features; see
:class:`sfgsearch.nn.MultiTaskNetwork`. The keyword options are what a study file may set; the study's norm is one. An
option ``width``, a float that scales the filters of all layers, lets a comparison match multiply-adds."""

data_sets: Registry[Callable[..., MultiTaskData]] = Registry(
    "data set",
    "@sfgsearch.data.data_sets.register('my_data')",
    {
        "brain_slices": "sfgsearch.data._brain_slices",
        "digit_pairs": "sfgsearch.data._digits",
        "fashion_digits": "sfgsearch.data._fashion_digits",
        "folder": "sfgsearch.data._folder",
        "mr_ct": "sfgsearch.data._mr_ct",
        "npz": "sfgsearch.data._npz",
        "rotated_mnist": "sfgsearch.data._digits",
        "utkface": "sfgsearch.data._utkface",
    },
)
"""Functions of ``(seed, *, options...)``; the keyword options are what a study file may set. The seed fixes how
images are divided into splits; data with splits of their own say ``is_fixed=True``."""

task_types: Registry[type[Task]] = Registry(
    "task type",
    "@sfgsearch.tasks.task_types.register('my_task')",
    {
        "classification": "sfgsearch.tasks._classification",
        "regression": "sfgsearch.tasks._regression",
        "dense_regression": "sfgsearch.tasks._regression",
        "segmentation": "sfgsearch.tasks._segmentation",
    },
)
"""Subclasses of :class:`sfgsearch.tasks.Task`; they are dataclasses whose fields are numbers, strings, or tuples of
these. Saved networks and data files name their tasks by them."""

manual_methods: Registry[Callable[..., Method]] = Registry(
    "manual method",
    "@sfgsearch.methods.manual_methods.register('my_method')",
    {
        "single_task": "sfgsearch.methods._fixed",
        "hard_sharing": "sfgsearch.methods._fixed",
        "equal": "sfgsearch.methods._fixed",
        "constant_probabilities": "sfgsearch.methods._sfg",
        "adashare": "sfgsearch.methods._adashare",
        "learning_to_branch": "sfgsearch.methods._branching",
        "cross_stitch": "sfgsearch.methods._fusion",
        "learned_routing": "sfgsearch.methods._learned_routing",
        "maximum_roaming": "sfgsearch.methods._random_routing",
        "nddr": "sfgsearch.methods._fusion",
        "task_routing": "sfgsearch.methods._random_routing",
    },
)
"""Functions of ``(spec, *, options...)``; the keyword options are what a study file may set."""
