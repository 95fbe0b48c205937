"""Which files the engine may open for a URDF document: those that `urdf.resolve` finds.

PyBullet opens whatever path a document names, in any folder above it, and waits for a pipe.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from physics.rigid_body import urdf
from physics.rigid_body.safe_xml import shorten

_MESHES = (".dae", ".obj", ".stl")  # what the engine reads as a mesh
_SOLIDS = ("box", "capsule", "cylinder", "plane", "sphere")
_LINK = ("inertial", "visual", "collision", "contact")
_SHAPE = ("origin", "geometry", "material")
_GREY = "0.7 0.7 0.7 1"


def only_own_files(
    root: ET.Element,
    folder: Path,
    package_roots: Sequence[str | os.PathLike[str]],
    *,
    visuals: bool,
    shapes: bool,
) -> None:
    """Make the paths in a <robot> whole, and take out of it what names other files.

    What is no link, joint or material is taken out, and pictures and collision shapes unless they
    are asked for. A picture or texture that is not found is left out. Raises ValueError naming
    link and mesh where that happens to a collision shape.
    """
    _keep(root, ("link", "joint", "material"))
    for link in root.findall("link"):
        _keep(link, _LINK)
        for visual in link.findall("visual"):
            if not visuals or _refusal(visual, folder, package_roots) is not None:
                link.remove(visual)
        for shape in link.findall("collision"):
            if not shapes:
                link.remove(shape)
            elif (why := _refusal(shape, folder, package_roots)) is not None:
                raise ValueError(
                    f"link {shorten(link.get('name', ''))}: its collision shape is needed, and "
                    f"{why}; give the folder that holds the package as package_roots=(…,)"
                )
    for material in root.iter("material"):
        for texture in material.findall("texture"):
            try:
                found = urdf.resolve(texture.get("filename", ""), folder, package_roots)
                texture.attrib = {"filename": str(found)}
            except (ValueError, FileNotFoundError):
                material.remove(texture)
                if material.find("color") is None:
                    ET.SubElement(material, "color", rgba=_GREY)


def _keep(parent: ET.Element, tags: tuple[str, ...]) -> None:
    for child in list(parent):
        if child.tag not in tags:
            parent.remove(child)


def _refusal(
    shape: ET.Element, folder: Path, package_roots: Sequence[str | os.PathLike[str]]
) -> str | None:
    """Why the engine cannot have this shape; None where it can, with the mesh's path whole."""
    _keep(shape, _SHAPE)
    for more in shape.findall("geometry")[1:]:
        shape.remove(more)
    geometry = shape.find("geometry")
    if geometry is None or not len(geometry):
        return "it has no <geometry>"
    for more in list(geometry)[1:]:  # the engine takes the first
        geometry.remove(more)
    solid = geometry[0]
    _keep(solid, ())
    if solid.tag in _SOLIDS:
        return None
    name = solid.get("filename", "")
    if solid.tag != "mesh":
        return f"<{shorten(str(solid.tag))}> is none of {[*_SOLIDS, 'mesh']}"
    try:
        found = urdf.resolve(name, folder, package_roots)
    except (ValueError, FileNotFoundError) as error:
        return f"mesh {error}"
    if found.suffix.lower() not in _MESHES:
        return f"mesh filename {shorten(name)} is none of {list(_MESHES)}"
    solid.set("filename", str(found))
    return None
