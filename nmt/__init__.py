"""Neural machine translation in JAX."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.config import Config
    from nmt.decoding.loading import ensemble, load
    from nmt.decoding.requests import Sentence
    from nmt.decoding.translation import Translation
    from nmt.decoding.translator import Translator

__all__ = ["Config", "Sentence", "Translation", "Translator", "ensemble", "load"]
__version__ = "0.1.0"

_PLACES = {
    "Config": "config",
    "Sentence": "decoding.requests",
    "Translation": "decoding.translation",
    "Translator": "decoding.translator",
}


def __getattr__(name: str) -> Any:
    # What takes seconds to import is imported when it is asked for, so that the command line is
    # ready for Ctrl-C before.
    if name in __all__:
        return getattr(import_module(f"nmt.{_PLACES.get(name, 'decoding.loading')}"), name)
    if find_spec(f"nmt.{name}"):
        return import_module(f"nmt.{name}")
    raise AttributeError(f"module 'nmt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
