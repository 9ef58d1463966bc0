"""A page of heat maps that works from a file: kinds, layers and heads to choose from."""

import base64
import hashlib
import json
import re
from pathlib import Path

from nmt.analysis.attention import Attention

TEMPLATE = Path(__file__).with_name("attention.html")


def attention_page(looks: Attention) -> str:
    """Writes attention as a self-contained HTML page, which needs no network.

    What is shown is in the URL's fragment: `#kind=cross&layer=2&head=mean&cell=3,1`, counted from
    1, a cell by its row and column. Words reach the page as text and can never become markup: in
    the file every "<" of theirs is escaped, and the page runs no script but its own.

    Args:
      looks: of one sentence.
    """
    kinds = {
        kind: {
            "rows": looks.axes(kind)[0],
            "columns": looks.axes(kind)[1],
            "weights": weights.astype(float).round(4).tolist(),
        }
        for kind, weights in looks.maps.items()
    }
    # Inside a script element nothing but "<" can end it; "&" means nothing there.
    data = json.dumps(kinds).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, element in (("STYLE", "style"), ("SCRIPT", "script")):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        page = page.replace(f"{name}_HASH", digest)
    return page.replace("DATA", data)
