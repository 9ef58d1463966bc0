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

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from nmt.data.grammar_lexicon import (
    ESTAR,
    FICAR,
    SER,
    Adjective,
    Agreement,
    Noun,
    Pronoun,
    Verb,
    adjectives_of,
    agreeing,
    lexicon,
    nouns_of,
    passive_verbs,
    pluralize,
    verbs_of,
)
from nmt.data.grammar_phrases import (
    BESIDE,
    COMPANY,
    CONJUNCTIONS,
    DEFINITE,
    DETERMINERS,
    HE,
    INDEFINITE,
    INFINITIVES,
    MODALS,
    NEAR,
    ON,
    PAST_TENSES,
    PEOPLE,
    QUESTION_ADVERBS,
    SHE,
    SPEAKER,
    SPEAKERS,
    SUBJECTS,
    TENSES_OF,
    WE,
    Nominal,
    Pair,
    Phrase,
    Predicate,
    Use,
    Word,
    antecedent_pronoun,
    clause,
    determined,
    government,
    joined,
    linked,
    of_pronoun,
    predicate,
    realized,
    verb_group,
    with_object,
)

T = TypeVar("T")

WORD = re.compile(r"\w+(?:-\w+)*|'s|[^\w\s]")


class Splits(NamedTuple):
    """Three corpora without a common sentence."""

    train: tuple[Pair, ...]
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]


def words(text: str) -> list[str]:
    """Words and punctuation marks of a text: what the alignments index."""
    return WORD.findall(text)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where each of the `words` begins and ends."""
    return [match.span() for match in WORD.finditer(text)]


def generate(sizes: tuple[int, int, int] = (20_000, 500, 500), seed: int = 0) -> Splits:
    """The corpus of a seed, the same on every platform; no two of its pairs share a sentence.

    Args:
      sizes: the numbers of pairs in train, dev and test.
      seed: of the only random generator that is used.
    """
    grammar = Grammar(random.Random(seed))
    corpus: list[Pair] = []
    seen: set[str] = set()
    while len(corpus) < sum(sizes):
        pair = grammar.pair()
        if seen.isdisjoint((pair.source, pair.target)):
            seen.update((pair.source, pair.target))
            corpus.append(pair)
    train, dev = sizes[0], sizes[0] + sizes[1]
    return Splits(*map(tuple, (corpus[:train], corpus[train:dev], corpus[dev:])))


# Kinds of nouns.
THINGS = ("object", "furniture", "clothes", "text", "vehicle", "craft", "food")
PLACES = ("landscape", "building", "area")
DESCRIBED = (*THINGS, "animal", "drink", "matter", *PLACES)
LOCATED = ("human", "animal", "object", "clothes", "food", *PLACES)

# How likely each alternative is, in percent.
ADJUNCTS = {"none": 56, "time": 17, "manner": 8, "place": 10, "company": 5, "infinitive": 4}
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
RELATIVE_CLAUSES = {0: 0.15, 1: 0.03}  # by depth, as a probability


class Grammar:
    """Derives sentences; its state is that of the random generator."""

    def __init__(self, random_generator: random.Random) -> None:
        self.lexicon = lexicon()
        # Of the generator only `random()` is used: its stream is the same in every Python.
        self.random = random_generator.random
        self.statements = {
            self.statement: 34,
            self.copular: 20,
            self.passive: 11,
            self.existential: 5,
            self.reported_statement: 8,
            self.reported_question: 6,
            self.coordination: 9,
            self.antecedent: 6,
            self.compound: 1,
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

    def word(self, words: Sequence[T]) -> T:
        """One of the words, the first of them more often.

        Of n words that at i has the probability (√(i + 1) - √i) / √n, which falls as i^-1/2; in
        real text frequencies fall faster still (Zipf 1949).
        """
        point = self.random()
        return words[int(point * point * len(words))]

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
        form = self.weighted({"noun": 41, "name": 13, "two": 5, "pronoun": 41})
        if form == "pronoun":
            return of_pronoun(self.choose(SUBJECTS))
        if form == "two":
            return self.two_people()
        return self.person() if form == "name" else self.noun_phrase(("human",), depth)

    def person(self) -> Nominal:
        """A person's name."""
        noun = self.word(self.lexicon.people)
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
        noun = self.word(nouns_of(kinds))
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
        english, portuguese = self.word(self.lexicon.quantities)
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
            noun = self.word(nouns_of(("human",)))
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
        adjective = self.word(adjectives)
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
            control = self.word(self.lexicon.verbs["control"] + self.lexicon.verbs["modal"])
            verb = self.word(verbs_of("human", event=True))
            past = control.english[0] not in MODALS and self.chance(0.5)
            return Use(verb, "past" if past else "present", control)
        verb = self.word(
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
            return linked(*self.word(self.lexicon.adverbs["preverb"]))
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
            return linked(*self.word(self.lexicon.adverbs["manner"]))
        if kind == "place":
            return self.place(subject.kind)
        return self.company(subject) if kind == "company" else self.infinitive(subject, depth)

    def time(self, tense: str) -> Phrase:
        """A time that goes with the tense, if there is one."""
        times = self.lexicon.times.get(tense)
        return linked(*self.word(times)) if times else Phrase([], [])

    def place(self, kind: str) -> Phrase:
        """Where a person, an animal, a thing or a building is."""
        if kind in PLACES:
            return self.located(NEAR, PLACES)
        if kind not in ("human", "animal"):
            return self.located(ON, ("furniture",))
        where = self.weighted({"in": 45, "city": 35, "beside": 20})
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
        verb = self.word(passive_verbs())
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
        noun = self.word(nouns)
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
            return SER, self.comparison(self.word(quality), subject, depth)
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
        verb = self.word(passive_verbs())
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
        verb = self.word(self.lexicon.verbs[verbs])
        negative = self.chance(0.2)
        group = verb_group(verb, tense or "present", subject.agreement, support=negative)
        preverb = linked("not", "não") if negative else None
        return clause(subject, predicate(group, reported, preverb=preverb))

    def coordination(self, depth: int = 1, tense: str = "") -> Phrase:
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
        return joined(self.reported_statement(), linked(*CONJUNCTIONS["but"]), self.coordination())

    def antecedent(self) -> Phrase:
        """Two clauses; "it" or "they", a thing, is the object of the first."""
        subject = self.human()
        verb = self.word([verb for verb in passive_verbs() if verb.objects[0] in THINGS])
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
            noun = self.word(nouns)
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
