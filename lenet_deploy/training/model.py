"""`Net`, the one network that this toolkit compiles."""

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it, in all its tutorials
from torch import nn


class Net(nn.Module):
    """LeNet as PyTorch's classic tutorial builds it, after LeCun et al. (1998), LeNet-5.

    float32 images ``(N, 1, 32, 32)`` become float32 logits ``(N, 10)``; N may be 0. Both
    convolutions are 3x3 without padding, each followed by ReLU and 2x2 max pooling, so the
    first dense layer sees 16 channels of 6x6 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.fc1 = nn.Linear(16 * 6 * 6, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(N, 10)`` of images ``(N, 1, 32, 32)``."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        logits: torch.Tensor = self.fc3(x)
        return logits
