"""Prompts of varied words: no two begin alike unless they are to, and their lengths are found by the server's count."""

from __future__ import annotations

import random
import secrets

_TEXT = """
able acid aged also area army away baby back ball band bank base bath bear beat bell belt best bird blow blue boat
body bond bone book born boss both bowl bulk burn bush busy cake call calm came camp card care case cash cast cell
chat chip city club coal coat code cold come cook cool cope copy core cost crew crop dark data date dawn days dead
deal dean dear debt deep desk dial diet disc dish door dose down draw drew drop drug dual duke dust duty earn ease
east easy edge else even ever exit face fact fail fair fall farm fast fate fear feed feel feet fell felt file fill
film find fine fire firm fish five flat flow food foot ford form fort four free from fuel full fund gain game gate
gave gear gift girl give glad goal goes gold golf gone good gray grew grey grow gulf hair half hall hand hang hard
harm hate have head hear heat held help here hero high hill hire hold hole holy home hope host hour huge hung hunt
hurt idea inch into iron item jack join jump jury just keen keep kept kick kind king knee knew know lack lady laid
lake land lane last late lead left less life lift like line link list live load loan lock long look lord lose loss
lost love luck made mail main make male many mark mass meal mean meat meet menu mere mile milk mind mine miss mode
mood moon more most move much must name navy near neck need news next nice nine none nose note okay once only onto
open oral over pace pack page paid pain pair palm park part pass past path peak pick pink pipe plan play plot plug
plus poll pool poor port post pull pure push race rail rain rank rare rate read real rear rely rent rest rice rich
ride ring rise risk road rock role roll roof room root rose rule rush safe said sake sale salt same sand save seat
seed seek seem seen self sell send sent ship shop shot show shut sick side sign site size skin slip slow snow soft
soil sold sole some song soon sort soul spot star stay step stop such suit sure take tale talk tall tank tape task
team tech tell tend term test text than that them then they thin this thus till time tiny told toll tone took tool
tour town tree trip true tune turn twin type unit upon used user vary vast very vice view vote wage wait wake walk
wall want ward warm wash wave ways weak wear week well went were west what when wide wife wild will wind wine wing
wire wise wish with wood word wore work yard yeah year your zero zone
"""
WORDS = tuple(_TEXT.split())
"""Common words; with a space before, most vocabularies hold each as one token."""

CLOSE_ENOUGH = 0.01
"""Part of a length by which a prompt may miss it."""


class Prompts:
    """Makes prompts.

    Parameters
    ----------
    seed
        Prompts of two runs differ, so that a cache holds nothing of an earlier run, unless they share the seed.
    """

    def __init__(self, seed: str | None = None) -> None:
        self.seed = seed or secrets.token_hex(8)
        self._count = 0
        self._known: list[tuple[int, int]] = []

    def fresh(self, words: int, prefix: str = "") -> str:
        """A prompt of so many words that is like no other, after a prefix where there is one."""
        self._count += 1
        text = self._text(f"fresh {self._count}", words)
        return f"{prefix} {text}" if prefix and words else prefix or text

    def prefix(self, words: int) -> str:
        """The one prefix of so many words."""
        return self._text("prefix", words)

    def _text(self, key: str, words: int) -> str:
        return " ".join(random.Random(f"{self.seed} {key} {words}").choices(WORDS, k=words))

    def learn(self, words: int, tokens: int) -> None:
        """Take how many tokens the server counted in a fresh prompt of so many words."""
        self._known.append((words, tokens))

    def words_for(self, tokens: int) -> int:
        """Words that should give so many tokens, by the two nearest prompts that are known."""
        known = sorted(dict(self._known).items(), key=lambda pair: abs(pair[1] - tokens))[:2]
        if not known:
            return tokens
        words, count = known[0]
        per_word = count / words
        if len(known) == 2 and known[0][1] != known[1][1]:
            slope = (known[1][1] - count) / (known[1][0] - words)
            per_word = slope if slope > 0 else per_word
        return max(1, round(words + (tokens - count) / per_word))


def is_close(tokens: int, wanted: int) -> bool:
    """Whether a prompt is as long as it was wanted, but for a hundredth or a token."""
    return abs(tokens - wanted) <= max(1.0, CLOSE_ENOUGH * wanted)
