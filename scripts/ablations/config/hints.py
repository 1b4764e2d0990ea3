"""Hints: what a config may hold, and what its writer seldom means. No hint stops a call."""

import unicodedata
from collections.abc import Iterator

from ablations.config.config import Config
from ablations.config.notifying import hints_on_notifier
from ablations.config.studies.published import read_published
from ablations.config.studies.study import Study
from ablations.readable import readable

# The first words of the Unicode names of letters that the font of figures has.
SCRIPTS = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC", "MODIFIER", "FEMININE",
           "MASCULINE", "MICRO", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER", "OHM", "KELVIN", "ANGSTROM", 
           "EULER", "PLANCK", "SUPERSCRIPT"}  # fmt: skip


def hints(config: Config) -> Iterator[str]:
    yield from hints_on_notifier(config.notify)
    for name, kind in config.kinds.items():
        for key, text in (("command", kind.command or ""), ("setup", kind.setup or "")):
            if readable(text) != text:
                yield (
                    f"kinds.{name}.{key}: it shows a password or token, which Snakemake's files will hold; "
                    "let the command take it from the environment"
                )
    for name, study in config.studies.items():
        written = study.written.get("seeds")
        if isinstance(written, int) and written > 1:
            listed = ", ".join(map(str, range(written))) if written < 8 else f"0, 1, …, {written - 1}"
            yield f"studies.{name}.seeds: {written} is one seed; for {written} seeds, write [{listed}]"
        yield from _of_shares(config, name, study)
        labels = [study.label(factor) for factor in study.factors]
        metrics = [study.kind.metrics[metric].heading for metric in study.needed]
        for text in (study.title, *labels, *metrics):
            if lacking := [letter for letter in text if not _has_glyph(letter)]:
                yield (
                    f"studies.{name}: '{text}' has letters for which figures have no glyphs "
                    f"({''.join(dict.fromkeys(lacking))}), and boxes will stand for them; tables have the "
                    "letters, and their LaTeX needs XeLaTeX or LuaLaTeX with a font of this script"
                )


def _of_shares(config: Config, name: str, study: Study) -> Iterator[str]:
    """Published values that look like shares of 1, of a metric in percent."""
    if study.published is None:
        return
    for value in read_published(study, config.file(study.published.file)):
        metric = study.kind.metrics[value.metric]
        is_share = metric.unit == "%" and metric.better == "higher" and 0 < float(value.text) <= 1
        if metric.noise == "proportion" and is_share:
            yield (
                f"studies.{name}.published: {value.text} is read as {value.text} %, as {metric.label} is in "
                f"percent; if it is a share of 1, write {float(value.text) * 100:.10g}"
            )
            return


def _has_glyph(letter: str) -> bool:
    category, name = unicodedata.category(letter), unicodedata.name(letter, "")
    if category[0] in "LM":
        return letter.isascii() or name.split(" ")[0] in SCRIPTS or name.startswith("COMBINING")
    return ord(letter) < 0x10000 and not name.startswith(("CJK", "FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC"))
