"""The lexicon of the embedded corpus, and how its words inflect in both languages."""

import functools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Portuguese.

VOWELS = "aeiou"
PERSONS = ((1, False), (3, False), (1, True), (3, True))  # the order of every table of endings
ENDINGS = {
    "present": {"ar": "o a amos am", "er": "o e emos em", "ir": "o e imos em"},
    "preterite": {"ar": "ei ou amos aram", "er": "i eu emos eram", "ir": "i iu imos iram"},
    "imperfect": {"ar": "ava ava ávamos avam", "er": "ia ia íamos iam", "ir": "ia ia íamos iam"},
}
PARTICIPLES = {"ar": "ado", "er": "ido", "ir": "ido"}


def conjugate(infinitive: str, tense: str, person: int, plural: bool) -> str:
    """A Portuguese verb form; the second person, "você", has the forms of the third."""
    index = PERSONS.index((1 if person == 1 else 3, plural))
    irregular = lexicon().irregular.get((infinitive, tense))
    if irregular:
        return irregular[index]
    stem, theme = infinitive[:-2], infinitive[-2:]
    ending = ENDINGS[tense][theme].split()[index]
    return respell(stem, theme, ending) + ending


def respell(stem: str, theme: str, ending: str) -> str:
    """A stem that keeps its sound before an ending: ficar, fiquei; conhecer, conheço."""
    if theme == "ar" and ending[0] == "e":
        changes = {"c": "qu", "g": "gu", "ç": "c"}
    elif theme != "ar" and ending[0] in "oa":
        changes = {"c": "ç", "g": "j"}
    else:
        changes = {}
    return stem[:-1] + changes.get(stem[-1], stem[-1])


def participle(infinitive: str) -> str:
    """The masculine singular participle."""
    irregular = lexicon().irregular.get((infinitive, "participle"))
    return irregular[0] if irregular else infinitive[:-2] + PARTICIPLES[infinitive[-2:]]


def attach(infinitive: str, clitic: str) -> str:
    """An infinitive with "o", "a", "os" or "as" after it: comprar + a, comprá-la."""
    stem, vowel = infinitive[:-2], infinitive[-2]
    accented = {"a": "á", "e": "ê", "i": "í" if stem[-1] in "au" else "i"}[vowel]
    return f"{stem}{accented}-l{clitic}"


def pluralize(word: str) -> str:
    """The regular plural of a Portuguese noun or adjective."""
    accented = any(letter in "áâéêíóôú" for letter in word)
    if word.endswith("ão"):
        return word[:-2] + "ões"
    if word.endswith("ês"):
        return word[:-2] + "eses"
    if word.endswith("m"):
        return word[:-1] + "ns"
    if word.endswith(("r", "z")):
        return word + "es"
    if word.endswith("il"):
        return word[:-2] + ("eis" if accented else "is")
    if word.endswith("l"):
        vowel = word[-2] if accented else {"e": "é", "o": "ó"}.get(word[-2], word[-2])
        return word[:-2] + vowel + "is"
    return word if word.endswith("s") else word + "s"


def feminine(adjective: str) -> str:
    """The regular feminine of a Portuguese adjective."""
    if adjective.endswith("o"):
        return adjective[:-1] + "a"
    if adjective.endswith("ês"):
        return adjective[:-2] + "esa"
    return adjective + "a" if adjective.endswith("or") else adjective


# English.


def with_s(word: str) -> str:
    """The regular plural of an English noun, or third person of a verb."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def suffixed(verb: str, suffix: str) -> str:
    """An English verb with "ed" or "ing": carry, carried; hug, hugging; write, writing."""
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", verb):
        return verb + verb[-1] + suffix
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + suffix
    if suffix == "ed" and verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + suffix


def indefinite(following: str) -> str:
    """The article "a" or "an"."""
    if following.startswith(("uni", "use")):
        return "a"
    return "an" if following[0].lower() in VOWELS or following == "honest" else "a"


# Entries.


class Agreement(NamedTuple):
    """What verbs and adjectives agree with; the gender of "I", "you" and "we" is "", not known."""

    person: int
    plural: bool
    gender: str


Forms = tuple[str, str, str, str]  # masculine and feminine singular, masculine and feminine plural


def agreeing(forms: Sequence[str], agreement: Agreement) -> str:
    """The form that agrees in gender and number."""
    return forms[2 * agreement.plural + (agreement.gender == "f")]


class Noun(NamedTuple):
    """A noun; a mass noun has "-" for its plural."""

    kind: str
    english: tuple[str, str]
    portuguese: tuple[str, str]
    gender: str
    owned: bool = False


class Adjective(NamedTuple):
    """An adjective; an English comparative of "" is formed with "more"."""

    kinds: tuple[str, ...]
    english: str
    english_comparative: str
    portuguese: Forms
    portuguese_comparative: str


class Verb(NamedTuple):
    """A verb and what it governs: base, past, participle, gerund; infinitive; prepositions."""

    english: tuple[str, str, str, str]
    english_preposition: tuple[str, ...]
    portuguese: str
    portuguese_preposition: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    stative: bool


SER = Verb(("be", "was", "been", "being"), (), "ser", "", (), (), True)
ESTAR = SER._replace(portuguese="estar")
FICAR = SER._replace(portuguese="ficar")


class Pronoun(NamedTuple):
    """A personal pronoun, first in English, then in Portuguese; the oblique follows prepositions.

    Where no possessive is `owned`, as "meu" is, Portuguese has "dele" and the like after the noun.
    """

    agreement: Agreement
    owned: Forms | None
    subject: str
    object: str
    possessive: str
    nominative: str
    accusative: str
    dative: str
    oblique: str


class Lexicon(NamedTuple):
    """The entries of the data file, by class."""

    nouns: dict[str, list[Noun]]
    people: list[Noun]
    cities: list[tuple[str, str]]
    adjectives: dict[str, list[Adjective]]
    verbs: dict[str, list[Verb]]
    adverbs: dict[str, list[tuple[str, str]]]
    times: dict[str, list[tuple[str, str, str]]]
    quantities: list[tuple[str, list[str]]]  # masculine[, feminine], in the plural
    irregular: dict[tuple[str, str], list[str]]


def four_forms(entry: str) -> Forms:
    """The forms of "masculine[/feminine[/masculine plural]]"."""
    masculine, *given = entry.split("/")
    other = given[0] if given else feminine(masculine)
    plural = given[1] if len(given) > 1 else pluralize(masculine)
    return masculine, other, plural, pluralize(other)


def _noun(columns: list[str]) -> Noun:
    kind, english, portuguese, gender, *owned = columns
    singular, *given = english.split("/")
    plural = given[0] if given else with_s(singular)
    masculine, *forms = portuguese.split("/")
    other = forms[0] if forms else pluralize(masculine)
    return Noun(kind, (singular, plural), (masculine, other), gender, bool(owned))


def _adjective(columns: list[str]) -> Adjective:
    english, portuguese, kinds, *comparative = columns
    base, *given = english.split("/")
    return Adjective(
        tuple(kinds.split()), base, "".join(given), four_forms(portuguese), "".join(comparative)
    )


def _verb(columns: list[str]) -> Verb:
    english, portuguese, subjects, objects, aspect = columns
    forms, *preposition = english.split()
    base, *given = forms.split("/")
    past = given[0] if given else suffixed(base, "ed")
    past_participle = given[1] if len(given) > 1 else past
    gerund = given[2] if len(given) > 2 else suffixed(base, "ing")
    infinitive, _, portuguese_preposition = portuguese.partition(" ")
    return Verb(
        (base, past, past_participle, gerund),
        tuple(preposition),
        infinitive,
        portuguese_preposition,
        tuple(subjects.split()),
        tuple(objects.split()) if objects != "-" else (),
        aspect == "state",
    )


@functools.cache
def lexicon() -> Lexicon:
    """The lexicon, read from the file beside this one."""
    rows: dict[str, list[list[str]]] = defaultdict(list)
    path = Path(__file__).with_name("grammar_lexicon.tsv")
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, *columns = line.split("\t")
            rows[name].append(columns)
    nouns: dict[str, list[Noun]] = defaultdict(list)
    for columns in rows["noun"]:
        nouns[columns[0]].append(_noun(columns))
    adjectives: dict[str, list[Adjective]] = defaultdict(list)
    for name, *columns in rows["adjective"]:
        adjectives[name].append(_adjective(columns))
    times: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for tense, english, portuguese, links in rows["time"]:
        times[tense].append((english, portuguese, links))
    verb_classes = ("verb", "giving", "saying", "asking", "control", "modal")
    return Lexicon(
        nouns=dict(nouns),
        people=[Noun("human", (a, "-"), (b, "-"), gender) for a, b, gender in rows["person"]],
        cities=[(english, portuguese) for english, portuguese in rows["city"]],
        adjectives=dict(adjectives),
        verbs={name: [_verb(columns) for columns in rows[name]] for name in verb_classes},
        adverbs={name: [(a, b) for a, b in rows[name]] for name in ("manner", "preverb")},
        times=dict(times),
        quantities=[(english, portuguese.split("/")) for english, portuguese in rows["quantity"]],
        irregular={(verb, tense): forms.split() for verb, tense, forms in rows["irregular"]},
    )


# Choices: the entries that fit.


@functools.cache
def nouns_of(kinds: tuple[str, ...]) -> list[Noun]:
    """The nouns of these kinds."""
    return [noun for kind in kinds for noun in lexicon().nouns[kind]]


@functools.cache
def adjectives_of(classes: tuple[str, ...], kind: str, gendered: bool = True) -> list[Adjective]:
    """The adjectives that describe a noun of this kind; without gender, only the invariable."""
    return [
        adjective
        for name in classes
        for adjective in lexicon().adjectives[name]
        if kind in adjective.kinds
        and (gendered or adjective.portuguese[0] == adjective.portuguese[1])
    ]


@functools.cache
def verbs_of(subject: str, object: str = "", *, event: bool = False) -> list[Verb]:
    """The verbs that take such a subject, and such an object unless this is ""."""
    verbs = lexicon().verbs
    return [
        verb
        for verb in verbs["verb"] + ([] if object else verbs["giving"])
        if subject in verb.subjects
        and (not object or object in verb.objects)
        and not (event and verb.stative)
    ]


@functools.cache
def passive_verbs() -> list[Verb]:
    """The verbs of events with a direct object on both sides."""
    return [
        verb
        for verb in lexicon().verbs["verb"]
        if verb.objects
        and not (verb.stative or verb.english_preposition or verb.portuguese_preposition)
        and "human" in verb.subjects
    ]
