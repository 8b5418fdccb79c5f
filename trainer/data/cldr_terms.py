"""How do English, German, Finnish and Lithuanian say a number, a unit, a date, a place?

CLDR says it, through Babel 2.18. What Babel gets wrong is kept out: a unit whose plural forms are not all
there is not used, amounts carry no ".00", and the many kinds of space become one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Literal

from babel import Locale, dates, lists, numbers

from trainer.data.number_words import LANGUAGES, cardinal

Number = int | float
Span = Literal["minute", "hour", "day", "week", "month", "year"]
ListStyle = Literal["standard", "or"]  # "A, B, and C", "A, B, or C"
Text = dict[str, str]  # the same in each language

# One number for each plural form that one of the four languages tells apart (1, 2, 1.5 and 10 in Lithuanian).
PLURAL_SAMPLES: tuple[Number, ...] = (1, 2, 1.5, 10)
SPACES = re.compile(r"\s+")  # CLDR's narrow, thin and non-breaking ones too
DAYS_AGO = {"day": 1, "week": 7, "month": 30, "year": 365}
NO_LANGUAGE = ("und", "mul", "mis", "zxx")  # unknown, several, not coded, no linguistic content
NO_REGION = ("ZZ", "XA", "XB")  # unknown, and two for testing software
NO_CURRENCY = ("XXX", "XTS", "XAU", "XAG", "XPT", "XPD")  # none, testing, and metals by the ounce


@dataclass(frozen=True)
class Speaker:
    """One language. `units` and `currencies` hold the pattern of each plural form: "{} kilometrai"."""

    language: str
    locale: Locale
    signs: Mapping[int, str]  # "," and "." to this language's own
    units: Mapping[str, Mapping[str, str]]
    currencies: Mapping[str, Mapping[str, str]]

    def number(self, value: Number) -> str:
        return f"{value:,}".translate(self.signs)

    def unit(self, value: Number, unit: str, *, words: bool = False) -> str:
        return self._counted(value, self.units[unit], words)

    def money(self, value: Number, currency: str, *, words: bool = False) -> str:
        return self._counted(value, self.currencies[currency], words)

    def _counted(self, value: Number, patterns: Mapping[str, str], words: bool) -> str:
        number = cardinal(int(value), self.language) if words else self.number(value)
        return patterns[self.locale.plural_form(value)].format(number)

    def from_now(self, value: int, unit: Span) -> str:
        """In `value` days, weeks, …; before now where it is negative."""
        if unit in DAYS_AGO:
            away = timedelta(days=value * DAYS_AGO[unit])
        else:
            away = timedelta(**{unit + "s": value})
        # A threshold that nothing reaches: the unit stays the one that was asked for.
        said = dates.format_timedelta(
            away, granularity=unit, threshold=1e9, add_direction=True, locale=self.locale
        )
        return plain(said)

    def day(self, day: date, style: str = "long") -> str:
        """`style` is long or full, which names the weekday, or a skeleton of CLDR such as MMMMd."""
        if style in ("long", "full"):
            return plain(dates.format_date(day, style, locale=self.locale))
        return plain(dates.format_skeleton(style, day, locale=self.locale))

    def days(self, first: date, last: date) -> str:
        return plain(dates.format_interval(first, last, "yMMMd", locale=self.locale))

    def clock(self, at: time) -> str:
        return plain(dates.format_skeleton("Hm", at, locale=self.locale))

    def hours(self, first: time, last: time) -> str:
        return plain(dates.format_interval(first, last, "Hm", locale=self.locale))

    def listed(self, items: Iterable[str], style: ListStyle = "standard") -> str:
        return plain(lists.format_list(list(items), style=style, locale=self.locale))


@dataclass(frozen=True)
class Terms:
    """All four speakers, and what each of them has a name for."""

    speakers: tuple[Speaker, ...]
    units: tuple[str, ...]
    currencies: tuple[str, ...]
    names: Mapping[str, tuple[Text, ...]]  # territory, language, currency, script, weekday, month


def terms() -> Terms:
    """Read from CLDR anew: 0.05 to 0.2 s."""
    locales = {language: Locale.parse(language) for language in LANGUAGES}
    units = tuple(sorted(set.intersection(*(_whole_units(locale) for locale in locales.values()))))
    currencies = _named("currencies", locales, without=NO_CURRENCY)
    names = {
        "territory": tuple(_named("territories", locales, without=NO_REGION).values()),
        "language": tuple(_named("languages", locales, without=NO_LANGUAGE).values()),
        "script": tuple(_named("scripts", locales, without=()).values()),
        "currency": tuple(currencies.values()),
        "weekday": _calendar(dates.get_day_names, locales),
        "month": _calendar(dates.get_month_names, locales),
    }
    speakers = tuple(_speaker(locale, units, tuple(currencies)) for locale in locales.values())
    return Terms(speakers=speakers, units=units, currencies=tuple(currencies), names=names)


def plain(text: str) -> str:
    return SPACES.sub(" ", text).strip()


def _speaker(locale: Locale, units: tuple[str, ...], currencies: tuple[str, ...]) -> Speaker:
    signs = {",": numbers.get_group_symbol(locale), ".": numbers.get_decimal_symbol(locale)}
    patterns = _unit_patterns(locale)
    return Speaker(
        language=locale.language,
        locale=locale,
        signs=str.maketrans({sign: plain(own) or " " for sign, own in signs.items()}),
        units={
            unit: {form: plain(patterns[unit][form]).replace("{0}", "{}") for form in _plural_forms(locale)}
            for unit in units
        },
        currencies={
            code: {
                locale.plural_form(n): "{} " + plain(numbers.get_currency_name(code, count=n, locale=locale))
                for n in PLURAL_SAMPLES
            }
            for code in currencies
        },
    )


def _plural_forms(locale: Locale) -> set[str]:
    return {locale.plural_form(n) for n in PLURAL_SAMPLES}


def _unit_patterns(locale: Locale, width: str = "long") -> dict[str, Mapping[str, str]]:
    # Babel's own format_unit reads the same table. There is no public way to see that a form is missing:
    # format_unit then prints the unit's id, or its name in the dictionary form.
    table = locale._data["unit_patterns"]
    return {unit: table[unit][width] for unit in table if width in table[unit]}


def _whole_units(locale: Locale) -> set[str]:
    """The units whose long pattern has every plural form, none of them borrowed from the abbreviation."""
    forms, short = _plural_forms(locale), _unit_patterns(locale, "short")
    whole = set()
    for unit, patterns in _unit_patterns(locale).items():
        abbreviations = set(short.get(unit, {}).values())
        said = [patterns.get(form, "") for form in forms]
        if (
            all(pattern.count("{0}") == 1 for pattern in said)
            and len({pattern in abbreviations for pattern in said}) == 1  # not "2 cd, 10 kandelų"
            and not any(
                re.search(r"\d", pattern.replace("{0}", "")) for pattern in said
            )  # per 100 kilometers
        ):
            whole.add(unit)
    return whole


def _named(kind: str, locales: Mapping[str, Locale], *, without: Iterable[str]) -> dict[str, Text]:
    """Code -> its name in each language, for those with a short one in all: no brackets, digits, quotes."""
    tables = {language: getattr(locale, kind) for language, locale in locales.items()}
    codes = set.intersection(*(set(table) for table in tables.values())) - set(without)
    named = {code: {lang: plain(table[code]) for lang, table in tables.items()} for code in sorted(codes)}
    return {
        code: text
        for code, text in named.items()
        if not any(re.search(r"[\d()\[\]{}\"“”„/]", name) for name in text.values())
    }


def _calendar(names: Callable[..., Mapping[int, str]], locales: Mapping[str, Locale]) -> tuple[Text, ...]:
    tables = {language: names("wide", "stand-alone", locale=locale) for language, locale in locales.items()}
    return tuple({lang: table[key] for lang, table in tables.items()} for key in sorted(tables["en"]))
