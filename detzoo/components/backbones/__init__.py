"""Backbones of the core: torchvision's classification models with named levels, and the timm adapter."""
