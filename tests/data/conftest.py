"""The bundled atlas, read once."""

import pytest
from atlas import tables
from atlas.entities import Atlas


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return Atlas(tables.load())
