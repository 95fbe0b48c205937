"""Whatever a file says, reading it gives a Description or one ValueError that says where."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import pytest

from physics.rigid_body import mjcf, safe_xml, urdf
from physics.rigid_body.description import Description, Joint, Link

LINKS = "<link name='a'/><link name='b'/><link name='c'/>"


def joint(name: str, parent: str, child: str, more: str = "", kind: str = "revolute") -> str:
    ends = f"<parent link='{parent}'/><child link='{child}'/>"
    return f"<joint name='{name}' type='{kind}'>{ends}{more}</joint>"


def tree(more: str = "", kind: str = "revolute", link: str = "") -> str:
    return (
        f"<robot name='r'><link name='a'>{link}</link><link name='b'/><link name='c'/>\n"
        f"{joint('ab', 'a', 'b')}{joint('bc', 'b', 'c', more, kind)}</robot>"
    )


def inertial(mass: str = "<mass value='1'/>", tensor: str = "ixx='1' iyy='1' izz='1'") -> str:
    return f"<inertial>{mass}<inertia {tensor}/></inertial>"


def wrapped(text: str) -> str:
    return f"<robot name='r'>{text}</robot>"


REFUSED = {
    "no links": ("<robot name='r'/>", "has no link"),
    "not URDF": ("<mujoco/>", "root element must be <robot>, got <mujoco>"),
    "xacro": (tree("<xacro:if value='1'/>"), "<xacro:if> is no URDF, expand it with xacro first"),
    "expression": (tree("<origin xyz='${x} 0 0'/>"), "joint 'bc'.*xacro first"),
    "link twice": (wrapped(LINKS + "<link name='a'/>"), "link names must differ, 'a' stands twice"),
    "joint twice": (
        wrapped(LINKS + joint("j", "a", "b") + joint("j", "b", "c")),
        "joint names must differ, 'j' stands twice",
    ),
    "no name": (wrapped("<link/>"), "<link> must have a name, got ''"),
    "no joint name": (wrapped(LINKS + "<joint type='fixed'/>"), "<joint> must have a name"),
    "unknown parent": (wrapped(LINKS + joint("j", "x", "b")), "joint 'j' joins link 'x'"),
    "unknown child": (wrapped(LINKS + joint("j", "a", "y")), "joint 'j' joins link 'y'"),
    "no parent": (
        wrapped(LINKS + "<joint name='j' type='fixed'><child link='b'/></joint>"),
        "joint 'j'.*must have a <parent link=…>",
    ),
    "no child": (
        wrapped(LINKS + "<joint name='j' type='fixed'><parent link='b'/></joint>"),
        "joint 'j'.*must have a <child link=…>",
    ),
    "two parents": (
        wrapped(LINKS + joint("i", "a", "c") + joint("j", "b", "c")),
        "link 'c' has two parents, by joints 'i' and 'j'",
    ),
    "loop": (
        wrapped(LINKS + joint("i", "b", "c") + joint("j", "c", "b")),
        r"links \['b', 'c'\] form a loop",
    ),
    "all in a loop": (
        wrapped(LINKS + joint("i", "a", "b") + joint("j", "b", "c") + joint("k", "c", "a")),
        "form a loop",
    ),
    "itself": (wrapped(LINKS + joint("i", "a", "b") + joint("j", "c", "c")), "form a loop"),
    "two roots": (wrapped(LINKS + joint("i", "a", "b")), r"\['a', 'c'\] have no parent"),
    "no type": (tree().replace("type=", "kind="), "joint 'ab'.*type must be .*got None"),
    "odd type": (tree(kind="screw"), "joint 'bc': line 2: type must be revolute.*got 'screw'"),
    "floating": (tree(kind="floating"), "joint 'bc'.*'floating' is refused: six degrees"),
    "planar": (tree(kind="planar"), "joint 'bc'.*'planar' is refused: three degrees"),
    "spherical": (tree(kind="spherical"), "joint 'bc'.*'spherical' is refused: three degrees"),
    "mimic": (tree("<mimic joint='ab'/>"), "joint 'bc'.*<mimic> is refused: a constraint"),
    "zero axis": (tree("<axis xyz='0 0 0'/>"), r"joint 'bc'.*<axis xyz=…> must be a direction"),
    "tiny axis": (tree("<axis xyz='1e-300 0 0'/>"), "joint 'bc'.*must be a direction"),
    "short": (
        tree("<origin rpy='0 0'/>"),
        "joint 'bc'.*rpy=…> must be 3 finite numbers, got '0 0'",
    ),
    "long": (tree("<origin xyz='1 2 3 4'/>"), "joint 'bc'.*must be 3 finite numbers"),
    "commas": (tree("<origin xyz='1,2,3'/>"), "joint 'bc'.*must be 3 finite numbers, got '1,2,3'"),
    "nan": (tree("<limit lower='nan'/>"), "joint 'bc'.*must be a finite number, got 'nan'"),
    "infinite": (tree("<limit upper='inf'/>"), "joint 'bc'.*must be a finite number, got 'inf'"),
    "overflow": (tree("<limit effort='1e999'/>"), "joint 'bc'.*must be a finite number"),
    "grouped": (tree("<limit effort='1_000'/>"), "joint 'bc'.*must be a finite number"),
    "other digits": (tree("<limit effort='١'/>"), "joint 'bc'.*must be a finite number"),
    "empty": (tree("<limit effort=''/>"), "joint 'bc'.*must be a finite number, got ''"),
    "endless": (tree(f"<limit effort='{'9' * 10**6}'/>"), "must be a finite number, got '9{60}…'"),
    "negative effort": (tree("<limit effort='-1'/>"), "joint 'bc'.*effort must be 0 or more"),
    "negative damping": (tree("<dynamics damping='-1'/>"), "joint 'bc'.*damping must be 0 or more"),
    "two axes": (tree("<axis/><axis/>"), "joint 'bc'.*a second <axis> in <joint>"),
    "negative mass": (tree(link=inertial("<mass value='-1'/>")), "link 'a'.*mass must be 0 kg"),
    "no mass": (tree(link=inertial("")), "link 'a'.*<inertial> must have a <mass value=…>"),
    "empty mass": (tree(link=inertial("<mass/>")), "link 'a'.*must have a <mass value=…>"),
    "no tensor": (tree(link="<inertial><mass value='1'/></inertial>"), "must have an <inertia>"),
    "no moment": (tree(link=inertial(tensor="ixx='1' iyy='1'")), "must have a <inertia izz=…>"),
    "huge": (
        tree(
            link="<inertial><origin rpy='1 1 1'/><mass value='1'/>"
            "<inertia ixx='1e308' iyy='1e308' izz='1e308' ixy='1e308'/></inertial>"
        ),
        "too large",
    ),
    "entities": (f"<!DOCTYPE r [<!ENTITY e 'x'>]>{tree()}", "DOCTYPE and entity declarations"),
    "external": (f"<!DOCTYPE r SYSTEM 'file:///etc/passwd'>{tree()}", "line 1: DOCTYPE"),
    "unknown entity": (tree("&nbsp;"), "not XML, undefined entity"),
    "cut": (tree()[:-9], "line 2, column .*not XML"),
    "nothing": ("", "not XML, no element found"),
    "two documents": (tree() + tree(), "not XML, junk after document element"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_place(case: str) -> None:
    text, said = REFUSED[case]
    with pytest.raises(ValueError, match=f"^(?s:here.urdf: .*{said})") as caught:
        urdf.parse(text, source="here.urdf")
    assert type(caught.value) is ValueError
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content",
    [
        b"<?xml version='1.0' encoding='utf-8'?><robot name='\xff'/>",
        b"<?xml version='1.0' encoding='klingon'?><robot/>",
        b"<?xml version='1.0' encoding='rot13'?><robot/>",
        b"<?xml version='1.0' encoding='utf-16'?><robot/>",
        b"\xff\xfe<\x00r",
        b"\x00",
        b"<robot\x00/>",
        "<robot name='\ud800'/>",
    ],
)
def test_bad_encodings(content: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"not XML|Unicode"):
        urdf.parse(content)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.urdf"):
        urdf.read(tmp_path / "no.urdf")
    with pytest.raises(ValueError, match="not a regular file"):
        urdf.read(tmp_path)
    (tmp_path / "a.urdf").write_text(tree())
    with pytest.raises(ValueError, match="package_roots must be folders"):
        urdf.read(tmp_path / "a.urdf", package_roots=[tmp_path / "a.urdf"])


# -- sizes ---------------------------------------------------------------------------------------


def test_limits_on_size_are_exact() -> None:
    assert safe_xml.parse("<a><b/></a>", limit=11, elements=2, depth=2).tag == "a"
    for short in ({"limit": 10}, {"elements": 1}, {"depth": 1}):
        with pytest.raises(ValueError, match=r"limit|more than"):
            safe_xml.parse("<a><b/></a>", **short)


@pytest.mark.parametrize(
    "text",
    [
        "<robot>" * 10**6,
        "<robot>" + "<link/>" * 10**6,
        "<robot " + " ".join(f"a{i}='1'" for i in range(10**5)) + "/>",
        tree("<origin xyz='" + "1 " * 10**6 + "'/>"),
        "<!--" * 10**6,
        "<" * 10**6,
        "<robot name='" + "<" * 10**6,
        wrapped("".join(f"<link name='{i}'/>" for i in range(10**5))),
        wrapped(
            "".join(f"<link name='{i}'/>" for i in range(20_000))
            + "".join(joint(f"{i}", f"{i}", f"{i + 1}") for i in range(19_998))
        ),
    ],
    ids=["deep", "many", "attributes", "numbers", "comment", "angles", "open", "roots", "chain"],
)
def test_large_nonsense_is_refused_soon(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="URDF text: "):
        urdf.parse(text)
    assert time.process_time() - start < 5


def test_a_long_chain_is_read() -> None:
    text = wrapped(
        "".join(f"<link name='{i}'/>" for i in range(5_000))
        + "".join(joint(f"{i}", f"{i}", f"{i + 1}") for i in range(4_999))
    )
    assert urdf.parse(text).root == "0"


# -- descriptions made by hand -------------------------------------------------------------------


def test_a_description_is_always_a_tree() -> None:
    links = (Link(name="a"), Link(name="b"))
    fixed = Joint(name="j", kind="fixed", parent="a", child="b")
    assert Description(name="r", links=links, joints=(fixed,)).root == "a"
    for wrong_links, joints in (
        ((), ()),
        (links, ()),
        (links, (fixed, fixed)),
        (links[:1], (fixed,)),
    ):
        with pytest.raises(ValueError, match=r"link|joint"):
            Description(name="r", links=wrong_links, joints=joints)
    with pytest.raises(ValueError, match=r"no link 'c'; it has \['a', 'b'\]"):
        Description(name="r", links=links, joints=(fixed,)).link("c")


# -- mutations of real files ---------------------------------------------------------------------

JUNK = (
    "", " ", "nan", "-inf", "1e400", "-1", "0", "0 0 0", "1 2", "a b c", "é", "\U0001f916", "${x}",
    "1e308 1e308 1e308", "9" * 1000, "1e-320", "0x1p3", "base_link", "../..", "&amp;", "'\">",
    "fixed", "floating", "continuous", "prismatic", "planar",
)  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """The file with one part deleted, doubled, moved, or overwritten."""
    tags = [i for i, byte in enumerate(content) if byte == ord("<")] or [0]
    quotes = [i for i, byte in enumerate(content) if byte == ord('"')]
    k = rng.randrange(len(tags))
    i, j = tags[k], tags[min(k + rng.randrange(1, 12), len(tags) - 1)]
    kind = rng.choice((0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7, 7, 8))
    if kind == 0:
        return content[:i] + content[j:]
    if kind == 1:
        return content[:j] + content[i:j] + content[j:]
    if kind == 2:
        return content[: rng.randrange(len(content) + 1)]
    if kind == 3 and len(quotes) > 1:  # an attribute becomes junk
        k = rng.randrange(len(quotes) // 2)
        junk = rng.choice(JUNK).encode()
        return content[: quotes[2 * k] + 1] + junk + content[quotes[2 * k + 1] :]
    if kind == 4 and len(quotes) > 3:  # two attributes change places
        a, b = sorted(rng.sample(range(len(quotes) // 2), 2))
        (a0, a1), (b0, b1) = (quotes[2 * k : 2 * k + 2] for k in (a, b))
        middle = content[a1:b0]
        return content[:a0] + content[b0:b1] + middle + content[a0:a1] + content[b1:]
    if kind == 5:
        noise = rng.randbytes(rng.randrange(1, 20))
        return content[:i] + noise + content[i + len(noise) :]
    if kind == 6:
        k = rng.randrange(len(content) or 1)
        return content[:k] + bytes([rng.randrange(256)]) + content[k + 1 :]
    if kind == 7:  # one element is deleted, or doubled
        end = content.find(b"/>", i) + 2
        return content[:i] + content[i:end] * rng.choice((0, 2)) + content[end:]
    names = [b"link", b"joint", b"parent", b"child", b"inertial", b"mass", b"axis", b"limit"]
    return content.replace(rng.choice(names), rng.choice(names), rng.randrange(1, 5))


def sound(robot: Description) -> bool:
    """Whether every number is finite (limits apart), every axis a unit, and the links a tree."""
    numbers = [
        value
        for link in robot.links
        for value in (link.mass, *link.center, *(x for row in link.inertia for x in row))
    ]
    numbers += [x for j in robot.joints for x in (*j.origin.position, *sum(j.origin.rotation, ()))]
    units = all(math.isclose(math.hypot(*j.axis), 1) for j in robot.joints)
    return (
        all(map(math.isfinite, numbers)) and units and robot.root in {x.name for x in robot.links}
    )


def outcome(content: bytes) -> str:
    """How reading this ends, "robot" or "refused"; anything else is raised."""
    refusal: ValueError | None = None
    try:
        assert sound(urdf.parse(content))
    except ValueError as error:
        refusal = error
    assert refusal is None or (type(refusal) is ValueError and len(str(refusal)) < 1000)
    return "refused" if refusal else "robot"


def test_mutations_of_real_files() -> None:
    data = Path(pytest.importorskip("pybullet_data").getDataPath())
    names = (
        "kuka_iiwa/model.urdf",
        "r2d2.urdf",
        "a1/a1.urdf",
        "cartpole.urdf",
        "xarm/xarm6_robot.urdf",
    )
    files = [(data / name).read_bytes() for name in names if (data / name).is_file()]
    rng = random.Random(0)
    start, ends = time.process_time(), {"robot": 0, "refused": 0}
    for _ in range(500):
        content = rng.choice(files)
        for _ in range(rng.randrange(1, 3)):
            content = mutate(content, rng)
        ends[outcome(content)] += 1
    assert min(ends.values()) > 50  # the mutations are neither harmless nor all fatal
    assert time.process_time() - start < 30


@pytest.mark.parametrize("parse", [urdf.parse, mjcf.parse])
def test_names_to_ignore_are_no_single_text(parse) -> None:
    with pytest.raises(ValueError, match=r"ignore must be a collection such as .*got 'mimic'"):
        parse("<robot/>", ignore="mimic")


def test_roots_are_no_single_text(tmp_path: Path) -> None:
    for one in (str(tmp_path), tmp_path):
        with pytest.raises(ValueError, match="package_roots must be a sequence"):
            urdf.resolve("a.stl", tmp_path, one)  # type: ignore[arg-type]
