"""The page of attention, in a real browser: it says what it was given, and text stays text."""

import base64
import hashlib
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

    def dump(found: Attention, fragment: str, act: str = "") -> str:
        path, page = tmp_path / "attention.html", attention_page(found)
        if act:  # a script that does as a person would; the page's policy has to let it
            digest = base64.b64encode(hashlib.sha256(act.encode()).digest()).decode()
            page = page.replace("script-src ", f"script-src 'sha256-{digest}' ")
            page = page.replace("</body>", f"<script>{act}</script></body>")
        path.write_text(page)
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-gpu-sandbox"]
        command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=2000", "--dump-dom"]
        url = f"file://{quote(str(path))}#{fragment}"
        result = subprocess.run([*command, url], capture_output=True, text=True, timeout=120)
        return result.stdout

    return dump


def value(document: str) -> str:
    """The line below the controls; its words are each by itself, whichever way they are written."""
    line = re.search(r'<p id="value"[^>]*>(.*?)</p>', document, re.DOTALL)[1]
    words = re.fullmatch(r"<bdi>(.*?)</bdi>( → )<bdi>(.*?)</bdi>(: [\d.]+)", line, re.DOTALL)
    return html.unescape("".join(words.groups()) if words else line)


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


def test_the_pointer_shows_a_value_a_click_keeps_it_and_the_controls_choose(show):
    act = """
    const seen = [], line = document.getElementById("value");
    const cell = place => document.querySelector(`[data-cell="${place}"]`);
    const point = (target, type) => {
      target.dispatchEvent(new PointerEvent(type, {bubbles: true}));
      seen.push(line.textContent);
    };
    const choose = (id, value) => {
      const select = document.getElementById(id);
      select.value = value;
      select.dispatchEvent(new Event("change"));
    };
    point(cell("2,1"), "pointerover");
    point(cell("1,3"), "pointerover");
    point(document.getElementById("map"), "pointerleave");
    const steps = [() => choose("layer", "1"), () => choose("head", "2"),
                   () => cell("3,2").click(), () => choose("kind", "decoder")];
    addEventListener("hashchange", () => {
      seen.push(line.textContent + location.hash);
      if (steps.length) steps.shift()(); else document.title = JSON.stringify(seen);
    });
    choose("kind", "cross");
    """
    document = show(LOOKS, "kind=encoder&layer=2&head=1", act)
    maps, rest = LOOKS.maps, "Point at a cell for its value; click to keep it."
    assert json.loads(html.unescape(re.search("<title>(.*?)</title>", document)[1])) == [
        f"cat → The: {maps['encoder'][1, 0, 1, 0]:.4f}",
        f"The → sleeps.: {maps['encoder'][1, 0, 0, 2]:.4f}",
        rest,
        f"{rest}#kind=cross&layer=2&head=1",
        f"{rest}#kind=cross&layer=1&head=1",
        f"{rest}#kind=cross&layer=1&head=2",
        f"dorme. → cat: {maps['cross'][0, 1, 2, 1]:.4f}#kind=cross&layer=1&head=2&cell=3,2",
        f"{rest}#kind=decoder&layer=1&head=2",
    ]


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
