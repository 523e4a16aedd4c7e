"""A U-Net: transposed convolutions, and concatenation along the channels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = F.gelu(self.down1(x))
        deep = F.gelu(self.middle(F.gelu(self.down2(first))))
        return self.out(torch.cat([first, F.gelu(self.up(deep))], 1))


def port(fault: str = "") -> Any:
    def loss(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(outputs, target.movedim(-1, 1))

    return bntorch.port(TorchNet(), loss=loss)
