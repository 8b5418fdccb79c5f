"""What does the embedded corpus say? Phrases of a few items, and sentences in frames that we wrote.

Every language is given the same draw and says it in its own way, so the four texts are translations of each
other. A frame asks for its slots in the nominative or between quotes, where nothing has to be inflected that
CLDR does not inflect; so a frame says "Paketin paino on" where an idiom would need another case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, time, timedelta
from random import Random
from typing import get_args

from trainer.data.cldr_terms import ListStyle, Number, Span, Speaker, Terms, Text
from trainer.data.number_words import BEFORE_A_NOUN, LANGUAGES, cardinal

Say = Callable[[Speaker], str]

# -- phrases: at most 12 words, at most 500 different words a side ------------------------------------------

PHRASE_UNITS = (
    "length-meter", "length-kilometer", "mass-gram", "mass-kilogram", "volume-liter", "duration-second",
    "duration-minute", "duration-hour", "duration-day", "duration-week", "duration-month", "duration-year",
    "concentr-percent", "temperature-celsius",
)  # fmt: skip
PHRASE_CURRENCIES = ("EUR", "USD", "SEK")
PHRASE_DIGITS = (*range(1, 32), *range(40, 100, 10), *range(100, 1_000, 100))
PHRASE_WORDS = tuple(n for n in BEFORE_A_NOUN if n < 100)
PHRASE_YEARS = range(2000, 2030)
AMOUNTS = ("exactly", "at least", "only", "more than", "less than")
AMOUNT_WORDS = {
    "en": AMOUNTS,
    "de": ("genau", "mindestens", "nur", "mehr als", "weniger als"),
    "fi": ("tasan", "vähintään", "vain", "enemmän kuin", "vähemmän kuin"),
    "lt": ("lygiai", "bent", "tik", "daugiau kaip", "mažiau kaip"),
}


def phrase(random: Random, terms: Terms) -> Text:
    """One to three items: "exactly 12 euros", "three days ago or March 5", "ten liters, 5 weeks, and 8 %"."""
    shape = random.random()
    if shape < 0.1:  # there are few of these, so most of a long corpus's would be repeats
        says = [_item(random, terms)]
    elif shape < 0.65:
        says = [_item(random, terms) for _ in range(2)]
    else:  # of the short items, to stay within 12 words
        says = [_short_item(random) for _ in range(3)]
    style: ListStyle = random.choice(("standard", "or"))
    return {s.language: s.listed([say(s) for say in says], style) for s in terms.speakers}


def _short_item(random: Random) -> Say:
    words = random.random() < 0.4
    number = random.choice(PHRASE_WORDS if words else PHRASE_DIGITS)
    if random.random() < 0.25:
        currency = random.choice(PHRASE_CURRENCIES)
        return lambda s: s.money(number, currency, words=words)
    unit = random.choice(PHRASE_UNITS)
    return lambda s: s.unit(number, unit, words=words)


def _item(random: Random, terms: Terms) -> Say:
    kind = random.random()
    if kind < 0.35:
        return _short_item(random)
    if kind < 0.55:
        amount, short = random.randrange(len(AMOUNTS)), _short_item(random)
        return lambda s: f"{AMOUNT_WORDS[s.language][amount]} {short(s)}"
    if kind < 0.65:
        number = random.randrange(100)
        return lambda s: cardinal(number, s.language)
    if kind < 0.75:
        spans: tuple[Span, ...] = ("hour", "day", "week")
        away, span = random.choice((-1, 1)) * random.randint(2, 31), random.choice(spans)
        return lambda s: s.from_now(away, span)
    if kind < 0.85:
        weekday = random.choice(terms.names["weekday"])
        return lambda s: weekday[s.language]
    day = _day(random, PHRASE_YEARS)
    style = random.choice(("MMMMd", "long"))
    return lambda s: s.day(day, style)


# -- sentences ----------------------------------------------------------------------------------------------

UNITS_OF = {
    "mass": ("milligram", "gram", "kilogram", "tonne", "ounce", "pound"),
    "length": ("millimeter", "centimeter", "meter", "kilometer", "inch", "foot", "yard", "mile"),
    "duration": ("second", "minute", "hour", "day", "week", "month", "year"),
    "volume": ("milliliter", "liter", "hectoliter", "cubic-meter", "gallon", "barrel"),
    "area": ("square-meter", "hectare", "square-kilometer", "square-mile", "acre"),
    "speed": ("meter-per-second", "kilometer-per-hour", "mile-per-hour"),
    "temperature": ("celsius", "fahrenheit", "kelvin"),
    "digital": ("kilobyte", "megabyte", "gigabyte", "terabyte"),
}
YEARS = range(1900, 2100)
SPANS: tuple[Span, ...] = get_args(Span)
COLOURS = (
    dict(zip(LANGUAGES, ("green", "grün", "vihreällä", "žaliai"), strict=True)),
    dict(zip(LANGUAGES, ("red", "rot", "punaisella", "raudonai"), strict=True)),
    dict(zip(LANGUAGES, ("blue", "blau", "sinisellä", "mėlynai"), strict=True)),
    dict(zip(LANGUAGES, ("yellow", "gelb", "keltaisella", "geltonai"), strict=True)),
)

# English, German, Finnish, Lithuanian. A slot is the name of a draw in `_draw`; a figure after it tells two
# draws of one kind apart.
FRAMES: tuple[tuple[str, str, str, str], ...] = (
    ("The parcel weighs {mass}.", "Das Paket wiegt {mass}.",
     "Paketin paino on {mass}.", "Siuntinio svoris yra {mass}."),
    ("The road is {length} long.", "Die Straße ist {length} lang.",
     "Tien pituus on {length}.", "Kelio ilgis yra {length}."),
    ("The meeting lasts {duration}.", "Die Besprechung dauert {duration}.",
     "Kokouksen kesto on {duration}.", "Susitikimo trukmė yra {duration}."),
    ("The tank holds {volume}.", "Der Tank fasst {volume}.",
     "Säiliön tilavuus on {volume}.", "Bako talpa yra {volume}."),
    ("The field covers {area}.", "Das Feld ist {area} groß.",
     "Pellon pinta-ala on {area}.", "Lauko plotas yra {area}."),
    ("The speed of the car is {speed}.", "Die Geschwindigkeit des Autos beträgt {speed}.",
     "Auton nopeus on {speed}.", "Automobilio greitis yra {speed}."),
    ("The temperature is {temperature}.", "Die Temperatur beträgt {temperature}.",
     "Lämpötila on {temperature}.", "Temperatūra yra {temperature}."),
    ("The size of the file is {digital}.", "Die Größe der Datei beträgt {digital}.",
     "Tiedoston koko on {digital}.", "Failo dydis yra {digital}."),
    ("The reading is {unit}.", "Der Messwert beträgt {unit}.",
     "Mittausarvo on {unit}.", "Matavimo rezultatas yra {unit}."),
    ("The limit is exactly {unit_words}.", "Der Grenzwert beträgt genau {unit_words}.",
     "Raja-arvo on tasan {unit_words}.", "Ribinė vertė yra lygiai {unit_words}."),
    ("The first reading is {unit}, the second {unit2}.",
     "Der erste Messwert beträgt {unit}, der zweite {unit2}.",
     "Ensimmäinen mittausarvo on {unit}, toinen {unit2}.",
     "Pirmasis rezultatas yra {unit}, antrasis {unit2}."),
    ("The ticket costs {money}.", "Die Fahrkarte kostet {money}.",
     "Lipun hinta on {money}.", "Bilieto kaina yra {money}."),
    ("The balance is {money_words}.", "Der Kontostand beträgt {money_words}.",
     "Tilin saldo on {money_words}.", "Sąskaitos likutis yra {money_words}."),
    ("The currency of account {count} is called “{currency}”.",
     "Die Währung von Konto {count} heißt „{currency}“.",
     "Tilin {count} valuutan nimi on ”{currency}”.", "Sąskaitos {count} valiuta vadinasi „{currency}“."),
    ("Train number {count} leaves {ahead}.", "Zug Nummer {count} fährt {ahead} ab.",
     "Juna numero {count} lähtee {ahead}.", "Traukinys numeris {count} išvyksta {ahead}."),
    ("Train {count} leaves at {time}.", "Zug {count} fährt um {time} Uhr ab.",
     "Juna {count} lähtee kello {time}.", "Traukinys {count} išvyksta {time} val."),
    ("Order {count} was delivered {ago}.", "Bestellung {count} wurde {ago} geliefert.",
     "Tilaus {count} toimitettiin {ago}.", "Užsakymas {count} pristatytas {ago}."),
    ("Date of the meeting: {full_date}.", "Datum der Besprechung: {full_date}.",
     "Kokouksen päivämäärä: {full_date}.", "Susitikimo data: {full_date}."),
    ("The date of the letter is {date}.", "Das Datum des Briefes ist der {date}.",
     "Kirjeen päivämäärä on {date}.", "Laiško data yra {date}."),
    ("Dates of the exhibition: {days}.", "Zeitraum der Ausstellung: {days}.",
     "Näyttelyn ajankohta: {days}.", "Parodos datos: {days}."),
    ("Opening hours: {hours}.", "Öffnungszeiten: {hours}.",
     "Aukioloajat: {hours}.", "Darbo laikas: {hours}."),
    ("Invoice {count}, billing month: {month}.", "Rechnung {count}, Abrechnungsmonat: {month}.",
     "Lasku {count}, laskutuskuukausi: {month}.", "Sąskaita {count}, mėnuo: {month}."),
    ("Report {count}, period: {quarter}.", "Bericht {count}, Zeitraum: {quarter}.",
     "Raportti {count}, ajanjakso: {quarter}.", "Ataskaita {count}, laikotarpis: {quarter}."),
    ("Choose a day for visit {count}: {weekdays}.", "Wählen Sie einen Tag für Besuch {count}: {weekdays}.",
     "Valitse päivä käynnille {count}: {weekdays}.", "Pasirinkite apsilankymo {count} dieną: {weekdays}."),
    ("The language of book {count} is {language}.", "Die Sprache von Buch {count} ist {language}.",
     "Kirjan {count} kieli on {language}.", "Knygos {count} kalba yra {language}."),
    ("Available languages: {languages}.", "Verfügbare Sprachen: {languages}.",
     "Saatavilla olevat kielet: {languages}.", "Galimos kalbos: {languages}."),
    ("Destinations: {territories}.", "Reiseziele: {territories}.",
     "Matkakohteet: {territories}.", "Kelionės tikslai: {territories}."),
    ("On map {count}, “{territory}” is marked in {colour}.",
     "Auf Karte {count} ist „{territory}“ {colour} markiert.",
     "Kartalla {count} ”{territory}” on merkitty {colour}.",
     "Žemėlapyje {count} „{territory}“ pažymėta {colour}."),
    ("In the list, “{territory}” comes before “{territory2}”.",
     "In der Liste steht „{territory}“ vor „{territory2}“.",
     "Luettelossa ”{territory}” on ennen kohtaa ”{territory2}”.",
     "Sąraše „{territory}“ yra prieš įrašą „{territory2}“."),
    ("The word “{language}” is on page {count}.", "Das Wort „{language}“ steht auf Seite {count}.",
     "Sana ”{language}” on sivulla {count}.", "Žodis „{language}“ yra {count} puslapyje."),
    ("Inscription {count} uses the script “{script}”.", "Inschrift {count} verwendet die Schrift „{script}“.",
     "Piirtokirjoituksen {count} kirjaimisto on ”{script}”.", "Įrašo {count} raštas yra „{script}“."),
    ("The number “{number_words}” is written {number}.", "Die Zahl „{number_words}“ schreibt man {number}.",
     "Luku ”{number_words}” kirjoitetaan {number}.", "Skaičius „{number_words}“ rašomas {number}."),
)  # fmt: skip


SLOTS = tuple(tuple(sorted(set(re.findall(r"{(\w+)}", frame[0])))) for frame in FRAMES)


def sentence(random: Random, terms: Terms) -> Text:
    """One frame with its slots filled."""
    which = random.randrange(len(FRAMES))
    number = random.randrange(1, 10 ** random.randint(2, 6))  # one for both slots: in words and in digits
    said = {slot: _slot(slot.rstrip("2"), random, terms, number) for slot in SLOTS[which]}
    return {
        # Lithuanian dates end in a full stop of their own.
        s.language: frame.format(**{slot: say(s) for slot, say in said.items()}).replace("..", ".")
        for s, frame in zip(terms.speakers, FRAMES[which], strict=True)
    }


def _slot(kind: str, random: Random, terms: Terms, number: int) -> Say:
    if kind in UNITS_OF or kind in ("unit", "unit_words"):
        choices = [f"{kind}-{name}" for name in UNITS_OF[kind]] if kind in UNITS_OF else terms.units
        return _unit(random, random.choice(choices), words=kind == "unit_words")
    if kind in ("money", "money_words"):
        return _money(random, random.choice(terms.currencies), words=kind == "money_words")
    if kind in ("territory", "language", "script", "currency"):
        name = random.choice(terms.names[kind])
        return lambda s: name[s.language]
    if kind in ("territories", "languages", "weekdays"):
        names = terms.names[{"territories": "territory"}.get(kind, kind.removesuffix("s"))]
        chosen = random.sample(names, random.randint(2, 4))
        style: ListStyle = "or" if kind == "weekdays" else "standard"
        return lambda s: s.listed([name[s.language] for name in chosen], style)
    if kind in ("ahead", "ago"):
        away, span = random.randint(2, 99), random.choice(SPANS)
        return lambda s: s.from_now(away if kind == "ahead" else -away, span)
    if kind in ("date", "full_date", "month", "quarter", "days"):
        return _dates(kind, random)
    if kind in ("time", "hours"):
        first, last = sorted(random.sample(range(24 * 12), 2))  # in steps of five minutes
        start, end = _clock(first), _clock(last)
        return (lambda s: s.clock(start)) if kind == "time" else (lambda s: s.hours(start, end))
    if kind == "colour":
        colour = random.choice(COLOURS)
        return lambda s: colour[s.language]
    if kind == "count":  # names a thing, so it is not grouped by thousands
        count = str(random.randint(1, 999))
        return lambda s: count
    assert kind in ("number", "number_words"), kind
    return (lambda s: s.number(number)) if kind == "number" else (lambda s: cardinal(number, s.language))


def _unit(random: Random, unit: str, *, words: bool) -> Say:
    value = random.choice(BEFORE_A_NOUN) if words else _value(random)
    return lambda s: s.unit(value, unit, words=words)


def _money(random: Random, currency: str, *, words: bool) -> Say:
    value = random.choice(BEFORE_A_NOUN) if words else _value(random)
    return lambda s: s.money(value, currency, words=words)


def _value(random: Random) -> Number:
    """2 to 9,999, as many of two figures as of four; one in five with a decimal."""
    whole = int(10 ** random.uniform(0.31, 4))
    return whole + random.randint(1, 9) / 10 if random.random() < 0.2 else whole


def _dates(kind: str, random: Random) -> Say:
    day = _day(random, YEARS)
    if kind == "days":
        last = day + timedelta(days=random.randint(1, 90))
        return lambda s: s.days(day, last)
    style = {"date": "long", "full_date": "full", "month": "yMMMM", "quarter": "yQQQQ"}[kind]
    return lambda s: s.day(day, style)


def _clock(fives: int) -> time:
    return time(fives // 12, fives % 12 * 5)


def _day(random: Random, years: range) -> date:
    first, last = date(years[0], 1, 1), date(years[-1], 12, 31)
    return first + timedelta(days=random.randrange((last - first).days + 1))
