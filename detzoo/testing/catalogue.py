"""Which checks there are, and what every kind must pass, as ``file:check``: a module and its function.

A file without a dot is a module of this folder, which is not imported until one of its checks runs.
"""

from __future__ import annotations

import importlib
from typing import Final, Literal, TypeAlias

from detzoo.plugins.registry import get_registry

Group: TypeAlias = Literal["manifest", "import", "interface", "numeric", "export", "detector"]

_CHECK: Final = "check_"
_MODULE: Final = ("module:same_seed_same_weights", "module:state_dict_round_trip", "module:moves_between_dtypes")
_MAPS: Final = (
    "backbone:declared_maps",
    "backbone:same_input_same_output",
    "backbone:batch_equals_singles",
    "backbone:input_is_not_changed",
    "backbone:gradient_reaches_every_parameter",
    *_MODULE,
)
PLUGIN_CHECKS: Final = (
    "manifest:status",
    "manifest:every_kind_has_its_interface",
    "manifest:every_target_is_of_its_kind",
    "manifest:schemas_are_synced",
    "manifest:every_recipe_resolves",
    "manifest:hooks_are_implemented",
    "manifest:manifest_lies_in_the_package",
    "manifest:wheel_requires_what_recipes_use",
    "manifest:import_is_light",
    "manifest:import_draws_no_random_number",
    "manifest:import_opens_no_connection",
)
_HEAD: Final = (
    "head:outputs",
    "abilities:head_gives_what_it_declares",
    "head:same_input_same_output",
    "head:batch_equals_singles",
    "head:input_is_not_changed",
    "head:gradient_reaches_every_parameter",
    "head:decoding_is_finite",
    *_MODULE,
)
KIND_CHECKS: Final[dict[str, tuple[str, ...]]] = {
    "backbone": _MAPS,
    "neck": (*_MAPS, "odd_sizes:maps_of_odd_sizes", "exporting:neck_leaves_the_number_of_images_free"),
    "head": (
        *_HEAD,
        "head:targets_change_aux_alone",
        "odd_sizes:head_on_maps_of_odd_sizes",
        "exporting:head_leaves_the_number_of_images_free",
    ),
    "roi_head": _HEAD,
    "mask_head": (
        "mask_head:outputs",
        "mask_head:takes_the_empty_case",
        "mask_head:same_input_same_output",
        "mask_head:batch_equals_singles",
        "mask_head:input_is_not_changed",
        "mask_head:gradient_reaches_every_parameter",
        *_MODULE,
    ),
    "matcher": (
        "matcher:outputs",
        "abilities:matcher_gives_what_it_declares",
        "abilities:matcher_needs_what_it_declares",
        "matcher:takes_the_empty_case",
        "matcher:without_ground_truth_all_is_background",
        "matcher:one_box_finds_a_candidate",
        "matcher:invalid_candidates_are_ignored",
        "matcher:ignored_ground_truth_is_never_positive",
        "matcher:padding_changes_nothing",
        "matcher:batch_equals_singles",
        "matcher:input_is_not_changed",
        "cells:matcher_knows_candidates_of_a_cell_apart",
    ),
    "sampler": ("sampling:sampler_only_ignores", "sampling:sampler_takes_the_empty_case"),
    "miner": ("sampling:miner_chooses_among_the_offered", "sampling:miner_takes_the_empty_case"),
    "normaliser": ("sampling:normaliser_is_never_zero", *_MODULE),
    "loss": (
        "loss:every_ground_truth_gives_finite_terms",
        "loss:without_candidates_terms_are_connected_zeros",
        "loss:normaliser_divides_the_terms",
        "loss:padding_changes_nothing",
        "loss:ground_truth_weights_count",
        "loss:input_is_not_changed",
        "cells:loss_knows_candidates_of_a_cell_apart",
        "abilities:loss_passes_quality_on",
        "abilities:loss_needs_what_it_declares",
        *_MODULE,
    ),
    "mask_loss": (
        "mask_loss:every_ground_truth_gives_finite_terms",
        "mask_loss:without_candidates_terms_are_connected_zeros",
        "mask_loss:padding_changes_nothing",
        "mask_loss:input_is_not_changed",
        *_MODULE,
    ),
    "class_loss": ("loss:class_loss", "loss:class_loss_reads_quality", "abilities:class_loss_gives_what_it_declares"),
    "box_loss": ("loss:box_loss", "loss:box_loss_takes_the_empty_case"),
    "postprocess": (
        "postprocess:outputs",
        "postprocess:same_input_same_output",
        "postprocess:obeys_its_settings",
        "postprocess:nothing_is_found_in_nothing",
        "postprocess:invalid_candidates_give_nothing",
        "postprocess:batch_equals_singles",
        "postprocess:input_is_not_changed",
        *_MODULE,
    ),
    "suppress": ("postprocess:suppress", "postprocess:suppress_takes_the_empty_case"),
    "anchors": ("geometry:anchors", "geometry:anchors_move_with_the_cell", "module:moves_between_dtypes"),
    "box_coder": (
        "geometry:decode_inverts_encode",
        "geometry:coder_broadcasts",
        "geometry:coder_takes_the_empty_case",
        "module:moves_between_dtypes",
    ),
    "roi_pool": (
        "roi_pool:outputs",
        "roi_pool:takes_the_empty_case",
        "roi_pool:invalid_regions_are_harmless",
        "roi_pool:gradient_reaches_the_maps",
        "roi_pool:batch_equals_singles",
        "roi_pool:input_is_not_changed",
        "module:moves_between_dtypes",
    ),
    "proposals": (
        "proposals:outputs",
        "proposals:every_ground_truth_gives_finite_terms",
        "proposals:gradient_reaches_every_parameter",
        "proposals:batch_equals_singles",
        "proposals:input_is_not_changed",
        *_MODULE,
    ),
    "proposer": ("proposer:outputs", "proposer:input_is_not_changed", "proposer:same_image_same_regions"),
    "transform": (
        "transform:outputs",
        "transform:draws_are_declared",
        "transform:input_is_not_changed",
        "transform:same_seed_same_result",
    ),
}
"""``file:check`` for every kind of the core; one that is missing is looked at by the checks of the manifest alone."""
DETECTOR_CHECKS: Final = (
    "detector:loss_is_finite",
    "detector:loss_without_objects_is_finite",
    "detector:loss_belongs_to_the_graph",
    "detector:gradient_reaches_every_parameter",
    "detector:inputs_are_not_changed",
    "detector:predicting_changes_nothing",
    "detector:results_are_in_original_pixels",
    "detector:same_image_same_detections",
    "detector:batch_equals_singles",
    "detector:results_are_taken_by_pycocotools",
    "detector:state_dict_round_trip",
)
_INTERFACE: Final = ("declared_maps", "outputs", "anchors", "moves_between_dtypes")


def checks_of(kind: str) -> tuple[str, ...]:
    """``file:check`` of a kind; those of a plugin's own kind are the functions ``check_*`` of the module it names.

    Raises:
        ImportError: of that module.
    """
    own = get_registry().plugins.kinds.get(kind)
    if own is None:
        return KIND_CHECKS.get(kind, ())
    if own.conformance is None:
        return ()
    names = vars(importlib.import_module(own.conformance))
    return tuple(f"{own.conformance}:{name.removeprefix(_CHECK)}" for name in names if name.startswith(_CHECK))


def group_of(spec: str) -> Group:
    """The part of the kit that a check belongs to."""
    file, _, name = spec.partition(":")
    if file == "manifest":
        return "import" if name.startswith("import_") else "manifest"
    if file == "detector":
        return "detector"
    if file == "exporting":
        return "export"
    return "interface" if name in _INTERFACE or file == "abilities" else "numeric"
