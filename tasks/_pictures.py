"""What tasks that restore pictures share: fresh noise, loss, PSNR and SSIM."""

from abc import ABC
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks._base import Metric, Split, Task
from tasks._images import moved, window
from tasks._networks import find_network

UNIT = 25.0  # grey levels; networks see and give pictures in this unit
LOSS = 0.1  # of a squared unit, so that the presets' learning rates suit
PATCH = 40  # pixels, edge of what is trained on
SHOWN = 96  # pixels, edge of what a report shows
SSIM_WINDOW, SSIM_STD, SSIM_C = 11, 1.5, ((0.01 * 255) ** 2, (0.03 * 255) ** 2)  # Wang et al. 2004


class Denoising(Task, ABC):
    """Grey pictures with Gaussian noise, scored by PSNR, mean over pictures.

    Targets of test pictures may have a second plane: 0 where a pixel is only padding, else the number of the test set.
    """

    metric = Metric(name="PSNR", unit="dB", yield_loss=1.0)
    networks = ("dncnn",)
    batch = 25
    logits = False
    noise: ClassVar[float] = 25.0  # std in grey levels, of 255
    blind_to: ClassVar[float | None] = None  # in training noise from 0 to this std
    sets: ClassVar[tuple[str, ...]] = ()

    def network(self, name: str, width: float = 1.0) -> nn.Module:
        """The network of tasks/_models/<name>.py, (n, 1, h, w) -> (n, 1, h, w). TaskError if unknown."""
        return find_network(name, (1, PATCH, PATCH), 1, width, out_shape=(1, PATCH, PATCH))

    def noisy(self, clean: Tensor, targets: Tensor, seed: int) -> Split:
        """Pictures uint8 (n, 1, h, w) with noise that stays the same; float32 grey levels, not clipped."""
        random = torch.Generator().manual_seed(seed)
        return Split(clean + self.noise * torch.randn(clean.shape, generator=random), targets)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Grey levels (n, 1, h, w) -> float32 in UNITs from the middle, channels last in memory."""
        return inputs.to(torch.float32, copy=True, memory_format=torch.channels_last).sub_(127.5).div_(UNIT)

    def augment(
        self, inputs: Tensor, targets: Tensor, turns: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Clean patches turned in one of eight ways, then noise on the inputs: fresh each time."""
        n, _, height, width = inputs.shape
        index = window((n, height, width), 0, turns == 1, generator, inputs.device)
        draw = torch.randint(2, (2, n, 1, 1), generator=generator, device=generator.device).to(index.device)
        index = torch.where(draw[0] == 1, index.flip(1), index)
        index = torch.where(draw[1] == 1, index.transpose(1, 2), index)
        where = generator.device
        std = torch.full((n, 1, 1, 1), self.noise, device=where)
        if self.blind_to is not None:
            std = self.blind_to * torch.rand(n, 1, 1, 1, generator=generator, device=where)
        noise = std * torch.randn(inputs.shape, generator=generator, device=where)
        return moved(inputs, index) + noise.to(inputs.device), moved(targets, index)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error of the picture, which is that of the noise that the network finds; mean over pixels."""
        return LOSS * F.mse_loss(output, self.prepare(target[:, :1]))

    def distill(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Squared difference of the noise that both find (MTRD's form), on the scale of the loss; no temperature."""
        return LOSS * F.mse_loss(student, teacher)

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """(n,): PSNR in dB over the picture's own pixels, after clipping to 0 to 255."""
        shown, clean, inside = _compared(output, target)
        squares = ((shown - clean).square() * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)
        return 10 * torch.log10(255**2 / squares.clamp(min=1e-3))

    def details(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """SSIM, and the PSNR of each test set where there are several."""
        found = {"SSIM": ssim(*_compared(output, target))}
        if self.sets and target.shape[1] > 1:  # pictures for validation are of none of the sets
            psnr, number = self.correct(output, target), target[:, 1].flatten(1).amax(1)
            for i, name in enumerate(self.sets, start=1):
                found[f"PSNR {name}"] = torch.where(number == i, psnr, torch.nan)
        return found

    def picture(self, inputs: Tensor, targets: Tensor, output: Tensor | None = None) -> Tensor:
        """A part of each picture, at most SHOWN pixels high and wide: as restored, or with its noise and without it."""
        start = max(0, min(SHOWN // 2, inputs.shape[2] - SHOWN))
        part = slice(start, start + SHOWN)
        shown = inputs if output is None else output * UNIT + 127.5
        seen = [shown, targets[:, :1].float()] if output is None else [shown]
        grey = torch.cat([x[:, :, part, part] for x in seen], dim=3).clamp(0, 255).round()
        return grey.to(torch.uint8).expand(-1, 3, -1, -1)


def _compared(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures in grey levels, (n, 1, h, w) each: as restored, as they should be, and 1 where there is a picture."""
    shown = (output.float() * UNIT + 127.5).clamp(0, 255)
    clean = target[:, :1].float()
    return shown, clean, torch.ones_like(clean) if target.shape[1] == 1 else (target[:, 1:] > 0).float()


def ssim(a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """(n,): structural similarity (Wang et al. 2004), mean over windows inside the picture; all (n, 1, h, w).

    A picture fills the upper left of its frame, so a window is inside if its last pixel is.
    """
    x = torch.arange(SSIM_WINDOW, dtype=torch.float32, device=a.device) - SSIM_WINDOW // 2
    bell = torch.exp(-(x**2) / (2 * SSIM_STD**2))
    bell = bell / bell.sum()

    def blurred(image: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(image, bell.view(1, 1, -1, 1)), bell.view(1, 1, 1, -1))

    with torch.autocast(a.device.type, enabled=False):
        mean_a, mean_b = blurred(a), blurred(b)
        var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
        both = blurred(a * b) - mean_a * mean_b
    first = (2 * mean_a * mean_b + SSIM_C[0]) / (mean_a**2 + mean_b**2 + SSIM_C[0])
    second = (2 * both + SSIM_C[1]) / (var_a + var_b + SSIM_C[1])
    whole = inside[:, :, SSIM_WINDOW - 1 :, SSIM_WINDOW - 1 :]
    return (first * second * whole).flatten(1).sum(1) / whole.flatten(1).sum(1)


def patches(pictures: Tensor, stride: int) -> Tensor:
    """Pictures (n, 1, h, w) cut into patches (m, 1, PATCH, PATCH) that overlap."""
    cut = pictures.unfold(2, PATCH, stride).unfold(3, PATCH, stride)
    return cut.reshape(-1, 1, PATCH, PATCH).contiguous()


def framed(picture: Tensor, edge: int) -> Tensor:
    """A picture (h, w) in the upper left of (edge, edge), mirrored beyond its own edges."""
    rows, columns = (_mirror(edge, n) for n in picture.shape)
    return picture[rows][:, columns]


def _mirror(edge: int, n: int) -> Tensor:
    index = torch.arange(edge) % max(2 * n - 2, 1)
    return torch.where(index < n, index, 2 * n - 2 - index)
