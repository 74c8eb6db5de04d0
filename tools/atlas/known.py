"""The atlas with the facts of all its entities as text, computed once for all that ask about them."""

from collections import Counter

from atlas.entities import Atlas, Entity
from atlas.facts import facts

PLACES = ("country", "state", "city")


class Known:
    """Facts by entity, and which names alone say what is meant."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self.facts = {str(e): facts(atlas, e) for e in atlas.entities}
        self.uses = Counter(e.name for e in atlas.entities)

    def of(self, entity: Entity) -> dict[str, str]:
        """The facts of an entity by name; unknown ones are missing."""
        return self.facts[str(entity)]

    def clear(self, entity: Entity) -> bool:
        """Whether the name alone says which place is meant: there is more than one Georgia, and one Perth."""
        return entity.kind not in PLACES or (self.uses[entity.name] == 1 and "(" not in entity.key)
