"""The help pages that ComfyUI shows for a node."""

import re
import struct
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "web" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PICTURE_LIMIT_BYTES = 30_000


def test_every_node_has_a_page_and_every_page_a_node(pack, folders):
    assert {page.stem for page in PAGES} == {node.__name__ for node in pack.node_classes()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_title_and_a_small_picture_of_its_node(page):
    title, _, picture, *_ = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    shown = re.fullmatch(r"!\[.+\]\((images/\w+\.jpg)\)", picture)
    assert shown and shown[1] == f"images/{page.stem}.jpg"
    data = (DOCS / shown[1]).read_bytes()
    assert data[:2] == b"\xff\xd8" and len(data) <= PICTURE_LIMIT_BYTES


def test_pages_name_no_other_files():
    used = {f"images/{page.stem}.jpg" for page in PAGES}
    for page in PAGES:
        links = set(re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")))
        assert links <= used | {link for link in links if link.startswith("https://")}


def test_the_pictures_are_wide_enough_to_read():
    for picture in (DOCS / "images").glob("*.jpg"):
        data, place = picture.read_bytes(), 2
        while data[place + 1] not in (0xC0, 0xC2):
            place += 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
        height, width = struct.unpack(">HH", data[place + 5 : place + 9])
        assert 250 <= width <= 1000 and 100 <= height <= 700, picture.name
