"""Phrases of the embedded corpus: two renderings of each, linked word by word."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nmt.data.grammar_lexicon import (
    SER,
    Agreement,
    Pronoun,
    Verb,
    agreeing,
    attach,
    conjugate,
    four_forms,
    indefinite,
    participle,
    with_s,
)


class Pair(NamedTuple):
    """A sentence, its translation and their alignment over `words` of both, counted from 0."""

    source: str
    target: str
    sure: tuple[tuple[int, int], ...]
    possible: tuple[tuple[int, int], ...]


# Words that the grammar names.

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


# Words and verb groups.


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


# Sentences.


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
