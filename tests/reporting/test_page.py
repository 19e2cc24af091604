"""The page as a file: it holds its facts, and nothing in them can break out."""

import json
import re

import pytest

from research.errors import UsageError
from research.reporting.facts import facts
from research.reporting.page import embedded, page, write_page
from tests.reporting import made

NASTY = '</script><script>alert(1)</script><!-- $data ${style} \u2028 & "quoted"'


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nasty") / "<b>run"
    made.train(made.experiment(), folder, text=NASTY)
    return facts([folder])


def test_the_page_holds_its_facts(found):
    html = page(found)
    (data,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', html, re.S)
    assert json.loads(data) == found
    assert found["runs"][0]["samples"][0]["text"].startswith(NASTY)


def test_nothing_breaks_out(found):
    html, text = page(found), embedded(found)
    assert not set("<>&") & set(text)
    assert html.count("alert(1)") == text.count("alert(1)") > 0
    assert "<b>run" not in html and "&lt;b&gt;run" in html  # in the title


def test_nothing_is_fetched(found):
    markup = re.sub(r"<script.*?</script>", "", page(found), flags=re.S)
    assert not re.findall(r"""(?:src|href)=["']?[^#"']|@import|url\(""", markup)
    assert "default-src 'none'" in markup


def test_another_s_file_is_not_overwritten(found, tmp_path):
    path = tmp_path / "thesis.html"
    path.write_text("years of work")
    with pytest.raises(UsageError, match="not a report"):
        write_page(found, path)
    assert path.read_text() == "years of work"
    write_page(found, tmp_path / "page.html")
    write_page(found, tmp_path / "page.html")  # its own, it may
    with pytest.raises(UsageError, match="no such directory"):
        write_page(found, tmp_path / "nowhere" / "page.html")
