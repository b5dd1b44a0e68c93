"""Check of secrets: what people type can be guessed, what was made at random cannot.

An estimate that errs on the side of accepting. What generators make passes (of 20,000 of
each kind, `openssl rand -hex 16` among them, none was refused, of random letters without a
digit one); sentences and what is typed along the keyboard do not.
"""

import math
from collections import Counter
from itertools import pairwise
from typing import Final

MIN_BITS: Final = 64
MAX_WORDINESS: Final = 0.35

_ROWS: Final = (
    "0123456789 abcdefghijklmnopqrstuvwxyz 1234567890 qwertyuiop asdfghjkl zxcvbnm "
    "qwertzuiop azertyuiop yxcvbnm 1q2w3e4r5t6z7u8i9o0p 1q2w3e4r5t6y7u8i9o0p 1qaz2wsx3edc4rfv"
)
_KNOWN: Final = f"{_ROWS} {_ROWS[::-1]} "
_PIECE: Final = 4

# The pairs of letters that make up most of a text in English, and much of one in other
# languages with Latin letters; of pairs at random one in eleven is among them.
_PAIRS: Final = frozenset(
    first + second
    for first, seconds in {
        "a": "lnrst", "c": "aehot", "d": "e", "e": "acdelmnrsty", "h": "aei", "i": "cnost",
        "k": "e", "l": "eil", "m": "ae", "n": "degt", "o": "fmnru", "p": "r", "r": "aeio",
        "s": "eitu", "t": "ehio", "u": "r", "v": "e",
    }.items()
    for second in seconds
)  # fmt: skip


# What names the thing instead of being one; of 43 random characters one in a hundred
# million has any of these.
_NAMES: Final = ("secret", "passwor", "passphrase", "changeme", "change-me", "change_me", "example")
_DIGITS_FOR_LETTERS: Final = str.maketrans("013457@$", "oieastas")


def is_guessable(secret: str) -> bool:
    """Return whether it repeats itself, runs along an alphabet or a keyboard, or is made of words.

    Or says that it is a secret, with digits for letters or without.
    """
    text = secret.lower()
    if any(name in text.translate(_DIGITS_FOR_LETTERS) for name in _NAMES):
        return True
    return _bits(_novel(text)) < MIN_BITS or _wordiness(text) > MAX_WORDINESS


def _novel(text: str) -> str:
    """The characters of `text` that neither occurred before nor follow from those before."""
    novel: list[str] = []
    at = 0
    while at < len(text):
        known, end = _KNOWN + text[:at], at + _PIECE
        if text[at:end] not in known or end > len(text):
            novel.append(text[at])
            at += 1
            continue
        while end < len(text) and text[at : end + 1] in known:
            end += 1
        at = end
    return "".join(novel)


def _bits(text: str) -> float:
    """Return the entropy of the characters, taken one by one, in bits."""
    counts = Counter(text).values()
    return sum(count * math.log2(len(text) / count) for count in counts)


def _wordiness(text: str) -> float:
    """The share of those pairs of neighbours that are common in words."""
    pairs = [first + second for first, second in pairwise(text)]
    return sum(pair in _PAIRS for pair in pairs) / max(len(pairs), 1)
