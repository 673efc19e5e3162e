"""The training settings that all methods of a study share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sfgsearch._choices import LearningRateSchedule, OptimiserName, Precision, Weighting
from sfgsearch.errors import SFGSearchError


@dataclass(frozen=True)
class TrainingSettings:
    """How every network of a study is trained.

    Args:
        epochs: Passes over the training split.
        batch_size: Images per step.
        optimiser: ``"adam"``, ``"adamw"``, or ``"sgd"`` with momentum. What methods learn beside weights at a rate of
            its own is moved by Adam in any case.
        lr: Initial learning rate of weights.
        backbone_lr: That of the backbone's weights, usually lower where it is pretrained; ``lr`` if None.
        momentum: That of ``"sgd"``.
        nesterov: Whether that is Nesterov's.
        weight_decay: Decay of the weights of convolutions and linear layers, not of norms and biases: decoupled from
            the gradient in ``"adamw"`` (Loshchilov & Hutter, ICLR 2019), beside the weight prior.
        clip: Norm to which the gradient of weights is clipped; not at all if None.
        lr_schedule: ``"cosine"`` decays it to zero over training, ``"step"`` to a tenth at half and again at three
            quarters, ``"one_cycle"`` raises it for 30 % of the steps before it decays along a cosine (Smith & Topin,
            2019), ``"constant"`` keeps it.
        warmup: Epochs over which it rises from zero first; ``"one_cycle"`` rises by itself.
        length_scale: l of the weight prior: L2 regularisation with l^2 / (2 N).
        calibration_batches: Batches from which the statistics of networks are re-estimated that are derived from gates
            that were drawn until just before.
        task_weighting: ``"fixed"`` takes losses as they are, ``"fitted"`` fits the noise of regressions to their
            residuals, ``"uncertainty"`` learns factors (Kendall, Gal & Cipolla, CVPR 2018); weights of tasks multiply
            all of them.
        monte_carlo_samples: S, the sampled masks of the Monte-Carlo prediction of learned networks; 0 for none.
        precision: ``"float32"``, or ``"bf16"`` for the forward pass of training steps by autocast; weights, losses,
            statistics and predictions stay float32.
        channels_last: Whether networks of images keep channels last in memory, which most convolutions are faster
            with; networks of volumes do not.
        tf32: Whether CUDA may round the factors of float32 products to TensorFloat-32.
        cudnn_benchmark: Whether cuDNN may choose kernels by trying them out, at the price of results that differ
            between runs.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: CPU threads; torch's own choice if None. Small networks gain little from a second thread, and
            threads that wait for each other on a busy machine lose a lot.
    """

    epochs: int = 20
    batch_size: int = 64
    optimiser: OptimiserName = "adam"
    lr: float = 1e-3
    backbone_lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    clip: float | None = None
    lr_schedule: LearningRateSchedule = "cosine"
    warmup: float = 0.0
    length_scale: float = 1.0
    calibration_batches: int = 5
    task_weighting: Weighting = "fitted"
    monte_carlo_samples: int = 10
    precision: Precision = "float32"
    channels_last: bool = True
    tf32: bool = False
    cudnn_benchmark: bool = False
    device: str = "auto"
    threads: int | None = None


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; ``"auto"`` is CUDA where there is one.

    Raises:
        SFGSearchError: If the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= available:
        raise SFGSearchError(f"device {name!r} is not there ({available} CUDA devices); use 'auto' or 'cpu'")
    return device


def lacks_bf16(device: torch.device) -> bool:
    """Return whether a device has no instructions for bfloat16, as far as is known, and emulates it slowly."""
    if device.type == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found.get("architecture") == "x86_64" and not (found.get("avx512_bf16") or found.get("amx_bf16"))
