"""A valid file with a change: of a value where its format is known, of a line, of bytes, of its place on the disk."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias
from xml.etree import ElementTree

import yaml

from tests.campaign.strange_values import as_text, change_tree, strange

_DTYPES: Final = ("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F16", "BF16", "I32", "U32", "F64", "C64")
Files: TypeAlias = dict[str, bytes]
"""Content by path below a folder."""
_TEXT_ENDINGS: Final = (".json", ".yaml", ".xml", ".txt", ".cfg", ".names", ".csv")


def mutate(rng: random.Random, name: str, data: bytes) -> tuple[bytes, str]:
    """One file with one change, and what it was."""
    ending = PurePosixPath(name).suffix
    roll = rng.random()
    if ending == ".safetensors" and roll < 0.6:
        return _header(rng, data)
    if ending == ".png" and roll < 0.5:
        return _chunk(rng, data)
    if ending == ".pth" and roll < 0.5:
        return _archive(rng, data)
    if ending not in _TEXT_ENDINGS or roll < 0.05:
        return _bytes(rng, data)
    try:
        text = data.decode()
        if roll < 0.7 and ending in _TREES:
            return _TREES[ending](rng, text)
    except (ValueError, yaml.YAMLError, ElementTree.ParseError, RecursionError):  # changed once already
        return _bytes(rng, data)
    return _encoding(rng, text) if roll > 0.95 else _lines(rng, text)


def _json(rng: random.Random, text: str) -> tuple[bytes, str]:
    tree, what = change_tree(rng, json.loads(text))
    return as_text(json.dumps(tree, indent=1)).encode(), what


def _yaml(rng: random.Random, text: str) -> tuple[bytes, str]:
    tree, what = change_tree(rng, yaml.safe_load(text))
    if rng.random() < 0.5:  # JSON is YAML, and has ways to write what YAML's own dumper has not
        return as_text(json.dumps(tree, indent=1)).encode(), what
    return as_text(yaml.dump(tree, sort_keys=False, allow_unicode=True)).encode(errors="surrogatepass"), what


def _xml(rng: random.Random, text: str) -> tuple[bytes, str]:
    root = ElementTree.fromstring(text)
    pairs = [(parent, child) for parent in root.iter() for child in parent]
    parent, child = rng.choice(pairs)
    what = rng.choice(("text", "text", "text", "delete", "twice", "tag", "inside", "far"))
    if what == "text":
        child.text = as_text(str(strange(rng)))
    elif what == "delete":
        parent.remove(child)
    elif what == "twice":
        parent.append(child)
    elif what == "tag":
        child.tag = rng.choice(("name", "bndbox", "xmin", "size", "object", "x"))
    elif what == "inside":
        child.append(ElementTree.fromstring("<a>" * 50 + "</a>" * 50))
    else:
        child.text = str(rng.choice((-1e5, 1e9, 0, 3.5, 1e-9, -0.0)))
    shown = (child.text or "")[:60]
    written = ElementTree.tostring(root, encoding="unicode")
    return written.encode(errors="surrogatepass"), f"{what}: {child.tag} {shown!r}"


_TREES: Final[dict[str, Callable[[random.Random, str], tuple[bytes, str]]]] = {
    ".json": _json,
    ".yaml": _yaml,
    ".xml": _xml,
}


def _lines(rng: random.Random, text: str) -> tuple[bytes, str]:
    """A line or a word changed, whatever the format."""
    lines = text.splitlines(keepends=True) or [""]
    at = rng.randrange(len(lines))
    what = rng.choice(("twice", "delete", "swap", "word", "word", "word", "word", "letter", "cut", "join", "insert"))
    other = rng.randrange(len(lines))
    if what == "twice":
        lines.insert(other, lines[at])
    elif what == "delete":
        del lines[at]
    elif what == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif what == "word":
        separator = "=" if "=" in lines[at] and rng.random() < 0.5 else "," if "," in lines[at] else " "
        words = lines[at].rstrip("\n").split(separator)
        words[rng.randrange(len(words))] = as_text(str(strange(rng)))
        lines[at] = separator.join(words) + "\n"
    elif what == "letter":
        place = rng.randrange(len(lines[at]) + 1)
        lines[at] = (
            lines[at][:place] + rng.choice("\0\t\r\n\x0b\x85\u2028\ufeff#:{}[]<>&'\",²é☃") + lines[at][place + 1 :]
        )
    elif what == "cut":
        lines = [text[: rng.randrange(len(text) + 1)]]
    elif what == "join":
        lines[at] = lines[at].rstrip("\n") + " "
    else:
        lines.insert(at, as_text(str(strange(rng))) + "\n")
    return "".join(lines).encode(errors="surrogatepass"), f"line {at + 1}: {what}"


def _encoding(rng: random.Random, text: str) -> tuple[bytes, str]:
    name = rng.choice(("utf-16", "utf-16-le", "latin-1", "gbk", "utf-8-sig", "utf-32", "utf-7", "cp1252"))
    kind = rng.choice(("", "é", "图"))
    return (text.replace("a", kind) if kind else text).encode(name, errors="replace"), f"as {name}"


def _bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Bytes of any file changed."""
    what = rng.choice(("flip", "flip", "flip", "cut", "zeros", "insert", "repeat", "random", "number"))
    content = bytearray(data)
    at = rng.randrange(len(content) + 1) if rng.random() < 0.5 else rng.randrange(min(len(content), 64) + 1)
    if what == "flip":
        for _ in range(rng.choice((1, 1, 3, 30))):
            if content:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif what == "cut":
        del content[at:]
    elif what == "zeros":
        content[at : at + 16] = bytes(len(content[at : at + 16]))
    elif what == "insert":
        content[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
    elif what == "repeat":
        content[at:at] = content[at : at + 64]
    elif what == "number":
        number = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**16, 100_000))
        content[at : at + 4] = struct.pack(rng.choice(("<i", ">i")), number)
    else:
        content[at : at + 4] = rng.randbytes(len(content[at : at + 4]))
    return bytes(content), f"bytes from {at}: {what}"


def _header(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """The JSON header of a safetensors file, or the JSON in its metadata, its length set right."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        return _bytes(rng, data)
    try:
        header = json.loads(data[8 : 8 + length])
        own = header.get("__metadata__", {}).get("detzoo") if isinstance(header, dict) else None
        if isinstance(own, str) and rng.random() < 0.7:
            inner, what = change_tree(rng, json.loads(own))
            header["__metadata__"]["detzoo"] = as_text(json.dumps(inner))
        elif isinstance(header, dict) and rng.random() < 0.4:
            name = rng.choice([name for name in header if name != "__metadata__"])
            header[name]["dtype"] = what = rng.choice(_DTYPES)
        else:
            header, what = change_tree(rng, header)
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return _bytes(rng, data)
    text = as_text(json.dumps(header)).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :], f"header: {what}"


def _archive(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A zip archive with one file changed and a checksum that fits."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            files = {name: packed.read(name) for name in packed.namelist()}
        name = rng.choice(list(files) + [name for name in files if name.endswith("data.pkl")] * 3)
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, OSError, ValueError, RuntimeError):
        return _bytes(rng, data)
    files[name], what = _bytes(rng, files[name])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for other, content in files.items():
            packed.writestr(zipfile.ZipInfo(other), content)
    return stream.getvalue(), f"{name}: {what}"


def _chunk(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A PNG with some bytes of a chunk changed and a checksum that fits: what a fuzzer's flips never get past."""
    found, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        found.append((at, size))
        at += 12 + size
    if not found:
        return _bytes(rng, data)
    start, size = found[0] if rng.random() < 0.6 else rng.choice(found)
    body = bytearray(data[start + 4 : start + 8 + size])
    place = rng.randrange(4, len(body)) if size else 0
    new = rng.choice(
        (b"\0", b"\xff", b"\x7f", b"\x01", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\1\0\0", rng.randbytes(2))
    )
    body[place : place + len(new)] = new[: len(body) - place]
    whole = size.to_bytes(4, "big") + bytes(body) + zlib.crc32(body).to_bytes(4, "big")
    return data[:start] + whole + data[start + 12 + size :], f"chunk {bytes(body[:4])!r}: {new!r} at {place}"


def place_on_disk(rng: random.Random, folder: Path, name: str) -> str:
    """Exchange a file for something else of its name, and say for what."""
    path = folder / name
    what = rng.choice(
        ("gone", "empty", "folder", "pipe", "circle", "lost link", "device", "endless", "link", "renamed")
    )
    path.unlink()
    if what == "empty":
        path.write_bytes(b"")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "renamed":
        stem = rng.choice((b"\xff\xfe", "é".encode("latin-1"), b" ", b"a\nb", b"=1+1", b"%41", b"-x", b"." * 3))
        Path(os.fsdecode(os.fsencode(path.parent) + b"/" + stem + os.fsencode(path.suffix))).write_bytes(b"x")
    elif what != "gone":
        targets = {"circle": str(path), "lost link": "nowhere", "device": "/dev/null", "endless": "/dev/zero"}
        path.symlink_to(targets.get(what, "/etc/passwd"))
    return f"{what} in its place"
