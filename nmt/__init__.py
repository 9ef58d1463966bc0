"""Neural machine translation in JAX."""

from nmt.config import Config
from nmt.decoding.requests import Sentence
from nmt.decoding.translation import Translation
from nmt.decoding.translator import Translator, ensemble, load

__all__ = ["Config", "Sentence", "Translation", "Translator", "ensemble", "load"]
__version__ = "0.1.0"
