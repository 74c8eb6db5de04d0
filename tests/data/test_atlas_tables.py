"""The tables of the bundled atlas, and the wording and choices that turn them into text."""

import re
from collections import Counter
from dataclasses import fields

import pytest
from atlas import path, schema, tables
from atlas.choice import pick, sample, shuffled
from atlas.entities import listing, plain
from atlas.facts import article, entity_facts, peers
from atlas.passages import applicable, pages, sentence
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError


def test_some_facts(atlas):
    assert atlas.get("country", "Austria").keys["capital"] == "Vienna"
    assert entity_facts(atlas, atlas.get("element", "Iron"))["before"] == "manganese"
    assert entity_facts(atlas, atlas.get("country", "China"))["borders"] == "14"
    assert atlas.linked(atlas.get("book", "Moby-Dick"), "author").title == "Herman Melville"
    assert atlas.show(atlas.get("city", "Cairo"), "river") == "the Nile"
    assert {e.title for e in atlas.entities if e.key == "Georgia"} == {
        "Georgia (country)",
        "Georgia (U.S. state)",
    }


def test_capitals_and_symbols_are_unique():
    loaded = tables.load()
    for names in ([c.capital for c in loaded.countries if c.capital], [e.symbol for e in loaded.elements],
                  [s.capital for s in loaded.states], [s.nickname for s in loaded.states]):  # fmt: skip
        assert [n for n, count in Counter(names).items() if count > 1] == []
    assert len(loaded.states) == 50
    assert len(loaded.elements) == 118


def test_every_table_says_where_its_facts_come_from():
    files = sorted(path("tables").glob("*.csv"))
    assert {f.stem for f in files} == {f.name for f in fields(tables.Tables)}
    assert all(f.read_text(encoding="utf-8").startswith("# Source: ") for f in files)


def test_a_cell_of_the_wrong_type_is_named(tmp_path):
    file = tmp_path / "units.csv"
    file.write_text("# Source: a test\nname,year\nx,soon\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns do not fit"):
        tables.read(file, schema.Unit)
    file.write_text("season,year,city\nSummer,soon,Athens\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"row 1, year: 'soon' is no whole number"):
        tables.read(file, schema.Games)


PORTUGAL = "Portugal,Europe,the Iberian Peninsula,Lisbon,euro,Portuguese,"


@pytest.mark.parametrize(
    ("table", "old", "new", "fault"),
    [
        ("countries", f"{PORTUGAL}Spain", f"{PORTUGAL}Austria", "Portugal borders Austria"),
        ("books", "Moby-Dick,Herman", "Moby-Dick,Herbert", "Herbert Melville, which has no row"),
        ("rivers", "the Volga,Russia", "the Volga,Ruritania", "Ruritania, which has no row"),
        ("elements", "118,oganesson", "119,oganesson", "atomic numbers are not 1 to 118"),
        ("people", "English,1775,1817", "English,1775,1785", "Jane Austen: 1775 to 1785 is no life"),
        ("islands", "Sardinia,", "Sicily,", "islands: Sicily is there twice"),
    ],
)
def test_tables_that_disagree_are_refused(tmp_path, table, old, new, fault):
    for file in path("tables").glob("*.csv"):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    changed = (tmp_path / f"{table}.csv").read_text(encoding="utf-8")
    assert old in changed
    (tmp_path / f"{table}.csv").write_text(changed.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(fault)):
        tables.load(tmp_path)


# Wording and choice


def test_every_kind_has_a_page_and_every_entity_a_lead(atlas):
    wording = pages()
    assert set(wording) == {e.kind for e in atlas.entities}
    for entity in atlas.entities:
        known = entity_facts(atlas, entity)
        assert applicable(wording[entity.kind].lead, known), entity
        assert all(known.values())


def test_peers_share_the_fact_and_exclude_the_entity(atlas):
    danube = atlas.get("river", "Danube")
    found = {e.key for e in peers(atlas, danube, "country")}
    assert {"Spree", "Weser"} <= found
    assert "Danube" not in found
    austen = atlas.get("person", "Jane Austen")
    assert all(abs(e.keys["born"] - 1775) <= 4 for e in peers(atlas, austen, "role,~born"))


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listing(names, text):
    assert listing(names) == text


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("opera", "an opera"),
        ("novel", "a novel"),
        ("unit", "a unit"),
        ("English painter", "an English painter"),
        ("European", "a European"),
        ("", ""),
    ],
)
def test_article(phrase, text):
    assert article(phrase) == text


def test_plain_drops_only_a_final_addition():
    assert plain("Perth (Scotland)") == "Perth"
    assert plain("Nude (a picture) again") == "Nude (a picture) again"


@given(st.sets(st.text(max_size=8), min_size=1, max_size=12), st.integers(0, 20), st.text(max_size=5))
def test_choices_are_fixed_and_do_not_depend_on_the_order_of_the_items(items, count, seed):
    ordered = sorted(items)
    assert shuffled(ordered, seed) == shuffled(reversed(ordered), seed)
    assert set(shuffled(ordered, seed)) == items
    assert sample(ordered, count, seed) == shuffled(ordered, seed)[:count]
    assert pick(ordered, seed) == pick(ordered, seed)
    assert pick(ordered, seed) in items


@pytest.mark.parametrize(
    ("text", "written"), [("it ends.", "It ends."), ("in D.C..", "In D.C."), ("so", "So")]
)
def test_sentence(text, written):
    assert sentence(text) == written
