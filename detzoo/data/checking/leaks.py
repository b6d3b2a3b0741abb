"""Images that stand in several splits: a detector is judged by what it has learned, and every score is a lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from detzoo.data.checking.near_duplicates import ImagePrint, near_pairs
from detzoo.data.checking.problems import Problems
from detzoo.data.dataset import Dataset
from detzoo.data.formats.split_names import role_of


def find_leaks(opened: Sequence[Dataset], digests: Mapping[str, list[str]], problems: Problems) -> None:
    """Report each image that stands in two splits, under the same name or another; by its bytes.

    Unions of other splits, such as ``trainval``, are no leaks.

    Args:
        opened: the splits.
        digests: paths by digest of the file's bytes.
        problems: gets a warning for each image and each pair of splits.
    """
    content = {path: digest for digest, paths in digests.items() for path in paths}
    members = {data.split: {content.get(path, path): path for path in data.paths} for data in opened if data.on_disk}
    unions = {name for name in members if role_of(name) == "union" or _joins_others(name, members)}
    for one, other in combinations([name for name in members if name not in unions], 2):
        for key, path in members[other].items():
            first = members[one].get(key)
            if first is None:
                continue
            if first == path:
                message = f"leak: the image stands in {one} and in {other}"
            else:
                message = f"leak: the same image stands in {one}, as {first}, and in {other}"
            problems.warning("shared-image", path, None, message, path)
    _find_shared_groups([data for data in opened if data.split in members.keys() - unions], problems)


def _find_shared_groups(splits: Sequence[Dataset], problems: Problems) -> None:
    """Report each group of images (frames of one video) of which two splits have some."""
    first = [dict(zip(reversed(data.groups or ()), reversed(data.paths), strict=False)) for data in splits]
    for (n, one), (m, other) in combinations(enumerate(splits), 2):
        for group in (group for group in first[m] if group in first[n]):
            message = (
                f"leak: images of the group {group!r} stand in {one.split}, as {first[n][group]}, and in {other.split}"
            )
            problems.warning("shared-group", first[m][group], None, message, first[m][group])


def _joins_others(name: str, members: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a split is exactly what several others, which have nothing in common, hold together."""
    own = set(members[name])
    parts = [set(found) for other, found in members.items() if other != name and found and set(found) < own]
    return len(parts) > 1 and sum(map(len, parts)) == len(own) and set().union(*parts) == own


def duplicates(opened: Sequence[Dataset], digests: Mapping[str, list[str]], problems: Problems) -> None:
    """Report images that are twice in one split, under different names."""
    splits = [set(data.paths) for data in opened if data.on_disk]
    for paths in digests.values():
        for at, path in enumerate(paths[1:], start=1):
            same = next((first for first in paths[:at] if any(first in own and path in own for own in splits)), None)
            if same is not None:
                problems.warning("duplicate-image", path, None, f"the same bytes as {same}", path)


def find_near_duplicates(opened: Sequence[Dataset], prints: Mapping[str, ImagePrint], problems: Problems) -> None:
    """Report images that show nearly the same as another one, in one split or in two; equal bytes are reported before.

    Args:
        opened: the splits.
        prints: what the images are compared by, by path.
        problems: gets a warning for each image, with the first one that it is like, in another split if there is one.
    """
    paths = list(prints)
    splits = {data.split: set(data.paths) for data in opened if data.on_disk}
    whole = {name: {path: path for path in members} for name, members in splits.items()}
    parts = {name for name in splits if role_of(name) != "union" and not _joins_others(name, whole)}
    homes = {path: {name for name in parts if path in splits[name]} for path in paths}
    like: dict[int, list[int]] = {}
    for one, other in near_pairs([prints[path].small for path in paths]):
        if prints[paths[one]].digest != prints[paths[other]].digest:
            like.setdefault(other, []).append(one)
    for other, found in like.items():
        path = paths[other]
        apart = [one for one in found if homes[paths[one]] and homes[path] and not homes[paths[one]] & homes[path]]
        first = paths[(apart or found)[0]]
        if apart:
            names = [next(name for name in splits if name in homes[place]) for place in (first, path)]
            message = f"leak: nearly the same image stands in {names[0]}, as {first}, and in {names[1]}"
        else:
            message = f"shows nearly the same as {first}"
        problems.warning("near-duplicate", path, None, message, path)
