"""The base: recipes, errors, run directories, journal, progress, seeds, statistics. No torch."""
