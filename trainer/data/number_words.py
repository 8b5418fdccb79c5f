"""How is a number written out in English, German, Finnish and Lithuanian?

num2words 0.5.14, kept to what it gets right: cardinals from 0 to 999,999. It is wrong in German where the
thousands end in 01 ("zweihunderteinstausend", corrected here), for the years 100 to 199 and for ordinals
above a million; it has no Lithuanian ordinals, and takes an int for cents in an amount of money. None of
those last is asked of it.
"""

from __future__ import annotations

import functools

from num2words import num2words  # type: ignore[import-untyped]

from trainer.data.contract import DataError

LANGUAGES = ("en", "de", "fi", "lt")
LIMIT = 1_000_000

# Lithuanian numerals from 1 to 9 have a gender, which num2words does not know: it always says the masculine.
# These have one form before a noun of any gender, and take the same form of the noun in each language as the
# digits do. So only these are put before a unit.
BEFORE_A_NOUN = (*range(10, 20), *range(20, 100, 10), *range(100, 1_000, 100), *range(10_000, 20_000, 1_000))


@functools.lru_cache(maxsize=2**12)  # texts say few numbers, and each of them often
def cardinal(number: int, language: str) -> str:
    """Such as "two hundred and one thousand" or "zweihunderteintausend"."""
    if language not in LANGUAGES:
        raise DataError(f"No number words for the language {language!r}. Take one of {', '.join(LANGUAGES)}.")
    if not 0 <= number < LIMIT:
        raise DataError(f"The number {number} is not written out; only 0 to {LIMIT - 1} are.")
    words = str(num2words(number, lang=language))
    # "eins" stands alone or last; before "tausend" it is "ein" (Duden, "tausend").
    return words.replace("einstausend", "eintausend") if language == "de" else words
