"""Does docs/configuration.md say what the configuration takes?"""

import json
import re
from pathlib import Path

from daemon.config import schema_json
from daemon.config_reference import document

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run `make schema`"


def test_every_key_stands_on_it_with_its_section() -> None:
    schema = json.loads(schema_json())
    sections = dict(re.findall(r'<a id="(\w+)"></a>(.*?)(?=<a id=|\Z)', document(), re.DOTALL))
    assert len(sections) == len(schema["$defs"])
    for name, part in schema["$defs"].items():
        for key in part["properties"]:
            assert f"| `{key}` |" in sections[name.removesuffix("Config").lower()], (name, key)
    for key in schema["properties"]:
        assert f"| `{key}` |" in document().partition("<a id=")[0]


def test_a_row_says_values_default_and_limits() -> None:
    assert "| `gate` | `always`, `motion` | `motion` | motion: only" in document()
    assert "| `source` | text |  | rtsp(s)://" in document()  # must be there
    assert re.search(r"`num_frames` \| number \| `8` \| .*at least 1, at most 64", document())
    assert "list of list of `[x, y]`" in document()


def test_links_within_it_lead_somewhere() -> None:
    text = document()
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= set(re.findall(r'<a id="(\w+)"', text))
