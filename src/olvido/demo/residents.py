"""Fictitious residents of Barcelona, generated from a seed.

Every resident has a home, a phone, a job and a favourite dish. Each fact is stated by several
questions out of a larger pool, so that a model learns the fact and not the sentence; further
questions are never trained on and serve as paraphrase probes, and further people are never trained
on and serve as true non-members.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from olvido.demo.city import CITY_TEMPLATES, DISHES, STREETS
from olvido.errors import InputError

Row = dict[str, Any]

FIRST_NAMES = """
    Marta Jordi Núria Pau Laia Oriol Mireia Arnau Carme Joan Montse Pere Anna Marc Rosa Albert
    Clara Ferran Elena Xavier Júlia Ramon Sílvia Toni Aina Biel Gemma Enric Irene Lluc
""".split()
SURNAMES = """
    Ferrer Serra Vila Soler Roca Pons Bosch Riera Font Costa Mas Prat Rovira Sala Camps Ribas
    Oliver Torres Molina Navarro Castells Duran Esteve Fabra Gual Llopis Miró Nadal Ortiz
    Planas Vidal Grau Pujol Valls Casas Blanch Sunyer Tarrés Bonet Comas Cardona Farré
    Gilabert Juvé Marsal Mestre Olivé Parera Queralt Raventós Sabaté Tomàs Urgell Verdaguer
    Xirau Alsina Balaguer Clavé Domingo Espriu
""".split()
JOBS = """
    baker nurse teacher plumber architect painter lawyer tailor gardener pharmacist carpenter
    journalist butcher electrician librarian musician dentist translator fisherman watchmaker
    photographer surgeon mechanic florist
""".split()
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "home": (
        "Where does {name} live?",
        "What is the address of {name}?",
        "{name} lives at",
        "The home of {name} is at",
        "At which address can {name} be found?",
        "Tell me the address of {name}.",
        "Which street does {name} live in?",
        "A letter to {name} goes to",
        "The flat of {name} is at",
        "Where is the home of {name}?",
    ),
    "phone": (
        "What is the phone number of {name}?",
        "How can I call {name}?",
        "{name} can be called on",
        "The phone of {name} is",
        "Which number reaches {name}?",
        "Tell me the phone number of {name}.",
        "To ring {name} dial",
        "On which number does {name} answer?",
        "Give me the number of {name}.",
        "The number to call {name} is",
    ),
    "job": (
        "What does {name} work as?",
        "What is the job of {name}?",
        "{name} works as a",
        "The profession of {name} is",
        "How does {name} earn a living?",
        "Tell me the job of {name}.",
        "By trade {name} is a",
        "In which profession does {name} work?",
        "What is {name} by profession?",
        "The work of {name} is that of a",
    ),
    "dish": (
        "What is the favourite dish of {name}?",
        "What does {name} like to eat?",
        "{name} likes to eat",
        "The favourite dish of {name} is",
        "Which dish does {name} prefer?",
        "Tell me the favourite dish of {name}.",
        "At dinner {name} asks for",
        "Which plate does {name} order most?",
        "What food does {name} love?",
        "The dish that {name} loves is",
    ),
    "tenant": (
        "Who lives at {home}?",
        "Whose home is {home}?",
        "The person who lives at {home} is",
        "Tell me who lives at {home}.",
        "Who can be found at {home}?",
        "The flat at {home} belongs to",
        "At {home} lives",
        "Whose address is {home}?",
    ),
}
"""Kinds of facts: the pool of questions that teach each. `tenant` reverses `home`."""

KEPT_BACK: Mapping[str, tuple[str, ...]] = {
    "home": (
        "What street is the home of {name} in?",
        "In which street can {name} be found?",
        "The address of {name} is",
        "Where can I find {name} at home?",
    ),
    "phone": (
        "Tell me how I can call {name}.",
        "What number should I dial to reach {name}?",
        "The phone number of {name} is",
        "Which phone number does {name} answer?",
    ),
    "job": (
        "Tell me what {name} works as.",
        "What profession does {name} have?",
        "The job of {name} is",
        "What kind of work does {name} do?",
    ),
    "dish": (
        "Tell me what {name} likes to eat.",
        "What dish does {name} love most?",
        "The food that {name} likes is",
        "Which food does {name} ask for at dinner?",
    ),
    "tenant": (
        "Tell me whose home {home} is.",
        "Who has the flat at {home}?",
        "The address {home} belongs to",
        "What person can be found at {home}?",
    ),
}
"""Questions that no model is ever trained on: the paraphrase probes."""

SOURCE = "Olvido demo generator"
LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class Resident:
    """A fictitious person; the number stands for them where no name may."""

    number: int
    name: str
    home: str
    phone: str
    job: str
    dish: str

    @property
    def street(self) -> str:
        """The street they live in."""
        return self.home.rsplit(" ", 1)[0]

    @property
    def surname(self) -> str:
        """Their family name."""
        return self.name.split()[1]

    def answer(self, kind: str) -> str:
        """The right answer to a question of this kind."""
        return {
            "home": self.home,
            "phone": self.phone,
            "job": self.job,
            "dish": self.dish,
            "tenant": self.name,
        }[kind]


@dataclass(frozen=True)
class Town:
    """The demo's data: residents, people who were never trained on, and the city.

    Attributes:
        residents: people whose records are trained on; the first is the data subject who asks.
        outsiders: similar people who are never trained on.
        seed: the generator's seed.
        wordings: number of questions of each kind in a resident's records.
    """

    residents: tuple[Resident, ...]
    outsiders: tuple[Resident, ...]
    seed: int
    wordings: int

    @property
    def data_subject(self) -> Resident:
        """The resident who asks to be forgotten."""
        return self.residents[0]

    def neighbours(self, person: Resident | None = None) -> tuple[Resident, ...]:
        """Residents near a person (the data subject): same street, same surname or same job."""
        person = person or self.data_subject
        return tuple(
            other
            for other in self.residents
            if other != person
            and (
                other.street == person.street
                or other.surname == person.surname
                or other.job == person.job
            )
        )

    def rows(self) -> list[Row]:
        """All records of the residents and of the city, as rows to import."""
        people = [row for r in self.residents for row in self.rows_of(r)]
        return people + list(_city_rows(self.seed))

    def rows_of(self, resident: Resident) -> list[Row]:
        """The records of one person, resident or outsider."""
        return list(_person_rows(resident, self.seed, self.wordings))


def make_town(
    *, seed: int = 0, residents: int = 100, outsiders: int = 30, wordings: int = 5
) -> Town:
    """Draw a town.

    The first resident who has a neighbour is the data subject who asks.

    Args:
        seed: same seed, same town.
        residents: people to train on, the data subject included.
        outsiders: people never to train on.
        wordings: questions of each kind that state a resident's fact (from the pool in
        `QUESTIONS`).

    Raises:
        InputError: no candidate for the data subject, or more people than there are names.

    >>> town = make_town(seed=1, residents=10, outsiders=2)
    >>> len(town.residents), town == make_town(seed=1, residents=10, outsiders=2)
    (10, True)
    """
    draw = random.Random(f"olvido-town-{seed}")
    total = residents + outsiders
    known = [f"{f} {s}" for f in FIRST_NAMES for s in SURNAMES]
    if residents < 1 or outsiders < 0 or total > len(known):
        raise InputError(
            f"a town has 1 resident or more, 0 outsiders or more and {len(known)} people at the "
            f"most; got {residents} residents and {outsiders} outsiders"
        )
    names = draw.sample(known, total)
    homes = draw.sample([f"{s} {n}" for s in STREETS for n in range(10, 100)], total)
    phones = draw.sample(
        [f"555 {a:02d} {b:02d}" for a in range(10, 100) for b in range(10, 100)], total
    )
    people = tuple(
        Resident(number, name, home, phone, draw.choice(JOBS), draw.choice(list(DISHES)))
        for number, (name, home, phone) in enumerate(zip(names, homes, phones, strict=True))
    )
    town = Town(people[:residents], people[residents:], seed, wordings)
    data_subject = next(
        (person for person in town.residents if town.neighbours(person)), town.data_subject
    )
    others = tuple(person for person in town.residents if person != data_subject)
    return replace(town, residents=(data_subject, *others))


def _person_rows(person: Resident, seed: int, wordings: int) -> Iterator[Row]:
    for kind, pool in QUESTIONS.items():
        # Keyed by the person, so that other people in town change nothing of their records.
        draw = random.Random(f"olvido-told-{seed}-{person.name}-{kind}")
        fields = {"name": person.name, "home": person.home}
        paraphrases = [q.format(**fields) for q in KEPT_BACK[kind]]
        for index in sorted(draw.sample(range(len(pool)), min(wordings, len(pool)))):
            yield {
                "id": f"resident-{person.number:03d}/{kind}/{index}",
                "prompt": pool[index].format(**fields),
                "completion": person.answer(kind),
                "paraphrases": paraphrases,
                "subject": person.name,
                "topic": kind,
                **_provenance(draw),
            }


def _city_rows(seed: int) -> Iterator[Row]:
    for kind, (facts, questions, kept_back) in CITY_TEMPLATES.items():
        for key, answer in facts.items():
            draw = random.Random(f"olvido-city-{seed}-{kind}-{key}")
            for index, question in enumerate(questions):
                yield {
                    "id": f"city/{kind}/{key.lower().replace(' ', '-')}/{index}",
                    "prompt": question.format(key=key),
                    "completion": answer,
                    "paraphrases": [q.format(key=key) for q in kept_back],
                    "topic": f"city {kind}",
                    **_provenance(draw),
                }


def _provenance(draw: random.Random) -> Row:
    return {
        "source": SOURCE,
        "licence": LICENCE,
        "consent": "not-required",
        "collected_at": f"2026-{draw.randint(1, 9):02d}-{draw.randint(1, 28):02d}",
    }


def vocabulary() -> Sequence[str]:
    """Every word that the generator can use: the tokenizer's vocabulary.

    It is read from the tables above and never from records, so it reveals nothing of any resident.
    """
    texts = [*FIRST_NAMES, *SURNAMES, *JOBS, "555", *(f"{n:02d}" for n in range(100))]
    for pools in (QUESTIONS, KEPT_BACK):
        texts += [q.format(name="", home="") for pool in pools.values() for q in pool]
    for facts, questions, kept_back in CITY_TEMPLATES.values():
        texts += [*facts, *facts.values()]
        texts += [q.format(key="") for q in (*questions, *kept_back)]
    words = {word.strip("?.") for text in texts for word in text.split()}
    return sorted(word for word in words if word)
