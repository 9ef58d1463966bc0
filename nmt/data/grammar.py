"""An English-Portuguese corpus from a grammar, with gold word alignments.

A seeded generator derives both sides of a sentence pair together: every phrase is a pair of word
lists, composed in parallel, and what English leaves open is decided by one rule:

- A noun has one gender: "the nurse" is "a enfermeira". An adjective that describes "I", "you" or
  "we" has the same form in both genders.
- "is" is "está" before states and places, "fica" before the place of a building, otherwise "é".
- A past is a preterite for events and an imperfect for states; "used to" is an imperfect.
- "you" is "você". "it" and "they" have their antecedent in the same sentence.
- "I", "we" and "it" are dropped; but "eu" and "nós" stay where a clitic would open the clause.

The alignments follow Och & Ney (2003), "A Systematic Comparison of Various Statistical Alignment
Models", Computational Linguistics 29(1), with *sure* links and *possible* ones. The alignment error
rate takes as its P the union of both, since `Pair.possible` lists only those that are not sure.

- Sure: content words, modals, and function words that correspond one to one ("this"-"esta",
  "with"-"com"), and punctuation.
- Possible: auxiliaries ("does", "will"-"vai"); "to" of infinitives; a preposition or an article of
  one side only ("likes"-"gosta *de*", "his house"-"*a* casa dele"); dropped pronouns
  ("I"-"compro"); the second half of a contraction ("in *the*"-"na"), unless it is a pronoun
  ("with *me*"-"comigo") or the first half has no sure link ("likes *the*"-"gosta do").
"""

import functools
import itertools
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

WORD = re.compile(r"\w+(?:-\w+)*|'s|[^\w\s]")


class Pair(NamedTuple):
    """A sentence, its translation and their alignment over `words` of both, counted from 0."""

    source: str
    target: str
    sure: tuple[tuple[int, int], ...]
    possible: tuple[tuple[int, int], ...]


class Splits(NamedTuple):
    """Three corpora without a common sentence."""

    train: tuple[Pair, ...]
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]


def words(text: str) -> list[str]:
    """Words and punctuation marks of a text: what the alignments index."""
    return WORD.findall(text)


def generate(sizes: tuple[int, int, int] = (20_000, 500, 500), seed: int = 0) -> Splits:
    """The corpus of a seed, the same on every platform; no two of its pairs share a source.

    Args:
      sizes: the numbers of pairs in train, dev and test.
      seed: of the only random generator that is used.
    """
    grammar = Grammar(random.Random(seed))
    pairs: dict[str, Pair] = {}
    while len(pairs) < sum(sizes):
        pair = grammar.pair()
        pairs.setdefault(pair.source, pair)
    corpus = tuple(pairs.values())
    train, dev = sizes[0], sizes[0] + sizes[1]
    return Splits(corpus[:train], corpus[train:dev], corpus[dev:])


# ------------------------------------------------------------------------------------- morphology

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


# ---------------------------------------------------------------------------------------- lexicon


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


# -------------------------------------------------------------------------------- closed classes

MODALS = ("can", "must")
OPERATORS = ("am", "is", "are", "was", "were", "do", "does", "did", "will", *MODALS)

DEFINITE = ("o", "a", "os", "as")
THIS = ("este", "esta", "estes", "estas")
THAT = ("aquele", "aquela", "aqueles", "aquelas")
DETERMINERS = {  # of a singular and a plural noun
    "the": (("the", "the"), DEFINITE),
    "this": (("this", "these"), THIS),
    "that": (("that", "those"), THAT),
}
INDEFINITE = ("um", "uma")

SPEAKER, YOU, WE, HE, SHE, THEY_MASCULINE, THEY_FEMININE = (
    Pronoun(Agreement(person, plural, gender), owned, *forms.split())
    for person, plural, gender, forms, owned in (
        (1, False, "", "I me my eu me me mim", four_forms("meu/minha")),
        (2, False, "", "you you your você o lhe você", four_forms("seu/sua")),
        (1, True, "", "we us our nós nos nos nós", four_forms("nosso/nossa")),
        (3, False, "m", "he him his ele o lhe ele", None),
        (3, False, "f", "she her her ela a lhe ela", None),
        (3, True, "m", "they them their eles os lhes eles", None),
        (3, True, "f", "they them their elas as lhes elas", None),
    )
)
SPEAKERS = (SPEAKER, YOU, WE)  # whose possessives and pronouns need no antecedent
SUBJECTS = (*SPEAKERS, HE, SHE)
PEOPLE = {pronoun.agreement: pronoun for pronoun in (*SUBJECTS, THEY_MASCULINE, THEY_FEMININE)}

CONTRACTED_PRONOUNS = ("ele", "ela", "eles", "elas")
CONTRACTIONS = {
    ("com", "mim"): "comigo",
    ("com", "nós"): "conosco",
    **{("a", word): form for word, form in zip(DEFINITE, ("ao", "à", "aos", "às"), strict=True)},
    **{("a", word): "à" + word[1:] for word in THAT},
    **{("por", word): "pel" + word for word in DEFINITE},
    **{
        (preposition, word): initial + word
        for preposition, initial in (("de", "d"), ("em", "n"))
        for word in (*DEFINITE, *THIS, *THAT, *CONTRACTED_PRONOUNS)
    },
}

# English, Portuguese, links.
NEAR = (("near", "perto de", "0-0 0?1"), ("far from", "longe de", "0-0 1-1"))
BESIDE = (
    *NEAR,
    ("behind", "atrás de", "0-0 0?1"),
    ("in front of", "em frente a", "0-0 1-1 2-2"),
)
CONJUNCTIONS = {
    "and": ("and", "e"),
    "but": (", but", ", mas", "0-0 1-1"),
    "because": ("because", "porque"),
    "when": ("when", "quando"),
    "while": ("while", "enquanto"),
}
PAST_TENSES = ("past", "imperfect", "past progressive")
TENSES_OF = dict.fromkeys(("when", "while"), ("past", "past progressive"))
INFINITIVES = (  # conjunction, whether English has a gerund
    (("to", "para"), False),
    (("before", "antes de", "0-0 0?1"), True),
    (("after", "depois de", "0-0 0?1"), True),
    (("without", "sem"), True),
)
ON = (("on", "em", "0-0"), ("under", "debaixo de", "0-0 0?1"))
COMPANY = (("with", "com", "0-0"), ("without", "sem", "0-0"))
QUESTION_ADVERBS = (
    ("where", "onde", "0-0"),
    ("when", "quando", "0-0"),
    ("why", "por que", "0-0 0-1"),
    ("how", "como", "0-0"),
)

# Kinds of nouns.
THINGS = ("object", "furniture", "clothes", "text", "vehicle", "craft", "food")
PLACES = ("building", "area", "landscape")
DESCRIBED = (*THINGS, "animal", "drink", "matter", *PLACES)
LOCATED = ("human", "animal", "object", "clothes", "food", *PLACES)

# How likely each alternative is, in percent.
ADJUNCTS = {"none": 46, "time": 20, "manner": 9, "place": 13, "company": 6, "infinitive": 6}
COORDINATIONS = {"and": 20, "but": 20, "because": 20, "predicates": 20, "when": 10, "while": 10}
EVENT_TENSES = {
    "past": 34,
    "present": 20,
    "future": 20,
    "imperfect": 8,
    "progressive": 10,
    "past progressive": 8,
}
DEFINITE_DETERMINERS = {"the": 80, "this": 10, "that": 10}
SPECIFIC_DETERMINERS = {"the": 50, "this": 10, "that": 10, "possessive": 30}
ALL_DETERMINERS = {
    "the": 44,
    "this": 6,
    "that": 6,
    "indefinite": 20,
    "possessive": 14,
    "genitive": 10,
}
RELATIVE_CLAUSES = {0: 0.26, 1: 0.18}  # by depth, as a probability


# ---------------------------------------------------------------------------- words, verb groups


@dataclass(eq=False, slots=True)
class Word:
    """A word of either side; a Portuguese word holds the English words that it renders."""

    text: str
    sure: tuple["Word", ...] = ()
    possible: tuple["Word", ...] = ()


class Phrase(NamedTuple):
    """Two renderings of one phrase."""

    english: list[Word]
    portuguese: list[Word]


def linked(english: str, portuguese: str, links: str = "0-0") -> Phrase:
    """A fixed phrase; "0-1" links its words 0 and 1 surely, "0?1" possibly."""
    phrase = Phrase(
        [Word(text) for text in english.split()], [Word(text) for text in portuguese.split()]
    )
    for link in links.split():
        source, target = phrase.english[int(link[0])], phrase.portuguese[int(link[2])]
        if link[1] == "-":
            target.sure += (source,)
        else:
            target.possible += (source,)
    return phrase


def joined(*phrases: Phrase) -> Phrase:
    """Phrases in the same order on both sides."""
    return Phrase(
        [word for phrase in phrases for word in phrase.english],
        [word for phrase in phrases for word in phrase.portuguese],
    )


def english_finite(verb: Verb, tense: str, subject: Agreement, support: bool) -> list[str]:
    """The words of an English verb; `support` asks for "do" where there is no operator."""
    base, past, _, gerund = verb.english
    first, third = ((subject.person, subject.plural) == (person, False) for person in (1, 3))
    if tense.startswith("past"):
        be, do = "was" if first or third else "were", "did"
    else:
        be, do = "am" if first else "is" if third else "are", "does" if third else "do"
    if tense == "future":
        return ["will", base]
    if tense == "imperfect":
        return ["used", "to", base]
    if tense.endswith("progressive"):
        return [be, gerund]
    if base in ("be", *MODALS):
        return [be if base == "be" else base]
    if support:
        return [do, base]
    return [past if tense == "past" else with_s(base) if third else base]


def portuguese_finite(verb: Verb, tense: str, subject: Agreement) -> list[str]:
    """The words of a Portuguese verb, in the tense that renders the English one."""
    person, plural, _ = subject
    if tense == "future":
        return [conjugate("ir", "present", person, plural), verb.portuguese]
    if tense.endswith("progressive"):
        auxiliary = "imperfect" if tense.startswith("past") else "present"
        stem = verb.portuguese[:-1]
        return [conjugate("estar", auxiliary, person, plural), stem + "ndo"]
    if tense == "past":
        tense = "imperfect" if verb.stative else "preterite"
    return [conjugate(verb.portuguese, tense, person, plural)]


def verb_group(
    verb: Verb,
    tense: str,
    subject: Agreement,
    *,
    support: bool = False,
    control: Verb | None = None,
    passive: bool = False,
) -> Phrase:
    """The verb and its auxiliaries; the last word on each side is the verb itself.

    Args:
      verb: its own form is finite, or what `control` or `passive` asks for.
      tense: one of those of `english_finite`.
      subject: what the group agrees with.
      support: for negation and inversion: "does not buy", "does he buy".
      control: a verb that takes this one as its infinitive: "wants to buy".
      passive: with the participle: "was bought".
    """
    head = control or (SER._replace(stative=False) if passive else verb)
    english = [Word(text) for text in english_finite(head, tense, subject, support)]
    portuguese = [Word(text) for text in portuguese_finite(head, tense, subject)]
    if not passive:
        portuguese[-1].sure = (english[-1],)
    # Auxiliaries render auxiliaries, or are rendered by the verb's form.
    auxiliaries = tuple(english if passive else english[:-1])
    for word in portuguese if passive else portuguese[:-1] or portuguese:
        word.possible = auxiliaries
    if passive:
        english.append(Word(verb.english[2]))
        form = agreeing(four_forms(participle(verb.portuguese)), subject)
        portuguese.append(Word(form, sure=(english[-1],)))
    elif control:
        infinitive = infinitive_phrase(verb, control)
        english += infinitive.english
        portuguese += infinitive.portuguese
    return Phrase(english, portuguese)


def infinitive_phrase(verb: Verb, control: Verb) -> Phrase:
    """The infinitive that a verb takes, with its prepositions."""
    to = [Word(text) for text in control.english_preposition]
    base = Word(verb.english[0])
    infinitive = Word(verb.portuguese, sure=(base,), possible=tuple(to))
    prepositions = control.portuguese_preposition.split()
    return Phrase(
        [*to, base], [*(Word(text, possible=tuple(to)) for text in prepositions), infinitive]
    )


def government(verb: Verb, group: Phrase) -> Phrase:
    """The prepositions that a verb governs; where one side has none, they belong to its verb."""
    english = [Word(text) for text in verb.english_preposition]
    portuguese = [Word(text) for text in verb.portuguese_preposition.split()]
    if english and portuguese:
        portuguese[0].sure = (english[-1],)
        group.portuguese[-1].sure += tuple(english[:-1])
    elif portuguese:
        portuguese[0].possible = (group.english[-1],)
    else:
        group.portuguese[-1].possible += tuple(english)
    return Phrase(english, portuguese)


class Predicate(NamedTuple):
    """A verb phrase: what follows a subject, and what may have to go before it."""

    operator: list[Word]  # the English word that goes before the subject in a question
    fronted: list[Word]  # the Portuguese preposition that goes before "que" and "quem"
    phrase: Phrase
    finite: Word
    opens_with_clitic: bool


def predicate(
    group: Phrase,
    complement: Phrase,
    *,
    preverb: Phrase | None = None,
    clitic: Word | None = None,
    inverted: bool = False,
    fronted: Sequence[Word] = (),
) -> Predicate:
    """A verb group with its complement, its negation or adverb, and its clitic.

    A clitic stands before the verb, as in Brazil; "o", "a", "os" and "as" follow an infinitive.
    """
    english, portuguese = list(group.english), list(group.portuguese)
    finite = portuguese[0]
    if clitic and len(portuguese) == 1:
        portuguese.insert(0, clitic)
    elif clitic and clitic.text in DEFINITE:
        infinitive = portuguese.pop()
        text = attach(infinitive.text, clitic.text)
        portuguese.append(Word(text, infinitive.sure + clitic.sure, infinitive.possible))
    elif clitic:
        portuguese.insert(-1, clitic)
    operator = [english.pop(0)] if inverted else []
    if preverb:
        has_operator = not inverted and english[0].text in OPERATORS
        if has_operator and (english[0].text, preverb.english[0].text) == ("can", "not"):
            english[0].text = "cannot"
            preverb.portuguese[0].sure = (english[0],)
        else:
            english[has_operator:has_operator] = preverb.english
        portuguese = preverb.portuguese + portuguese
    return Predicate(
        operator,
        list(fronted),
        Phrase(english + complement.english, portuguese + complement.portuguese),
        finite,
        clitic is not None and portuguese[0] is clitic,
    )


class Use(NamedTuple):
    """A verb, the tense of its clause, and the verb that takes it as an infinitive, if any."""

    verb: Verb
    tense: str
    control: Verb | None = None


class Nominal(NamedTuple):
    """A noun phrase or a pronoun."""

    phrase: Phrase
    agreement: Agreement
    kind: str
    pronoun: Pronoun | None = None


def clause(subject: Nominal, verbal: Predicate, opening: Phrase | None = None) -> Phrase:
    """A subject and its predicate, after a conjunction or question word.

    "I", "we" and "it" are dropped, but "eu" and "nós" stand before a clitic.
    """
    opening = opening or Phrase([], [])
    english, portuguese = subject.phrase
    droppable = subject.pronoun and (subject.agreement.person == 1 or subject.kind != "human")
    if droppable and not verbal.opens_with_clitic:
        verbal.finite.possible += tuple(english)
        portuguese = []
    return Phrase(
        opening.english + verbal.operator + english + verbal.phrase.english,
        verbal.fronted + opening.portuguese + portuguese + verbal.phrase.portuguese,
    )


def determined(name: str, agreement: Agreement) -> Phrase:
    """The determiner "the", "this" or "that" that agrees."""
    english, portuguese = DETERMINERS[name]
    return linked(english[agreement.plural], agreeing(portuguese, agreement))


def of_pronoun(pronoun: Pronoun, kind: str = "human") -> Nominal:
    """A pronoun as a subject."""
    word = Word(pronoun.subject)
    phrase = Phrase([word], [Word(pronoun.nominative, sure=(word,))])
    return Nominal(phrase, pronoun.agreement, kind, pronoun)


def antecedent_pronoun(nominal: Nominal) -> Pronoun:
    """The pronoun that stands for a nominal: "he", "she", "they"; of a thing "it", "they"."""
    if nominal.pronoun:
        return nominal.pronoun
    pronoun = PEOPLE[nominal.agreement]
    if nominal.kind != "human" and not nominal.agreement.plural:
        pronoun = pronoun._replace(subject="it", object="it", possessive="its")
    return pronoun


# ------------------------------------------------------------------------------------ realization


def contracted(portuguese: list[Word]) -> list[Word]:
    """The words with "em a" written "na", and so on."""
    result: list[Word] = []
    for word in portuguese:
        text = CONTRACTIONS.get((result[-1].text, word.text)) if result else None
        if text is None:
            result.append(word)
            continue
        first = result.pop()
        sure, possible = first.sure, first.possible + word.possible
        if not first.sure or word.text in (*CONTRACTED_PRONOUNS, "mim", "nós"):
            sure += word.sure
        else:
            possible += word.sure
        result.append(Word(text, sure, possible))
    return result


def spelled(texts: list[str]) -> str:
    """A sentence: its words with spaces, its first letter a capital."""
    text = re.sub(r" (?=[.,?]|'s)", "", " ".join(texts))
    return text[0].upper() + text[1:]


def realized(sentence: Phrase, mark: str) -> Pair:
    """The pair of a sentence that ends in a mark, with the links as indices."""
    end = linked(mark, mark)
    english, portuguese = joined(sentence, end)
    portuguese = contracted(portuguese)
    for word, following in itertools.pairwise(english):
        if word.text == "a":
            word.text = indefinite(following.text)
    index = {id(word): position for position, word in enumerate(english)}
    sure = {(index[id(s)], t) for t, word in enumerate(portuguese) for s in word.sure}
    possible = {(index[id(s)], t) for t, word in enumerate(portuguese) for s in word.possible}
    return Pair(
        spelled([word.text for word in english]),
        spelled([word.text for word in portuguese]),
        tuple(sorted(sure)),
        tuple(sorted(possible - sure)),
    )


# ---------------------------------------------------------------------------------------- grammar


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


def with_object(prepositions: Phrase, object: Nominal) -> tuple[Phrase, Word | None]:
    """The object of a verb with what governs it, and its clitic, if it is one."""
    if object.pronoun is None:
        return joined(prepositions, object.phrase), None
    english = Word(object.pronoun.object)
    if prepositions.portuguese:
        pronoun = Phrase([english], [Word(object.pronoun.oblique, sure=(english,))])
        return joined(prepositions, pronoun), None
    clitic = Word(object.pronoun.accusative, sure=(english,))
    return Phrase([*prepositions.english, english], []), clitic


class Grammar:
    """Derives sentences; its state is that of the random generator."""

    def __init__(self, random_generator: random.Random) -> None:
        self.lexicon = lexicon()
        # Of the generator only `random()` is used: its stream is the same in every Python.
        self.random = random_generator.random
        self.statements = {
            self.statement: 24,
            self.copular: 15,
            self.passive: 9,
            self.existential: 5,
            self.reported_statement: 13,
            self.reported_question: 8,
            self.coordination: 15,
            self.antecedent: 8,
            self.compound: 3,
        }
        self.reported = {
            self.statement: 35,
            self.copular: 20,
            self.passive: 10,
            self.coordination: 35,
        }
        self.questions = {
            self.yes_no_question: 30,
            self.adverb_question: 24,
            self.object_question: 24,
            self.subject_question: 10,
            self.where_question: 12,
        }

    def pair(self) -> Pair:
        """A random pair."""
        if self.chance(0.2):
            return realized(self.weighted(self.questions)(), "?")
        return realized(self.weighted(self.statements)(), ".")

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def choose(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[int(self.random() * len(items))]

    def weighted(self, weights: Mapping[T, int]) -> T:
        """One of the keys; the values are its chances in percent."""
        point = 100 * self.random()
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        raise ValueError(f"weights add up to {sum(weights.values())}, expected 100")

    # Noun phrases.

    def subject(self, depth: int = 0) -> Nominal:
        """A subject of any kind, mostly a person."""
        kinds = self.weighted({("human",): 86, ("animal",): 9, THINGS: 5})
        return self.human(depth) if "human" in kinds else self.noun_phrase(kinds, depth)

    def human(self, depth: int = 0) -> Nominal:
        """A person or persons, as a subject."""
        form = self.weighted({"noun": 48, "name": 14, "two": 6, "pronoun": 32})
        if form == "pronoun":
            return of_pronoun(self.choose(SUBJECTS))
        if form == "two":
            return self.two_people()
        return self.person() if form == "name" else self.noun_phrase(("human",), depth)

    def person(self) -> Nominal:
        """A person's name."""
        noun = self.choose(self.lexicon.people)
        phrase = linked(noun.english[0], noun.portuguese[0])
        return Nominal(phrase, Agreement(3, False, noun.gender), "human")

    def two_people(self) -> Nominal:
        """Two people; feminine where both are."""
        first, second = self.person(), self.noun_phrase(("human",), depth=2)
        both_feminine = first.agreement.gender == second.agreement.gender == "f"
        return Nominal(
            joined(first.phrase, linked("and", "e"), second.phrase),
            Agreement(3, True, "f" if both_feminine else "m"),
            "human",
        )

    def noun_phrase(
        self,
        kinds: tuple[str, ...],
        depth: int = 0,
        *,
        owner: Agreement | None = None,
        determiners: Mapping[str, int] = ALL_DETERMINERS,
    ) -> Nominal:
        """A noun with its determiner and what describes it.

        Args:
          kinds: of which the noun is.
          depth: of clauses; the deeper, the shorter is the phrase.
          owner: whose a possessive may be, beside "my", "your" and "our".
          determiners: the classes of determiner to choose from.
        """
        noun = self.choose(nouns_of(kinds))
        plural = noun.english[1] != "-" and self.chance(0.3)
        agreement = Agreement(3, plural, noun.gender)
        head = linked(noun.english[plural], noun.portuguese[plural])
        determiner = self.weighted(determiners)
        after: list[Word] = []
        if determiner == "indefinite":
            before = self.indefinite(agreement, mass=noun.english[1] == "-")
        elif determiner == "possessive" and noun.owned:
            before, after = self.possessive(agreement, owner)
        elif determiner == "genitive" and noun.owned and depth < 2:
            before, after = self.genitive(agreement)
        else:
            determiner = determiner if determiner in DETERMINERS else "the"
            before = determined(determiner, agreement)
        ordinal = determiner == "the" and not plural
        front, adjective = self.adjectives(noun, agreement, ordinal=ordinal)
        phrase = Phrase(
            before.english + front.english + adjective.english + head.english,
            before.portuguese + front.portuguese + head.portuguese + adjective.portuguese + after,
        )
        nominal = Nominal(phrase, agreement, noun.kind)
        if determiner in ("the", "indefinite") and self.chance(RELATIVE_CLAUSES.get(depth, 0.0)):
            phrase = joined(phrase, self.relative(nominal, depth + 1))
        return nominal._replace(phrase=phrase)

    def indefinite(self, agreement: Agreement, *, mass: bool) -> Phrase:
        """An article, a numeral or the like, or nothing before a mass noun."""
        if mass:
            return Phrase([], [])
        if not agreement.plural:
            return linked("a", agreeing(INDEFINITE, agreement))
        english, portuguese = self.choose(self.lexicon.quantities)
        return linked(english, portuguese[-1 if agreement.gender == "f" else 0])

    def possessive(
        self, agreement: Agreement, owner: Agreement | None
    ) -> tuple[Phrase, list[Word]]:
        """A possessive, and what goes after the Portuguese noun: "dele", "dela"."""
        pronoun = PEOPLE[owner] if owner and self.chance(0.6) else self.choose(SPEAKERS)
        english = Word(pronoun.possessive)
        if pronoun.owned:
            return Phrase(
                [english], [Word(agreeing(pronoun.owned, agreement), sure=(english,))]
            ), []
        article = Word(agreeing(DEFINITE, agreement), possible=(english,))
        return Phrase([english], [article]), [Word("d" + pronoun.oblique, sure=(english,))]

    def genitive(self, agreement: Agreement) -> tuple[Phrase, list[Word]]:
        """A possessor: "Maria's" before the English noun, "de Maria" after the Portuguese one."""
        owner = self.person()
        if self.chance(0.6):
            noun = self.choose(nouns_of(("human",)))
            owner_agreement = Agreement(3, False, noun.gender)
            name = linked(noun.english[0], noun.portuguese[0])
            owner = Nominal(
                joined(determined("the", owner_agreement), name), owner_agreement, "human"
            )
        mark = Word("'s")
        article = Word(agreeing(DEFINITE, agreement), possible=(mark,))
        return (
            Phrase([*owner.phrase.english, mark], [article]),
            [Word("de", sure=(mark,)), *owner.phrase.portuguese],
        )

    def adjectives(
        self, noun: Noun, agreement: Agreement, *, ordinal: bool
    ) -> tuple[Phrase, Phrase]:
        """An adjective before the noun on both sides, and one that follows the Portuguese noun."""
        front = adjective = Phrase([], [])
        if self.chance(0.10):
            classes = ("front", "ordinal") if ordinal else ("front",)
            front = self.adjective(adjectives_of(classes, noun.kind), agreement)
        if self.chance(0.06 if front.english else 0.22):
            adjective = self.adjective(
                adjectives_of(("quality", "state", "type"), noun.kind), agreement
            )
        return front, adjective

    def adjective(self, adjectives: Sequence[Adjective], agreement: Agreement) -> Phrase:
        """One of the adjectives, if there are any."""
        if not adjectives:
            return Phrase([], [])
        adjective = self.choose(adjectives)
        return linked(adjective.english, agreeing(adjective.portuguese, agreement))

    def relative(self, antecedent: Nominal, depth: int) -> Phrase:
        """A clause like "who sold the car" or "that Maria likes" ("de que Maria gosta")."""
        if verbs_of(antecedent.kind) and self.chance(0.5):
            pronoun = linked("who" if antecedent.kind == "human" else "that", "que")
            return joined(pronoun, self.verbal(antecedent, self.use(antecedent.kind), depth).phrase)
        subject = self.human(depth=2)
        use = self.use("human", object_kind=antecedent.kind)
        gapped = self.verbal(subject, use, depth, gap=True)
        personal = antecedent.kind == "human" and gapped.fronted
        return clause(subject, gapped, linked("that", "quem" if personal else "que"))

    # Predicates.

    def use(self, subject_kind: str, *, object_kind: str = "", tense: str = "") -> Use:
        """A verb for such a subject and object, and a tense for it.

        Args:
          subject_kind: the kind of the subject.
          object_kind: the kind of an object that stands elsewhere, if there is one.
          tense: the tense, if it is given.
        """
        if subject_kind == "human" and not (object_kind or tense) and self.chance(0.2):
            control = self.choose(self.lexicon.verbs["control"] + self.lexicon.verbs["modal"])
            verb = self.choose(verbs_of("human", event=True))
            past = control.english[0] not in MODALS and self.chance(0.5)
            return Use(verb, "past" if past else "present", control)
        verb = self.choose(
            verbs_of(subject_kind, object_kind, event=tense not in ("", "present", "past"))
        )
        if not tense and verb.stative:
            tense = self.weighted({"present": 55, "past": 45})
        return Use(verb, tense or self.weighted(EVENT_TENSES))

    def verbal(
        self,
        subject: Nominal,
        use: Use,
        depth: int = 0,
        *,
        inverted: bool = False,
        gap: bool = False,
        object: Nominal | None = None,
        bare: bool = False,
    ) -> Predicate:
        """A predicate with a lexical verb.

        Args:
          subject: what the verb agrees with.
          use: the verb and its tense.
          depth: of clauses.
          inverted: for an English question.
          gap: whether the object stands elsewhere.
          object: the object, if it is given.
          bare: without negation, adverb, time, place and the like.
        """
        verb, tense, control = use
        if inverted and tense == "imperfect":
            tense = "past"  # "did he use to" is hardly written
        preverb = None if bare or inverted else self.preverb(use)
        negative = preverb is not None and preverb.portuguese[0].text == "não"
        group = verb_group(
            verb, tense, subject.agreement, support=inverted or negative, control=control
        )
        prepositions = government(verb, group)
        complement, clitic = Phrase(prepositions.english, []), None
        if not gap and verb in self.lexicon.verbs["giving"]:
            complement, clitic = self.gift(subject, use, group, depth)
        elif not gap and verb.objects:
            object = object or self.object(subject, use, depth)
            complement, clitic = with_object(prepositions, object)
        if not bare and not verb.stative:
            complement = joined(complement, self.adjunct(subject, tense, depth))
        return predicate(
            group,
            complement,
            preverb=preverb,
            clitic=clitic,
            inverted=inverted,
            fronted=prepositions.portuguese if gap else (),
        )

    def preverb(self, use: Use) -> Phrase | None:
        """A negation, an adverb that stands before the Portuguese verb, or nothing."""
        if use.tense != "imperfect" and self.chance(0.16):
            return linked("not", "não")
        if use.tense in ("present", "past") and not use.control and self.chance(0.12):
            return linked(*self.choose(self.lexicon.adverbs["preverb"]))
        return None

    def object(self, subject: Nominal, use: Use, depth: int) -> Nominal:
        """An object: a noun phrase, a name, or "me", "us", "him", "her"."""
        kinds = use.verb.objects
        if "human" in kinds and self.chance(0.35):
            if use.tense.endswith("progressive") or self.chance(0.4):
                return self.person()
            return of_pronoun(self.other_person(subject))
        return self.noun_phrase(kinds, depth, owner=subject.agreement)

    def other_person(self, subject: Nominal) -> Pronoun:
        """A pronoun for someone who is not the subject."""
        first = subject.agreement.person == 1
        return self.choose((HE, SHE) if first else (SPEAKER, WE, HE, SHE))

    def gift(
        self, subject: Nominal, use: Use, group: Phrase, depth: int
    ) -> tuple[Phrase, Word | None]:
        """What is given to whom: "gives the boy a book" is "dá um livro ao menino"."""
        gift = self.noun_phrase(use.verb.objects, depth + 1, owner=subject.agreement).phrase
        order = self.weighted({"to": 40, "double": 30, "pronoun": 30})
        if order == "pronoun" and not use.tense.endswith("progressive"):
            pronoun = self.other_person(subject)
            receiver = Word(pronoun.object)
            clitic = Word(pronoun.dative, sure=(receiver,))
            return Phrase([receiver, *gift.english], gift.portuguese), clitic
        person = self.person() if self.chance(0.3) else self.noun_phrase(("human",), depth=2)
        if order == "to":
            return joined(gift, linked("to", "a"), person.phrase), None
        to = Word("a", possible=(group.english[-1],))
        english, portuguese = person.phrase
        return Phrase(english + gift.english, [*gift.portuguese, to, *portuguese]), None

    def adjunct(self, subject: Nominal, tense: str, depth: int) -> Phrase:
        """A time, a manner, a place, company or a purpose, or nothing."""
        kind = self.weighted(ADJUNCTS)
        if kind == "time":
            return self.time(tense)
        if kind == "none" or subject.kind != "human":
            return Phrase([], [])
        if kind == "manner":
            return linked(*self.choose(self.lexicon.adverbs["manner"]))
        if kind == "place":
            return self.place(subject.kind)
        return self.company(subject) if kind == "company" else self.infinitive(subject, depth)

    def time(self, tense: str) -> Phrase:
        """A time that goes with the tense, if there is one."""
        times = self.lexicon.times.get(tense)
        return linked(*self.choose(times)) if times else Phrase([], [])

    def place(self, kind: str) -> Phrase:
        """Where a person, an animal, a thing or a building is."""
        if kind in PLACES:
            return self.located(NEAR, PLACES)
        if kind not in ("human", "animal"):
            return self.located(ON, ("furniture",))
        where = self.weighted({"in": 50, "city": 30, "beside": 20})
        if where == "beside":
            return self.located(BESIDE, PLACES)
        if where == "in":
            return self.located((("in", "em", "0-0"),), ("building", "area"))
        english, portuguese = self.choose(self.lexicon.cities)
        article = "0?0 0-1" if " " in portuguese else "0-0"
        return joined(linked("in", "em"), linked(english, portuguese, article))

    def located(
        self, prepositions: Sequence[tuple[str, str, str]], kinds: tuple[str, ...]
    ) -> Phrase:
        """A preposition and the place of one of these kinds."""
        preposition = linked(*self.choose(prepositions))
        return joined(
            preposition, self.noun_phrase(kinds, depth=2, determiners=DEFINITE_DETERMINERS).phrase
        )

    def company(self, subject: Nominal) -> Phrase:
        """Someone with or without whom."""
        preposition = linked(*self.choose(COMPANY))
        if self.chance(0.4):
            person = of_pronoun(self.other_person(subject))
        else:
            person = self.person() if self.chance(0.4) else self.noun_phrase(("human",), depth=2)
        return with_object(preposition, person)[0]

    def infinitive(self, subject: Nominal, depth: int) -> Phrase:
        """A clause like "to buy the book" or "before buying the book"."""
        conjunction, gerund = self.choose(INFINITIVES)
        verb = self.choose(passive_verbs())
        english = Word(verb.english[3 if gerund else 0])
        infinitive = Phrase([english], [Word(verb.portuguese, sure=(english,))])
        object = self.noun_phrase(verb.objects, depth + 2, owner=subject.agreement)
        return joined(linked(*conjunction), infinitive, object.phrase)

    # Sentences.

    def statement(self, depth: int = 0, tense: str = "") -> Phrase:
        """A clause with a lexical verb; a time may open it."""
        subject = self.subject(depth)
        use = self.use(subject.kind, tense=tense)
        opening = Phrase([], [])
        if depth == 0 and not use.verb.stative and self.chance(0.12):
            opening = self.time(use.tense)
        if opening.english:
            opening = joined(opening, linked(",", ","))
        return clause(
            subject, self.verbal(subject, use, depth, bare=bool(opening.english)), opening
        )

    def copular(self, depth: int = 0, tense: str = "", *, inverted: bool = False) -> Phrase:
        """A clause with "be": an adjective, a comparison, a profession or a place follows."""
        kinds = self.weighted({("human",): 55, DESCRIBED: 45})
        if "human" in kinds:
            subject = self.human(depth)
        else:
            subject = self.noun_phrase(kinds, depth, determiners=SPECIFIC_DETERMINERS)
        form = self.weighted({"adjective": 60, "noun": 15, "place": 25})
        if form == "place" and subject.kind in LOCATED:
            verb = FICAR if subject.kind in PLACES else ESTAR
            complement = self.place(subject.kind)
        elif form == "noun" and subject.kind == "human" and subject.agreement.gender:
            verb, complement = SER, self.predicate_noun(subject.agreement)
        else:
            verb, complement = self.predicate_adjective(subject, depth)
        return clause(
            subject, self.being(subject, verb, complement, tense=tense, inverted=inverted)
        )

    def being(
        self,
        subject: Nominal,
        verb: Verb,
        complement: Phrase,
        *,
        tense: str = "",
        inverted: bool = False,
    ) -> Predicate:
        """A predicate with "be"."""
        future = 0 if verb is FICAR else 10  # a building stays where it is
        weights = {"future": future, "past": 30, "present": 70 - future}
        tense = tense or self.weighted(weights)
        preverb = None if inverted or self.chance(0.8) else linked("not", "não")
        group = verb_group(verb, tense, subject.agreement)
        return predicate(group, complement, preverb=preverb, inverted=inverted)

    def predicate_noun(self, agreement: Agreement) -> Phrase:
        """A profession or the like: "a doctor", in Portuguese without article, or "doctors"."""
        nouns = [noun for noun in nouns_of(("human",)) if noun.gender == agreement.gender]
        noun = self.choose(nouns)
        if agreement.plural:
            return linked(noun.english[1], noun.portuguese[1])
        return linked(f"a {noun.english[0]}", noun.portuguese[0], "0?0 1-0")

    def predicate_adjective(self, subject: Nominal, depth: int) -> tuple[Verb, Phrase]:
        """An adjective or a comparison, and the verb that it takes: "ser" or "estar"."""
        gendered = bool(subject.agreement.gender)
        state = adjectives_of(("predicative", "state"), subject.kind, gendered)
        if state and self.chance(0.5):
            return ESTAR, self.graded(state, subject.agreement)
        quality = adjectives_of(("quality",), subject.kind, gendered)
        form = self.weighted({"plain": 50, "type": 15, "comparison": 35})
        types = adjectives_of(("type",), subject.kind, gendered)
        if form == "type" and types:
            return SER, self.adjective(types, subject.agreement)
        if form == "comparison":
            return SER, self.comparison(self.choose(quality), subject, depth)
        return SER, self.graded(quality, subject.agreement)

    def graded(self, adjectives: Sequence[Adjective], agreement: Agreement) -> Phrase:
        """An adjective, or "very" and an adjective."""
        very = linked("very", "muito") if self.chance(0.3) else Phrase([], [])
        return joined(very, self.adjective(adjectives, agreement))

    def comparison(self, adjective: Adjective, subject: Nominal, depth: int) -> Phrase:
        """A comparison: "older than the house", "more expensive than the house"."""
        english = adjective.english_comparative
        form = agreeing(adjective.portuguese, subject.agreement)
        if adjective.portuguese_comparative:
            better = adjective.portuguese_comparative
            compared = linked(english, pluralize(better) if subject.agreement.plural else better)
        elif english:
            compared = linked(english, f"mais {form}", "0?0 0-1")
        else:
            compared = linked(f"more {adjective.english}", f"mais {form}", "0-0 1-1")
        standard = self.noun_phrase((subject.kind,), depth + 1, determiners=DEFINITE_DETERMINERS)
        return joined(compared, linked("than", "do que", "0?0 0-1"), standard.phrase)

    def passive(self, depth: int = 0, tense: str = "") -> Phrase:
        """A clause like "the house was bought by the teacher"."""
        verb = self.choose(passive_verbs())
        subject = self.noun_phrase(verb.objects, depth, determiners=SPECIFIC_DETERMINERS)
        tense = tense or self.weighted({"past": 60, "present": 20, "future": 20})
        preverb = linked("not", "não") if self.chance(0.15) else None
        agent = self.person() if self.chance(0.25) else self.noun_phrase(("human",), depth + 1)
        complement = joined(linked("by", "por"), agent.phrase)
        group = verb_group(verb, tense, subject.agreement, passive=True)
        return clause(subject, predicate(group, complement, preverb=preverb))

    def existential(self, depth: int = 0) -> Phrase:
        """A clause like "there are two books on the table"."""
        kind = self.choose(("human", "animal", "object", "clothes", "food"))
        nominal = self.noun_phrase((kind,), depth + 1, determiners={"indefinite": 100})
        plural = nominal.agreement.plural
        english, portuguese = self.choose((("is are", "há"), ("was were", "havia")))
        verb = linked(f"there {english.split()[plural]}", portuguese, "0?0 1-0")
        return joined(verb, nominal.phrase, self.place(kind))

    def reported_statement(self) -> Phrase:
        """A clause like "Maria says that ..."."""
        tense = self.choose(("past", ""))
        reported = self.weighted(self.reported)(1, tense)
        return self.report("saying", tense, joined(linked("that", "que"), reported))

    def reported_question(self) -> Phrase:
        """A clause like "Maria knows where ..."."""
        tense = self.choose(("past", ""))
        if self.chance(0.3):
            return self.report("asking", tense, self.where(tense=tense))
        subject = self.human(depth=1)
        question = linked(*self.choose(QUESTION_ADVERBS))
        asked = self.verbal(subject, self.use("human", tense=tense), 1, bare=True)
        return self.report("asking", tense, clause(subject, asked, question))

    def report(self, verbs: str, tense: str, reported: Phrase) -> Phrase:
        """A person who says, knows or asks what is reported, in the present unless in a tense."""
        subject = self.human(depth=2)
        verb = self.choose(self.lexicon.verbs[verbs])
        negative = self.chance(0.2)
        group = verb_group(verb, tense or "present", subject.agreement, support=negative)
        preverb = linked("not", "não") if negative else None
        return clause(subject, predicate(group, reported, preverb=preverb))

    def coordination(self, depth: int = 0, tense: str = "") -> Phrase:
        """Two clauses, of which the second may take up the subject of the first."""
        form = self.weighted(COORDINATIONS)
        subject = self.human(depth)
        if form == "predicates":
            return self.coordinated_predicates(subject, depth, tense)
        first_tense, second_tense = TENSES_OF.get(form, (tense, tense))
        first_use = self.use("human", tense=first_tense)
        first = clause(subject, self.verbal(subject, first_use, depth))
        again = of_pronoun(antecedent_pronoun(subject))
        other = again if self.chance(0.35) else self.human(depth)
        second = clause(other, self.verbal(other, self.use("human", tense=second_tense), depth))
        return joined(first, linked(*CONJUNCTIONS[form]), second)

    def coordinated_predicates(self, subject: Nominal, depth: int, tense: str) -> Phrase:
        """A subject with two predicates.

        Nothing in the first may take up the second: "I want to buy the car and sell the house".
        """
        tense = tense or self.weighted(EVENT_TENSES)
        first = self.verbal(subject, self.use("human", tense=tense), depth=2, bare=True)
        second = self.verbal(subject, self.use("human", tense=tense), depth)
        return joined(clause(subject, first), linked("and", "e"), second.phrase)

    def compound(self) -> Phrase:
        """A long sentence: a report and, after ", but", a coordination."""
        return joined(self.reported_statement(), linked(*CONJUNCTIONS["but"]), self.coordination(1))

    def antecedent(self) -> Phrase:
        """Two clauses; "it" or "they", a thing, is the object of the first."""
        subject = self.human()
        verb = self.choose([verb for verb in passive_verbs() if verb.objects[0] in THINGS])
        use = Use(verb, self.weighted(EVENT_TENSES))
        thing = self.noun_phrase(
            verb.objects, 1, owner=subject.agreement, determiners=SPECIFIC_DETERMINERS
        )
        first = clause(subject, self.verbal(subject, use, object=thing, bare=True))
        pronoun = antecedent_pronoun(thing)
        if self.chance(0.5):
            it = of_pronoun(pronoun, thing.kind)
            tense = "past" if use.tense in PAST_TENSES else "present"
            verb, adjective = self.predicate_adjective(it, depth=2)
            return joined(
                first,
                linked(*CONJUNCTIONS["because"]),
                clause(it, self.being(it, verb, adjective, tense=tense)),
            )
        other = self.human(depth=2)
        use = self.use(
            "human", object_kind=thing.kind, tense=self.choose(("past", "present", "future"))
        )
        it = of_pronoun(pronoun, thing.kind)
        second = clause(other, self.verbal(other, use, object=it))
        return joined(first, linked(*CONJUNCTIONS["but"]), second)

    # Questions.

    def yes_no_question(self) -> Phrase:
        """A question like "does the teacher know Maria"."""
        if self.chance(0.35):
            return self.copular(inverted=True)
        subject = self.human()
        return clause(subject, self.verbal(subject, self.use("human"), inverted=True))

    def adverb_question(self) -> Phrase:
        """A question like "where did the teacher buy the book"."""
        question = linked(*self.choose(QUESTION_ADVERBS))
        subject = self.human()
        verbal = self.verbal(subject, self.use("human"), inverted=True, bare=True)
        return clause(subject, verbal, question)

    def object_question(self) -> Phrase:
        """A question like "what did the teacher buy" or "how many books does Maria need"."""
        kind = self.choose(("human", *THINGS, "matter"))
        form = self.weighted({"who": 50, "how many": 50})
        if form == "how many":
            nouns = [noun for noun in nouns_of((kind,)) if noun.english[1] != "-"]
            noun = self.choose(nouns)
            many = "quantas" if noun.gender == "f" else "quantos"
            question = linked(
                f"how many {noun.english[1]}", f"{many} {noun.portuguese[1]}", "0-0 1-0 2-1"
            )
        elif kind == "human":
            question = linked("who", "quem")
        else:
            question = linked("what", "o que", "0-0 0-1")
        subject = self.human(depth=1)
        use = self.use("human", object_kind=kind)
        return clause(subject, self.verbal(subject, use, inverted=True, gap=True), question)

    def subject_question(self) -> Phrase:
        """A question like "who bought the book"."""
        who = Nominal(linked("who", "quem"), Agreement(3, False, "m"), "human")
        return clause(who, self.verbal(who, self.use("human")))

    def where_question(self) -> Phrase:
        """A question like "where are the keys"."""
        return self.where(inverted=True)

    def where(self, tense: str = "", *, inverted: bool = False) -> Phrase:
        """A clause like "where the keys are": the Portuguese verb goes before its subject."""
        kinds = self.choose((PLACES, THINGS, ("human",)))
        subject = self.noun_phrase(kinds, depth=1, determiners=DEFINITE_DETERMINERS)
        verb = FICAR if subject.kind in PLACES else ESTAR
        tense = tense or self.weighted({"present": 70, "past": 30})
        group = verb_group(verb, tense, subject.agreement)
        english, portuguese = subject.phrase
        return joined(
            linked("where", "onde"),
            Phrase(
                group.english + english if inverted else english + group.english,
                group.portuguese + portuguese,
            ),
        )
