"""The report as Markdown pages: an index, a page a chapter, and what experts demand unasked.

Everything on the pages comes from the data of :mod:`attest.report`, as they are or read back from
the file; nothing is examined, counted or looked up elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["HEADER", "INDEX", "UNASKED", "pages"]

HEADER = "<!-- Written by `attest report`, which overwrites this file. -->"
INDEX, UNASKED = "README.md", "unasked.md"
EVIDENCE = ("property", "formula", "method", "tried", "outcome")

Data = Mapping[str, Any]


def pages(data: Data) -> dict[str, str]:
    """Write the pages.

    Args:
        data: the report.

    Returns:
        The pages' texts by file name.
    """
    names = _names(data["chapters"])
    claims = {claim["id"]: claim for claim in data["claims"]}
    found = {INDEX: _index(data, names)}
    for chapter in data["chapters"]:
        selected = [claims[key] for key in chapter["claims"]]
        found[names[chapter["section"]]] = _chapter(chapter, selected, data)
    if data["unasked"]:
        found[UNASKED] = _unasked(data)
    return {name: f"{HEADER}\n\n{text.rstrip()}\n" for name, text in found.items()}


def _names(chapters: Iterable[Data]) -> dict[str, str]:
    """Give each chapter a file name, made of the words of its title."""
    names: dict[str, str] = {}
    taken = {"", INDEX.lower(), UNASKED.lower()}
    for chapter in chapters:
        words = "-".join(re.findall(r"[^\W_]+", chapter["section"].lower())) or "chapter"
        name, again = f"{words}.md", 2
        while name in taken:
            name, again = f"{words}-{again}.md", again + 1
        taken.add(name)
        names[chapter["section"]] = name
    return names


# --- The index ----------------------------------------------------------------------------------


def _index(data: Data, names: Mapping[str, str]) -> str:
    claims, words = data["claims"], data["words"]
    surprising = [claim["id"] for claim in claims if not claim["as_expected"]]
    failed = [name for name, found in data["properties"].items() if not found["well"]]
    lines = [
        "# The ledger",
        "",
        f"{len(claims)} claims of the notes, and what the evidence says of each: "
        f"{len(data['properties'])} properties, examined on the reference implementation.",
        "",
    ]
    if data["as_expected"]:
        lines.append("Everything came out as the ledger says.")
    if surprising:
        lines.append(f"**Otherwise than the ledger says: {', '.join(surprising)}.**")
    if failed:
        lines.append(f"**Failed: {', '.join(map(_code, failed))}.**")
    counts = [word for word in words["verdicts"] if _count(data["chapters"], word)]
    rows = [
        [
            _link(chapter["section"], names[chapter["section"]]),
            len(chapter["claims"]),
            *(chapter["verdicts"].get(word, "") for word in counts),
        ]
        for chapter in data["chapters"]
    ]
    lines += ["", *_table(["chapter", "claims", *map(_plain, counts)], rows)]
    if data["unasked"]:
        unasked = sum(len(component["properties"]) for component in data["unasked"])
        link = _link("what experts demand unasked", UNASKED)
        lines += [f"And {link}: {unasked} properties that no claim of the notes names.", ""]
    lines += ["## Claims", ""]
    rows = [
        [
            _link(claim["id"], f"{names[claim['section']]}#{claim['id'].lower()}"),
            _verdict(claim),
            _text(claim["statement"]),
        ]
        for claim in claims
    ]
    lines += _table(["id", "verdict", "statement"], rows)
    lines += ["## Words", ""]
    lines += _table(
        ["verdict", ""], [[_plain(word), _text(words["verdicts"][word])] for word in counts]
    )
    used = {found["method"] for found in data["properties"].values()}
    rows = [[word, _text(says)] for word, says in words["methods"].items() if word in used]
    lines += _table(["method", ""], rows)
    lines += ["## Made with", ""]
    known = {**data["versions"], **data["settings"]}
    lines += _table(["", ""], [[name, _code(_value(value))] for name, value in known.items()])
    return "\n".join(lines)


def _count(chapters: Iterable[Data], verdict: str) -> int:
    return sum(chapter["verdicts"].get(verdict, 0) for chapter in chapters)


# --- A chapter ----------------------------------------------------------------------------------


def _chapter(chapter: Data, claims: Iterable[Data], data: Data) -> str:
    counts = ", ".join(f"{n} {_plain(word)}" for word, n in chapter["verdicts"].items())
    lines = [f"# {_text(chapter['section'])}", "", f"{_link('All claims', INDEX)}. {counts}.", ""]
    for claim in claims:
        lines += _claim(claim, data["properties"])
    return "\n".join(lines)


def _claim(claim: Data, properties: Data) -> list[str]:
    lines = [f"## {claim['id']}", "", f"{_verdict(claim)}: {_text(claim['statement'])}", ""]
    if claim["reason"]:
        lines += [f"No evidence: {_text(claim['reason'])}.", ""]
    lines += [f"> {_text(claim['quote'])}", "", _code(claim["formal"]), ""]
    if claim["parts"]:
        titles = ["part", "verdict", "statement"]
        rows = [[p["part"], _verdict(p), _text(p["statement"])] for p in claim["parts"]]
        if any(part["reason"] for part in claim["parts"]):
            titles.append("why without evidence")
            for row, part in zip(rows, claim["parts"], strict=True):
                row.append(_text(part["reason"] or ""))
        lines += _table(titles, rows)
    for title in ("conditions", "references"):
        if claim[title]:
            lines += [f"{title.capitalize()}:", ""]
            lines += [*(f"- {_text(line)}" for line in claim[title]), ""]
    if not claim["evidence"]:
        return lines
    rows = []
    for side in claim["evidence"]:
        parts = [p["part"] for p in claim["parts"] if side["property"] in p["evidence"]]
        extra = [", ".join(parts)] if claim["parts"] else []
        found = properties[side["property"]]
        rows.append([_code(found["component"]), *_evidence(found), side["side"], *extra])
    titles = ["component", *EVIDENCE, "speaks"]
    lines += _table(titles + ["part"] * bool(claim["parts"]), rows)
    for side in claim["evidence"]:
        lines += _details(properties[side["property"]])
    return lines


def _verdict(found: Data) -> str:
    verdict = f"**{_plain(found['verdict'])}**"
    if found["verdict"] != found["expected"]:
        verdict += f" (✗ expected {_plain(found['expected'])})"
    elif not found.get("as_expected", True):
        verdict += " (✗ not all of its evidence came out)"
    return verdict


# --- What no claim names ------------------------------------------------------------------------


def _unasked(data: Data) -> str:
    components, kinds = data["unasked"], data["words"]["kinds"]
    used = [kind for kind in kinds if any(kind in found["kinds"] for found in components)]
    lines = [
        "# What experts demand unasked",
        "",
        f"{_link('All claims', INDEX)}. Properties of correct components that no claim of the "
        "notes names.",
        "",
        *_table(["kind", ""], [[kind, _text(kinds[kind])] for kind in used]),
    ]
    rows = [
        [
            _link(found["component"], f"#{found['component'].lower()}"),
            *(found["kinds"].get(kind, "") for kind in used),
            len(found["properties"]),
        ]
        for found in components
    ]
    total = [sum(found["kinds"].get(kind, 0) for found in components) for kind in used]
    rows.append(["together", *total, sum(total)])
    lines += _table(["component", *used, "together"], rows)
    for found in components:
        lines += [f"## {found['component']}", ""]
        selected = [data["properties"][name] for name in found["properties"]]
        rows = [[*_evidence(prop), prop["kind"]] for prop in selected]
        lines += _table([*EVIDENCE, "kind"], rows)
        for prop in selected:
            lines += _details(prop)
    return "\n".join(lines)


# --- Evidence -----------------------------------------------------------------------------------


def _evidence(prop: Data) -> list[str]:
    """Give a property's cells: what it says, how it argues, how much was tried, what came out."""
    outcome = prop["outcome"] if prop["well"] else f"**{prop['outcome']}**"
    formula, sentence = _code(prop["formula"]), _text(prop["sentence"])
    return [sentence, formula, prop["method"], _tried(prop), _plain(outcome)]


def _tried(prop: Data) -> str:
    if prop["method"] not in {"sampled", "counterexample"}:
        return "once"
    examples = f"{prop['examples']} example{'s' if prop['examples'] != 1 else ''}"
    dtypes = f" in {', '.join(prop['dtypes'])}" if prop["dtypes"] else ""
    telling = prop["informative"]
    return examples + dtypes + (f", {telling} telling" if telling != prop["examples"] else "")


def _details(prop: Data) -> list[str]:
    """Show a property's counterexample, or why it failed without one."""
    found = prop["counterexample"]
    if found is None:
        return [] if prop["well"] else [_failure(prop), ""]
    false = prop["well"]  # of a refutation, which comes out when what the notes say does not
    title = f"“{_text(prop['sentence'])}” fails" if false else _failure(prop)
    lines = [f"{title}. {_text(prop['explanation'])}", ""]
    given = [[_code(name), _code(_value(value))] for name, value in found["given"].items()]
    lines += _table(["name", "value"], given)
    compared = found["compared"]
    if compared is None:
        lines += [_text(found["what"]), ""]
    else:
        row = [
            _text(found["what"]),
            _code(_value(compared["came"])),
            _should(compared),
            _number(compared["difference"]),
        ]
        lines += _table(["what", "came out", "should be", "difference"], [row])
    if found["difference"]:
        lines += [f"In words: {_text(found['difference'])}.", ""]
    if found["script"] is None:
        return [*lines, "The script that shows it again is too long to be shown.", ""]
    script = found["script"].rstrip()
    summary = "<details><summary>To see it again</summary>"
    return [*lines, summary, "", "```python", script, "```", "", "</details>", ""]


def _failure(prop: Data) -> str:
    message = f": {_text(prop['message'])}" if prop["message"] else ""
    name = f"{_code(prop['component'])}: {_text(prop['sentence'])}"
    return f"**{name}, {_plain(prop['outcome'])}**{message}"


def _should(compared: Data) -> str:
    word, expected = compared["word"], compared["expected"]
    return word if expected is None else f"{word} {_code(_value(expected))}".strip()


def _number(value: Any) -> str:  # noqa: ANN401
    return "" if value is None else _code(_value(value))


def _value(value: Any) -> str:  # noqa: ANN401
    """Write a value: numbers short, a large tensor by its shape and range."""
    if isinstance(value, Mapping):
        if "shape" not in value:
            return ", ".join(f"{name}={_value(inner)}" for name, inner in value.items())
        shape = "×".join(map(str, value["shape"]))
        if "true" in value:
            return f"{shape} truth values, {value['true']} of them True"
        return f"{shape} numbers, from {_value(value['least'])} to {_value(value['most'])}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


# --- Markdown -----------------------------------------------------------------------------------


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _text(text: str) -> str:
    """Write words so that Markdown takes none of them for its own."""
    return re.sub(r"([\\`*_<>|~$\[\]])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Write a formula or numbers as they are."""
    text = " ".join(text.split())
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""


def _link(text: str, target: str) -> str:
    return f"[{_text(text)}]({target})"


def _table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [_row(titles), _row(["---"] * len(titles)), *(_row(row) for row in rows)]
    return [*lines, ""]


def _row(cells: Sequence[Any]) -> str:
    # In a table a bar ends a cell, in code as well; words have theirs escaped already.
    inside = (re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in cells)
    return f"| {' | '.join(inside)} |"
