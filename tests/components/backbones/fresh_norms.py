"""Batch norms as training leaves them."""

from torch import nn


def randomise_norms(model: nn.Module) -> None:
    """Fresh statistics (0, 1) would hide a norm that is left out."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
