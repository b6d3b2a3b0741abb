"""The contracts that plugins implement: six interfaces, and the supporting kinds that they use."""

from detzoo.feature import NOTHING, SCORES, Component, Feature
from detzoo.interfaces.backbone import Backbone
from detzoo.interfaces.detector import Detector, StartingPoint
from detzoo.interfaces.features import FeatureSource
from detzoo.interfaces.grid_head import GridHead
from detzoo.interfaces.head import DenseHead, MaskHead, RoiHead
from detzoo.interfaces.loss import Loss, MaskLoss
from detzoo.interfaces.matcher import Matcher
from detzoo.interfaces.neck import Neck
from detzoo.interfaces.normalisation import Normalisation
from detzoo.interfaces.per_image_matcher import PerImageMatcher
from detzoo.interfaces.postprocess import PostProcess
from detzoo.interfaces.proposals import Proposals, Proposer, Segmenter
from detzoo.interfaces.stages import FittingStage, GradientStage, Stage, StageContext
from detzoo.interfaces.supporting import (
    Anchors,
    BoxCoder,
    BoxLoss,
    ClassLoss,
    Miner,
    Normaliser,
    RoiPool,
    Sampler,
    Suppress,
)
from detzoo.interfaces.transform import Draw, Transform

__all__ = [
    "NOTHING",
    "SCORES",
    "Anchors",
    "Backbone",
    "BoxCoder",
    "BoxLoss",
    "ClassLoss",
    "Component",
    "DenseHead",
    "Detector",
    "Draw",
    "Feature",
    "FeatureSource",
    "FittingStage",
    "GradientStage",
    "GridHead",
    "Loss",
    "MaskHead",
    "MaskLoss",
    "Matcher",
    "Miner",
    "Neck",
    "Normalisation",
    "Normaliser",
    "PerImageMatcher",
    "PostProcess",
    "Proposals",
    "Proposer",
    "RoiHead",
    "RoiPool",
    "Sampler",
    "Segmenter",
    "Stage",
    "StageContext",
    "StartingPoint",
    "Suppress",
    "Transform",
]
