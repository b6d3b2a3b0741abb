"""No test reaches for the network: recipes' backbones start from scratch, in child processes too."""

import os

os.environ["DETZOO_BACKBONE_WEIGHTS"] = "null"
