"""torch's linear and convolutional layers, with a feedback of their own.

A layer is retyped, not rebuilt: parameters, hooks, dtype, device and mode stay what they are, and `isinstance` with
torch's class stays true. Its forward hands over to its feedback (`linfa.nn.feedback`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn import functional
from linfa.nn.feedback import AbstractFeedback
from linfa.nn.functional import Feedback


class Fed:
    """What every layer with feedback has in common; mixed into torch's classes."""

    feedback: AbstractFeedback
    """How the error comes back."""
    true: bool = False
    """Whether the layer is, for the time being, as torch made it (see `linfa.nn.truth`)."""


class Linear(Fed, nn.Linear):
    """`torch.nn.Linear` with feedback."""

    def forward(self, input: Tensor) -> Tensor:
        """Return W h + b."""
        z: Tensor = super().forward(input) if self.true else self.feedback(self, input)
        return z

    def truly(self, h: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return z = W h + b, as torch does it; another weight in the place of W where one is given."""
        return nn.functional.linear(h, self.weight if weight is None else weight, self.bias)

    def through(self, h: Tensor, B: Feedback) -> Tensor:
        """Return z = W h + b, with B in the weight's slot on the way back."""
        return functional.linear(h, self.weight, B, self.bias)


class _Convolution(Fed):
    """What the convolutions have in common."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if self.true else self.feedback(self, input)  # type: ignore[misc, no-any-return]

    def truly(self: Any, h: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return z = W ∗ h + b, as torch does it; another weight in the place of W where one is given."""
        return self._conv_forward(h, self.weight if weight is None else weight, self.bias)  # type: ignore[no-any-return]

    def through(self: Any, h: Tensor, B: Feedback) -> Tensor:
        """Return z = W ∗ h + b, with B in the weight's slot on the way back."""
        how = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups", "padding_mode")}
        return functional.convolution(h, self.weight, B, self.bias, **how)


class Conv1d(_Convolution, nn.Conv1d):
    """`torch.nn.Conv1d` with feedback."""


class Conv2d(_Convolution, nn.Conv2d):
    """`torch.nn.Conv2d` with feedback."""


class Conv3d(_Convolution, nn.Conv3d):
    """`torch.nn.Conv3d` with feedback."""


class _Transposed(Fed):
    """What the transposed convolutions have in common."""

    def forward(self: Any, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.true:
            return super().forward(input, output_size)  # type: ignore[misc, no-any-return]
        if output_size is None:
            return self.feedback(self, input)  # type: ignore[no-any-return]
        n = self.weight.ndim - 2
        how = (output_size, self.stride, self.padding, self.kernel_size, n, self.dilation)
        return self.feedback(_Enlarged(self, tuple(self._output_padding(input, *how))), input)  # type: ignore[no-any-return]

    def truly(self: Any, h: Tensor, weight: Tensor | None = None, extra: tuple[int, ...] | None = None) -> Tensor:
        """Return z = Wᵀ ∗ h + b, as torch does it; another weight, another output padding where one is given."""
        W = self.weight if weight is None else weight
        map_ = (nn.functional.conv_transpose1d, nn.functional.conv_transpose2d, nn.functional.conv_transpose3d)
        extra = self.output_padding if extra is None else extra
        return map_[W.ndim - 3](h, W, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def through(self: Any, h: Tensor, B: Feedback, extra: tuple[int, ...] | None = None) -> Tensor:
        """Return z = Wᵀ ∗ h + b, with B in the weight's slot on the way back."""
        how = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        extra = self.output_padding if extra is None else extra
        return functional.convolution(h, self.weight, B, self.bias, transposed=True, output_padding=extra, **how)


class _Enlarged(NamedTuple):
    """A transposed convolution as it is for one call, with the output padding that the wanted size needs."""

    layer: Any
    extra: tuple[int, ...]

    @property
    def weight(self) -> nn.Parameter:
        return self.layer.weight  # type: ignore[no-any-return]

    def truly(self, h: Tensor, weight: Tensor | None = None) -> Tensor:
        return self.layer.truly(h, weight, self.extra)  # type: ignore[no-any-return]

    def through(self, h: Tensor, B: Feedback) -> Tensor:
        return self.layer.through(h, B, self.extra)  # type: ignore[no-any-return]


class ConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with feedback."""


class ConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with feedback."""


class ConvTranspose3d(_Transposed, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with feedback."""


FED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: Linear,
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}
"""The layers that feedback can serve, and what they become."""

PLAIN = {fed: plain for plain, fed in FED.items()}


def feed(layer: nn.Module, feedback: AbstractFeedback) -> None:
    """Give a layer its feedback, in place.

    Raises:
        InputError: where it is no layer that feedback serves.

    >>> from linfa.nn.rules import Backprop, Place
    >>> layer = nn.Linear(3, 2)
    >>> feed(layer, Backprop().feedback(layer, Place("fc", seed=0)))
    >>> isinstance(layer, Fed), isinstance(layer, nn.Linear)
    (True, True)
    """
    if type(layer) not in FED and type(layer) not in PLAIN:
        raise InputError(f"feedback serves {', '.join(k.__name__ for k in FED)}; got {type(layer).__name__}")
    layer.__class__ = FED.get(type(layer), type(layer))
    layer.feedback = feedback


def unfeed(layer: nn.Module) -> None:
    """Make a layer again what it was, in place."""
    layer.__class__ = PLAIN[type(layer)]
    del layer.feedback
