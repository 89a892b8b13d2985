"""The report as Markdown pages: an index, a page a chapter, and what experts demand unasked.

Everything on the pages comes from the data of :mod:`attest.report`, as they are or read back from
the file; nothing is examined, counted or looked up elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attest.markup import code, escaped, link, plain, table

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
        lines.append(f"**Failed: {', '.join(map(code, failed))}.**")
    counts = [word for word in words["verdicts"] if _count(data["chapters"], word)]
    rows = [
        [
            link(chapter["section"], names[chapter["section"]]),
            len(chapter["claims"]),
            *(chapter["verdicts"].get(word, "") for word in counts),
        ]
        for chapter in data["chapters"]
    ]
    lines += ["", *table(["chapter", "claims", *map(plain, counts)], rows)]
    if data["unasked"]:
        unasked = sum(len(component["properties"]) for component in data["unasked"])
        page = link("what experts demand unasked", UNASKED)
        lines += [f"And {page}: {unasked} properties that no claim of the notes names.", ""]
    lines += ["## Claims", ""]
    rows = [
        [
            link(claim["id"], f"{names[claim['section']]}#{claim['id'].lower()}"),
            _verdict(claim),
            escaped(claim["statement"]),
        ]
        for claim in claims
    ]
    lines += table(["id", "verdict", "statement"], rows)
    lines += ["## Words", ""]
    lines += table(
        ["verdict", ""], [[plain(word), escaped(words["verdicts"][word])] for word in counts]
    )
    used = {found["method"] for found in data["properties"].values()}
    rows = [[word, escaped(says)] for word, says in words["methods"].items() if word in used]
    lines += table(["method", ""], rows)
    lines += ["## How much was tried", ""]
    rows = [
        [kind, _total(data["properties"], kind), escaped(says)]
        for kind, says in words["kinds_of_examples"].items()
    ]
    lines += table(["kind of example", "examples", ""], rows)
    lines += ["## Made with", ""]
    known = {**data["versions"], **data["settings"]}
    lines += table(["", ""], [[name, code(_value(value))] for name, value in known.items()])
    return "\n".join(lines)


def _total(properties: Data, kind: str) -> int:
    return sum(prop["tried"].get(kind, 0) for prop in properties.values())


def _count(chapters: Iterable[Data], verdict: str) -> int:
    return sum(chapter["verdicts"].get(verdict, 0) for chapter in chapters)


# --- A chapter ----------------------------------------------------------------------------------


def _chapter(chapter: Data, claims: Iterable[Data], data: Data) -> str:
    counts = ", ".join(f"{n} {plain(word)}" for word, n in chapter["verdicts"].items())
    lines = [f"# {escaped(chapter['section'])}", "", f"{link('All claims', INDEX)}. {counts}.", ""]
    for claim in claims:
        lines += _claim(claim, data["properties"])
    return "\n".join(lines)


def _claim(claim: Data, properties: Data) -> list[str]:
    lines = [f"## {claim['id']}", "", f"{_verdict(claim)}: {escaped(claim['statement'])}", ""]
    if claim["reason"]:
        lines += [f"No evidence: {escaped(claim['reason'])}.", ""]
    lines += [f"> {escaped(claim['quote'])}", "", code(claim["formal"]), ""]
    if claim["parts"]:
        titles = ["part", "verdict", "statement"]
        rows = [[p["part"], _verdict(p), escaped(p["statement"])] for p in claim["parts"]]
        if any(part["reason"] for part in claim["parts"]):
            titles.append("why without evidence")
            for row, part in zip(rows, claim["parts"], strict=True):
                row.append(escaped(part["reason"] or ""))
        lines += table(titles, rows)
    for title in ("conditions", "references"):
        if claim[title]:
            lines += [f"{title.capitalize()}:", ""]
            lines += [*(f"- {escaped(line)}" for line in claim[title]), ""]
    if not claim["evidence"]:
        return lines
    rows = []
    for side in claim["evidence"]:
        parts = [p["part"] for p in claim["parts"] if side["property"] in p["evidence"]]
        extra = [", ".join(parts)] if claim["parts"] else []
        found = properties[side["property"]]
        rows.append([code(found["component"]), *_evidence(found), side["side"], *extra])
    titles = ["component", *EVIDENCE, "speaks"]
    lines += table(titles + ["part"] * bool(claim["parts"]), rows)
    for side in claim["evidence"]:
        lines += _details(properties[side["property"]])
    return lines


def _verdict(found: Data) -> str:
    verdict = f"**{plain(found['verdict'])}**"
    if found["verdict"] != found["expected"]:
        verdict += f" (✗ expected {plain(found['expected'])})"
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
        f"{link('All claims', INDEX)}. Properties of correct components that no claim of the "
        "notes names.",
        "",
        *table(["kind", ""], [[kind, escaped(kinds[kind])] for kind in used]),
    ]
    rows = [
        [
            link(found["component"], f"#{found['component'].lower()}"),
            *(found["kinds"].get(kind, "") for kind in used),
            len(found["properties"]),
        ]
        for found in components
    ]
    total = [sum(found["kinds"].get(kind, 0) for found in components) for kind in used]
    rows.append(["together", *total, sum(total)])
    lines += table(["component", *used, "together"], rows)
    for found in components:
        lines += [f"## {found['component']}", ""]
        selected = [data["properties"][name] for name in found["properties"]]
        rows = [[*_evidence(prop), prop["kind"]] for prop in selected]
        lines += table([*EVIDENCE, "kind"], rows)
        for prop in selected:
            lines += _details(prop)
    return "\n".join(lines)


# --- Evidence -----------------------------------------------------------------------------------


def _evidence(prop: Data) -> list[str]:
    """Give a property's cells: what it says, how it argues, how much was tried, what came out."""
    outcome = prop["outcome"] if prop["well"] else f"**{prop['outcome']}**"
    formula, sentence = code(prop["formula"]), escaped(prop["sentence"])
    return [sentence, formula, prop["method"], _tried(prop), plain(outcome)]


def _tried(prop: Data) -> str:
    if prop["method"] == "measured":
        return f"{prop['examples']} seeds"
    if prop["method"] not in {"sampled", "counterexample"}:
        return "once"
    examples = f"{prop['examples']} example{'s' if prop['examples'] != 1 else ''}"
    dtypes = f" in {', '.join(prop['dtypes'])}" if prop["dtypes"] else ""
    telling = prop["informative"]
    if telling != prop["examples"]:
        dtypes += f", {telling} telling"
    kinds = ", ".join(f"{n} {kind}" for kind, n in prop["tried"].items())
    return examples + dtypes + (f": {kinds}" if kinds else "")


def _details(prop: Data) -> list[str]:
    """Show a property's counterexample, or why it failed without one."""
    found = prop["counterexample"]
    if prop["method"] == "measured" and prop["well"]:
        said = f"{escaped(prop['sentence'])} *{escaped(prop['message'])}.*"
        return [f"{said} {escaped(prop['explanation'])}", ""]
    if found is None:
        return [] if prop["well"] else [_failure(prop), ""]
    false = prop["well"]  # of a refutation, which comes out when what the notes say does not
    title = f"“{escaped(prop['sentence'])}” fails" if false else _failure(prop)
    lines = [f"{title}. {escaped(prop['explanation'])}", ""]
    given = [[code(name), code(_value(value))] for name, value in found["given"].items()]
    lines += table(["name", "value"], given)
    compared = found["compared"]
    if compared is None:
        lines += [escaped(found["what"]), ""]
    else:
        row = [
            escaped(found["what"]),
            code(_value(compared["came"])),
            _should(compared),
            _number(compared["difference"]),
        ]
        lines += table(["what", "came out", "should be", "difference"], [row])
    if found["difference"]:
        lines += [f"In words: {escaped(found['difference'])}.", ""]
    if found["script"] is None:
        return [*lines, "The script that shows it again is too long to be shown.", ""]
    script = found["script"].rstrip()
    summary = "<details><summary>To see it again</summary>"
    return [*lines, summary, "", "```python", script, "```", "", "</details>", ""]


def _failure(prop: Data) -> str:
    message = f": {escaped(prop['message'])}" if prop["message"] else ""
    name = f"{code(prop['component'])}: {escaped(prop['sentence'])}"
    return f"**{name}, {plain(prop['outcome'])}**{message}"


def _should(compared: Data) -> str:
    word, expected = compared["word"], compared["expected"]
    return word if expected is None else f"{word} {code(_value(expected))}".strip()


def _number(value: Any) -> str:  # noqa: ANN401
    return "" if value is None else code(_value(value))


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
