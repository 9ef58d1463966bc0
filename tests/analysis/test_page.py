"""The page of attention, in a real browser: it says what it was given, and text stays text."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from nmt.analysis.attention import Attention
from nmt.analysis.page import attention_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

HOSTILE = [
    "</script><script>document.title='broken'</script>",
    "<img src=x onerror=document.title='broken'>",
    "<!--",
    "&lt;b&gt;",
    "'\"`${1}\\u003c",
    "\u2028\u202e",
]


def looks(source: list[str], target: list[str]) -> Attention:
    rng = np.random.default_rng(0)

    def weights(rows: int, columns: int) -> np.ndarray:
        x = rng.random((2, 3, rows, columns))
        return x / x.sum(-1, keepdims=True)

    s, t = len(source), len(target)
    maps = {"encoder": weights(s, s), "decoder": weights(t, t), "cross": weights(t, s)}
    return Attention(source, target, maps)


LOOKS = looks(["The", "cat", "sleeps.", "</s>"], ["O", "gato", "dorme.", "já", "</s>"])


def test_the_file_holds_the_weights_and_no_markup_but_its_own():
    found = looks([*HOSTILE, "</s>"], [*HOSTILE, "</s>"])
    page = attention_page(found)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert "<" not in data
    kinds = json.loads(data)
    assert kinds["cross"]["columns"] == found.source
    assert kinds["decoder"]["columns"] == ["<s>", *found.target[:-1]]
    for kind, weights in found.maps.items():
        np.testing.assert_allclose(kinds[kind]["weights"], weights, atol=5e-5)
    assert page.count("<script") == 2
    assert not re.search(r"https?:|src=(?!x)|@import|url\(", page.replace(data, ""))


@pytest.fixture
def show(tmp_path):
    """Opens the page at a fragment; returns the document as the browser then has it."""
    if BROWSER is None:
        pytest.skip("no Chromium here")

    def dump(found: Attention, fragment: str) -> str:
        path = tmp_path / "attention.html"
        path.write_text(attention_page(found))
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-gpu-sandbox"]
        command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=2000", "--dump-dom"]
        url = f"file://{quote(str(path))}#{fragment}"
        result = subprocess.run([*command, url], capture_output=True, text=True, timeout=120)
        return result.stdout

    return dump


def value(document: str) -> str:
    return html.unescape(re.search(r'<p id="value"[^>]*>(.*?)</p>', document, re.DOTALL)[1])


def chosen(document: str) -> list[str]:
    return re.findall(r'data-cell="([\d,]+)"', " ".join(re.findall("<td[^>]*chosen.*?>", document)))


def words(document: str) -> tuple[list[str], list[str]]:
    """Rows and columns of the map that is shown."""
    body = re.search(r"<tbody>(.*?)</tbody>", document, re.DOTALL)[1]
    rows = re.findall(r"<tr><th[^>]*>(.*?)</th>", body, re.DOTALL)
    columns = re.findall(r"<span>(.*?)</span>", document, re.DOTALL)
    return list(map(html.unescape, rows)), list(map(html.unescape, columns))


@pytest.mark.parametrize("kind", ["cross", "encoder", "decoder"])
def test_a_fragment_chooses_kind_layer_head_and_cell(show, kind):
    document = show(LOOKS, f"kind={kind}&layer=2&head=3&cell=4,2")
    rows, columns = LOOKS.axes(kind)
    assert words(document) == (rows, columns)
    weight = LOOKS.maps[kind][1, 2, 3, 1]
    assert value(document) == f"{rows[3]} → {columns[1]}: {round(weight, 4):.4f}"
    assert chosen(document) == ["4,2"]
    colours = re.findall(r"background-color: rgb\((\d+), \d+, \d+\)", document)
    expected = np.rint(255 - 247 * LOOKS.maps[kind][1, 2].round(4)).ravel()
    np.testing.assert_allclose(np.array(colours, int), expected, atol=1)


def test_the_mean_of_heads_is_shown_first(show):
    document = show(LOOKS, "cell=1,1")
    weight = LOOKS.maps["encoder"][1].round(4).mean(0)[0, 0]
    assert value(document) == f"The → The: {weight:.4f}"


@pytest.mark.parametrize(
    "fragment",
    [
        "",
        "kind=constructor&layer=9&head=-1&cell=9,9",
        "kind=__proto__&layer=NaN&head=1e0&cell=1",
        "layer=1.5&cell=0,1&cell=<b>",
        "cell=1,1,1",
        "%",
    ],
)
def test_a_fragment_of_nonsense_shows_the_map(show, fragment):
    document = show(LOOKS, fragment)
    assert words(document) == (LOOKS.source, LOOKS.source)
    assert value(document).startswith("Point at a cell")
    assert chosen(document) == []


def test_text_never_becomes_markup(show):
    found = looks([*HOSTILE, "</s>"], [*HOSTILE, "</s>"])
    document = show(found, "kind=cross&layer=1&head=1&cell=1,2")
    assert "<title>Attention</title>" in document
    assert "<img" not in document
    assert words(document) == (found.target, found.source)
    assert value(document).startswith(f"{HOSTILE[0]} → {HOSTILE[1]}: 0.")


def test_the_page_runs_nothing_but_its_own_script(show, tmp_path):
    honest = attention_page(LOOKS)
    changed = honest.replace("</body>", "<script>document.title = 'broken'</script></body>")
    (tmp_path / "changed.html").write_text(changed)
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    url = f"file://{quote(str(Path(tmp_path / 'changed.html')))}"
    result = subprocess.run(
        [*command, f"--user-data-dir={tmp_path}", url], capture_output=True, text=True, timeout=120
    )
    assert "<title>Attention</title>" in result.stdout
    assert "Point at a cell" in result.stdout
