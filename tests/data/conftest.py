"""The bundled atlas, read once."""

import pytest

from lmtools.data.atlas import tables
from lmtools.data.atlas.entities import Atlas


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return Atlas(tables.load())
